"""One look at the queue for all runs, kept for a moment; asked in a thread of its own, which may hang."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from trainmaster.bot.core.run.job import ControllerSilence
from trainmaster.bot.drivers.slurm.rows import JobRow
from trainmaster.bot.errors import DriverError

MAX_AGE_S: Final = 5.0
"""A controller has better to do than to answer every change of every heartbeat."""
BRISK_AGE_S: Final = 0.5
"""While something that was asked for is awaited."""
BRISK_S: Final = 120.0
"""So long after the last act."""
WAIT_S: Final = 3.0
"""For an answer, 15 ms from a healthy controller; who asks looks at other runs too. A controller whose last answer took
longer, as that of a hundred thousand jobs does, is given twice that, up to :data:`MAX_WAIT_S`."""
MAX_WAIT_S: Final = 8.0
RETRY_S: Final = 2.0
"""Between two questions to a controller that is silent."""
BRIDGE_S: Final = 10.0
"""A queue that was read within this is shown as it was while the next answer is late or lost: on a loaded host one of
many is, and a run is not unknown for a blink."""


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
        self._good: QueueLook | None = None
        """The newest that has no fault."""
        self._silent_since: tuple[float, float] | None = None
        """When the first of the questions was asked that had no answer since, by both clocks; None while the newest
        has one."""
        self._took_s = 0.0
        """The newest answer."""
        self._asking_since_s: float | None = None
        self._brisk_until_s = -float("inf")
        self._not_before_s = -float("inf")
        self._fault = ""

    def hasten(self) -> None:
        """Something was done whose effect is awaited: what was asked before it no longer counts."""
        with self._changed:
            self._not_before_s = self._steady()
            self._brisk_until_s = self._not_before_s + BRISK_S

    def silence(self) -> ControllerSilence | None:
        """None while the controller answers. While it does not, it is asked again every few seconds, and nobody waits
        for that."""
        with self._changed:
            if self._silent_since is None:
                return None
            now_s = self._steady()
            asked_s = self._newest.steady_s if self._newest is not None else -float("inf")
            if self._asking_since_s is None and now_s - asked_s >= RETRY_S:
                self._begin(now_s)
            since_ts, since_s = self._silent_since
            return ControllerSilence(since_ts=since_ts, for_s=now_s - since_s, said=self._fault)

    def look(self) -> QueueLook:
        """The queue as it is, or as it was a moment ago; with ``fault`` when nobody answered. Never raises."""
        with self._changed:
            began_s = self._steady()
            while True:
                now_s = self._steady()
                if self._newest is not None and self._is_fresh(self._newest, began_s, now_s):
                    return self._bridged(self._newest, now_s)
                asked_s = self._begin(now_s) if self._asking_since_s is None else self._asking_since_s
                patience_s = min(asked_s, began_s) + max(self._wait_s, min(2 * self._took_s, MAX_WAIT_S)) - now_s
                if patience_s <= 0 or not self._changed.wait(patience_s):
                    break
            now_s = self._steady()
            self._note_silence(asked_s, f"Slurm's controller has not answered for {now_s - asked_s:.0f} s")
            return self._bridged(QueueLook(ts=time.time(), steady_s=now_s, fault=self._fault), now_s)

    def _is_fresh(self, look: QueueLook, began_s: float, now_s: float) -> bool:
        """What was asked since somebody wants to know is fresh, however long the answer took."""
        max_age_s = BRISK_AGE_S if now_s < self._brisk_until_s else self._max_age_s
        asked_since = look.steady_s >= began_s
        return look.steady_s >= self._not_before_s and (asked_since or now_s - look.steady_s <= max_age_s)

    def _bridged(self, look: QueueLook, now_s: float) -> QueueLook:
        good = self._good
        if not look.fault or good is None or now_s < self._brisk_until_s:  # whoever awaits something must know
            return look
        return good if now_s - good.steady_s <= BRIDGE_S else look

    def _begin(self, now_s: float) -> float:
        self._asking_since_s = now_s
        threading.Thread(target=self._refresh, args=(now_s,), name="squeue", daemon=True).start()
        return now_s

    def _note_silence(self, asked_s: float, fault: str) -> None:
        self._fault = fault
        if self._silent_since is None:
            self._silent_since = (time.time() - (self._steady() - asked_s), asked_s)

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
            if fault:
                self._note_silence(asked_s, fault)
            else:
                self._good = self._newest
                self._took_s = self._steady() - asked_s
                self._silent_since = None
            self._changed.notify_all()
