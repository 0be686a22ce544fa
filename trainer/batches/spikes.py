"""Loss spikes, told from the level that the loss has."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import Any, Final

from trainmaster.trainer.batches.scatter import MAD_TO_DEVIATION, reach_of_chance

WINDOW: Final = 256
"""Good losses that are remembered."""
LEAST: Final = 64
"""Of these, before any is a spike."""
DEVIATIONS: Final = 12.0
"""Robust standard deviations."""
RATIO: Final = 4.0
LEVEL_AFTER: Final = 4
"""Spikes in a row that are none but a new level (mosaic was closed, say): the watch starts over."""
RENEWED_EVERY: Final = 16
"""Losses from one reckoning of the limit to the next."""


class SpikeWatch:
    """Loss spikes by median and median absolute deviation of the last good losses, which one wild value cannot move.

    :data:`DEVIATIONS` above the median, and at least :data:`RATIO` times it: a converged loss that hardly varies makes
    a small deviation look large. One that scatters widely may go as far as chance does. Where most batches hold no more
    than a sliver of an object there are two levels: it is the upper one that counts, the median of what comes within
    that ratio of the second largest.
    """

    def __init__(self) -> None:
        self._run = 0
        self._recent: deque[float] = deque(maxlen=WINDOW)
        self._limit = math.inf
        self._age = 0

    def is_spike(self, loss: float) -> bool:
        """Whether ``loss`` is far out of line; only losses that are not are remembered."""
        if not math.isfinite(loss):
            return False
        if loss > self._limit:
            self._run += 1
            if self._run < LEVEL_AFTER:
                return True
            self._recent.clear()
            self._limit = math.inf
        self._run = 0
        self._recent.append(loss)
        self._age += 1
        if len(self._recent) >= LEAST and (self._limit == math.inf or self._age >= RENEWED_EVERY):
            self._limit, self._age = self._new_limit(), 0
        return False

    def _new_limit(self) -> float:
        ordered = sorted(self._recent)
        median = ordered[len(ordered) // 2]
        deviation = sorted(abs(value - median) for value in ordered)[len(ordered) // 2]
        upper = [value for value in ordered if max(value, value * RATIO) >= ordered[-2]]
        return max(
            median + DEVIATIONS * MAD_TO_DEVIATION * deviation,
            median * reach_of_chance(self._recent),
            RATIO * upper[len(upper) // 2],
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
