"""One message on its way to the channel."""

from __future__ import annotations

from dataclasses import dataclass

from bot.core.message import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """``version`` of the message ``key`` is to be sent: posted while ``ts`` is None, otherwise an edit of the message
    that stands at ``(posted_channel, ts)``. ``lane`` is the channel it was asked for, empty for the alert channel."""

    key: str
    version: int
    message: Message
    lane: str
    urgent: bool
    attempts: int
    posted_channel: str | None = None
    ts: str | None = None
    thread_key: str | None = None
    thread_channel: str | None = None
    thread_ts: str | None = None
