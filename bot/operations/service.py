"""Stop, rollback, resume and approval, as commands and buttons use them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from trainmaster.bot.core.conversation.message import Message, Reply
from trainmaster.bot.core.conversation.tokens import moment, person
from trainmaster.bot.core.decisions.approval import Approval
from trainmaster.bot.core.decisions.operation import IntentKind, Operation
from trainmaster.bot.core.decisions.order import (
    BringBack,
    ChangeRecipe,
    ContinueRun,
    Decide,
    Order,
    PauseRun,
    ProposeRollback,
    ResumeLater,
    ResumeRun,
    RollBackAfterEpoch,
    ShowArchives,
    ShowAudit,
    ShowCheckpoints,
    StopAfterEpoch,
    StopNow,
)
from trainmaster.bot.core.run.epoch_report import ReportLimits
from trainmaster.bot.core.run.facts import ProcessIdentity
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.errors import CommandError
from trainmaster.bot.operations import messages
from trainmaster.bot.operations.books import Books
from trainmaster.bot.operations.change.changes import PREFIX, Changes
from trainmaster.bot.operations.engine import Engine
from trainmaster.bot.operations.going_on.continuation import Continuations
from trainmaster.bot.operations.going_on.hangs import Hangs
from trainmaster.bot.operations.operation_context import World
from trainmaster.bot.operations.planned import planned_text
from trainmaster.bot.operations.questions import question
from trainmaster.bot.operations.questions.after_epoch import AfterEpoch
from trainmaster.bot.operations.questions.continue_decision import ContinueDecision
from trainmaster.bot.operations.records import Records
from trainmaster.bot.operations.run_looks import RunLooks, no_notice
from trainmaster.bot.operations.runner import OperationTasks
from trainmaster.bot.operations.start.requests import Resumes
from trainmaster.bot.operations.start.timers import Timers
from trainmaster.bot.operations.stop.requests import Stops

_RECONCILED_ENTRIES = 200
"""A yes that an earlier process could not commit is among the newest entries: it was that process's last act."""


@dataclass(kw_only=True)
class Operations:
    """What people order of a run is done here; ``looks`` is the other face of this package, towards what watches runs.
    ``instance`` is the bot's own process: it owns what it starts. ``notify`` says that the outbox has something new.
    """

    world: World
    books: Books
    looks: RunLooks
    instance: ProcessIdentity
    notify: Callable[[], None] = no_notice
    report_limits: ReportLimits = ReportLimits()  # noqa: RUF009 - frozen
    steady: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        books = self.books
        self._on_call = self.looks.on_call
        self._questions = self.looks.questions
        self._storms = self.looks.storms
        self._continue_decision = ContinueDecision(questions=self._questions, books=books, clock=self.world.clock)
        engine = Engine(
            world=self.world,
            books=books,
            questions=self._questions,
            on_call=self._on_call,
            notify=self.notify,
        )
        self._runner = OperationTasks(engine, books.operations, self.world.driver, self.world.clock, self.instance)
        self._after_epoch = AfterEpoch(
            world=self.world,
            questions=self._questions,
            books=books,
            instance=self.instance,
            start=self._runner.start,
            report=self.report_limits,
        )
        self._records = Records(world=self.world, audit=books.audit, host=self.instance.host)
        self._resumes = Resumes(
            world=self.world,
            runner=self._runner,
            books=books,
            instance=self.instance,
        )
        self._changes = Changes(
            world=self.world,
            runner=self._runner,
            books=books,
            on_call=self._on_call,
            instance=self.instance,
        )
        self._timers = Timers(world=self.world, books=books, resumes=self._resumes, host=self.instance.host)
        self._continuations = Continuations(
            world=self.world,
            runner=self._runner,
            books=books,
            deaths=self.looks.deaths,
            instance=self.instance,
            notify=self.notify,
        )
        self._hangs = Hangs(starts=self._continuations, checks=self.looks.checks, steady=self.steady)
        self._stops = Stops(
            world=self.world,
            runner=self._runner,
            books=books,
            instance=self.instance,
        )

    async def perform(self, order: Order) -> Reply:
        """The order is carried out, durably, or under way as a task of its own; the answer says which. Looking is free,
        asking for a rollback too; the rest only people on call may do.

        Raises:
            CommandError: not on call, no such run, or it is in no state for that; says which.
            OperationError: the checkpoints or archives could not be examined.
            StoreError: it could not be recorded, so nothing was done; only an emergency stop goes ahead.
            ChatError: who is on call could not be found out, so nothing was done.
        """
        match order:
            case ProposeRollback():
                return await self._propose(order)
            case Decide():
                return await self._decide(order)
            case RollBackAfterEpoch():
                return await self._roll_back_after_epoch(order)
            case ContinueRun():
                return await self._continue(order)
            case StopNow():
                return await self._stop_now(order)
            case StopAfterEpoch():
                return await self._stop_after_epoch(order)
            case ResumeRun():
                return await self._resume(order)
            case BringBack():
                return await self._bring_back(order)
            case PauseRun() | ResumeLater():
                return await self._rest(order)
            case ChangeRecipe():
                return await self._change(order)
            case ShowCheckpoints() | ShowArchives() | ShowAudit():
                return await self._show(order)

    # -- asking and deciding ------------------------------------------------------------------------------------------

    async def _propose(self, order: ProposeRollback) -> Reply:
        view = await self._view(order.run)
        self._refuse_if_busy(view)
        now = self.world.clock.now()
        plan = await self.world.planner.plan(view, now, to_epoch=order.to_epoch, level=order.level)
        if order.dry_run:
            return Reply(message=question.dry_plan(plan), thread=(question.details(plan),))
        on_call = await self._on_call.deciders()
        approval, new = self._questions.ask(
            plan,
            order.user,
            on_call=on_call,
            now=self.world.clock.now(),
            channel=order.channel,
            thread_of=order.thread_of,
        )
        self.notify()
        deciders = question.deciders(
            on_call, approval.requester, allow_self_approval=self.world.limits.allow_self_approval
        )
        text = f"Asked the people on call: {deciders}. Nothing happens before they approve."
        if not new:
            text = f"Asked before, at {moment(approval.created_ts)}, nothing has changed since. Open to: {deciders}."
        title = f"{view.name}: rollback to epoch {plan.target.epoch} {'asked' if new else 'already asked'}"
        message = Message(title=title, body=(text,), context=("/train status",))
        return Reply(message=message, private=True, card=approval.card)

    async def _decide(self, order: Decide) -> Reply:
        """The click is counted, or the person reads why not; the last yes has started the rollback."""
        on_call = await self._on_call.now()
        if order.approval_id.startswith(PREFIX):
            reply = await self._changes.decide(order, on_call)
            self.notify()
            return reply
        asked = self.books.approvals.get(order.approval_id)
        if order.approve and asked is not None and (why := self.world.hands_off(asked.plan.directory)):
            raise CommandError(
                "watched-only", f"run {asked.plan.name} is watched only: {why}. Your yes was not counted."
            )
        decision = self._questions.decide(
            order.approval_id,
            order.user,
            approve=order.approve,
            reason=order.reason.strip(),
            on_call=on_call,
            owner=self.instance,
            now=self.world.clock.now(),
        )
        self.notify()
        if decision.operation is not None:
            self._runner.start(decision.operation)
        return Reply(message=messages.answer(decision.outcome, decision.approval, sorted(on_call)), private=True)

    async def _roll_back_after_epoch(self, order: RollBackAfterEpoch) -> Reply:
        on_call = await self._on_call.now()
        decision = await self._after_epoch.choose(order.approval_id, order.user, on_call, channel=order.channel)
        self.notify()
        return Reply(message=messages.answer(decision.outcome, decision.approval, sorted(on_call)), private=True)

    async def _continue(self, order: ContinueRun) -> Reply:
        """It is on record that the run goes on; an open question about it is closed, a planned stop taken back."""
        await self._on_call.require(order.user, "decide to continue")
        view = await self._view(order.run)
        self._refuse_if_busy(view)
        reply = self._continue_decision.decide(view, order.user, order.why, channel=order.channel)
        self.notify()
        return reply

    def withdraw(self, run: str, reason: str) -> None:
        """No question about the run waits for an answer; a card that did has no buttons any more."""
        view = self.world.runs.find(run)
        for approval in self.books.approvals.pending(view.run) if view is not None else ():
            self._questions.void(approval, now=self.world.clock.now(), reason=reason)

    # -- stopping and starting ----------------------------------------------------------------------------------------

    async def _stop_now(self, order: StopNow) -> Reply:
        """The trainer is being stopped; no approval is asked for. Goes ahead without a record when none can be made."""
        await self._on_call.require(order.user, "stop a run")
        view = await self._view(order.run)
        reply = await self._stops.now(view, order.user, channel=order.channel, thread_of=order.thread_of)
        self.notify()
        return reply

    async def _stop_after_epoch(self, order: StopAfterEpoch) -> Reply:
        """The trainer will be stopped once the running epoch has ended and its checkpoint is saved."""
        await self._on_call.require(order.user, "stop a run")
        view = await self._view(order.run)
        return self._stops.after_epoch(view, order.user, channel=order.channel, thread_of=order.thread_of)

    async def _resume(self, order: ResumeRun) -> Reply:
        """The trainer is being started where it stopped."""
        await self._on_call.require(order.user, "resume a run")
        view = await self._view(order.run)
        self._refuse_if_busy(view)
        reply = await self._resumes.begin(view, order)
        if self.open(view.run) is not None:
            self.withdraw(view.run, f"{person(order.user)} resumed the run.")
        self.notify()
        return reply

    async def _show(self, order: ShowCheckpoints | ShowArchives | ShowAudit) -> Reply:
        if isinstance(order, ShowAudit):
            return await self._records.audit_trail(order.limit)
        view = await self._view(order.run)
        looking = isinstance(order, ShowCheckpoints)
        return await (self._records.checkpoints(view) if looking else self._records.archives(view))

    async def _change(self, order: ChangeRecipe) -> Reply:
        """The question stands in the channel with its card."""
        view = await self._view(order.run)
        self._refuse_if_busy(view)
        reply = await self._changes.ask(view, order)
        self.notify()
        return reply

    async def _rest(self, order: PauseRun | ResumeLater) -> Reply:
        await self._on_call.require(order.user, "pause a run" if isinstance(order, PauseRun) else "resume a run")
        view = await self._view(order.run)
        if isinstance(order, ResumeLater):
            return self._timers.plan(view, order.user, order.due_ts, channel=order.channel, thread_of=order.thread_of)
        self._refuse_if_busy(view)
        reply = await self._timers.pause(view, order, self._stops)
        self.notify()
        return reply

    async def _bring_back(self, order: BringBack) -> Reply:
        await self._on_call.require(order.user, "bring back an archive")
        view = await self._view(order.run)
        self._refuse_if_busy(view)
        return await self._records.bring_back(view, order.user, order.folder)

    # -- the passing of time ------------------------------------------------------------------------------------------

    async def tick(self, now: float) -> None:
        """What only time brings about: questions expire or are brought to mind, an epoch ends that a stop waits for,
        an operation that lost its task or its owner goes on."""
        if self.books.approvals.pending():
            self._questions.tend(sorted(await self._on_call.or_seen()), now)
        if self.books.approvals.pending() or self.books.intents.all(IntentKind.ROLL_BACK_AFTER_EPOCH):
            await self._after_epoch.tend(frozenset(await self._on_call.or_seen()))
        await self._stops.tend()
        await self._timers.tend()
        if self.books.intents.all(IntentKind.CHANGE):
            await self._changes.tend(sorted(await self._on_call.or_seen()), now)
        await self.go_on()
        await self.recover()
        self.notify()

    async def go_on(self) -> None:
        """As :meth:`trainmaster.bot.operations.going_on.continuation.Continuations.tend` says of it."""
        await self._hangs.tend()
        await self._continuations.tend()

    async def recover(self) -> None:
        """Every open operation whose owner is gone belongs to this process and goes on from its last journal line.
        Operations of another bot process that lives, or may live on another host, are left alone."""
        self._runner.recover()

    async def reconcile(self) -> None:
        """Call it once, at the start: see :meth:`Approvals.reconcile`."""
        entries, now = self.books.audit.entries(_RECONCILED_ENTRIES), self.world.clock.now()
        self._questions.reconcile(entries, now)
        self._records.reconcile(entries, now)

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
        found = self.books.operations.open(run)
        return found[0] if found else None

    def pending(self, run: str) -> Approval | None:
        """The question that waits for an answer."""
        found = self.books.approvals.pending(run)
        return found[0] if found else None

    def planned(self, run: str, view: RunView | None = None) -> tuple[str, ...]:
        """What is planned for the run and under way on it, a sentence each, what is under way first; nothing that no
        longer holds. ``view`` is the run as it is, where the newest look is not known to others yet."""
        now, change = self.world.clock.now(), self._changes.planned(run)
        return planned_text(self.books, run, view or self.world.runs.find(run), now=now, change_text=change)

    def run_of(self, key: str) -> str | None:
        """The run that the message with this key is about, if it is one of ours."""
        kind, _, rest = key.partition("/")
        name = rest.partition("/")[0]
        if kind == "approval":
            approval = self.books.approvals.get(name)
            if approval is not None:
                return approval.run
            if run := self._changes.run_of(name):
                return run
            kind = "operation"  # of a change that was approved
        if kind == "operation":
            operation = self.books.operations.get(name)
            return operation.run if operation else None
        return None

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
            since, step = moment(busy.created_ts), busy.step.words
            raise CommandError(
                "busy",
                f"a {busy.kind} of {view.name} is under way since {since}, in step “{step}”.",
                "wait for it, or /train stop now",
            )
