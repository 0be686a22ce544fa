"""``help``: what the person who asks may do, and what is of use now."""

from __future__ import annotations

from collections.abc import Sequence

from trainmaster.bot.core.conversation.message import Message, Reply, Table, Tone
from trainmaster.commands.base import Command, Context, Fits, Invocation, Needs, pattern
from trainmaster.commands.which_run import for_people, run_in_mind


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


def _situation(invocation: Invocation, context: Context) -> frozenset[Fits]:
    """What is of use now, by the run that is in mind and what fires."""
    view = run_in_mind(invocation.request, context)
    of_run = set(Fits) if view is None else {Fits.AT_WORK if view.state.goes_on else Fits.OVER}
    firing = {Fits.ALERT} if context.alerts.firing() else set()
    return frozenset({Fits.ALWAYS} | (of_run - {Fits.ALERT}) | firing)


async def _listing(commands: Sequence[Command], invocation: Invocation, context: Context) -> Reply:
    """Those for people on call only to them."""
    on_call = invocation.request.user in await context.on_call.now()
    allowed = [command for command in commands if on_call or command.needs is not Needs.ON_CALL]
    hidden = len(commands) - len(allowed)
    now = _situation(invocation, context)
    later = [command for command in allowed if command.fits not in now]
    allowed = [command for command in allowed if command.fits in now]
    message = Message(
        title="What Trainmaster understands",
        tone=Tone.NEUTRAL,
        table=Table(
            header=("Command", "What it does"),
            rows=tuple((f"/train {for_people(command.examples[0], context)}", command.summary) for command in allowed),
        ),
        context=(
            "“status of RUN” names a run; else it is the thread's, the one chosen with “use”, or the newest",
            "with several runs at work, what acts on one has to name it",
            "the same words work after a mention, in the thread of an alert, and in a direct message",
            *((f"{hidden} more are for people on call",) if hidden else ()),
            *(
                f"{fits}: {', '.join(command.examples[0] for command in later if command.fits is fits)}"
                for fits in dict.fromkeys(command.fits for command in later)
            ),
        ),
    )
    return Reply(message=message, private=True)
