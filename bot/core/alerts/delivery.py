"""One message on its way to the channel."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from trainmaster.bot.core.conversation.message import Message


class Urgency(IntEnum):
    """Who goes first when not everything can go at once; stored as its number."""

    LATER = 0
    """Edits, which make no sound, and what is only worth knowing."""
    SOON = 1
    """Not there yet, and somebody should see it: a warning, a question with buttons."""
    NOW = 2
    """Not there yet, and critical."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """``version`` of the message ``key`` is to be sent: posted while ``ts`` is None, otherwise an edit of the message
    that stands at ``(posted_channel, ts)``. ``lane`` is the channel it was asked for, empty for the alert channel."""

    key: str
    version: int
    message: Message
    lane: str
    urgency: Urgency
    attempts: int
    maybe_ts: float | None = None
    """Since when it may stand in its channel, unconfirmed; None when it was never sent, or refused."""
    posted_channel: str | None = None
    ts: str | None = None
    thread_key: str | None = None
    thread_channel: str | None = None
    thread_ts: str | None = None
