"""One try to bring one message into its channel: looked for where it may stand already, in the plainest form needed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from enum import StrEnum
from typing import Protocol

from trainmaster.bot.alerting.limits import DeliveryLimits
from trainmaster.bot.core.alerts.delivery import Delivery, Urgency
from trainmaster.bot.core.conversation.message import Message
from trainmaster.bot.core.conversation.plainer import plainer_forms
from trainmaster.bot.errors import ChatError
from trainmaster.bot.ports import INTERNAL_ERROR, Chat, Posted, RateLimited

_LOG = logging.getLogger(__name__)

UNREACHABLE = "slack-unreachable"
AWAY = frozenset({UNREACHABLE, "slack-answer", "slack-unwell", INTERNAL_ERROR})
"""Slugs of what says nothing of the message: no answer, one that is not Slack's, and Slack's own faults."""


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

    async def answers(self) -> bool:
        """Whether Slack answers at all now, be it no more than who the bot is."""
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
        try:
            reason, posted = await self._send_in_a_form(delivery, found)
        except ChatError as error:
            if error.slug == INTERNAL_ERROR:
                self._undigested[delivery.key] += 1
            raise
        self._undigested.pop(delivery.key, None)
        return reason, posted

    def place(self, delivery: Delivery) -> str:
        """The channel that the message goes to."""
        return delivery.thread_channel or delivery.lane or self._channel

    async def _find(self, delivery: Delivery) -> Posted | None:
        """Where an earlier try left the message; None when none did, or when waiting for the answer is worse."""
        if delivery.ts is not None or delivery.maybe_ts is None:
            return None
        try:
            found = await self._look(delivery, delivery.maybe_ts, self._limits.look_timeout_s)
        except ChatError as error:
            self._looks[delivery.key] += 1
            if await self._worth_waiting(error, self._looks[delivery.key]):
                raise
            found = await self._last_look(delivery, delivery.maybe_ts, error)
        del self._looks[delivery.key]
        return found

    async def _look(self, delivery: Delivery, maybe_ts: float, timeout_s: float) -> Posted | None:
        critical = delivery.urgency is Urgency.NOW
        try:
            async with asyncio.timeout(timeout_s if critical else self._limits.send_timeout_s / 2):
                return await self._chat.find(
                    self.place(delivery),
                    delivery.key,
                    thread_ts=delivery.thread_ts,
                    since_ts=maybe_ts - self._limits.clocks_differ_s,
                )
        except TimeoutError as error:
            raise ChatError(UNREACHABLE, "looking for the message: Slack did not answer in time.") from error

    async def _last_look(self, delivery: Delivery, maybe_ts: float, error: ChatError) -> Posted | None:
        """Slack may have come back since the last one."""
        if error.slug in AWAY:
            with contextlib.suppress(ChatError):
                return await self._look(delivery, maybe_ts, self._limits.look_timeout_s / 2)
        _LOG.warning("%s: can't be looked for (%s); it may come twice", delivery.key, error)
        return None

    async def _worth_waiting(self, error: ChatError, num_looks: int) -> bool:
        """Whether another look may tell: rather twice than late, but not twice because Slack is away."""
        if isinstance(error, RateLimited) and error.retry_after_s > self._limits.look_patience_s:
            return False
        if num_looks < self._limits.looks:
            return True
        return error.slug in AWAY and not await self._answers()

    async def _answers(self) -> bool:
        try:
            async with asyncio.timeout(self._limits.look_timeout_s / 2):
                return await self._chat.answers()
        except TimeoutError:
            return False

    async def _send_in_a_form(self, delivery: Delivery, found: Posted | None) -> tuple[DeliverReason, Posted]:
        undigested = self._undigested[delivery.key] > self._limits.internal_errors
        plainer = plainer_forms(delivery.message)
        refusal: ChatError | None = None
        for form in plainer if undigested else (delivery.message, *plainer):
            if refusal is not None and refusal.slug == INTERNAL_ERROR and found is None:
                found = await self._find(delivery)  # what Slack called its own fault may have come through
            try:
                reason, posted = await self._send_as(delivery, form, found)
            except ChatError as error:
                if not (undigested and error.slug == INTERNAL_ERROR) and not error.content:
                    raise
                _LOG.warning("%s version %d: refused (%s)", delivery.key, delivery.version, error)
                refusal = error
            else:
                return (reason if form is delivery.message else DeliverReason.PLAINER), posted
        assert refusal is not None
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
