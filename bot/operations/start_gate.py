"""The step before a start: what was planned is waited for, and the run is still the one that died."""

from __future__ import annotations

from trainmaster.bot.core.decisions.going_on import PAUSE_S
from trainmaster.bot.core.run.forecast import duration
from trainmaster.bot.errors import OperationError
from trainmaster.bot.operations.operation_context import OperationContext

_WAITED = "waited"
"""The note that the pause is over."""


class OvertakenError(OperationError):
    """Somebody else has started the run meanwhile: there is nothing left to do."""


async def pass_gate(context: OperationContext) -> str:
    """The run may be started now.

    Raises:
        OvertakenError: it was, by somebody else.
    """
    await _pause(context)
    await _refuse_overtaken(context)
    return "ready"


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
