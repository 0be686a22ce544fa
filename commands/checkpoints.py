"""``checkpoints``: what is saved, what of it is clean and why not, and which one a rollback can go to."""

from __future__ import annotations

from trainmaster.bot.core.conversation.message import Reply
from trainmaster.bot.core.decisions.order import ShowCheckpoints
from trainmaster.commands.base import RUN_WORD, Command, Context, Invocation, pattern
from trainmaster.commands.which_run import find_run


async def checkpoints(invocation: Invocation, context: Context) -> Reply:
    """Every checkpoint of the run, judged, the newest first."""
    view = await find_run(invocation, context)
    return await context.operations.perform(ShowCheckpoints(run=view.run, user=invocation.request.user))


CHECKPOINTS = Command(
    name="checkpoints",
    summary="every checkpoint: clean or not and why, its size, and which one a rollback can go to",
    examples=("checkpoints",),
    pattern=pattern(r"(?:list |show )?(?:checkpoints?|catalog)" + RUN_WORD),
    action=checkpoints,
)
