"""``stop now`` and ``stop after epoch``."""

from __future__ import annotations

from trainmaster.bot.core.conversation.message import Reply
from trainmaster.bot.core.decisions.order import StopAfterEpoch, StopNow
from trainmaster.commands.base import RUN_WORD, Command, Context, Fits, Invocation, Needs, pattern, thread_key
from trainmaster.commands.which_run import find_run


async def stop(invocation: Invocation, context: Context) -> Reply:
    """The trainer is stopped in a resumable way, at once or at the epoch's end; people on call only."""
    view = await find_run(invocation, context)
    request = invocation.request
    order = StopAfterEpoch if "later" in invocation.words else StopNow
    return await context.operations.perform(
        order(run=view.run, user=request.user, channel=request.channel, thread_of=thread_key(request, context))
    )


STOP = Command(
    name="stop now",
    summary="stop the training, resumable, and offer the rollback; or “stop after epoch” (on-call only)",
    examples=("stop now", "stop after epoch"),
    pattern=pattern(r"stop (?:now|(?P<later>after(?: this| the)? epoch))" + RUN_WORD),
    action=stop,
    needs=Needs.ON_CALL,
    what="stop a run",
    fits=Fits.AT_WORK,
)
