"""What the bot says of its own accord: the daily digest, and that it was away."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta, tzinfo
from typing import Final, Protocol

from trainmaster.bot.core.alerts.digest import compose_absence, compose_digest
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.ports import Clock, Outbox, Transactions

_ALIVE: Final = "alive_ts"
_DAY: Final = "digest_day"
_SENT: Final = "digest_ts"
_LONGEST_S: Final = 7 * 86_400.0
"""A digest looks back at most this far, however long the bot was away."""


class Memory(Protocol):
    """Small values that survive a restart."""

    def get(self, name: str) -> str | None:
        """The value; None when it was never put."""
        ...

    def put(self, name: str, value: str) -> None:
        """The value is ``value``."""
        ...


def last_at_work_ts(memory: Memory) -> float | None:
    """When the bot was last seen at work, to a minute; None when it never was."""
    return _number(memory.get(_ALIVE))


class Notices:
    """Told once each, restarts or not: what is sent and that it was sent commit together."""

    def __init__(
        self,
        *,
        memory: Memory,
        outbox: Outbox,
        transactions: Transactions,
        runs: Callable[[], Sequence[RunView]],
        told_counts: Callable[[float], Mapping[str, tuple[int, int]]],
        clock: Clock,
        digest_at: tuple[int, int] | None,
        away_told_s: float,
        zone: tzinfo | None = None,
    ) -> None:
        """``told_counts`` is by run how many alerts were told since a time, and how many of them were acknowledged.
        ``digest_at`` is hour and minute in ``zone``, the host's own when None; no digest when it is None itself."""
        self._memory = memory
        self._outbox = outbox
        self._transactions = transactions
        self._runs = runs
        self._told_counts = told_counts
        self._clock = clock
        self._digest_at = digest_at
        self._away_told_s = away_told_s
        self._zone = zone

    def returned(self) -> bool:
        """Whether the channel is told that nobody watched for a while. Call it once, when every run was looked at."""
        now = self._clock.now()
        last_ts = last_at_work_ts(self._memory)
        away = last_ts is not None and now - last_ts >= self._away_told_s
        with self._transactions.transaction():
            if away and last_ts is not None:
                self._outbox.put(f"away/{last_ts:.0f}", compose_absence(self._runs(), last_ts, now))
            self._memory.put(_ALIVE, f"{now}")
        return away

    def tick(self) -> bool:
        """The bot is alive now. Whether a digest was due and there was something to tell.

        Raises:
            StoreError: nothing of it was stored; the next tick repeats it.
        """
        now = self._clock.now()
        with self._transactions.transaction():
            self._memory.put(_ALIVE, f"{now}")
            return self._digest(now)

    def _digest(self, now: float) -> bool:
        if self._digest_at is None:
            return False
        local = datetime.fromtimestamp(now, self._zone)
        hour, minute = self._digest_at
        passed = (local.hour, local.minute) >= (hour, minute)
        # The newest day whose digest is due.
        day = f"{(local if passed else local - timedelta(days=1)).date()}"
        known = self._memory.get(_DAY)
        if known is not None and day <= known:
            return False
        since_ts = max(_number(self._memory.get(_SENT)) or now - 86_400.0, now - _LONGEST_S)
        message = compose_digest(self._runs(), self._told_counts(since_ts), since_ts, now) if known else None
        self._memory.put(_DAY, day)
        self._memory.put(_SENT, f"{now}")
        if message is not None:
            self._outbox.put(f"digest/{day}", message)
        return message is not None


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
