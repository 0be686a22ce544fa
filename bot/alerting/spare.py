"""Two bots over the same runs that tell the same channel: the one that only watches leaves the telling to the other.

It takes in what the other one told, so that nothing is lost or said twice when it takes over.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from trainmaster.bot.alerting.limits import DeliveryLimits
from trainmaster.bot.alerting.sending import SearchableChat
from trainmaster.bot.alerting.stores import DeliveryQueue
from trainmaster.bot.core.alerts.delivery import Delivery
from trainmaster.bot.errors import ChatError, StoreError
from trainmaster.bot.ports import Clock, Posted, Runs

_LOG = logging.getLogger(__name__)

PATIENCE_S: Final = 120.0
"""What the other one has not told for so long (Slack may be out of its reach, though its lease is not) is told here."""
_LOOK_AFTER_S: Final = 5.0
"""A message is looked for this long after it was put here: the other one needs a moment, too."""
_LOOK_EVERY_S: Final = 20.0
"""Slack takes about 50 such questions a minute."""
_EDIT_S: Final = 60.0
"""An edit is left to the other one for good after this; until then a bot that takes over makes it."""
_TICK_S: Final = 1.0
_OWN_ANSWER: Final = "#details"
"""Ends the key of what a person asked this very bot for."""


class SharedRuns:
    """The runs below ``root``, which another bot over the same RUNS_DIR sees, too; each has troubles of its own."""

    def __init__(self, runs: Runs, root: Path, steady: Callable[[], float] = time.monotonic) -> None:
        self._runs = runs
        self._root = root
        self._steady = steady
        self._known: tuple[float, tuple[str, ...]] | None = None
        """The beginnings of their keys, asked for every message that waits: since when they are known."""

    def tells(self, key: str) -> bool:
        """Whether the other one tells what has that key, too."""
        return not key.endswith(_OWN_ANSWER) and key.startswith(self._beginnings())

    def _beginnings(self) -> tuple[str, ...]:
        now_s = self._steady()
        if self._known is None or now_s - self._known[0] >= _TICK_S:
            runs = (f"{view.run}/" for view in self._runs.all() if view.directory.is_relative_to(self._root))
            self._known = now_s, ("digest/", *runs)
        return self._known[1]


class Spare:
    """``silent``: whether the other one tells this channel now; ``shared``: whether it tells what has that key, too."""

    def __init__(
        self,
        queue: DeliveryQueue,
        chat: SearchableChat,
        *,
        channel: str,
        clock: Clock,
        silent: Callable[[], bool],
        shared: Callable[[str], bool],
        limits: DeliveryLimits,
    ) -> None:
        self._queue = queue
        self._chat = chat
        self._channel = channel
        self._clock = clock
        self._silent = silent
        self._shared = shared
        self._limits = limits
        self._waits: dict[str, tuple[int, float]] = {}
        """By key, which version waits here, and since when."""
        self._looked_ts: dict[str, float] = {}

    def on(self) -> bool:
        """Whether the other one speaks in this channel for both, now."""
        return self._silent()

    def withholds(self, delivery: Delivery) -> bool:
        """Whether the message is left to the other one, which has not had its time to tell it yet."""
        if not self._silent() or not self._shared(delivery.key):
            return False
        return delivery.ts is not None or self._clock.now() - self._since_ts(delivery) < PATIENCE_S

    def _since_ts(self, delivery: Delivery) -> float:
        """Of an edit, since it is to read so; what nobody was told yet waits no longer for being edited."""
        version = delivery.version if delivery.ts is not None else 0
        known = self._waits.get(delivery.key)
        if known is None or known[0] != version:
            known = self._waits[delivery.key] = version, self._clock.now()
        return known[1]

    async def run(self) -> None:
        """What the other one told is known here, for as long as this runs."""
        while True:
            try:
                await self._look()
            except StoreError as error:
                _LOG.warning("spare: %s", error)
            await asyncio.sleep(_TICK_S)

    async def _look(self) -> None:
        if not self._silent():
            self._waits.clear()
            self._looked_ts.clear()
            return
        for delivery in self._queue.pending(self._clock.now()):
            if not self.withholds(delivery):
                continue
            if delivery.ts is not None:
                self._leave(delivery)
                continue
            if delivery.maybe_ts is None:  # whoever tells it after this looks first whether it stands there
                self._queue.mark_posting(delivery.key, self._clock.now())
            await self._find(delivery)

    def _leave(self, delivery: Delivery) -> None:
        if self._clock.now() - self._since_ts(delivery) >= _EDIT_S:
            self._take_in(delivery, str(delivery.posted_channel), str(delivery.ts))

    async def _find(self, delivery: Delivery) -> None:
        now, since_ts = self._clock.now(), self._since_ts(delivery)
        looked_ts = self._looked_ts.get(delivery.key)
        if now - since_ts < _LOOK_AFTER_S or (looked_ts is not None and 0 <= now - looked_ts < _LOOK_EVERY_S):
            return
        self._looked_ts[delivery.key] = now
        try:
            async with asyncio.timeout(self._limits.send_timeout_s / 2):
                found = await self._chat.find(
                    delivery.thread_channel or delivery.lane or self._channel,
                    delivery.key,
                    thread_ts=delivery.thread_ts,
                    since_ts=since_ts - self._limits.clocks_differ_s,
                )
        except (ChatError, TimeoutError) as error:
            _LOG.info("spare: %s can't be looked for now (%s)", delivery.key, error)
            return
        if found is not None and self._silent():
            self._take_in(delivery, found.channel, found.ts)

    def _take_in(self, delivery: Delivery, channel: str, ts: str) -> None:
        self._queue.mark_sent(delivery.key, delivery.version, Posted(channel=channel, ts=ts))
        self._waits.pop(delivery.key, None)
        self._looked_ts.pop(delivery.key, None)
        _LOG.info("%s version %d: told by the other bot", delivery.key, delivery.version)
