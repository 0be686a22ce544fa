"""The outbox is emptied into the channel: in order, no faster than Slack takes it, and nothing is lost on the way."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

from trainmaster.bot.alerting.limits import DeliveryLimits
from trainmaster.bot.alerting.pace import Pace
from trainmaster.bot.alerting.patience import Patience
from trainmaster.bot.alerting.sending import DeliverReason, SearchableChat, Sender
from trainmaster.bot.alerting.stores import DeliveryQueue
from trainmaster.bot.core.alerts.delivery import Delivery, Urgency
from trainmaster.bot.errors import ChatError, StoreError
from trainmaster.bot.ports import UNKNOWN_ANSWER, ChatRefused, Clock, MessageGone, Posted, RateLimited

_LOG = logging.getLogger(__name__)

_WITHHELD_S = 1.0
"""What is withheld is asked about this often."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sent:
    version: int
    posted: Posted


class Leave(Protocol):
    """What is left to another bot to say."""

    def on(self) -> bool:
        """Whether anything is, now; asked again every second."""
        ...

    def withholds(self, delivery: Delivery) -> bool:
        """Whether this message is not to be sent from here, now."""
        ...


class _NoLeave:
    def on(self) -> bool:
        return False

    def withholds(self, delivery: Delivery) -> bool:
        del delivery
        return False


NO_LEAVE: Leave = _NoLeave()


class Deliverer:
    """Each channel is a lane of its own: one message at a time, by urgency, then oldest first. A lane that
    Slack will not serve keeps no other waiting.

    Never lost, and once: that a message may stand in its channel is committed before it is sent. When the answer is
    lost, or this process ends, it is looked for before it is sent again. While the database refuses to commit, the
    process remembers. A critical message passes everything else, what hangs on its way to Slack included.
    """

    def __init__(
        self,
        queue: DeliveryQueue,
        chat: SearchableChat,
        *,
        channel: str,
        clock: Clock,
        limits: DeliveryLimits,
        chance: Callable[[], float] = random.random,
        leave: Leave = NO_LEAVE,
    ) -> None:
        self._leave = leave
        self._queue = queue
        self._sender = Sender(chat, channel=channel, limits=limits)
        self._patience = Patience(limits)
        self._channel = channel
        self._clock = clock
        self._limits = limits
        self._chance = chance
        self._paces: dict[str, Pace] = {}
        self._lanes: dict[str, asyncio.Task[None]] = {}
        self._changed: dict[str, asyncio.Event] = {}
        self._sending: dict[str, asyncio.Future[None]] = {}
        """What is on its way, by key."""
        self._maybe: dict[str, float] = {}
        """As ``Delivery.maybe_ts``, for when the database can't be written."""
        self._wake = asyncio.Event()
        self._empty = asyncio.Event()
        self._running = False
        self._uncommitted: dict[str, _Sent] = {}
        self._faults: dict[str, str] = {}
        self._closed_lanes: set[str] = set()
        """Channels that Slack refused to post to, whatever the message."""
        self._failed_lanes: set[str] = set()
        """Channels in which something failed since they last took a message."""
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

    def held_back_s(self) -> float:
        """How much longer Slack wants nothing in the alert channel, when that is longer than is normal; else 0."""
        pace = self._paces.get(self._channel)
        wait_s = pace.limited_s(self._clock.now()) if pace is not None else 0.0
        return wait_s if wait_s > self._limits.long_pause_s else 0.0

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
            await asyncio.gather(*self._sending.values(), return_exceptions=True)

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
                if lane not in self._lanes and self._has_work(lane, now):
                    self._changed[lane] = asyncio.Event()
                    self._lanes[lane] = asyncio.create_task(self._serve(lane), name=f"deliver {lane or 'alerts'}")
            due_ts = self._queue.next_try_ts(now)
            if self._leave.on():
                due_ts = min(now + _WITHHELD_S, now + _WITHHELD_S if due_ts is None else due_ts)
            if not self._lanes and self._queue.num_pending() == 0:
                self._faults.clear()  # of what is not to be said any more
                self._empty.set()
        except StoreError as error:
            self._tell_store_fault(error)
            return self._limits.store_retry_s
        self._store_fault = None
        return None if due_ts is None else max(0.0, due_ts - now)

    def _has_work(self, lane: str, now: float) -> bool:
        leave = self._leave
        return not leave.on() or not all(leave.withholds(one) for one in self._queue.pending(now, lane=lane))

    async def _serve(self, lane: str) -> None:
        """Nothing is left in the lane that could be sent now."""
        mine: dict[asyncio.Future[None], Urgency] = {}
        try:
            while True:
                self._changed[lane].clear()
                mine = {one: urgency for one, urgency in mine.items() if not one.done()}
                head = await self._readable_head(lane)
                if head is None and not mine and not self._uncommitted:
                    return
                if mine and (head is None or not _overtakes(head, mine)):
                    # Something that failed may be due, and overtake, before what hangs has ended.
                    await self._wait(lane, self._limits.critical_retry_s / 2, mine)
                    continue
                pace = self._pace(lane)
                wait_s = self._limits.store_retry_s
                if head is not None:
                    wait_s = pace.wait_s(self._clock.now(), urgency=head.urgency)
                if head is None or wait_s > 0:
                    # An urgent message that comes meanwhile need not wait as long.
                    await self._wait(lane, wait_s, mine)
                    continue
                pace.spend(self._clock.now())
                # Not cancelled with its lane: what Slack has taken is also committed, or it would be sent twice.
                sending = asyncio.ensure_future(self._deliver(head, pace))
                self._sending[head.key] = sending
                sending.add_done_callback(partial(self._over, head.key))
                mine[sending] = head.urgency
        finally:
            self._lanes.pop(lane, None)
            self._changed.pop(lane, None)
            self._wake.set()

    def _over(self, key: str, sending: asyncio.Future[None]) -> None:
        if self._sending.get(key) is sending:
            del self._sending[key]
        if not sending.cancelled() and (error := sending.exception()) is not None:
            _LOG.error("delivery-bug: %s", key, exc_info=error)

    async def _wait(self, lane: str, timeout_s: float | None, sending: Collection[asyncio.Future[None]]) -> None:
        """Something came into the lane, a message of it has arrived or failed, or the time is over."""
        changed = asyncio.ensure_future(self._changed[lane].wait())
        awaited: set[asyncio.Future[Any]] = {changed, *sending}
        try:
            await asyncio.wait(awaited, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            changed.cancel()

    async def _readable_head(self, lane: str) -> Delivery | None:
        """As :meth:`_head`, once the outbox can be read."""
        while True:
            try:
                return self._head(lane)
            except StoreError as error:
                self._tell_store_fault(error)
            except Exception as error:  # noqa: BLE001 - an edge: logged and told as a fault, and the lane goes on
                _LOG.exception("outbox-bug: lane %s", lane or "alerts")
                self._store_fault = f"the outbox can't be read: {type(error).__name__}: {error}"
            await asyncio.sleep(self._limits.store_retry_s)

    def _head(self, lane: str) -> Delivery | None:
        """What the lane is to send next. What Slack has taken is not sent again because the database can't tell."""
        with self._store_guard():
            self._commit_late()
        limit = len(self._uncommitted) + len(self._sending) + 1 if not self._leave.on() else -1
        for delivery in self._queue.pending(self._clock.now(), lane=lane, limit=limit):
            if delivery.key in self._sending or self._leave.withholds(delivery):
                continue
            sent = self._uncommitted.get(delivery.key)
            if sent is None:
                maybe_ts = self._maybe.get(delivery.key, delivery.maybe_ts)
                return replace(delivery, maybe_ts=maybe_ts)
            if delivery.version > sent.version:
                return replace(delivery, posted_channel=sent.posted.channel, ts=sent.posted.ts)
        return None

    def _pace(self, lane: str) -> Pace:
        channel = lane or self._channel
        if channel not in self._paces:
            self._paces[channel] = Pace(self._limits, self._clock.now())
        return self._paces[channel]

    async def _deliver(self, delivery: Delivery, pace: Pace) -> None:
        critical = delivery.urgency is Urgency.NOW
        self._may_stand(delivery)
        try:
            async with asyncio.timeout(self._limits.critical_timeout_s if critical else self._limits.send_timeout_s):
                reason, posted = await self._sender.send(delivery)
        except RateLimited as error:
            pace.limited(self._clock.now(), error.retry_after_s)
            self._stands_not(delivery)
            self._report(delivery, DeliverReason.RATE_LIMITED, error)
        except MessageGone as error:
            self._gone(delivery, pace, error)
        except ChatRefused as error:
            now, soon = self._clock.now(), critical and not error.content
            pause_s = pace.failed(now, self._chance, critical=soon)
            self._faults[delivery.key] = f"{delivery.lane or self._channel}: {error}"
            if not error.content:
                self._closed_lanes.add(delivery.lane)
            self._stands_not(delivery)
            wait_s = self._refused_s(delivery, now, pause_s) if soon else self._limits.refused_retry_s
            self._fail(delivery, error, wait_s, refused=True)
            self._report(delivery, DeliverReason.REFUSED, error)
        except (ChatError, TimeoutError) as error:
            now = self._clock.now()
            pause_s = pace.failed(now, self._chance, critical=critical)
            wait_s = self._patience.failed(delivery, now, pause_s)
            if getattr(error, "slug", "") == UNKNOWN_ANSWER:
                self._faults[delivery.key] = f"{delivery.lane or self._channel}: {error}"
            self._fail(delivery, error, wait_s, refused=self._patience.own_fault(delivery.key))
            self._report(delivery, DeliverReason.FAILED, error)
        except Exception as error:  # noqa: BLE001 - an edge: logged, told as a fault, and the other messages go on
            _LOG.exception("delivery-bug: %s", delivery.key)
            pace.failed(self._clock.now(), self._chance)
            self._faults[delivery.key] = f"{delivery.key} can't be sent: {type(error).__name__}: {error}"
            self._fail(delivery, error, self._limits.refused_retry_s, refused=True)
        else:
            pace.succeeded()
            self._taken(delivery, posted)
            self._report(delivery, reason)

    def _refused_s(self, delivery: Delivery, now: float, pause_s: float) -> float:
        """When a critical message is tried again whose content is not at fault: before its lane goes on, so that it is
        told first; a channel that stays closed is asked more seldom."""
        wait_s = self._patience.failed(delivery, now, pause_s)
        longest_s = min(self._limits.critical_refused_retry_s, self._limits.refused_retry_s)
        return wait_s if wait_s < pause_s else longest_s

    def _taken(self, delivery: Delivery, posted: Posted) -> None:
        """Committed, and what waited for Slack's return in the lane is due."""
        self._faults.pop(delivery.key, None)
        self._maybe.pop(delivery.key, None)
        self._roots_gone.pop(delivery.thread_key or "", None)
        self._patience.taken(delivery)
        self._commit(delivery.key, _Sent(version=delivery.version, posted=posted))
        with self._store_guard():
            if delivery.lane in self._failed_lanes:
                self._failed_lanes.discard(delivery.lane)
                self._queue.release_failed(delivery.lane, self._patience.alone())
            if delivery.lane in self._closed_lanes:
                # Somebody mended it: what was refused need not wait for its next try.
                self._closed_lanes.discard(delivery.lane)
                self._queue.release_refused(delivery.lane)

    def _may_stand(self, delivery: Delivery) -> None:
        if delivery.ts is None:
            self._maybe.setdefault(delivery.key, delivery.maybe_ts or self._clock.now())
            with self._store_guard():
                self._queue.mark_posting(delivery.key, self._maybe[delivery.key])

    def _stands_not(self, delivery: Delivery) -> None:
        """Slack refused this try; an earlier one of which nobody knows may still have come through."""
        if delivery.maybe_ts is None and self._maybe.pop(delivery.key, None) is not None:
            with self._store_guard():
                self._queue.mark_not_posted(delivery.key)

    def _gone(self, delivery: Delivery, pace: Pace, error: MessageGone) -> None:
        key = delivery.key if delivery.ts is not None else self._root_to_bring_back(delivery)
        if key is None:
            pace.failed(self._clock.now(), self._chance)
            self._fail(delivery, error, self._limits.backoff_max_s)
        else:
            with self._store_guard():
                self._queue.mark_failed(delivery.key, str(error), self._clock.now())
                self._queue.mark_gone(key)
            self._maybe.pop(key, None)
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
        self._failed_lanes.add(delivery.lane)
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


def _overtakes(head: Delivery, sending: Mapping[asyncio.Future[None], Urgency]) -> bool:
    """A critical message waits for no lesser one that hangs."""
    return head.urgency is Urgency.NOW and all(one is not Urgency.NOW for one in sending.values())
