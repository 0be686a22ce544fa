"""Other settings for a running training: asked, approved by the people on call, then a stop and a resume with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from trainmaster.bot.core.conversation.message import Message, Reply, Tone
from trainmaster.bot.core.conversation.tokens import moment, person
from trainmaster.bot.core.decisions.approval import DecisionOutcome
from trainmaster.bot.core.decisions.change import Proposal
from trainmaster.bot.core.decisions.operation import BOT, SETTINGS, Intent, IntentKind, Operation, OperationKind
from trainmaster.bot.core.decisions.order import ChangeRecipe, Decide
from trainmaster.bot.core.decisions.reminding import reminder_due
from trainmaster.bot.core.run.facts import ProcessIdentity
from trainmaster.bot.core.run.state import RunState
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.errors import CommandError
from trainmaster.bot.operations.books import Books
from trainmaster.bot.operations.change import messages as change_messages
from trainmaster.bot.operations.change.limits import changes_of, overtaken
from trainmaster.bot.operations.change.messages import ChangeEnd
from trainmaster.bot.operations.new_operation import new_id, new_operation
from trainmaster.bot.operations.operation_context import World
from trainmaster.bot.operations.ports import IntentStore
from trainmaster.bot.operations.questions import question
from trainmaster.bot.operations.questions.approval import MAX_REASON_CHARS
from trainmaster.bot.operations.questions.on_call import OnCall
from trainmaster.bot.operations.refusals import refuse_foreign_process, refuse_unless_ours
from trainmaster.bot.operations.runner import OperationTasks

PREFIX = "change-"
"""How the id of such a question begins; those of rollbacks are hexadecimal."""
_NOT_KNOWN_YET = frozenset({RunState.PENDING, RunState.SUSPENDED, RunState.UNKNOWN})
"""A cluster may go on with it by itself; or nobody can tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """One question a run; a newer one replaces it. It stands in the database until it is decided or expires."""

    world: World
    runner: OperationTasks
    books: Books
    on_call: OnCall
    instance: ProcessIdentity

    async def ask(self, view: RunView, order: ChangeRecipe) -> Reply:
        """The question stands in the channel with a card.

        Raises:
            CommandError: the run is not at work here, nobody is on call, or it takes no such settings.
            StoreError: it could not be recorded; nothing was asked.
        """
        refuse_unless_ours(view, self.instance.host)
        refuse_foreign_process(view)
        if not view.guarded:
            raise CommandError(
                "run-unguarded", f"run {view.name} is not guarded: its settings stand in its checkpoint.", "by hand"
            )
        if not view.state.active:
            raise CommandError(
                "not-running", f"run {view.name} is {view.state.value}.", "trainmaster resume RUN_DIR key=value"
            )
        changes = changes_of(view, dict(order.settings))
        on_call = await self.on_call.deciders()
        now = self.world.clock.now()
        asked = Proposal(
            id=f"{PREFIX}{new_id()}",
            run=view.run,
            name=view.name,
            attempt=view.attempt,
            process=_process(view),
            changes=changes,
            requester=order.user,
            channel=order.channel,
            thread_of=order.thread_of,
            created_ts=now,
            expires_ts=now + self.world.limits.approval_ttl_s,
        )
        detail = {"approval": asked.id, "settings": asked.words, "attempt": asked.attempt}
        self.books.audit.append(order.user, "change.asked", view.run, detail, now)
        with self.books.transactions.transaction():
            old = self._of(view.run)
            if old is not None:
                self._close(old, ChangeEnd.VOID, "A newer question replaced it.")
            self.books.intents.put(_intent(asked, now))
            self._show(asked, on_call)
        deciders = question.deciders(
            on_call, asked.requester, allow_self_approval=self.world.limits.allow_self_approval
        )
        message = Message(
            title=f"Asked: {view.name} with {asked.words}",
            body=(f"Asked the people on call: {deciders}. Nothing happens before they approve.",),
        )
        return Reply(message=message, private=True, card=asked.card)

    async def decide(self, order: Decide, on_call: frozenset[str]) -> Reply:
        """The click is counted, or the person reads why not; the last yes has started the change.

        Raises:
            StoreError: it could not be recorded, so nothing was decided.
        """
        asked = self._open(order.approval_id)
        view = await self.world.runs.refresh(asked.run) if asked is not None and order.approve else None
        asked = self._open(order.approval_id)  # somebody may have decided it while the run was looked at
        outcome = self._refused(asked, order, on_call)
        if asked is None or outcome is not None:
            others = on_call - {order.user} if outcome is DecisionOutcome.OWN_REQUEST else on_call
            return _answer(outcome or DecisionOutcome.UNKNOWN, others)
        now = self.world.clock.now()
        if not order.approve:
            self.books.audit.append(order.user, "change.rejected", asked.run, {"approval": asked.id}, now)
            reason = f" Reason: {order.reason[:MAX_REASON_CHARS]}" if order.reason else ""
            self._close(asked, ChangeEnd.REJECTED, f"Rejected by {person(order.user)}.{reason}")
            return _answer(DecisionOutcome.REJECTED, on_call)
        if view is None or not view.state.active or (view.attempt, _process(view)) != (asked.attempt, asked.process):
            self._close(asked, ChangeEnd.VOID, "The run has changed since.")
            return _answer(DecisionOutcome.VOID, on_call)
        if why := overtaken(view, asked.changes):
            self._close(asked, ChangeEnd.VOID, why)
            return _answer(DecisionOutcome.VOID, on_call)
        if why := view.watched_only or self.world.hands_off(view.directory):
            raise CommandError("watched-only", f"run {asked.name} is watched only: {why}. Your yes was not counted.")
        return self._count(asked, view, order.user, on_call, now)

    async def tend(self, on_call: Sequence[str], now: float) -> None:
        """Questions past their time are closed, and those about a run that has changed since; those that wait are
        brought to mind as those of rollbacks are."""
        for known in open_changes(self.books.intents):
            why = await self._changed_since(known)
            asked = self._open(known.id)  # with what was said while the run was looked at
            if asked is None:
                continue
            if now >= asked.expires_ts:
                self._close(asked, ChangeEnd.EXPIRED, "Nobody decided.")
            elif why:
                with self.books.transactions.transaction():
                    self.books.audit.append(BOT, "change.void", asked.run, {"approval": asked.id, "outcome": why}, now)
                    self._close(asked, ChangeEnd.VOID, why)
            else:
                self._remind(asked, on_call, now)

    async def _changed_since(self, asked: Proposal) -> str:
        """What makes the question void, in a sentence; empty while the run is the one that it was asked about."""
        view = None if self.books.operations.open(asked.run) else await self.world.runs.refresh(asked.run)
        if view is None or view.record is None or view.state in _NOT_KNOWN_YET:
            return ""
        if (view.attempt, _process(view)) != (asked.attempt, asked.process):
            return f"The run has changed since: attempt {view.attempt} began."
        if not view.state.active:
            return f"The run has changed since: it is {view.state.value}."
        return overtaken(view, asked.changes)

    def _remind(self, asked: Proposal, on_call: Sequence[str], now: float) -> None:
        due = reminder_due(
            asked_ts=asked.created_ts,
            reminded_ts=asked.reminded_ts,
            num_reminders=asked.num_reminders,
            on_call=on_call,
            voted=asked.votes,
            limits=self.world.limits,
            now=now,
        )
        if due is None:
            return
        message = Message(
            title=f"{asked.name}: still to decide: go on with {asked.text}?",
            tone=Tone.WARNING,
            body=(question.waiting(asked.requester, asked_ts=asked.created_ts, expires_ts=asked.expires_ts, now=now),),
            mentions=question.reminded(
                due.mentions, asked.requester, allow_self_approval=self.world.limits.allow_self_approval
            ),
        )
        with self.books.transactions.transaction():
            self.books.intents.put(_intent(replace(asked, reminded_ts=now, num_reminders=due.number), asked.created_ts))
            self.books.outbox.put(
                f"{asked.card}/reminder/{due.number}",
                message,
                channel=asked.channel,
                thread_of=None if due.loud else asked.card,
            )

    def planned(self, run: str) -> str:
        """The open question about the run, in a sentence; empty when there is none."""
        asked = self._of(run)
        if asked is None:
            return ""
        return f"Open question: {asked.text}, asked for by {person(asked.requester)}, until {moment(asked.expires_ts)}."

    def run_of(self, proposal_id: str) -> str | None:
        """The run that an open question is about."""
        asked = self._open(proposal_id)
        return asked.run if asked is not None else None

    def _refused(self, asked: Proposal | None, order: Decide, on_call: frozenset[str]) -> DecisionOutcome | None:
        if asked is None:
            return DecisionOutcome.UNKNOWN
        if order.user not in on_call:
            return DecisionOutcome.NOT_ON_CALL
        if self.world.clock.now() >= asked.expires_ts:
            return DecisionOutcome.EXPIRED
        if order.approve and order.user == asked.requester and not self.world.limits.allow_self_approval:
            return DecisionOutcome.OWN_REQUEST
        if order.approve and order.user in asked.votes:
            return DecisionOutcome.VOTED_BEFORE
        return DecisionOutcome.BUSY if order.approve and self.books.operations.open(asked.run) else None

    def _count(self, asked: Proposal, view: RunView, user: str, on_call: frozenset[str], now: float) -> Reply:
        asked = replace(asked, votes=(*asked.votes, user))
        self.books.audit.append(user, "change.yes", asked.run, {"approval": asked.id, "settings": asked.words}, now)
        if len({vote for vote in asked.votes if vote in on_call}) < self.world.limits.approvals_required:
            with self.books.transactions.transaction():
                self.books.intents.put(_intent(asked, now))
                self._show(asked, sorted(on_call))
            return _answer(DecisionOutcome.VOTE_COUNTED, on_call)
        operation = self._operation(asked, view, now)
        with self.books.transactions.transaction():
            if not self.books.operations.create(operation):
                return _answer(DecisionOutcome.BUSY, on_call)
            self._close(asked, ChangeEnd.APPROVED, f"Approved by {', '.join(map(person, asked.votes))}.")
            self.books.show(operation)
        self.runner.start(operation)
        return _answer(DecisionOutcome.APPROVED, on_call)

    def _operation(self, asked: Proposal, view: RunView, now: float) -> Operation:
        return new_operation(
            view,
            OperationKind.CHANGE,
            asked.requester,
            self.instance,
            now,
            channel=asked.channel,
            thread_of=asked.thread_of,
            notes=((SETTINGS, asked.words),),
            decided_by=asked.votes,
            operation_id=asked.id,
        )

    def _open(self, proposal_id: str) -> Proposal | None:
        return next((one for one in open_changes(self.books.intents) if one.id == proposal_id), None)

    def _of(self, run: str) -> Proposal | None:
        intent = self.books.intents.get(run, IntentKind.CHANGE)
        return Proposal.parse(intent.why) if intent is not None else None

    def _close(self, asked: Proposal, end: ChangeEnd, how: str) -> None:
        with self.books.transactions.transaction():
            self.books.intents.drop(asked.run, IntentKind.CHANGE)
            self.books.outbox.put(
                asked.card,
                change_messages.closed(asked, end, how),
                channel=asked.channel,
                thread_of=asked.thread_of,
            )

    def _show(self, asked: Proposal, on_call: list[str]) -> None:
        message = change_messages.card(asked, on_call, allow_self_approval=self.world.limits.allow_self_approval)
        self.books.outbox.put(asked.card, message, channel=asked.channel, thread_of=asked.thread_of)


def open_changes(intents: IntentStore) -> tuple[Proposal, ...]:
    """The questions about other settings that wait for an answer, of every run."""
    found = (Proposal.parse(intent.why) for intent in intents.all(IntentKind.CHANGE))
    return tuple(one for one in found if one is not None)


def _process(view: RunView) -> str:
    process = view.record.process if view.record else None
    return f"{process.label} {process.started_ts}" if process is not None else ""


def _intent(asked: Proposal, now: float) -> Intent:
    return Intent(
        run=asked.run,
        kind=IntentKind.CHANGE,
        attempt=asked.attempt,
        user=asked.requester,
        why=asked.as_text(),
        channel=asked.channel,
        thread_of=asked.thread_of,
        ts=now,
    )


def _answer(outcome: DecisionOutcome, on_call: frozenset[str]) -> Reply:
    deciders = ", ".join(map(person, sorted(on_call))) or "nobody"
    title, body = {
        DecisionOutcome.APPROVED: ("Approved. The change has begun.", "Its message shows every step."),
        DecisionOutcome.VOTE_COUNTED: ("Your yes is counted; more are needed.", ""),
        DecisionOutcome.VOTED_BEFORE: ("Your yes was counted before.", ""),
        DecisionOutcome.REJECTED: ("Rejected. Nothing was done.", ""),
        DecisionOutcome.EXPIRED: ("This question has expired; your click changed nothing.", "Ask again."),
        DecisionOutcome.VOID: ("The run has changed since; nothing was done.", "Ask again if it is still wanted."),
        DecisionOutcome.NOT_ON_CALL: ("Only people on call decide this.", f"On call: {deciders}."),
        DecisionOutcome.OWN_REQUEST: (
            "You asked for this change, so somebody else must approve it.",
            f"On call beside you: {deciders}. You can reject it to take it back.",
        ),
        DecisionOutcome.BUSY: ("Another operation is under way on this run; your click changed nothing.", ""),
    }.get(outcome, ("There is no such question (any more).", "Ask again if it is still wanted."))
    good = outcome in {DecisionOutcome.APPROVED, DecisionOutcome.VOTE_COUNTED, DecisionOutcome.REJECTED}
    message = Message(title=title, tone=Tone.GOOD if good else Tone.NEUTRAL, body=(body,) if body else ())
    return Reply(message=message, private=True)
