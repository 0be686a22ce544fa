"""Loss spikes, told from the level that the loss has."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import Any

from trainmaster.trainer.batches.scatter import MAD_TO_DEVIATION, reach_of_chance


class SpikeWatch:
    """Loss spikes by median and median absolute deviation of the last good losses, which one wild value cannot move.

    ``factor`` robust standard deviations above the median, and at least ``ratio`` times it: a converged loss that
    hardly varies makes a small deviation look large. One that scatters widely may go as far as chance does. Where most
    batches hold no more than a sliver of an object there are two levels: it is the upper one that counts, the median of
    what comes within ``ratio`` of the second largest.
    After ``level_after`` in a row it is no spike but a new level (mosaic was closed, say), and
    the watch starts over.
    """

    def __init__(
        self, *, window: int = 256, least: int = 64, factor: float = 12.0, ratio: float = 4.0, level_after: int = 4
    ) -> None:
        self._level_after = level_after
        self._run = 0
        self._recent: deque[float] = deque(maxlen=window)
        self._least = least
        self._factor = factor
        self._ratio = ratio
        self._limit = math.inf
        self._age = 0

    def is_spike(self, loss: float) -> bool:
        """Whether ``loss`` is far out of line; only losses that are not are remembered."""
        if not math.isfinite(loss):
            return False
        if loss > self._limit:
            self._run += 1
            if self._run < self._level_after:
                return True
            self._recent.clear()
            self._limit = math.inf
        self._run = 0
        self._recent.append(loss)
        self._age += 1
        if len(self._recent) >= self._least and (self._limit == math.inf or self._age >= 16):
            self._limit, self._age = self._new_limit(), 0
        return False

    def _new_limit(self) -> float:
        ordered = sorted(self._recent)
        median = ordered[len(ordered) // 2]
        deviation = sorted(abs(value - median) for value in ordered)[len(ordered) // 2]
        upper = [value for value in ordered if max(value, value * self._ratio) >= ordered[-2]]
        return max(
            median + self._factor * MAD_TO_DEVIATION * deviation,
            median * reach_of_chance(self._recent),
            self._ratio * upper[len(upper) // 2],
            ordered[-2],
        )

    def as_record(self) -> dict[str, Any]:
        """For a saved state: a run that is resumed judges the next batch as the one that was not."""
        return {"recent": list(self._recent), "limit": self._limit, "run": self._run, "age": self._age}

    def load(self, record: Mapping[str, Any]) -> None:
        """Go on from :meth:`as_record`."""
        self._recent.clear()
        self._recent.extend(float(value) for value in record["recent"])
        self._limit, self._run, self._age = float(record["limit"]), int(record["run"]), int(record["age"])
