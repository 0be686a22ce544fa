"""The outbox is emptied into the channel: in order, no faster than Slack takes it, and nothing is lost on the way."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from trainmaster.bot.alerting.limits import DeliveryLimits
from trainmaster.bot.alerting.pace import Pace
from trainmaster.bot.alerting.stores import DeliveryQueue
from trainmaster.bot.core.alerts.delivery import Delivery
from trainmaster.bot.core.conversation.message import Message
from trainmaster.bot.errors import ChatError, StoreError
from trainmaster.bot.ports import Chat, ChatRefused, Clock, MessageGone, Posted, RateLimited

_LOG = logging.getLogger(__name__)


class DeliverReason(StrEnum):
    """What became of one try."""

    POSTED = "posted"
    EDITED = "edited"
    PLAINER = "plainer"
    """Slack refused the message as it was, and took a plainer one."""
    RATE_LIMITED = "rate limited"
    GONE = "gone"
    """Somebody deleted the message, or the root of its thread; that one is posted anew."""
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sent:
    version: int
    posted: Posted


class Deliverer:
    """Each channel is a lane of its own: one message at a time, by urgency, then oldest first. A lane that
    Slack will not serve keeps no other waiting.

    At least once: a message is sent again only when this process ended after Slack took it and before that was
    committed. While the database refuses to commit it, the process remembers it and sends it no second time.
    """

    def __init__(
        self,
        queue: DeliveryQueue,
        chat: Chat,
        *,
        channel: str,
        clock: Clock,
        limits: DeliveryLimits,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._queue = queue
        self._chat = chat
        self._channel = channel
        self._clock = clock
        self._limits = limits
        self._chance = chance
        self._paces: dict[str, Pace] = {}
        self._lanes: dict[str, asyncio.Task[None]] = {}
        self._changed: dict[str, asyncio.Event] = {}
        self._sending: set[asyncio.Future[None]] = set()
        self._wake = asyncio.Event()
        self._empty = asyncio.Event()
        self._running = False
        self._uncommitted: dict[str, _Sent] = {}
        self._faults: dict[str, str] = {}
        self._closed_lanes: set[str] = set()
        """Channels that Slack refused to post to, whatever the message."""
        self._roots_gone: Counter[str] = Counter()
        """How often in a row a thread's root was gone when an answer was to go there."""
        self._store_fault: str | None = None

    def notify(self) -> None:
        """The outbox has something new; call it after the commit."""
        self._empty.clear()
        self._wake.set()
        for event in self._changed.values():
            event.set()

    def faults(self) -> tuple[str, ...]:
        """What a person must mend before everything can be delivered; empty when nothing."""
        store = (self._store_fault,) if self._store_fault else ()
        return tuple(dict.fromkeys((*store, *self._faults.values())))

    async def run(self) -> None:
        """The outbox is emptied for as long as this runs. Ends only by being cancelled; what is on its way to Slack
        then arrives and is committed."""
        self._running = True
        try:
            while True:
                self._wake.clear()
                wait_s = self._dispatch()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), wait_s)
        finally:
            self._running = False
            tasks = tuple(self._lanes.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.gather(*self._sending, return_exceptions=True)

    async def drain(self, timeout_s: float) -> bool:
        """Whether the outbox was empty within ``timeout_s``. Delivers by itself when :meth:`run` is not running."""
        self._empty.clear()
        self._wake.set()
        task = None if self._running else asyncio.create_task(self.run())
        try:
            await asyncio.wait_for(self._empty.wait(), timeout_s)
        except TimeoutError:
            return False
        finally:
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        return True

    def _dispatch(self) -> float | None:
        """Every channel that something can be sent to has its lane; returns how long nothing else is due."""
        now = self._clock.now()
        try:
            self._commit_late()
            for lane in self._queue.lanes(now):
                if lane not in self._lanes:
                    self._changed[lane] = asyncio.Event()
                    self._lanes[lane] = asyncio.create_task(self._serve(lane), name=f"deliver {lane or 'alerts'}")
            due_ts = self._queue.next_try_ts(now)
            if not self._lanes and self._queue.num_pending() == 0:
                self._empty.set()
        except StoreError as error:
            self._tell_store_fault(error)
            return self._limits.store_retry_s
        self._store_fault = None
        return None if due_ts is None else max(0.0, due_ts - now)

    async def _serve(self, lane: str) -> None:
        """Nothing is left in the lane that could be sent now."""
        try:
            while True:
                self._changed[lane].clear()
                try:
                    head = self._head(lane)
                except StoreError as error:
                    self._tell_store_fault(error)
                    await asyncio.sleep(self._limits.store_retry_s)
                    continue
                if head is None and not self._uncommitted:
                    return
                pace = self._pace(lane)
                wait_s = self._limits.store_retry_s
                if head is not None:
                    wait_s = pace.wait_s(self._clock.now(), urgency=head.urgency)
                if head is None or wait_s > 0:
                    # An urgent message that comes meanwhile need not wait as long.
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._changed[lane].wait(), wait_s)
                    continue
                pace.spend(self._clock.now())
                # Shielded: what Slack has taken is also committed, or it would be sent twice.
                sending = asyncio.ensure_future(self._deliver(head, pace))
                self._sending.add(sending)
                sending.add_done_callback(self._sending.discard)
                await asyncio.shield(sending)
        finally:
            self._lanes.pop(lane, None)
            self._changed.pop(lane, None)
            self._wake.set()

    def _head(self, lane: str) -> Delivery | None:
        """What the lane is to send next. What Slack has taken is not sent again because the database can't tell."""
        with self._store_guard():
            self._commit_late()
        limit = len(self._uncommitted) + 1
        for delivery in self._queue.pending(self._clock.now(), lane=lane, limit=limit):
            sent = self._uncommitted.get(delivery.key)
            if sent is None:
                return delivery
            if delivery.version > sent.version:
                return replace(delivery, posted_channel=sent.posted.channel, ts=sent.posted.ts)
        return None

    def _pace(self, lane: str) -> Pace:
        channel = lane or self._channel
        if channel not in self._paces:
            self._paces[channel] = Pace(self._limits, self._clock.now())
        return self._paces[channel]

    async def _deliver(self, delivery: Delivery, pace: Pace) -> None:
        try:
            async with asyncio.timeout(self._limits.send_timeout_s):
                reason, posted = await self._send(delivery)
        except RateLimited as error:
            pace.limited(self._clock.now(), error.retry_after_s)
            self._report(delivery, DeliverReason.RATE_LIMITED, error)
        except MessageGone as error:
            self._gone(delivery, pace, error)
        except ChatRefused as error:
            pace.failed(self._clock.now(), self._chance)
            self._faults[delivery.key] = f"{delivery.lane or self._channel}: {error}"
            if not error.content:
                self._closed_lanes.add(delivery.lane)
            self._fail(delivery, error, self._limits.refused_retry_s, refused=True)
            self._report(delivery, DeliverReason.REFUSED, error)
        except (ChatError, TimeoutError) as error:
            pause_s = pace.failed(self._clock.now(), self._chance)
            aside = delivery.attempts + 1 >= self._limits.tries_before_aside
            # Due again before its lane is, so that it keeps its place in front.
            self._fail(delivery, error, self._limits.backoff_max_s if aside else pause_s / 2)
            self._report(delivery, DeliverReason.FAILED, error)
        except Exception as error:  # noqa: BLE001 - an edge: logged, told as a fault, and the other messages go on
            _LOG.exception("delivery-bug: %s", delivery.key)
            pace.failed(self._clock.now(), self._chance)
            self._faults[delivery.key] = f"{delivery.key} can't be sent: {type(error).__name__}: {error}"
            self._fail(delivery, error, self._limits.refused_retry_s, refused=True)
        else:
            pace.succeeded()
            self._faults.pop(delivery.key, None)
            self._roots_gone.pop(delivery.thread_key or "", None)
            self._commit(delivery.key, _Sent(version=delivery.version, posted=posted))
            if delivery.lane in self._closed_lanes:
                # Somebody mended it: what was refused need not wait for its next try.
                self._closed_lanes.discard(delivery.lane)
                with self._store_guard():
                    self._queue.release_refused(delivery.lane)
            self._report(delivery, reason)

    async def _send(self, delivery: Delivery) -> tuple[DeliverReason, Posted]:
        try:
            return await self._send_as(delivery, delivery.message)
        except ChatRefused as error:
            if not error.content:
                raise
            self._report(delivery, DeliverReason.REFUSED, error)
            _, posted = await self._send_as(delivery, _plainer(delivery.message, error))
            return DeliverReason.PLAINER, posted

    async def _send_as(self, delivery: Delivery, message: Message) -> tuple[DeliverReason, Posted]:
        if delivery.ts is not None and delivery.posted_channel is not None:
            posted = Posted(channel=delivery.posted_channel, ts=delivery.ts)
            await self._chat.update(posted, message)
            return DeliverReason.EDITED, posted
        channel = delivery.thread_channel or delivery.lane or self._channel
        posted = await self._chat.post(channel, message, thread_ts=delivery.thread_ts, key=delivery.key)
        return DeliverReason.POSTED, posted

    def _gone(self, delivery: Delivery, pace: Pace, error: MessageGone) -> None:
        key = delivery.key if delivery.ts is not None else self._root_to_bring_back(delivery)
        if key is None:
            pace.failed(self._clock.now(), self._chance)
            self._fail(delivery, error, self._limits.backoff_max_s)
        else:
            with self._store_guard():
                self._queue.mark_failed(delivery.key, str(error), self._clock.now())
                self._queue.mark_gone(key)
        self._report(delivery, DeliverReason.GONE, error)

    def _root_to_bring_back(self, delivery: Delivery) -> str | None:
        """The deleted root of an answer's thread; None when it is a fault, not a deletion.

        That is a fresh post that is "gone", and an answer whose new root is gone again and again. Failed attempts don't
        tell: they may have had other reasons.
        """
        if delivery.thread_key is None:
            return None
        self._roots_gone[delivery.thread_key] += 1
        in_vain = self._roots_gone[delivery.thread_key] > self._limits.tries_before_aside
        return None if in_vain else delivery.thread_key

    def _fail(self, delivery: Delivery, error: Exception, wait_s: float, *, refused: bool = False) -> None:
        with self._store_guard():
            self._queue.mark_failed(delivery.key, str(error), self._clock.now() + wait_s, refused=refused)

    def _commit(self, key: str, sent: _Sent) -> None:
        self._uncommitted[key] = sent
        with self._store_guard():
            self._commit_late()

    def _commit_late(self) -> None:
        for key, sent in tuple(self._uncommitted.items()):
            self._queue.mark_sent(key, sent.version, sent.posted)
            del self._uncommitted[key]

    @contextlib.contextmanager
    def _store_guard(self) -> Iterator[None]:
        try:
            yield
        except StoreError as error:
            self._tell_store_fault(error)

    def _tell_store_fault(self, error: StoreError) -> None:
        if self._store_fault is None:
            _LOG.error("outbox-unusable: %s", error)
        self._store_fault = str(error)

    def _report(self, delivery: Delivery, reason: DeliverReason, error: Exception | None = None) -> None:
        level = logging.INFO if error is None or reason is DeliverReason.RATE_LIMITED else logging.WARNING
        _LOG.log(level, "%s version %d: %s%s", delivery.key, delivery.version, reason, f" ({error})" if error else "")


def _plainer(message: Message, error: ChatRefused) -> Message:
    """What matters most, in a form that hardly anything can be wrong with."""
    return Message(
        title=message.title[:140],
        tone=message.tone,
        body=(
            *(line[:300] for line in message.body[:3]),
            f"Shown without its details: Slack refused them ({error.slug}).",
        ),
        context=tuple(line[:140] for line in message.context[:2]),
        mentions=message.mentions,
    )
