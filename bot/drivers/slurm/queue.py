"""One look at the queue for all runs, kept for a moment; asked in a thread of its own, which may hang."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from trainmaster.bot.drivers.slurm.rows import JobRow
from trainmaster.bot.errors import DriverError

MAX_AGE_S: Final = 5.0
"""A controller has better to do than to answer every change of every heartbeat."""
BRISK_AGE_S: Final = 0.5
"""While something that was asked for is awaited."""
BRISK_S: Final = 120.0
"""So long after the last act."""
WAIT_S: Final = 3.0
"""For an answer, 15 ms from a healthy controller; who asks looks at other runs too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueLook:
    """What the queue held at ``ts``, or why that is not known. ``steady_s`` is when it was asked, by a clock that
    nobody sets; of a fault, when that was known."""

    ts: float
    steady_s: float
    rows: tuple[JobRow, ...] = ()
    fault: str = ""


class JobQueue:
    """Asks at most once in ``max_age_s`` however many runs there are, and never twice at a time."""

    def __init__(
        self,
        ask: Callable[[], tuple[JobRow, ...]],
        *,
        max_age_s: float = MAX_AGE_S,
        wait_s: float = WAIT_S,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = ask
        self._max_age_s = max_age_s
        self._wait_s = wait_s
        self._steady = steady
        self._changed = threading.Condition()
        self._newest: QueueLook | None = None
        self._asking_since_s: float | None = None
        self._brisk_until_s = -float("inf")
        self._not_before_s = -float("inf")
        self.silent_since_ts: float | None = None
        """Since when no look has succeeded; None while the newest one has."""
        self.fault = ""
        """What the last look that did not succeed has said."""

    def hasten(self) -> None:
        """Something was done whose effect is awaited: what was asked before it no longer counts."""
        with self._changed:
            self._not_before_s = self._steady()
            self._brisk_until_s = self._not_before_s + BRISK_S

    def look(self) -> QueueLook:
        """The queue as it is, or as it was a moment ago; with ``fault`` when nobody answered. Never raises."""
        with self._changed:
            began_s = self._steady()
            while True:
                now_s = self._steady()
                if self._newest is not None and self._is_fresh(self._newest, now_s):
                    return self._newest
                if self._asking_since_s is None:
                    self._asking_since_s = now_s
                    threading.Thread(target=self._refresh, args=(now_s,), name="squeue", daemon=True).start()
                asked_s = self._asking_since_s
                patience_s = min(asked_s, began_s) + self._wait_s - now_s
                if patience_s <= 0 or not self._changed.wait(patience_s):
                    break
            if self.silent_since_ts is None:
                self.silent_since_ts = time.time()
            self.fault = text = f"Slurm's controller has not answered for {self._steady() - asked_s:.0f} s"
            return QueueLook(ts=time.time(), steady_s=self._steady(), fault=text)

    def _is_fresh(self, look: QueueLook, now_s: float) -> bool:
        max_age_s = BRISK_AGE_S if now_s < self._brisk_until_s else self._max_age_s
        return look.steady_s >= self._not_before_s and now_s - look.steady_s <= max_age_s

    def _refresh(self, asked_s: float) -> None:
        rows: tuple[JobRow, ...] = ()
        fault = ""
        try:
            rows = self._ask()
        except DriverError as error:
            fault = error.message
        except Exception as error:  # noqa: BLE001 - the edge of a thread: what it met is told as a fault
            fault = f"{type(error).__name__}: {error}"
        with self._changed:
            self._newest = QueueLook(
                ts=time.time(), steady_s=self._steady() if fault else asked_s, rows=rows, fault=fault
            )
            self._asking_since_s = None
            self.fault = fault
            if not fault:
                self.silent_since_ts = None
            elif self.silent_since_ts is None:
                self.silent_since_ts = self._newest.ts
            self._changed.notify_all()
