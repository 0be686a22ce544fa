"""Whether a trainer that ended has let go of the GPU: memory that a hung context keeps fails the next start."""

from __future__ import annotations

import asyncio
import json

from trainmaster.bot.core.run.facts import Identity
from trainmaster.bot.errors import OperationError
from trainmaster.bot.operations.operation_context import OperationContext


async def note_holders(context: OperationContext, process: Identity, note: str) -> None:
    """Which of the process and its members hold a GPU is on record, or that it can't be seen; asked while they live."""
    if context.operation.note(note) is not None:
        return
    members = await context.world.survivors(process)
    own = frozenset(pid for one in (process, *members) for pid in one.pids)
    held = await _look(context) if own else None  # what has no pid here runs where no GPU can be seen from here
    context.note(note, json.dumps(None if held is None else sorted(held & own)))


async def let_go(context: OperationContext, note: str) -> str:
    """Said of the GPU once none of the noted processes lives; empty when they held none.

    Raises:
        OperationError: the driver still names one of them as its user.
    """
    noted = context.operation.note(note)
    if noted is None:
        return ""
    before: list[int] | None = json.loads(noted)
    if before is None:
        return "; whether a GPU is free again can't be seen here"
    if not before:
        return ""
    until_s = context.step_s + context.world.limits.kill_wait_s
    while (held := await _look(context)) is not None and (left := sorted(held.intersection(before))):
        if context.step_s >= until_s:
            pids = ", ".join(map(str, left))
            raise OperationError(
                "gpu-held",
                f"process {pids} is over, and the GPU's driver still counts it as a user of the GPU.",
                "see: nvidia-smi or rocm-smi --showpids; a context that hangs needs a reset of the GPU",
            )
        await context.world.pause(context.world.limits.poll_s)
    return "; whether the GPU is free again can't be seen" if held is None else "; its GPU is free again"


async def _look(context: OperationContext) -> frozenset[int] | None:
    """None also when the driver hangs, or fails in a way of its own."""
    try:
        async with asyncio.timeout(context.world.limits.gpu_look_s):
            return await asyncio.to_thread(context.world.gpu_holders.look)
    except Exception:  # noqa: BLE001 - a broken GPU driver must not keep a person from stopping a trainer
        return None
