"""``audit``, ``archive`` and ``bring back``: who did what, and what a rollback put aside."""

from __future__ import annotations

from trainmaster.bot.core.conversation.message import Reply
from trainmaster.bot.core.decisions.order import BringBack, ShowArchives, ShowAudit
from trainmaster.commands.base import RUN_WORD, Command, Context, Invocation, Needs, pattern
from trainmaster.commands.which_run import find_run


async def audit(invocation: Invocation, context: Context) -> Reply:
    """The newest entries of the audit log, and whether its chain is whole."""
    return await context.operations.perform(ShowAudit())


async def archive(invocation: Invocation, context: Context) -> Reply:
    """What rollbacks of the run put aside."""
    view = await find_run(invocation, context)
    return await context.operations.perform(ShowArchives(run=view.run, user=invocation.request.user))


async def bring_back(invocation: Invocation, context: Context) -> Reply:
    """What one rollback put aside is back; the run must not be at work."""
    view = await find_run(invocation, context)
    order = BringBack(run=view.run, user=invocation.request.user, folder=invocation.words["folder"])
    return await context.operations.perform(order)


AUDIT = Command(
    name="audit",
    summary="who asked for, decided and did what",
    examples=("audit",),
    pattern=pattern(r"(?:show )?audit"),
    action=audit,
)
ARCHIVE = Command(
    name="archive",
    summary="what rollbacks put aside",
    examples=("archive",),
    pattern=pattern(r"(?:list |show )?archives?" + RUN_WORD),
    action=archive,
)
BRING_BACK = Command(
    name="bring back FOLDER",
    summary="put back what a rollback put aside (on-call only)",
    examples=("bring back after-epoch-0002",),
    pattern=pattern(r"bring back (?P<folder>[\w.-]{1,100})" + RUN_WORD),
    action=bring_back,
    needs=Needs.ON_CALL,
    what="bring back an archive",
)
