"""Takes an operation through its steps. Whatever happens, the journal says where it stands, and going on from there
repeats nothing that must not be repeated."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace

from trainmaster.bot.core.decisions.going_on import ASKED, CAUSE
from trainmaster.bot.core.decisions.operation import (
    Direction,
    EntryKind,
    JournalEntry,
    Operation,
    OperationKind,
    OperationState,
    Step,
)
from trainmaster.bot.core.run.facts import Identity
from trainmaster.bot.core.run.identity import same_start
from trainmaster.bot.errors import OperationError, StoreError, TrainmasterError
from trainmaster.bot.operations import messages
from trainmaster.bot.operations.books import Books
from trainmaster.bot.operations.operation_context import HaltedError, OperationContext, World, WorldChangedError
from trainmaster.bot.operations.questions.approval import Approvals
from trainmaster.bot.operations.questions.on_call import OnCall
from trainmaster.bot.operations.start.gate import OvertakenError
from trainmaster.bot.operations.start.restart import died_again, find_started
from trainmaster.bot.operations.steps import SPECS, StepSpec, instructions, waited
from trainmaster.bot.operations.stop.ending import end, outcome
from trainmaster.bot.ports import FencedError

_LOG = logging.getLogger(__name__)

_BEFORE_AN_ACT = frozenset({EntryKind.BEGUN, EntryKind.UNDOING})
"""Written before something is done to a run; what was done is written down in any case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """``questions`` asks anew, inside the transaction that voids the operation, when the world is no longer the one
    that was approved. ``on_call`` names who is told when a person is needed. ``notify`` says that the outbox has
    something new."""

    world: World
    books: Books
    questions: Approvals
    on_call: OnCall
    notify: Callable[[], None]

    async def run(self, operation: Operation) -> Operation:
        """The operation is closed, or belongs to another bot process by now.

        Raises:
            StoreError: the journal cannot be written, or another bot acts on the run by now, so nothing more was done;
                it can be run again.
        """
        context = OperationContext(
            self.world,
            operation,
            commit=self._commit,
            halted_by=lambda: self._halted_by(operation.id),
        )
        context.heeds_halt = operation.kind is not OperationKind.STOP  # which is what an emergency stop would do
        try:
            if operation.direction is Direction.UNDO:
                await self._undo(context)
            else:
                await self._forward(context)
        except FencedError as error:
            _LOG.warning("operation %s is no longer ours: %s", operation.id, error)
        return context.operation

    async def _forward(self, context: OperationContext) -> None:
        steps = context.operation.steps
        first = Step.HOLD if _untouched(context.operation) else context.operation.step
        for step in steps[steps.index(first) :]:
            try:
                await self._step(context, SPECS[step])
            except (FencedError, JournalError):
                raise
            except HaltedError:
                await self._halt(context)
                return
            except WorldChangedError as error:
                await self._void(context, error)
                return
            except OvertakenError as error:
                context.commit(replace(context.operation, problem=error.message), EntryKind.FAILED, error.message)
                self._close(context, OperationState.VOIDED)
                return
            except Exception as error:  # noqa: BLE001 - the edge of a task that nobody awaits: logged, undone, told
                await self._failed(context, _told(context, error))
                return
        self._close(context, OperationState.DONE)

    async def _step(self, context: OperationContext, spec: StepSpec) -> None:
        context.check_halt()
        if spec.step is Step.STOP and context.operation.kind is OperationKind.ROLLBACK:
            self._audit_begin(context)
        if spec.step is Step.GATE and context.operation.automatic:
            self._audit_begin(context)
        context.begin(spec.step)
        # What starts by itself is judged anew after each start, and counted.
        attempts = context.world.limits.forward_attempts if spec.retried and not context.operation.automatic else 1
        for attempt in range(1, attempts + 1):
            try:
                found = await self._found(context, spec)
                break
            except (FencedError, JournalError, WorldChangedError, OvertakenError):
                raise
            except TrainmasterError as error:
                if attempt == attempts:
                    raise
                context.commit(context.operation, EntryKind.FAILED, f"try {attempt}: {error}")
                await context.world.pause(context.world.limits.retry_pause_s)
                context.check_halt()
        done = (*(one for one in context.operation.done if one[0] is not spec.step), (spec.step, found))
        context.commit(replace(context.operation, done=done), EntryKind.DONE, found)
        context.check_halt()  # after the last step nothing else would

    async def _found(self, context: OperationContext, spec: StepSpec) -> str:
        launch = context.operation.launch
        queues = spec.queues and launch is not None and launch.options is not None
        async with contextlib.nullcontext() if queues else _in_time(context, spec):
            found = await spec.probe(context) if spec.probe is not None else None
            return found if found is not None else await _unless_halted(context, spec)

    async def _failed(self, context: OperationContext, error: TrainmasterError) -> None:
        self._refuse_hands_off(context.operation)
        reversible = context.operation.reversible
        direction = Direction.UNDO if reversible else Direction.FORWARD
        context.commit(
            replace(context.operation, problem=error.told, direction=direction), EntryKind.FAILED, str(error)
        )
        if reversible:
            await self._undo(context)
        elif context.operation.automatic and died_again(context.operation, error):
            self._close(context, OperationState.UNDONE)  # judged anew at the next look, as any death is
        else:
            await self._call_a_person(context)

    async def _undo(self, context: OperationContext) -> None:
        """Backwards from the step that failed, that one included: it may have been half done."""
        context.heeds_halt = False
        steps = context.operation.steps
        for step in reversed(steps[: steps.index(context.operation.step) + 1]):
            undo = SPECS[step].undo
            if undo is None:
                continue
            context.commit(replace(context.operation, step=step), EntryKind.UNDOING)
            try:
                async with _in_time(context, SPECS[step]):
                    found = await undo(context)
            except (FencedError, JournalError):
                raise
            except Exception as error:  # noqa: BLE001 - as in _forward
                fault = _told(context, error)
                problem = f"{context.operation.problem} Undoing “{step.words}” failed too: {fault.told}"
                context.commit(replace(context.operation, problem=problem), EntryKind.FAILED, str(fault))
                await self._call_a_person(context)
                return
            done = tuple(one for one in context.operation.done if one[0] is not step)
            context.commit(replace(context.operation, done=done), EntryKind.UNDONE, found)
        halted = self._halted_by(context.operation.id)
        self._close(context, OperationState.ABORTED if halted else OperationState.UNDONE)

    async def _halt(self, context: OperationContext) -> None:
        """An emergency stop: whatever runs is stopped, what was put aside is back unless it was given up for good."""
        self._refuse_hands_off(context.operation)
        context.heeds_halt = False
        operation = context.operation
        user = self._halted_by(operation.id) or operation.requester
        try:
            launched = await find_started(context)
            hows = []
            for name, process in (("members", operation.process), ("launched_members", launched)):
                if process is not None:
                    hows.append(await end(context, process, note=name))
            other = await self._started_by_others(operation, launched)
            if other is not None:
                await context.refuse_foreign(other)
                hows.append(await end(context, other, note="others_members"))
            text = await outcome(context, hows[-1] if hows else "nothing was running")
        except (FencedError, JournalError):
            raise
        except Exception as error:  # noqa: BLE001 - as in _forward
            fault = _told(context, error)
            problem = f"Emergency stop failed: {fault.told}"
            context.commit(replace(operation, problem=problem), EntryKind.FAILED, str(fault))
            await self._call_a_person(context)
            return
        halted = replace(context.operation, halted_by=user, problem=f"Emergency stop: {text}.")
        if operation.reversible:
            context.commit(replace(halted, direction=Direction.UNDO), EntryKind.FAILED, f"halted by {user}")
            await self._undo(context)
            return
        context.commit(halted, EntryKind.FAILED, f"halted by {user}")
        self._close(context, OperationState.ABORTED)

    async def _started_by_others(self, operation: Operation, launched: Identity | None) -> Identity | None:
        """What trains though the operation neither found nor started it: the next job of a chain, say, while the one
        that was submitted here waits for its turn."""
        view = await self.world.runs.refresh(operation.run)
        process = view.at_work if view is not None else None
        ours = (one for one in (operation.process, launched) if one is not None)
        if process is None or any(same_start(process, one) for one in ours):
            return None
        return None if (await self.world.inspect(process)).over else process

    async def _void(self, context: OperationContext, error: WorldChangedError) -> None:
        await self.on_call.or_seen()  # whom the new question is put to
        voided = replace(context.operation, state=OperationState.VOIDED, problem=error.message)
        with self.books.transactions.transaction():
            context.commit(voided, EntryKind.CLOSED, error.message)
            self.questions.ask_again(voided, error, self.world.clock.now())
            self._audit_end(context)
        self.notify()

    async def _call_a_person(self, context: OperationContext) -> None:
        on_call = await self.on_call.or_seen()
        closed = replace(context.operation, state=OperationState.NEEDS_HUMAN)
        with self.books.transactions.transaction():
            context.commit(closed, EntryKind.CLOSED, closed.problem)
            message = messages.progress(closed, commands=instructions(context), mentions=sorted(on_call))
            self.books.outbox.put(closed.card, message, channel=closed.channel, thread_of=closed.thread_of)
            # An edit of an old message wakes nobody: this one is new.
            self.books.outbox.put(f"{closed.card}/human", message, channel=closed.channel)
            self._audit_end(context)
        self.notify()

    def _close(self, context: OperationContext, state: OperationState) -> None:
        closed = replace(context.operation, state=state)
        if closed.kind is OperationKind.STOP:
            closed = replace(closed, halted_by=context.halted_by)
        with self.books.transactions.transaction():
            context.commit(closed, EntryKind.CLOSED, state.value)
            self._audit_end(context)

    def _refuse_hands_off(self, operation: Operation) -> None:
        """This bot is the one that acts on the run.

        Raises:
            JournalError: another one is, or may be: the operation stays where it is until this one acts again.
        """
        if why := self.world.hands_off(operation.directory):
            raise JournalError("watched-only", f"run {operation.name} is watched only: {why}.")

    def _commit(self, operation: Operation, entry: JournalEntry) -> None:
        books = self.books
        if entry.kind in _BEFORE_AN_ACT:
            self._refuse_hands_off(operation)
        try:
            with books.transactions.transaction():
                books.operations.record(operation, entry)
                if entry.kind is not EntryKind.NOTED:
                    books.show(operation)
        except StoreError as error:
            raise JournalError(error.slug, error.message, error.hint) from error
        self.notify()

    def _audit_begin(self, context: OperationContext) -> None:
        """The point where the run is touched; no record, no act."""
        operation = context.operation
        detail = {
            "operation": operation.id,
            "decided_by": list(operation.decided_by),
            "plan": operation.plan.digest if operation.plan else "",
            **({"cause": operation.note(CAUSE), "attempt": operation.attempt} if operation.automatic else {}),
        }
        self.books.audit.append_once(
            operation.requester, f"{operation.kind}.begin", operation.run, detail, self.world.clock.now()
        )

    def _audit_end(self, context: OperationContext) -> None:
        """Inside the transaction that closes the operation, so that a crash leaves it open and closes it again."""
        operation, now = context.operation, self.world.clock.now()
        detail = {"operation": operation.id, "result": operation.state.value, "problem": operation.problem}
        try:
            self.books.audit.append_once(operation.requester, f"{operation.kind}.end", operation.run, detail, now)
        except StoreError:
            _LOG.exception("the result of operation %s is not in the audit log", operation.id)

    def _halted_by(self, operation_id: str) -> str | None:
        try:
            return self.books.operations.halted_by(operation_id)
        except StoreError as error:
            raise JournalError(error.slug, error.message, error.hint) from error


class JournalError(StoreError):
    """The journal could not be written, or another bot acts on the run: the operation stays open where it was, and
    nothing more is done about it."""


def _told(context: OperationContext, error: Exception) -> TrainmasterError:
    """What a person reads of it; of what nobody thought of, the log has the traceback."""
    if isinstance(error, TrainmasterError):
        return error
    _LOG.error("operation %s failed in step %s", context.operation.id, context.operation.step, exc_info=error)
    return OperationError("unexpected", f"{type(error).__name__}: {error}.")


@contextlib.asynccontextmanager
async def _in_time(context: OperationContext, spec: StepSpec) -> AsyncIterator[None]:
    """Raises:
    OperationError: it took longer than the step may.
    """
    try:
        async with asyncio.timeout(spec.timeout_s(context.world.limits)):
            yield
    except TimeoutError as error:
        raise waited(context, spec) from error


async def _unless_halted(context: OperationContext, spec: StepSpec) -> str:
    """While the trainer still runs, an emergency stop does not wait for a file to be read; later steps end first."""
    if spec.step not in {Step.HOLD, Step.VERIFY}:
        return await spec.apply(context)
    act = asyncio.ensure_future(spec.apply(context))
    try:
        while not act.done():
            await asyncio.wait({act}, timeout=context.world.limits.poll_s)
            context.check_halt()
    finally:
        if not act.done():
            act.cancel()
            await asyncio.gather(act, return_exceptions=True)
    return act.result()


def _untouched(operation: Operation) -> bool:
    """Whether a rollback has left the run alone so far, so that what was approved must be checked again."""
    early = operation.step in {Step.HOLD, Step.VERIFY, Step.STOP}
    return operation.kind is OperationKind.ROLLBACK and early and operation.note(ASKED) is None
