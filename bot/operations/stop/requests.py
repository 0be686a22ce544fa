"""Stops that a person asks for: at once, or when the epoch has ended."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace

from trainmaster.bot.core.conversation.known_by import without_ids
from trainmaster.bot.core.conversation.message import Message, Reply, Tone
from trainmaster.bot.core.conversation.tokens import person
from trainmaster.bot.core.decisions.going_on import hung
from trainmaster.bot.core.decisions.operation import Intent, IntentKind, Operation, OperationKind
from trainmaster.bot.core.run.facts import ProcessIdentity
from trainmaster.bot.core.run.state import RunState
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.errors import CommandError, StoreError
from trainmaster.bot.operations.books import Books
from trainmaster.bot.operations.new_operation import new_operation
from trainmaster.bot.operations.operation_context import World
from trainmaster.bot.operations.refusals import refuse_foreign_process, refuse_unless_ours
from trainmaster.bot.operations.runner import OperationTasks
from trainmaster.bot.operations.stop.emergency import stop_without_journal

_LOG = logging.getLogger(__name__)

_DIED = frozenset({RunState.DIED, RunState.CRASHED})
_WAITING = frozenset({RunState.PENDING, RunState.SUSPENDED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Stops:
    """Callers have made sure that ``user`` is on call and ``view`` is fresh."""

    world: World
    runner: OperationTasks
    books: Books
    instance: ProcessIdentity

    async def now(
        self,
        view: RunView,
        user: str,
        *,
        channel: str | None,
        thread_of: str | None,
        then: Intent | None = None,
    ) -> Reply:
        """The trainer is being stopped; no approval is asked for. Goes ahead without a record when none can be made.
        What was planned for the run is taken back; ``then`` is planned instead.

        Raises:
            CommandError: its process lives elsewhere.
        """
        refuse_unless_ours(view, self.instance.host)
        refuse_foreign_process(view)
        books, unrecorded, taken_back = self.books, "", False
        try:
            with books.transactions.transaction():
                busy = next(iter(books.operations.open(view.run)), None)
                if busy is not None:
                    return self._halt(busy, user)
                operation = self._stop(view, user, channel=channel, thread_of=thread_of)
                unrecorded = self._note_begin(operation, view)
                if not books.begin(operation):
                    raise CommandError(
                        "busy", f"another operation on {view.name} began in this moment.", "/train stop now"
                    )
                books.intents.drop(view.run, IntentKind.STOP_AFTER_EPOCH)
                books.intents.drop(view.run, IntentKind.ROLL_BACK_AFTER_EPOCH)
                taken_back = books.intents.drop(view.run, IntentKind.RESUME_AT)
                if then is not None:
                    books.intents.put(then)
        except StoreError as error:
            _LOG.exception("emergency stop of %s goes ahead without a journal", view.run)
            self._note(user, "stop.begin", view.run, {"attempt": view.attempt, "state": view.state.value})
            text = await stop_without_journal(self.world, self._stop(view, user, channel=channel, thread_of=thread_of))
            return _stopped_unrecorded(view, text, error.told)
        self.runner.start(operation)
        over = operation.process is not None and (await self.world.inspect(operation.process)).over
        message = _stopping(view, unrecorded, over=over)
        if then is None and taken_back:
            message = replace(message, body=(*message.body, "The resume that was planned for it is taken back."))
        return Reply(message=message, private=not unrecorded)

    def after_epoch(self, view: RunView, user: str, *, channel: str | None, thread_of: str | None) -> Reply:
        """The trainer will be stopped once the running epoch has ended and its checkpoint is saved.

        Raises:
            CommandError: it is not training, or trains elsewhere.
            StoreError: it could not be recorded.
        """
        refuse_unless_ours(view, self.instance.host)
        refuse_foreign_process(view)
        if not view.state.active:
            raise CommandError(
                "not-running", f"run {view.name} is {view.state.value}, so no epoch will end.", "/train status"
            )
        busy = next(iter(self.books.operations.open(view.run)), None)
        if busy is not None and hung(busy):
            return self._halt(busy, user)  # no epoch of it will end
        now = self.world.clock.now()
        epoch = view.beat.epoch if view.beat else (view.current.epoch if view.current else None)
        intent = Intent(
            run=view.run,
            kind=IntentKind.STOP_AFTER_EPOCH,
            attempt=view.attempt,
            epoch=epoch,
            user=user,
            channel=channel,
            thread_of=thread_of,
            ts=now,
        )
        with self.books.transactions.transaction():
            detail = {"attempt": view.attempt, "after_epoch": epoch}
            self.books.audit.append(user, "stop.planned", view.run, detail, now)
            self.books.intents.put(intent)
        when = f"epoch {epoch} has ended" if epoch is not None else "the first epoch has ended"
        text = f"Asked for by {person(user)}. To take it back: /train continue. To stop at once: /train stop now."
        return Reply(message=Message(title=f"{view.name} will be stopped when {when}", body=(text,)))

    async def tend(self) -> None:
        """Runs whose epoch has ended are stopped, if somebody asked for that."""
        for intent in self.books.intents.all(IntentKind.STOP_AFTER_EPOCH):
            await self._stop_if_ended(intent)

    async def _stop_if_ended(self, intent: Intent) -> None:
        view = await self.world.runs.refresh(intent.run)
        if view is None or not self.books.holds(intent):
            return
        if view.state in _WAITING:
            return  # a cluster goes on with it by itself, and then it is due
        queued_again = view.record is not None and view.record.job is not None and view.record.job.restart > 0
        if view.attempt == intent.attempt and view.state in _DIED:
            return  # it is on record that this attempt was to be stopped, so nothing goes on by itself
        if (view.attempt != intent.attempt and not queued_again) or not view.state.active:
            why = f"it is {view.state.value}" if not view.state.active else f"attempt {view.attempt} began"
            with self.books.transactions.transaction():
                self._note(intent.user, "stop.plan_dropped", intent.run, {"attempt": intent.attempt, "outcome": why})
                self.books.intents.drop(intent.run, intent.kind)
            return
        finished = [one.epoch for one in view.epochs.values() if one.attempt >= intent.attempt and one.finished]
        if not finished or (intent.epoch is not None and max(finished) < intent.epoch):
            return
        if why := view.watched_only or view.process_fault:  # its status says so; due as soon as that is mended
            _LOG.warning("the stop of %s after its epoch waits: %s", view.name, why)
            return
        operation = self._stop(view, intent.user, channel=intent.channel, thread_of=intent.thread_of)
        with self.books.transactions.transaction():
            if not self.books.begin(operation):
                return
            self._note_begin(operation, view, after_epoch=intent.epoch)
            self.books.intents.drop(intent.run, intent.kind)
        self.runner.start(operation)

    def _note_begin(self, operation: Operation, view: RunView, **more: object) -> str:
        """The stop is on record, or why it is not."""
        detail = {"attempt": view.attempt, "state": view.state.value, "operation": operation.id, **more}
        return self._note(operation.requester, "stop.begin", view.run, detail)

    def _note(self, user: str, action: str, run: str, detail: Mapping[str, object]) -> str:
        """It is on record; else why not yet, as no stop waits for that."""
        try:
            self.books.audit.append(user, action, run, detail, self.world.clock.now())
        except StoreError as error:
            with contextlib.suppress(StoreError):  # what it can't be written to is told already
                self.books.audit.append_later(user, action, run, detail, self.world.clock.now())
            return error.told
        return ""

    def _halt(self, busy: Operation, user: str) -> Reply:
        name = busy.name
        if busy.kind is OperationKind.STOP and not hung(busy):
            self._note(user, "stop.repeated", busy.run, {"operation": busy.id, "outcome": "is being stopped already"})
            return Reply(message=Message(title=f"{name} is being stopped already"), private=True)
        unrecorded = self._note(user, f"{busy.kind}.halted", busy.run, {"operation": busy.id})
        self.books.operations.halt(busy.id, user)
        title = f"{name}: stopping, the {busy.kind} ends now"
        body = ["Its message shows how it ends; nothing is started any more."]
        if busy.kind is OperationKind.STOP:
            title, body = f"{name} is being stopped already", ["It hung; it is not resumed by itself any more."]
        if unrecorded:
            body.append(f"This is not in the audit log yet: {without_ids(unrecorded)}")
        return Reply(
            message=Message(title=title, tone=Tone.PROGRESS, body=tuple(body)),
            private=not unrecorded,
        )

    def _stop(self, view: RunView, user: str, *, channel: str | None, thread_of: str | None) -> Operation:
        return new_operation(
            view,
            OperationKind.STOP,
            user,
            self.instance,
            self.world.clock.now(),
            channel=channel,
            thread_of=thread_of,
        )


def _stopping(view: RunView, unrecorded: str, *, over: bool) -> Message:
    asked = "had ended already" if over else "was asked to end its batch and save"
    body = [f"It {asked}. Its message shows how it goes."]
    if unrecorded:
        body.append(f"This stop is not in the audit log yet: {without_ids(unrecorded)}")
    return Message(title=f"{view.name}: stopping", tone=Tone.PROGRESS, body=tuple(body))


def _stopped_unrecorded(view: RunView, text: str, error: str) -> Reply:
    body = (text, f"Nothing of this is on record: {without_ids(error)}")
    return Reply(message=Message(title=f"{view.name}: emergency stop", tone=Tone.WARNING, body=body))
