"""``plan``: what a rollback would do and when, beside going on; nothing is asked and nothing is done."""

from __future__ import annotations

from trainmaster.bot.core.conversation.message import Reply
from trainmaster.bot.core.decisions.order import ProposeRollback
from trainmaster.commands.base import RUN_WORD, Command, Context, Invocation, pattern
from trainmaster.commands.which_run import find_run


async def plan(invocation: Invocation, context: Context) -> Reply:
    """Each way to decide with its times: roll back now, at the end of the epoch, or go on."""
    view = await find_run(invocation, context)
    order = ProposeRollback(
        run=view.run, user=invocation.request.user, to_epoch=invocation.integer("number"), dry_run=True
    )
    return await context.operations.perform(order)


PLAN = Command(
    name="plan",
    summary="each way to decide with its times: roll back now, at the epoch's end, or go on; asks nobody",
    examples=("plan", "plan to epoch 3"),
    pattern=pattern(r"(?:show )?plan(?: to(?: epoch)? (?P<number>\d+))?" + RUN_WORD),
    action=plan,
)
