"""``pause``, ``pause until 22:00`` and ``resume at 22:00``: a run rests, and goes on by itself."""

from __future__ import annotations

from trainmaster.bot.core.conversation.message import Reply
from trainmaster.bot.core.decisions.order import PauseRun, ResumeLater
from trainmaster.commands.base import RUN_WORD, Command, Context, Fits, Invocation, Needs, pattern, thread_key
from trainmaster.commands.moments import AT, UNTIL, said_ts
from trainmaster.commands.which_run import find_run


async def pause(invocation: Invocation, context: Context) -> Reply:
    """The trainer is stopped in a resumable way, and resumed at the time that was said, if one was."""
    view = await find_run(invocation, context)
    request = invocation.request
    order = PauseRun(
        run=view.run,
        user=request.user,
        channel=request.channel,
        thread_of=thread_key(request, context),
        until_ts=await said_ts(invocation, context),
    )
    return await context.operations.perform(order)


async def resume_at(invocation: Invocation, context: Context) -> Reply:
    """A stopped run goes on at that time, by the clock of whoever said it."""
    view = await find_run(invocation, context)
    request = invocation.request
    due = await said_ts(invocation, context)
    assert due is not None  # the pattern wants a time
    order = ResumeLater(
        run=view.run,
        user=request.user,
        channel=request.channel,
        thread_of=thread_key(request, context),
        due_ts=due,
    )
    return await context.operations.perform(order)


PAUSE = Command(
    name="pause",
    summary="stop the training, resumable, and go on at a time if you name one (on-call only)",
    examples=("pause", "pause until 22:00", "pause for 2h"),
    pattern=pattern(rf"pause(?: {UNTIL})?{RUN_WORD}"),
    action=pause,
    needs=Needs.ON_CALL,
    what="pause a run",
    fits=Fits.AT_WORK,
)
RESUME_AT = Command(
    name="resume at 22:00",
    summary="start a stopped run again at that time of your own zone; “stop now” takes it back (on-call only)",
    examples=("resume at 22:00", "resume in 2h"),
    pattern=pattern(rf"resume {AT}{RUN_WORD}"),
    action=resume_at,
    needs=Needs.ON_CALL,
    what="resume a run",
    fits=Fits.OVER,
)
