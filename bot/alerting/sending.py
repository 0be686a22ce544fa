"""One try to bring one message into its channel: looked for where it may stand already, in the plainest form needed."""

from __future__ import annotations

import logging
from collections import Counter
from enum import StrEnum
from typing import Protocol

from trainmaster.bot.alerting.limits import DeliveryLimits
from trainmaster.bot.core.alerts.delivery import Delivery
from trainmaster.bot.core.conversation.message import Message
from trainmaster.bot.core.conversation.plainer import plainer_forms
from trainmaster.bot.errors import ChatError
from trainmaster.bot.ports import Chat, ChatRefused, Posted, RateLimited

_LOG = logging.getLogger(__name__)

INTERNAL_ERROR = "slack-internal"
"""Slug of Slack's own ``internal_error``, which it also answers to what it can't digest."""

UNREACHABLE = "slack-unreachable"


class DeliverReason(StrEnum):
    """What became of one try."""

    POSTED = "posted"
    EDITED = "edited"
    FOUND = "found"
    """An earlier try had come through although its answer was lost; it was edited and not posted again."""
    PLAINER = "plainer"
    """Slack refused the message as it was, and took a plainer one."""
    RATE_LIMITED = "rate limited"
    GONE = "gone"
    """Somebody deleted the message, or the root of its thread; that one is posted anew."""
    REFUSED = "refused"
    FAILED = "failed"


class SearchableChat(Chat, Protocol):
    """A channel in which messages can be looked for."""

    async def find(self, channel: str, key: str, *, thread_ts: str | None, since_ts: float) -> Posted | None:
        """Where the message with this key in its metadata stands, if it was posted after ``since_ts``; None when there
        is none, or when nothing may be looked up (then that is logged, once).

        Raises:
            ChatError: it can't be told now.
        """
        ...


class Sender:
    """Remembers what Slack could not digest; everything else is in the delivery."""

    def __init__(self, chat: SearchableChat, *, channel: str, limits: DeliveryLimits) -> None:
        self._chat = chat
        self._channel = channel
        self._limits = limits
        self._undigested: Counter[str] = Counter()
        self._looks: Counter[str] = Counter()
        """Looks in a row that told nothing."""

    async def send(self, delivery: Delivery) -> tuple[DeliverReason, Posted]:
        """The message stands in its channel.

        Raises:
            ChatError: it does not, or nobody knows; see :class:`trainmaster.bot.ports.Chat`.
        """
        found = await self._find(delivery)
        message, plainer = delivery.message, False
        if self._undigested[delivery.key] > self._limits.internal_errors:
            message, plainer = plainer_forms(message)[0], True
        try:
            reason, posted = await self._send_in_a_form(delivery, message, found)
        except ChatError as error:
            if error.slug == INTERNAL_ERROR:
                self._undigested[delivery.key] += 1
            raise
        self._undigested.pop(delivery.key, None)
        return (DeliverReason.PLAINER if plainer else reason), posted

    def place(self, delivery: Delivery) -> str:
        """The channel that the message goes to."""
        return delivery.thread_channel or delivery.lane or self._channel

    async def _find(self, delivery: Delivery) -> Posted | None:
        """Where an earlier try left the message; None when none did, or when waiting for the answer is worse."""
        if delivery.ts is not None or delivery.maybe_ts is None:
            return None
        try:
            found = await self._chat.find(
                self.place(delivery),
                delivery.key,
                thread_ts=delivery.thread_ts,
                since_ts=delivery.maybe_ts - self._limits.clocks_differ_s,
            )
        except ChatError as error:
            self._looks[delivery.key] += 1
            if self._worth_waiting(error, self._looks[delivery.key]):
                raise
            _LOG.warning("%s: can't be looked for (%s); it may come twice", delivery.key, error)
            found = None
        del self._looks[delivery.key]
        return found

    def _worth_waiting(self, error: ChatError, num_looks: int) -> bool:
        """Whether another look may tell: rather twice than late, but not twice because Slack is away."""
        if isinstance(error, RateLimited) and error.retry_after_s > self._limits.look_patience_s:
            return False
        away = error.slug == UNREACHABLE
        return num_looks < (self._limits.looks_while_away if away else self._limits.looks)

    async def _send_in_a_form(
        self, delivery: Delivery, message: Message, found: Posted | None
    ) -> tuple[DeliverReason, Posted]:
        try:
            return await self._send_as(delivery, message, found)
        except ChatRefused as error:
            if not error.content:
                raise
            refusal = error
        for form in plainer_forms(message):
            _LOG.warning("%s version %d: refused (%s)", delivery.key, delivery.version, refusal)
            try:
                _, posted = await self._send_as(delivery, form, found)
            except ChatRefused as error:
                if not error.content:
                    raise
                refusal = error
            else:
                return DeliverReason.PLAINER, posted
        raise refusal

    async def _send_as(
        self, delivery: Delivery, message: Message, found: Posted | None
    ) -> tuple[DeliverReason, Posted]:
        if found is not None:
            await self._chat.update(found, message)
            return DeliverReason.FOUND, found
        if delivery.ts is not None and delivery.posted_channel is not None:
            posted = Posted(channel=delivery.posted_channel, ts=delivery.ts)
            await self._chat.update(posted, message)
            return DeliverReason.EDITED, posted
        posted = await self._chat.post(self.place(delivery), message, thread_ts=delivery.thread_ts, key=delivery.key)
        return DeliverReason.POSTED, posted
