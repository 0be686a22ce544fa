"""One press starts every run of a message about many, each by its own rules."""

from __future__ import annotations

import asyncio
from typing import Final

from trainmaster.bot.core.conversation.message import Message, Reply, Tone
from trainmaster.bot.core.conversation.request import Press
from trainmaster.bot.core.decisions.order import ResumeRun
from trainmaster.bot.core.decisions.start_word import StartWord, start_words
from trainmaster.bot.errors import CommandError, TrainmasterError
from trainmaster.commands.base import Context

_AT_ONCE: Final = 4
"""Each looks first whether anything stands against it, in processes of its own."""
_SHOWN: Final = 20


async def resume_all(context: Context, press: Press, leader: str) -> Reply:
    """Every run that the message of alert ``leader`` asks about is being started, as if its own button had been
    pressed; the answer names those that are not, and why.

    Raises:
        CommandError: the person is not on call, or nothing waits for a start any more.
        ChatError: who is on call could not be found out.
    """
    await context.on_call.require(press.user, "resume runs")
    words = start_words(context.alerts.told_together(leader))
    if not words:
        raise CommandError("alert-over", "no run of this message waits to be started any more.", "/train alerts")
    turns = asyncio.Semaphore(_AT_ONCE)

    async def start(word: StartWord) -> str:
        async with turns:
            return await _started(context, press, word)

    faults = [fault for fault in await asyncio.gather(*(start(word) for word in words)) if fault]
    begun = len(words) - len(faults)
    more = f"and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
    return Reply(
        message=Message(
            title=f"Resuming {begun} of {len(words)} runs",
            tone=Tone.WARNING if faults else Tone.PROGRESS,
            body=(*faults[:_SHOWN], *([more] if more else [])),
        ),
        private=True,
    )


async def _started(context: Context, press: Press, word: StartWord) -> str:
    """Why the run was not started; empty when it was."""
    order = ResumeRun(run=word.run, user=press.user, channel=press.channel, attempt=word.attempt)
    try:
        reply = await context.operations.perform(order)
    except TrainmasterError as error:
        return error.told
    return reply.message.title if reply.message.tone is Tone.WARNING else ""
