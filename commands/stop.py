"""``stop now`` and ``stop after epoch``."""

from __future__ import annotations

from trainmaster.bot.core.conversation.message import Reply
from trainmaster.commands.base import RUN_WORD, Command, Context, Invocation, Needs, find_run, pattern, thread_key


async def stop(invocation: Invocation, context: Context) -> Reply:
    """The trainer is stopped in a resumable way, at once or at the epoch's end; people on call only."""
    view = await find_run(invocation, context)
    request = invocation.request
    later = "later" in invocation.words
    act = context.operations.stop_after_epoch if later else context.operations.stop_now
    return await act(view.run, request.user, channel=request.channel, thread_of=thread_key(request, context))


STOP = Command(
    name="stop now",
    summary="stop the training, resumable, and offer the rollback; or “stop after epoch” (on-call only)",
    examples=("stop now", "stop after epoch"),
    pattern=pattern(r"stop (?:now|(?P<later>after(?: this| the)? epoch))" + RUN_WORD),
    action=stop,
    needs=Needs.ON_CALL,
    what="stop a run",
)
