"""What waits for the end of an epoch: a rollback that was chosen for then, and questions that are open by then."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from trainmaster.bot.core.conversation.message import Item
from trainmaster.bot.core.conversation.words import capitalized
from trainmaster.bot.core.decisions.approval import Approval, ApprovalState, DecisionOutcome, refusal
from trainmaster.bot.core.decisions.operation import BOT, Intent, IntentKind, Operation
from trainmaster.bot.core.decisions.plan import RollbackPlan, differences
from trainmaster.bot.core.run.epoch_report import ReportLimits, judge_epoch
from trainmaster.bot.core.run.facts import ProcessIdentity
from trainmaster.bot.core.run.state import RunState
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.errors import CommandError, TrainmasterError
from trainmaster.bot.operations.books import Books
from trainmaster.bot.operations.operation_context import World
from trainmaster.bot.operations.questions.approval import Approvals, DecisionResult
from trainmaster.bot.operations.refusals import refuse_unless_ours

_LOG = logging.getLogger(__name__)

_ELSEWHERE: Final[dict[str, Any]] = {"attempt": 0, "process": None, "create_time": None, "at_epoch": None}
"""What a question that is put for the run as it is need not call changed: the run went on, or stopped, as it says."""
_WAITING = frozenset({RunState.PENDING, RunState.SUSPENDED})


@dataclass(frozen=True, slots=True, kw_only=True)
class AfterEpoch:
    """A rollback at the end of the epoch goes back to what was approved, or asks anew: nobody approved anything else.
    ``report`` are the limits by which the criteria of the epoch are judged."""

    world: World
    questions: Approvals
    books: Books
    instance: ProcessIdentity
    start: Callable[[Operation], None]
    report: ReportLimits = ReportLimits()  # noqa: RUF009 - frozen

    async def choose(self, approval_id: str, user: str, on_call: frozenset[str], *, channel: str) -> DecisionResult:
        """The question is answered: the run goes on to the end of its epoch and is rolled back then.

        Raises:
            CommandError: no epoch of the run is under way.
            StoreError: it could not be recorded; nothing was decided.
        """
        now = self.world.clock.now()
        approval = self.books.approvals.get(approval_id)
        allowed = self.questions.limits.allow_self_approval
        refused = refusal(approval, user, on_call=on_call, allow_self=allowed, approve=True, now=now)
        if approval is None or refused is not None:
            return DecisionResult(outcome=refused or DecisionOutcome.UNKNOWN, approval=approval)
        view = await self.world.runs.refresh(approval.run)
        epoch = _running(view) if view is not None else None
        if view is None or epoch is None:
            raise CommandError(
                "not-running",
                f"no epoch of {approval.plan.name} is under way, so none will end.",
                "choose one of the others",
            )
        refuse_unless_ours(view, self.instance.host)
        intent = Intent(
            run=view.run,
            kind=IntentKind.ROLL_BACK_AFTER_EPOCH,
            attempt=view.attempt,
            epoch=epoch,
            user=user,
            why=approval.id,
            channel=channel,
            ts=now,
        )
        detail = {"approval": approval.id, "attempt": view.attempt, "after_epoch": epoch}
        with self.books.transactions.transaction():
            closed = self.questions.close(approval, ApprovalState.AFTER_EPOCH, by=user, now=now)
            if closed is None:
                return DecisionResult(outcome=DecisionOutcome.VOID, approval=self.books.approvals.get(approval_id))
            self.books.audit.append(user, "rollback.after_epoch", view.run, detail, now)
            self.books.intents.put(intent)
        return DecisionResult(outcome=DecisionOutcome.AFTER_EPOCH, approval=closed)

    async def tend(self, on_call: frozenset[str]) -> None:
        """Rollbacks whose epoch has ended have begun, or are asked for anew; so are questions that an epoch's end has
        found open. A question about a run that is no longer as it was reads as the run is. What cannot be planned now
        waits for the next look."""
        for intent in self.books.intents.all(IntentKind.ROLL_BACK_AFTER_EPOCH):
            await self._quietly(self._begin(intent, on_call), intent.run)
        for approval in self.books.approvals.pending():
            await self._quietly(self._keep_up(approval, on_call), approval.run)

    async def _quietly(self, work: Awaitable[None], run: str) -> None:
        try:
            await work
        except TrainmasterError as error:
            _LOG.warning("the end of the epoch of %s: %s", run, error)

    async def _begin(self, intent: Intent, on_call: frozenset[str]) -> None:
        view = await self.world.runs.refresh(intent.run)
        chosen = self.books.approvals.get(intent.why)
        if view is None or view.state in _WAITING or not self.books.holds(intent):
            return
        over = view.attempt != intent.attempt or self.books.operations.open(view.run) or chosen is None
        if over or chosen is None:
            self._drop(intent, view, chosen)
            return
        ended = _ended(view, intent.attempt)
        if view.state.active and (ended is None or (intent.epoch is not None and ended < intent.epoch)):
            return
        if view.watched_only or view.process_fault:
            return
        plan = await self._plan(view, chosen)
        if not self.books.holds(intent):
            return
        approval = self._ask(view, chosen, plan, on_call, ended)
        self.books.intents.drop(intent.run, intent.kind)
        if not _same_goal(chosen.plan, plan) or self.questions.limits.approvals_required > 1:
            return
        decision = self.questions.decide(
            approval.id,
            intent.user,
            approve=True,
            reason="",
            on_call=on_call,
            owner=self.instance,
            now=self.world.clock.now(),
        )
        if decision.operation is not None:
            self.start(decision.operation)

    def _drop(self, intent: Intent, view: RunView, chosen: Approval | None) -> None:
        """What was chosen for the end of the epoch no longer holds: the run has changed since."""
        now = self.world.clock.now()
        why = f"The run has changed since: it is {view.state.value}, attempt {view.attempt}."
        with self.books.transactions.transaction():
            self.books.audit.append(BOT, "rollback.plan_dropped", intent.run, {"outcome": why}, now)
            self.books.intents.drop(intent.run, intent.kind)
            if chosen is not None and chosen.state is ApprovalState.AFTER_EPOCH:
                self.questions.void(chosen, now=now, reason=why)

    async def _keep_up(self, approval: Approval, on_call: frozenset[str]) -> None:
        """The question is about the run as it is. One that was asked during an epoch is asked anew once that has ended,
        and waits no longer than it would have; soon after it was asked it is only edited: epochs of minutes would bury
        the channel."""
        if self.books.operations.open(approval.run) or not on_call:
            return
        view = await self.world.runs.refresh(approval.run)
        if view is None or view.state in _WAITING or view.state is RunState.UNKNOWN:
            return
        now, limits = self.world.clock.now(), self.questions.limits
        ended = _ended(view, approval.plan.attempt)
        anew = now - approval.created_ts >= limits.reminder_s and _at_an_end(approval, view, ended)
        late = now - approval.plan.made_ts >= limits.question_renew_s and _is_late(approval, view, now)
        if not (anew or late or _is_another(approval, view)):
            return
        try:
            plan = await self._plan(view, approval)
        except CommandError as error:
            if view.state is not RunState.FINISHED:
                raise
            self.questions.void(approval, now=now, reason=capitalized(error.message))
            return
        if all(one.id != approval.id for one in self.books.approvals.pending(approval.run)):
            return  # answered meanwhile
        if anew:
            self._ask(view, approval, plan, on_call, ended, expires_ts=approval.expires_ts)
        else:
            self._renew(view, approval, plan, on_call, ended)

    def _renew(
        self, view: RunView, approval: Approval, plan: RollbackPlan, on_call: frozenset[str], ended: int | None
    ) -> None:
        self.questions.renew(
            approval,
            plan,
            on_call=sorted(on_call),
            now=self.world.clock.now(),
            changed=differences(*(replace(one.binding, **_ELSEWHERE) for one in (approval.plan, plan))),
            keeps_votes=_same_goal(approval.plan, plan),
            ended_epoch=ended,
            criteria=self._criteria(view, ended),
        )

    async def _plan(self, view: RunView, earlier: Approval) -> RollbackPlan:
        now = self.world.clock.now()
        return await self.world.planner.plan(view, now, to_epoch=earlier.plan.to_epoch, level=earlier.plan.level)

    def _ask(
        self,
        view: RunView,
        earlier: Approval,
        plan: RollbackPlan,
        on_call: frozenset[str],
        ended: int | None,
        *,
        expires_ts: float | None = None,
    ) -> Approval:
        changed = () if _same_goal(earlier.plan, plan) else differences(earlier.plan.binding, plan.binding)
        approval, _ = self.questions.ask(
            plan,
            earlier.requester,
            channel=earlier.channel,
            thread_of=earlier.thread_of,
            on_call=sorted(on_call),
            now=self.world.clock.now(),
            changed=changed,
            why=earlier.why,
            ended_epoch=ended,
            expires_ts=expires_ts,
            criteria=self._criteria(view, ended),
        )
        return approval

    def _criteria(self, view: RunView, ended: int | None) -> tuple[Item, ...]:
        """How the epoch that has ended met them."""
        epoch = view.epoch(ended) if ended is not None else None
        return tuple(one.item for one in judge_epoch(view, epoch, self.report).judged) if epoch else ()


def _running(view: RunView) -> int | None:
    current = view.current
    if not view.state.active or current is None or current.finished:
        return None
    return current.epoch


def _ended(view: RunView, attempt: int) -> int | None:
    """The newest epoch that the attempt has finished."""
    return max((one.epoch for one in view.epochs.values() if one.attempt == attempt and one.finished), default=None)


def _at_an_end(approval: Approval, view: RunView, ended: int | None) -> bool:
    """Whether the epoch has ended that the run was in when the question was asked."""
    plan, asked_in = approval.plan, approval.plan.at_epoch
    if not plan.was_active or asked_in is None or (approval.ended_epoch or 0) >= asked_in:
        return False
    return view.attempt == plan.attempt and view.state.active and (ended or 0) >= asked_in


def _is_another(approval: Approval, view: RunView) -> bool:
    """Whether the run stopped, or went on, since the question was asked: another rule of what is recommended holds."""
    return (view.attempt, view.state.goes_on) != (approval.plan.attempt, approval.plan.was_active)


def _is_late(approval: Approval, view: RunView, now: float) -> bool:
    """Whether what the question tells is of an earlier epoch, or for a time that is past."""
    if not view.state.active:
        return False
    plan, running = approval.plan, _running(view)
    told = (ts for option in plan.options for ts in (option.start_ts, option.end_ts))
    later = (ts for ts in told if ts is not None and ts > plan.made_ts)
    return (running is not None and running != plan.at_epoch) or any(ts <= now for ts in later)


def _same_goal(then: RollbackPlan, now: RollbackPlan) -> bool:
    """Whether the plan goes back to the same checkpoint with the same settings, whatever epoch the run is in."""
    there, here = then.binding, now.binding
    return replace(there, at_epoch=None) == replace(here, at_epoch=None)
