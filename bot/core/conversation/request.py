"""What a person asked for, apart from where it came from; and who answers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from trainmaster.bot.core.conversation.message import ActionId, Message, Reply


class Origin(StrEnum):
    """How a command was given. The words mean the same in each."""

    SLASH = "slash"
    MENTION = "mention"
    THREAD = "thread"
    """Plain words in a thread under one of our messages."""
    DIRECT = "direct"
    CHANNEL = "channel"
    """Plain words in a channel: not meant for the bot, even if they read like a command."""


def seconds(ts: str | None) -> float | None:
    """Slack's time stamp as seconds since the epoch; None when it is none."""
    try:
        told = float(ts or "")
    except ValueError:
        return None
    return told if 0 < told < float("inf") else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Command words of one person.

    ``text`` is what was typed, without the mention of the bot and with single blanks. ``ts`` is the person's own
    message (None for a slash command, which is none). ``thread_ts`` is the first message of the thread that it was said
    in: ``Outbox.key_at(channel, thread_ts)`` tells what that message is about. ``id`` is Slack's, for the logs.
    """

    origin: Origin
    user: str
    channel: str
    text: str
    ts: str | None = None
    thread_ts: str | None = None
    id: str = ""
    foreign: str = ""
    """The person's workspace where it is not the bot's: a person is a team and a user, and only together."""
    group_direct: bool = False
    """Whether it was said in a direct message of several people."""
    since_ts: float | None = None
    """It was said no earlier than that, where Slack does not tell when; None when nothing can have held it back."""

    @property
    def direct(self) -> bool:
        """Whether few people read along: a direct message, of two or of several."""
        return self.group_direct or self.channel.startswith("D")

    @property
    def said_ts(self) -> float | None:
        """When it was said, by Slack's clock, or since when it may have been; None where neither is known."""
        said_ts = seconds(self.ts)
        return self.since_ts if said_ts is None else said_ts


@dataclass(frozen=True, slots=True, kw_only=True)
class Press:
    """A button, pressed. ``value`` is the button's own; it comes from outside and may be forged.

    ``message_ts`` is the message that carries the button. ``reason`` is what was written when rejecting.
    """

    action: ActionId
    value: str
    user: str
    channel: str
    message_ts: str
    thread_ts: str | None = None
    reason: str = ""
    id: str = ""
    foreign: str = ""
    """As of a request, like :attr:`group_direct`."""
    group_direct: bool = False
    pressed_ts: float | None = None
    """When it was pressed, by Slack's clock, or since when it may have been; None where neither is known."""
    by_form: bool = False
    """Whether it is the form that the button opened, sent off whenever the person had written enough."""

    @property
    def direct(self) -> bool:
        """As of a request."""
        return self.group_direct or self.channel.startswith("D")


class Handler(Protocol):
    """Answers people. May raise :class:`errors.TrainmasterError`, which is then told to the person privately."""

    async def command(self, request: Request) -> Reply | None:
        """The answer to a command; None when it is given elsewhere (a message through the outbox)."""
        ...

    async def action(self, press: Press) -> Reply | None:
        """What the press changes is committed when this returns: only then is it acknowledged to Slack."""
        ...

    async def home(self, user: str) -> tuple[Message, ...]:
        """What ``user`` shall see on their own page of the app, part by part."""
        ...

    def is_command(self, text: str) -> bool:
        """Whether ``text`` as a whole is a command. Decides what is answered in a thread without a mention."""
        ...

    def is_ours(self, channel: str, ts: str) -> bool:
        """Whether the bot posted the message that stands there."""
        ...
