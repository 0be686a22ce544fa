"""Forms of a message for a channel that refuses it as it is: plainer, then words alone. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from trainmaster.bot.core.conversation.message import Message

_TITLE_CHARS = 140
_LINE_CHARS = 300
_MAX_LINES = 3
_MAX_BUTTONS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Words(Message):
    """A message to be shown as text alone, without any blocks."""


def plainer_forms(message: Message) -> tuple[Message, ...]:
    """What to try next, best first. Buttons stay in the first: a question that nobody can answer is of no use."""
    note = "Shown without its details: Slack refused them."
    short = Message(
        title=message.title[:_TITLE_CHARS],
        tone=message.tone,
        body=(*(line[:_LINE_CHARS] for line in message.body[:_MAX_LINES]), note),
        context=tuple(line[:_TITLE_CHARS] for line in message.context[:2]),
        buttons=message.buttons[:_MAX_BUTTONS],
        mentions=message.mentions,
    )
    words = Words(title=short.title, tone=message.tone, body=short.body, mentions=message.mentions)
    without = (replace(message, pictures=()),) if message.pictures else ()
    return *without, short, words
