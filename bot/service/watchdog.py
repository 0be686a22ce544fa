"""Pings a URL while all is well, so that somebody else notices when this bot no longer does."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

_LOG = logging.getLogger(__name__)

_MAX_PENDING_S = 900.0
"""Slack rate limits delay messages by seconds; a quarter of an hour means that nothing gets out."""
_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What must hold for a ping. ``since_tick_s`` is None when the schedule never ran, ``since_check_s`` (of the run
    that waits the longest) when no run is known, ``oldest_pending_s`` when nothing waits."""

    since_tick_s: float | None
    since_check_s: float | None
    check_limit_s: float
    oldest_pending_s: float | None
    outbox_readable: bool
    socket_alive: bool

    def watching_faults(self) -> tuple[str, ...]:
        """What is wrong with the watching itself, which a new start may mend."""
        limit = f"(limit {self.check_limit_s:g} s)"
        if self.since_tick_s is None:
            return ("the runs were never checked",)
        found = []
        if self.since_tick_s > self.check_limit_s:
            found.append(f"the schedule has not run for {self.since_tick_s:.0f} s {limit}")
        if self.since_check_s is not None and self.since_check_s > self.check_limit_s:
            found.append(f"a run has not been checked for {self.since_check_s:.0f} s {limit}")
        return tuple(found)

    def faults(self) -> tuple[str, ...]:
        """Why there is no ping; empty when all is well."""
        found = list(self.watching_faults())
        if not self.outbox_readable:
            found.append("the database can't be read")
        if self.oldest_pending_s is not None and self.oldest_pending_s > _MAX_PENDING_S:
            found.append(f"a message has waited for {self.oldest_pending_s:.0f} s (limit {_MAX_PENDING_S:g} s)")
        if not self.socket_alive:
            found.append("Slack's socket is silent")
        return tuple(found)


class Watchdog:
    """A dead man's switch (healthchecks.io and its kin): silence raises the alarm there."""

    def __init__(self, url: str | None, health: Callable[[], Health]) -> None:
        self._url = url
        self._health = health

    async def ping(self) -> bool:
        """Whether the URL was pinged: it is set, all is well, and it answered."""
        faults = self._health().faults()
        if not self._url or faults:
            _LOG.warning("watchdog-not-pinged: %s", "; ".join(faults) or "WATCHDOG_URL is not set")
            return False
        import aiohttp  # noqa: PLC0415 - the bot's start is measured, and the first ping comes a minute after it

        try:
            timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
            async with aiohttp.ClientSession(timeout=timeout) as session, session.get(self._url) as answer:
                answer.raise_for_status()
        except (aiohttp.ClientError, TimeoutError) as error:
            _LOG.warning("watchdog-unreachable: %s", error)
            return False
        return True
