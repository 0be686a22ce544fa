"""``execute rollback``: the plan and the card; nothing is touched before on-call approves."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Final

from trainmaster.bot.core.conversation.message import Reply
from trainmaster.bot.core.conversation.tokens import link
from trainmaster.bot.core.decisions.order import ProposeRollback
from trainmaster.commands.base import RUN_WORD, Command, Context, Invocation, Needs, pattern, place_of_card
from trainmaster.commands.which_run import find_run

_LINK_LOOKS: Final = 20
_LINK_LOOK_S: Final = 0.1
"""Until the card stands in Slack; two seconds are no wait for a plan that was made for several."""
_DRY: Final = r"(?:--?|–|—)?dry[\s-]*run"
"""As in a shell too, where phones make one dash of two."""


async def execute_rollback(invocation: Invocation, context: Context) -> Reply:
    """A plan bound to the world as it is now, and a card on which people on call decide."""
    view = await find_run(invocation, context)
    request = invocation.request
    channel, thread_of = await place_of_card(request, context)
    order = ProposeRollback(
        run=view.run,
        user=request.user,
        channel=channel,
        thread_of=thread_of,
        to_epoch=invocation.integer("number"),
        level=invocation.words.get("level"),
        dry_run="dry" in invocation.words or "dry_last" in invocation.words,
    )
    reply = await context.operations.perform(order)
    return reply if channel is not None or not reply.card else await _with_link(reply, context)


async def _with_link(reply: Reply, context: Context) -> Reply:
    """The answer, with the way to the card; without it when Slack has not taken the card yet."""
    posted = context.outbox.posted(reply.card)
    for _ in range(_LINK_LOOKS):
        if posted is not None:
            break
        await asyncio.sleep(_LINK_LOOK_S)
        posted = context.outbox.posted(reply.card)
    url = context.link(posted) if posted is not None else ""
    where = link(url, "its card") if url else "its card"
    line = f"Everybody on call sees {where} in the alert channel."
    return replace(reply, message=replace(reply.message, body=(*reply.message.body, line)))


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
        rf"(?: (?:at |with )?level (?P<level>[\w+]+))?(?P<dry> {_DRY})?{RUN_WORD}(?P<dry_last> {_DRY})?"
    ),
    action=execute_rollback,
    needs=Needs.VOICE,
    what="ask for a rollback",
)
