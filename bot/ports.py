"""What several parts need of the world, as Protocols of five methods at most; one with a single consumer stands with
it. Adapters are chosen in ``bot/wiring/``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final, Protocol

from trainmaster.bot.core.conversation.message import Message
from trainmaster.bot.core.conversation.picture import Picture, Sketch
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.errors import ChatError, OperationError


class Clock(Protocol):
    """The wall time of this host."""

    def now(self) -> float:
        """Seconds since the epoch, UTC."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Posted:
    """Where a message stands in Slack."""

    channel: str
    ts: str


INTERNAL_ERROR: Final = "slack-internal"
"""Slug of Slack's own ``internal_error``, which it also answers to what it can't digest."""
UNKNOWN_ANSWER: Final = "slack-error"
"""Slug of an answer by a name that nobody here knows: it may pass, or a person must mend something."""


class RateLimited(ChatError):  # noqa: N818 - a state of the channel
    """Slack answered 429: nothing to this channel before ``retry_after_s`` have passed."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__("slack-rate-limited", f"Slack asks to wait {retry_after_s:g} s.", "it is retried by itself")
        self.retry_after_s = retry_after_s


class MessageGone(ChatError):  # noqa: N818 - a state of the channel
    """The message to edit, or the root of the thread to answer in, was deleted by somebody."""


class ChatRefused(ChatError):  # noqa: N818 - named as the other two
    """Slack will not take it however often it is tried, until a person mends something (channel_not_found,
    not_in_channel, invalid_auth). ``content`` tells that this one message is at fault (invalid_blocks, msg_too_long),
    so that a plainer one may pass."""

    def __init__(self, slug: str, message: str, hint: str = "", *, content: bool = False) -> None:
        super().__init__(slug, message, hint)
        self.content = content


class Chat(Protocol):
    """The channel. Every method raises :class:`errors.ChatError`: as :class:`RateLimited`, :class:`MessageGone` or
    :class:`ChatRefused` where that is known, which the delivery treats each in its own way; plainly when a later try
    may pass."""

    async def post(self, channel: str, message: Message, *, thread_ts: str | None, key: str) -> Posted:
        """The message is in the channel. ``key`` goes along as metadata, so that a doubled post can be recognised."""
        ...

    async def update(self, posted: Posted, message: Message) -> None:
        """The posted message now reads ``message``."""
        ...

    async def on_call(self) -> frozenset[str]:
        """User ids that may decide, looked up now; falls back to the static list, never to everybody."""
        ...


class Outbox(Protocol):
    """What the channel shall say, by key. The key names one message for good: putting it again edits that message, and
    an edit not yet sent is replaced by the newer one."""

    def put(self, key: str, message: Message, *, channel: str | None = None, thread_of: str | None = None) -> None:
        """``key`` shall read ``message``; in the thread of the message ``thread_of`` if given. Commits with the
        transaction that is open, or at once."""
        ...

    def posted(self, key: str) -> Posted | None:
        """Where the message stands; None while it was never sent."""
        ...

    def read(self, key: str) -> Message | None:
        """What the message shall read; None when the key was never put."""
        ...

    def may_stand_twice(self, key: str) -> bool:
        """Whether a post whose answer was lost may stand in the channel beside the one that is known."""
        ...

    def key_at(self, channel: str, ts: str) -> str | None:
        """The key of the message posted there; None when it is none of ours."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedPictures:
    """Pictures that the message ``key`` shall have."""

    key: str
    sketch: Sketch
    asked_ts: float
    num_tries: int


class PictureBook(Protocol):
    """Pictures that messages shall have: one sketch a message, until it has them."""

    def want(self, key: str, sketch: Sketch, now: float) -> None:
        """The message shall have these pictures, and none that were wanted before and are not there yet."""
        ...

    def due(self, now: float) -> tuple[WantedPictures, ...]:
        """What can be drawn now, the oldest first."""
        ...

    def put_off(self, key: str, next_try_ts: float) -> None:
        """A try failed; the next one comes at ``next_try_ts``."""
        ...

    def drop(self, key: str) -> None:
        """The message stays without."""
        ...

    def attach(self, key: str, pictures: tuple[Picture, ...]) -> None:
        """The message has the pictures from now on, however it is edited, and is sent again."""
        ...


class Runs(Protocol):
    """The runs that the supervisor watches."""

    def all(self) -> Sequence[RunView]:
        """Every known run, that with the newest activity first."""
        ...

    def find(self, name_or_id: str) -> RunView | None:
        """By id or by directory name."""
        ...

    async def refresh(self, run: str) -> RunView | None:
        """The run, read anew now."""
        ...


class Transactions(Protocol):
    """All stores of one database commit together."""

    def transaction(self) -> AbstractContextManager[None]:
        """All or nothing, durable when the outermost block ends; inner blocks join it.

        Raises:
            StoreError: nothing of the block was written.
        """
        ...


class FencedError(OperationError):
    """Another bot process owns the operation: this one must do nothing more about it."""
