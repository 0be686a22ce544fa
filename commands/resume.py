"""``resume`` a stopped run, and ``continue`` forward after a bad epoch."""

from __future__ import annotations

from trainmaster.bot.core.conversation.message import Reply
from trainmaster.bot.core.decisions.order import ContinueRun, ResumeRun
from trainmaster.commands.base import RUN_WORD, Command, Context, Fits, Invocation, Needs, pattern
from trainmaster.commands.which_run import find_run


async def resume(invocation: Invocation, context: Context) -> Reply:
    """A stopped run goes on from its newest state."""
    view = await find_run(invocation, context)
    request = invocation.request
    return await context.operations.perform(
        ResumeRun(
            run=view.run,
            user=request.user,
            channel=request.channel,
            level=invocation.words.get("level"),
            anyway="anyway" in invocation.words,
        )
    )


async def continue_run(invocation: Invocation, context: Context) -> Reply:
    """The decision to go on without a rollback is recorded, with who and why."""
    view = await find_run(invocation, context)
    request = invocation.request
    return await context.operations.perform(
        ContinueRun(run=view.run, user=request.user, channel=request.channel, why=invocation.words.get("why", ""))
    )


RESUME = Command(
    name="resume",
    summary="start a stopped run again where it stopped (on-call only)",
    examples=("resume", "resume level strict", "resume anyway"),
    pattern=pattern(r"resume(?: (?:at |with )?level (?P<level>[\w+]+))?(?: (?P<anyway>anyway))?" + RUN_WORD),
    action=resume,
    needs=Needs.ON_CALL,
    what="resume a run",
    fits=Fits.OVER,
)
CONTINUE = Command(
    name="continue",
    summary="record that the run goes on without a rollback, and why (on-call only)",
    examples=("continue", "continue because the spike was one bad image"),
    pattern=pattern(rf"continue(?: forward)?{RUN_WORD}(?:,? because (?P<why>.{{1,500}}))?"),
    action=continue_run,
    needs=Needs.ON_CALL,
    what="decide to continue",
)
