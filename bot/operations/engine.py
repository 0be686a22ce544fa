"""Takes an operation through its steps. Whatever happens, the journal says where it stands, and going on from there
repeats nothing that must not be repeated."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from trainmaster.bot.core.decisions.operation import (
    Direction,
    Entry,
    EntryKind,
    Operation,
    OperationKind,
    OperationState,
    Step,
)
from trainmaster.bot.errors import OperationError, StoreError, TrainmasterError
from trainmaster.bot.operations import messages
from trainmaster.bot.operations.operation_context import Course, HaltedError, World, WorldChangedError
from trainmaster.bot.operations.steps import SPECS, StepSpec, instructions, waited
from trainmaster.bot.operations.stop import end, outcome
from trainmaster.bot.ports import Audit, FencedError, Journal, Outbox, Transactions

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """``changed`` is called, inside the transaction that voids the operation, when the world is no longer the one that
    was approved. ``on_call`` names who is told when a person is needed, and never raises. ``notify`` says that the
    outbox has something new."""

    world: World
    journal: Journal
    outbox: Outbox
    audit: Audit
    transactions: Transactions
    changed: Callable[[Operation, WorldChangedError], None]
    on_call: Callable[[], Awaitable[frozenset[str]]]
    notify: Callable[[], None]

    async def run(self, operation: Operation) -> Operation:
        """The operation is closed, or belongs to another bot process by now.

        Raises:
            StoreError: the journal cannot be written, so nothing more was done; it can be run again.
        """
        course = Course(
            self.world,
            operation,
            commit=self._commit,
            halted_by=lambda: self._halted_by(operation.id),
        )
        try:
            if operation.direction is Direction.UNDO:
                await self._undo(course)
            else:
                await self._forward(course)
        except FencedError as error:
            _log.warning("operation %s is no longer ours: %s", operation.id, error)
        return course.operation

    async def _forward(self, course: Course) -> None:
        steps = course.operation.steps
        first = Step.HOLD if _untouched(course.operation) else course.operation.step
        for step in steps[steps.index(first) :]:
            try:
                await self._step(course, SPECS[step])
            except (FencedError, JournalError):
                raise
            except HaltedError:
                await self._halt(course)
                return
            except WorldChangedError as error:
                await self._void(course, error)
                return
            except TrainmasterError as error:
                await self._failed(course, error)
                return
            except Exception as error:  # noqa: BLE001 - the edge of a task that nobody awaits: logged, undone, told
                _log.exception("operation %s failed in step %s", course.operation.id, step)
                await self._failed(course, OperationError("unexpected", f"{type(error).__name__}: {error}."))
                return
        self._close(course, OperationState.DONE)

    async def _step(self, course: Course, spec: StepSpec) -> None:
        course.check_halt()
        if spec.step is Step.STOP and course.operation.kind is OperationKind.ROLLBACK:
            self._audit_begin(course)
        course.begin(spec.step)
        attempts = course.world.limits.forward_attempts if spec.retried else 1
        for attempt in range(1, attempts + 1):
            try:
                found = await self._found(course, spec)
                break
            except (FencedError, JournalError, WorldChangedError):
                raise
            except TrainmasterError as error:
                if attempt == attempts:
                    raise
                course.commit(course.operation, EntryKind.FAILED, f"try {attempt}: {error}")
                await course.world.pause(course.world.limits.retry_pause_s)
                course.check_halt()
        done = (*(one for one in course.operation.done if one[0] is not spec.step), (spec.step, found))
        course.commit(replace(course.operation, done=done), EntryKind.DONE, found)

    async def _found(self, course: Course, spec: StepSpec) -> str:
        launch = course.operation.launch
        queues = spec.queues and launch is not None and launch.options is not None
        try:
            async with asyncio.timeout(None if queues else spec.timeout_s(course.world.limits)):
                found = await spec.probe(course) if spec.probe is not None else None
                if found is None:
                    found = await _unless_halted(course, spec)
                return found
        except TimeoutError as error:
            raise waited(course, spec) from error

    async def _failed(self, course: Course, error: TrainmasterError) -> None:
        reversible = course.operation.reversible
        direction = Direction.UNDO if reversible else Direction.FORWARD
        course.commit(replace(course.operation, problem=str(error), direction=direction), EntryKind.FAILED, str(error))
        if reversible:
            await self._undo(course)
        else:
            await self._call_a_person(course)

    async def _undo(self, course: Course) -> None:
        """Backwards from the step that failed, that one included: it may have been half done."""
        course.heeds_halt = False
        steps = course.operation.steps
        for step in reversed(steps[: steps.index(course.operation.step) + 1]):
            undo = SPECS[step].undo
            if undo is None:
                continue
            course.commit(replace(course.operation, step=step), EntryKind.UNDOING)
            try:
                async with asyncio.timeout(SPECS[step].timeout_s(course.world.limits)):
                    found = await undo(course)
            except (FencedError, JournalError):
                raise
            except (TrainmasterError, TimeoutError) as error:
                problem = f"{course.operation.problem} Undoing step {step} failed too: {error}"
                course.commit(replace(course.operation, problem=problem), EntryKind.FAILED, str(error))
                await self._call_a_person(course)
                return
            done = tuple(one for one in course.operation.done if one[0] is not step)
            course.commit(replace(course.operation, done=done), EntryKind.UNDONE, found)
        halted = self._halted_by(course.operation.id)
        self._close(course, OperationState.ABORTED if halted else OperationState.UNDONE)

    async def _halt(self, course: Course) -> None:
        """An emergency stop: whatever runs is stopped, what was put aside is back unless it was given up for good."""
        course.heeds_halt = False
        operation = course.operation
        user = self._halted_by(operation.id) or operation.requester
        try:
            launched = course.noted_process("launched")
            hows = []
            for name, process in (("members", operation.process), ("launched_members", launched)):
                if process is not None:
                    hows.append(await end(course, process, note=name))
            text = await outcome(course, hows[-1] if hows else "nothing was running")
        except (FencedError, JournalError):
            raise
        except TrainmasterError as error:
            course.commit(replace(operation, problem=f"Emergency stop failed: {error}"), EntryKind.FAILED, str(error))
            await self._call_a_person(course)
            return
        halted = replace(course.operation, halted_by=user, problem=f"Emergency stop: {text}.")
        if operation.reversible:
            course.commit(replace(halted, direction=Direction.UNDO), EntryKind.FAILED, f"halted by {user}")
            await self._undo(course)
            return
        course.commit(halted, EntryKind.FAILED, f"halted by {user}")
        self._close(course, OperationState.ABORTED)

    async def _void(self, course: Course, error: WorldChangedError) -> None:
        await self.on_call()  # whom the new question is put to
        voided = replace(course.operation, state=OperationState.VOIDED, problem=error.message)
        with self.transactions.transaction():
            course.commit(voided, EntryKind.CLOSED, error.message)
            self.changed(voided, error)
            self._audit_end(course)
        self.notify()

    async def _call_a_person(self, course: Course) -> None:
        on_call = await self.on_call()
        closed = replace(course.operation, state=OperationState.NEEDS_HUMAN)
        with self.transactions.transaction():
            course.commit(closed, EntryKind.CLOSED, closed.problem)
            message = replace(messages.progress(closed), excerpt=instructions(course), mentions=tuple(sorted(on_call)))
            self.outbox.put(closed.card, message, channel=closed.channel, thread_of=closed.thread_of)
            # An edit of an old message wakes nobody: this one is new.
            self.outbox.put(f"{closed.card}/human", message, channel=closed.channel)
            self._audit_end(course)
        self.notify()

    def _close(self, course: Course, state: OperationState) -> None:
        with self.transactions.transaction():
            course.commit(replace(course.operation, state=state), EntryKind.CLOSED, state.value)
            self._audit_end(course)

    def _commit(self, operation: Operation, entry: Entry) -> None:
        try:
            with self.transactions.transaction():
                self.journal.record(operation, entry)
                if entry.kind is not EntryKind.NOTED:
                    message = messages.progress(operation)
                    self.outbox.put(operation.card, message, channel=operation.channel, thread_of=operation.thread_of)
        except StoreError as error:
            raise JournalError(error.slug, error.message, error.hint) from error
        self.notify()

    def _audit_begin(self, course: Course) -> None:
        """The point where the run is touched; no record, no act."""
        operation = course.operation
        detail = {
            "operation": operation.id,
            "decided_by": list(operation.decided_by),
            "plan": operation.plan.digest if operation.plan else "",
        }
        self.audit.append_once(
            operation.requester, f"{operation.kind}.begin", operation.run, detail, self.world.clock.now()
        )

    def _audit_end(self, course: Course) -> None:
        """Inside the transaction that closes the operation, so that a crash leaves it open and closes it again."""
        operation, now = course.operation, self.world.clock.now()
        detail = {"operation": operation.id, "result": operation.state.value, "problem": operation.problem}
        try:
            self.audit.append_once(operation.requester, f"{operation.kind}.end", operation.run, detail, now)
        except StoreError:
            _log.exception("the result of operation %s is not in the audit log", operation.id)

    def _halted_by(self, operation_id: str) -> str | None:
        try:
            return self.journal.halted_by(operation_id)
        except StoreError as error:
            raise JournalError(error.slug, error.message, error.hint) from error


class JournalError(StoreError):
    """The journal could not be written: the operation stays open where it was, and nothing more is done about it."""


async def _unless_halted(course: Course, spec: StepSpec) -> str:
    """While the trainer still runs, an emergency stop does not wait for a file to be read; later steps end first."""
    if spec.step not in {Step.HOLD, Step.VERIFY}:
        return await spec.apply(course)
    act = asyncio.ensure_future(spec.apply(course))
    try:
        while not act.done():
            await asyncio.wait({act}, timeout=course.world.limits.poll_s)
            course.check_halt()
    finally:
        if not act.done():
            act.cancel()
            await asyncio.gather(act, return_exceptions=True)
    return act.result()


def _untouched(operation: Operation) -> bool:
    """Whether a rollback has left the run alone so far, so that what was approved must be checked again."""
    early = operation.step in {Step.HOLD, Step.VERIFY, Step.STOP}
    return operation.kind is OperationKind.ROLLBACK and early and operation.note("asked") is None
