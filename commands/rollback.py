"""``execute rollback``: the plan and the card; nothing is touched before on-call approves."""

from __future__ import annotations

from trainmaster.bot.core.conversation.message import Reply
from trainmaster.commands.base import RUN_WORD, Command, Context, Invocation, find_run, pattern, thread_key


async def execute_rollback(invocation: Invocation, context: Context) -> Reply:
    """A plan bound to the world as it is now, and a card on which people on call decide."""
    view = await find_run(invocation, context)
    request = invocation.request
    return await context.operations.propose_rollback(
        view.run,
        request.user,
        channel=request.channel,
        thread_of=thread_key(request, context),
        to_epoch=invocation.integer("number"),
        level=invocation.words.get("level"),
        dry_run="dry" in invocation.words or "dry_last" in invocation.words,
    )


ROLLBACK = Command(
    name="execute rollback",
    summary="plan a rollback to the last clean checkpoint and ask on-call to approve it",
    examples=(
        "execute rollback",
        "execute rollback to epoch 3",
        "execute rollback level strict",
        "execute rollback dry run",
    ),
    pattern=pattern(
        r"(?:execute |do |propose )?roll\s*back(?: to(?: epoch)? (?P<number>\d+))?"
        r"(?: (?:at |with )?level (?P<level>[\w+]+))?(?P<dry> dry\s*run)?" + RUN_WORD + r"(?P<dry_last> dry\s*run)?"
    ),
    action=execute_rollback,
)
