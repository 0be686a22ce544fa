"""The step before a start: what was planned is waited for, and the run is still the one that died."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trainmaster.bot.core.decisions.gate import GateCheck, GateFact, closed, told_of
from trainmaster.bot.core.decisions.going_on import CAUSE, PAUSE_S
from trainmaster.bot.core.run.death import DeathCause
from trainmaster.bot.core.run.forecast import duration
from trainmaster.bot.errors import OperationError
from trainmaster.bot.operations.operation_context import OperationContext
from trainmaster.bot.operations.start.messages import TOLD

GATE = "gate"
"""The note of a start that a person wanted whatever the gate found: what that was."""
CLOSED = "gate-closed"
"""The slug of a start that the gate kept back."""
_RETURNING: Mapping[str, tuple[str, frozenset[GateCheck]]] = {
    DeathCause.DISK_FULL: ("until there is space", frozenset({GateCheck.DISK})),
    DeathCause.POWER: (
        "until its host has all of it again",
        frozenset({GateCheck.DIRECTORY, GateCheck.DATA, GateCheck.GPU}),
    ),
}
"""By cause of death, what comes back by itself, though late: after a power cut a file server starts for longer than its
clients, and the driver of many cards takes minutes."""
_SLOWER = 6
"""A look compares all files of a data set."""
_WAITED = "waited"
"""The note that the pause is over."""


class OvertakenError(OperationError):
    """Somebody else has started the run meanwhile, or it is not to be started by itself after all: there is nothing
    left to do."""


async def pass_gate(context: OperationContext) -> str:
    """The run may be started now.

    Raises:
        OvertakenError: it was, by somebody else; or it is no longer to be.
        OperationError: it goes on by itself, and something stands against that.
    """
    await _pause(context)
    await _refuse_overtaken(context)
    if not context.operation.automatic:
        return context.operation.note(GATE) or "looked at when it was asked for"
    passed = await _refuse_closed(context)
    await _refuse_overtaken(context)  # a disk that was full is waited for an hour
    return passed


async def _refuse_closed(context: OperationContext) -> str:
    """Raises:
    OperationError: something stands against a start; says what, and nothing was started.
    """
    limits, began_s = context.world.limits.going_on, context.step_s
    cause = context.operation.note(CAUSE) or ""
    while against := closed(await context.world.gate.look(await context.view())):
        waited_s = context.step_s - began_s
        what, returning = _RETURNING.get(cause, ("", frozenset()))
        returns = waited_s < limits.disk_wait_s and returning.issuperset(one.check for one in against)
        if not returns and waited_s >= limits.settle_s:
            context.note(TOLD, told_of(against))
            raise OperationError(
                CLOSED,
                f"nothing was started: {gate_text(against)}.",
                "mend it, then /train resume; Resume anyway starts it all the same",
            )
        what = what if returns else f"at most {duration(limits.settle_s)} for what may end by itself"
        context.wait_for(f"{what}: {gate_text(against)}")
        pause_s = context.world.limits.retry_pause_s
        await context.world.pause(pause_s if waited_s < limits.settle_s else _SLOWER * pause_s)
        context.check_halt()
    return "nothing stands against it"


def gate_text(against: Sequence[GateFact]) -> str:
    """What stands against a start, in one sentence without its stop."""
    return "; ".join(one.text for one in against)


async def _pause(context: OperationContext) -> None:
    """A pause that a crash cut off begins anew: it is short, and no clock that somebody sets can lengthen it."""
    text = context.operation.note(PAUSE_S)
    pause_s = float(text) if text else 0.0
    if not pause_s or context.operation.note(_WAITED):
        return
    context.wait_for(f"in {duration(pause_s)}; /train stop now prevents it")
    began_s = context.step_s
    while context.step_s - began_s < pause_s:
        await context.breathe()
    context.note(_WAITED, "1")
    context.wait_for("")


async def _refuse_overtaken(context: OperationContext) -> None:
    """Only of what goes on by itself: a person's start was looked at when it was asked for."""
    operation = context.operation
    if not operation.automatic:
        return
    view = await context.view()
    process = view.record.process if view.record is not None else None
    alive = process is not None and not (await context.world.inspect(process)).over
    if view.attempt != operation.attempt or alive:
        raise OvertakenError("overtaken", f"attempt {view.attempt} of {view.name} was started by somebody else.")
    if view.directory != operation.directory:
        raise OvertakenError("moved", f"run {view.name} lies in {view.directory} now.")
    thought = context.world.think_again(view, operation)
    if thought.why:
        raise OvertakenError("not-any-more", f"run {view.name} is not started by itself after all: {thought.why}.")
    for name, text in thought.notes:
        if operation.note(name) != text:
            context.note(name, text)
