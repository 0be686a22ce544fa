"""Stop, rollback, resume and approval, as commands and buttons use them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from trainmaster.bot.core.alerts.finding import Finding
from trainmaster.bot.core.conversation.message import Message, Reply, Tone
from trainmaster.bot.core.conversation.tokens import actor, moment, person
from trainmaster.bot.core.decisions.approval import Approval
from trainmaster.bot.core.decisions.operation import IntentKind, Operation, OperationKind
from trainmaster.bot.core.run.facts import ProcessIdentity
from trainmaster.bot.core.run.state import RunState
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.errors import CommandError
from trainmaster.bot.operations import messages
from trainmaster.bot.operations.approval import Approvals, new_id
from trainmaster.bot.operations.continue_decision import ContinueDecision
from trainmaster.bot.operations.engine import Engine
from trainmaster.bot.operations.needs_human import needs_human_findings
from trainmaster.bot.operations.new_operation import new_operation
from trainmaster.bot.operations.on_call import OnCall
from trainmaster.bot.operations.operation_context import World
from trainmaster.bot.operations.planning import refuse_unless_ours
from trainmaster.bot.operations.ports import ApprovalStore, AuditBook, IntentStore, OperationLog
from trainmaster.bot.operations.records import Records, refuse_if_running
from trainmaster.bot.operations.runner import OperationTasks
from trainmaster.bot.operations.stop_requests import Stops
from trainmaster.bot.operations.storms import Storms
from trainmaster.bot.ports import Chat, Outbox, Transactions


def _silent() -> None:
    return None


_RECONCILED_ENTRIES = 200
"""A yes that an earlier process could not commit is among the newest entries: it was that process's last act."""


@dataclass(kw_only=True)
class Operations:
    """The only face of this package. ``instance`` is the bot's own process: it owns what it starts. ``notify`` says
    that the outbox has something new. ``on_call`` is the one guard of everything that only people on call may do.

    Methods that decide something are done, durably, when they return; operations themselves run on as tasks.
    """

    world: World
    approvals: ApprovalStore
    operations: OperationLog
    intents: IntentStore
    outbox: Outbox
    audit: AuditBook
    transactions: Transactions
    chat: Chat
    instance: ProcessIdentity
    notify: Callable[[], None] = _silent
    make_id: Callable[[], str] = new_id

    def __post_init__(self) -> None:
        limits = self.world.limits
        self.on_call = OnCall(self.chat)
        self._questions = Approvals(
            store=self.approvals,
            operations=self.operations,
            on_call=self.on_call,
            outbox=self.outbox,
            audit=self.audit,
            transactions=self.transactions,
            limits=limits,
            make_id=self.make_id,
        )
        self._continue_decision = ContinueDecision(
            questions=self._questions,
            approvals=self.approvals,
            intents=self.intents,
            audit=self.audit,
            transactions=self.transactions,
            clock=self.world.clock,
        )
        engine = Engine(
            world=self.world,
            journal=self.operations,
            outbox=self.outbox,
            audit=self.audit,
            transactions=self.transactions,
            questions=self._questions,
            on_call=self.on_call,
            notify=self.notify,
        )
        self._runner = OperationTasks(engine, self.operations, self.world.driver, self.world.clock, self.instance)
        self._records = Records(world=self.world, audit=self.audit, host=self.instance.host)
        self._storms = Storms(
            world=self.world,
            operations=self.operations,
            approvals=self.approvals,
            intents=self.intents,
            outbox=self.outbox,
            transactions=self.transactions,
            questions=self._questions,
            on_call=self.on_call,
            notify=self.notify,
        )
        self._stops = Stops(
            world=self.world,
            runner=self._runner,
            operations=self.operations,
            intents=self.intents,
            outbox=self.outbox,
            audit=self.audit,
            transactions=self.transactions,
            instance=self.instance,
            make_id=self.make_id,
        )

    # -- asking and deciding ------------------------------------------------------------------------------------------

    async def propose_rollback(
        self,
        run: str,
        user: str,
        *,
        channel: str | None = None,
        thread_of: str | None = None,
        to_epoch: int | None = None,
        level: str | None = None,
        dry_run: bool = False,
    ) -> Reply:
        """The plan stands in the channel with a card for the people on call; with ``dry_run`` it is only shown.

        Raises:
            CommandError: no such run, nothing to go back to, or another operation is under way.
            OperationError: the checkpoints could not be examined.
            StoreError: the question could not be recorded; nothing was asked.
        """
        view = await self._view(run)
        self._refuse_if_busy(view)
        now = self.world.clock.now()
        plan = await self.world.planner.plan(view, now, to_epoch=to_epoch, level=level)
        goal = f"{view.name} to epoch {plan.target.epoch}"
        if dry_run:
            title = f"Plan only: roll back {goal}. Nothing was asked, nothing was done."
            return Reply(message=messages.plan_message(plan, title=title, tone=Tone.NEUTRAL))
        approval, new, on_call = await self._questions.ask_people(
            plan, user, now=self.world.clock.now(), channel=channel, thread_of=thread_of
        )
        self.notify()
        deciders = ", ".join(map(person, on_call))
        text = f"Asked the people on call: {deciders}. Nothing happens before they approve."
        if not new:
            text = f"Asked before, at {moment(approval.created_ts)}, nothing has changed since. Open to: {deciders}."
        title = f"Rollback of {goal}: {'asked' if new else 'already asked'}"
        message = Message(title=title, body=(text,), context=(f"approval {approval.id}",))
        return Reply(message=message, private=True, card=approval.card)

    async def decide(self, approval_id: str, user: str, *, approve: bool, reason: str = "") -> Reply:
        """The click is counted, or the person reads why not; the last yes has started the rollback.

        Raises:
            StoreError: it could not be recorded, so nothing was decided.
            ChatError: who is on call could not be found out, so nothing was decided.
        """
        on_call = await self.on_call.now()
        decision = self._questions.decide(
            approval_id,
            user,
            approve=approve,
            reason=reason.strip(),
            on_call=on_call,
            owner=self.instance,
            now=self.world.clock.now(),
        )
        self.notify()
        if decision.operation is not None:
            self._runner.start(decision.operation)
        return Reply(message=messages.answer(decision.outcome, decision.approval, sorted(on_call)), private=True)

    async def continue_run(self, run: str, user: str, why: str = "", *, channel: str | None = None) -> Reply:
        """It is on record that the run goes on; an open question about it is closed, a planned stop taken back.

        Raises:
            CommandError: not on call, no such run, or it is being stopped or rolled back.
            StoreError: it could not be recorded.
        """
        await self.on_call.require(user, "decide to continue")
        view = await self._view(run)
        self._refuse_if_busy(view)
        reply = self._continue_decision.decide(view, user, why, channel=channel)
        self.notify()
        return reply

    def withdraw(self, run: str, reason: str) -> None:
        """No question about the run waits for an answer; a card that did has no buttons any more."""
        view = self.world.runs.find(run)
        for approval in self.approvals.pending(view.run) if view is not None else ():
            self._questions.void(approval, now=self.world.clock.now(), reason=reason)

    # -- stopping and starting ----------------------------------------------------------------------------------------

    async def stop_now(self, run: str, user: str, *, channel: str | None = None, thread_of: str | None = None) -> Reply:
        """The trainer is being stopped; no approval is asked for. Goes ahead without a record when none can be made.

        Raises:
            CommandError: not on call, no such run, or its process lives elsewhere.
        """
        await self.on_call.require(user, "stop a run")
        reply = await self._stops.now(await self._view(run), user, channel=channel, thread_of=thread_of)
        self.notify()
        return reply

    async def stop_after_epoch(
        self, run: str, user: str, *, channel: str | None = None, thread_of: str | None = None
    ) -> Reply:
        """The trainer will be stopped once the running epoch has ended and its checkpoint is saved.

        Raises:
            CommandError: not on call, no such run, or it is not training.
            StoreError: it could not be recorded.
        """
        await self.on_call.require(user, "stop a run")
        return self._stops.after_epoch(await self._view(run), user, channel=channel, thread_of=thread_of)

    async def resume(self, run: str, user: str, *, channel: str | None = None, level: str | None = None) -> Reply:
        """The trainer is being started where it stopped.

        Raises:
            CommandError: not on call, no such run, it is still at work, or it has finished.
            StoreError: it could not be recorded; nothing was started.
        """
        await self.on_call.require(user, "resume a run")
        view = await self._view(run)
        refuse_unless_ours(view, self.instance.host)
        self._refuse_if_busy(view)
        wanted = self.world.planner.levels.check(level) if level else None
        await refuse_if_running(view, self.world)
        if view.state is RunState.FINISHED:
            raise CommandError("run-finished", f"run {view.name} has finished.", "/train execute rollback to epoch N")
        operation = new_operation(
            view,
            OperationKind.RESUME,
            user,
            self.instance,
            self.world.clock.now(),
            operation_id=self.make_id(),
            channel=channel,
            level=wanted,
        )
        detail = {"attempt": view.attempt, "level": wanted or "", "operation": operation.id}
        self.audit.append(user, "resume.begin", view.run, detail, self.world.clock.now())
        with self.transactions.transaction():
            if not self.operations.create(operation):
                raise CommandError("busy", f"another operation is under way on {view.name}.", "/train status")
            self.outbox.put(operation.card, messages.progress(operation), channel=channel)
        self._runner.start(operation)
        self.notify()
        return Reply(message=Message(title=f"Resuming {view.name}", tone=Tone.PROGRESS), private=True)

    # -- what was put aside and what was done -------------------------------------------------------------------------

    async def archives(self, run: str) -> Reply:
        """As :meth:`trainmaster.bot.operations.records.Records.archives` says of it."""
        return await self._records.archives(await self._view(run))

    async def bring_back(self, run: str, user: str, name: str) -> Reply:
        """See :meth:`trainmaster.bot.operations.records.Records.bring_back`; for people on call."""
        await self.on_call.require(user, "bring back an archive")
        view = await self._view(run)
        self._refuse_if_busy(view)
        return await self._records.bring_back(view, user, name)

    def audit_trail(self, limit: int = 15) -> Reply:
        """As :meth:`trainmaster.bot.operations.records.Records.audit_trail` says of it."""
        return self._records.audit_trail(limit)

    # -- the passing of time ------------------------------------------------------------------------------------------

    async def tick(self, now: float) -> None:
        """What only time brings about: questions expire or are brought to mind, an epoch ends that a stop waits for,
        an operation that lost its task or its owner goes on."""
        if self.approvals.pending():
            self._questions.tend(sorted(await self.on_call.or_seen()), now)
        await self._stops.tend()
        await self.recover()
        self.notify()

    async def recover(self) -> None:
        """Every open operation whose owner is gone belongs to this process and goes on from its last journal line.
        Operations of another bot process that lives, or may live on another host, are left alone."""
        self._runner.recover()

    async def reconcile(self) -> None:
        """Call it once, at the start: see :meth:`Approvals.reconcile`."""
        self._questions.reconcile(self.audit.entries(_RECONCILED_ENTRIES), self.world.clock.now())

    async def settle(self) -> None:
        """No operation of this process is under way, and no storm is being looked into."""
        await self._storms.settle()
        await self._runner.settle()

    async def close(self) -> None:
        """Running operations are left where they are; :meth:`recover` takes them up."""
        await self._storms.close()
        await self._runner.close()

    # -- what others ask ----------------------------------------------------------------------------------------------

    def open(self, run: str) -> Operation | None:
        """The operation under way on the run."""
        found = self.operations.open(run)
        return found[0] if found else None

    def pending(self, run: str) -> Approval | None:
        """The question that waits for an answer."""
        found = self.approvals.pending(run)
        return found[0] if found else None

    def planned(self, run: str) -> tuple[str, ...]:
        """What is planned for the run and under way on it, a sentence each, what is under way first."""
        told = []
        operation, question = self.open(run), self.pending(run)
        stop = self.intents.get(run, IntentKind.STOP_AFTER_EPOCH)
        if operation is not None:
            told.append(f"Under way since {moment(operation.created_ts)}: {operation.kind}, in step {operation.step}.")
        if question is not None:
            told.append(
                f"Open question: a rollback to epoch {question.plan.target.epoch}, asked for by "
                f"{actor(question.requester)}, until {moment(question.expires_ts)}."
            )
        if stop is not None:
            when = f"epoch {stop.epoch}" if stop.epoch else "the first epoch"
            told.append(f"Planned: it will be stopped after {when}, asked for by {person(stop.user)}.")
        return tuple(told)

    def held(self, run: str) -> bool:
        """Whether an operation is under way, so that the death of the process is expected."""
        return self.open(run) is not None

    def run_of(self, key: str) -> str | None:
        """The run that the message with this key is about, if it is one of ours."""
        kind, _, rest = key.partition("/")
        name = rest.partition("/")[0]
        if kind == "approval":
            approval = self.approvals.get(name)
            return approval.run if approval else None
        if kind == "operation":
            operation = self.operations.get(name)
            return operation.run if operation else None
        return None

    def findings(self, run: str) -> tuple[Finding, ...]:
        """A condition that holds from a call for a person until a later attempt trains or a later operation begins."""
        return needs_human_findings(self.operations.history(run, limit=1), self.world.runs.find(run))

    def notice(self, view: RunView) -> None:
        """As :meth:`trainmaster.bot.operations.storms.Storms.notice` says of it."""
        self._storms.notice(view)

    # -- inside -------------------------------------------------------------------------------------------------------

    async def _view(self, run: str) -> RunView:
        known = self.world.runs.find(run)
        view = await self.world.runs.refresh(known.run) if known is not None else None
        if view is None:
            raise CommandError("run-unknown", f"there is no run {run!r}.", "/train runs")
        return view

    def _refuse_if_busy(self, view: RunView) -> None:
        busy = self.open(view.run)
        if busy is not None:
            raise CommandError(
                "busy",
                f"a {busy.kind} of {view.name} is under way since {moment(busy.created_ts)}, in step {busy.step}.",
                "wait for it, or /train stop now",
            )
