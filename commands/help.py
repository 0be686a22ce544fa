"""``help``: only what the person who asks may do."""

from __future__ import annotations

from collections.abc import Sequence

from trainmaster.bot.core.conversation.message import Message, Reply, Table, Tone
from trainmaster.commands.base import Command, Context, Invocation, for_people, pattern


def help_on(others: Sequence[Command]) -> Command:
    """The command that lists ``others`` in their order, and itself last."""

    async def show(invocation: Invocation, context: Context) -> Reply:
        return await _listing([*others, listing], invocation, context)

    listing = Command(
        name="help",
        summary="this list",
        examples=("help",),
        pattern=pattern(r"(?:help|commands|\?)"),
        action=show,
    )
    return listing


async def _listing(commands: Sequence[Command], invocation: Invocation, context: Context) -> Reply:
    """Those for people on call only to them."""
    on_call = invocation.request.user in await context.on_call.now()
    allowed = [command for command in commands if on_call or not command.on_call_only]
    hidden = len(commands) - len(allowed)
    message = Message(
        title="What Trainmaster understands",
        tone=Tone.NEUTRAL,
        table=Table(
            header=("Command", "What it does"),
            rows=tuple(
                (f"/train {for_people(command.examples[0], '', context)}", command.summary) for command in allowed
            ),
        ),
        context=(
            "“status of RUN” names a run; else it is the thread's, the one chosen with “use”, or the newest",
            "the same words work after a mention, in the thread of an alert, and in a direct message",
            *((f"{hidden} more are for people on call",) if hidden else ()),
        ),
    )
    return Reply(message=message, private=True)
