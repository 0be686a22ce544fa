"""Gradient norms of the steps taken: quantiles for plots, a trend, and a warning before the loss shows anything."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Final

from trainmaster.trainer.batches.scatter import reach_of_chance

WARN_FACTOR: Final = 10.0
"""Times the median of the last 100 steps at which one norm is worth a warning. BLOOM's norm went 0.24, 0.95, 2.4, 16,
145, 960 in five steps before the loss showed it: this fires at 16 at the latest. Norms that scatter by a factor of 1.6
(a log-normal sigma of 0.5) get there once in half a million steps."""
TREND_FACTOR: Final = 4.0
"""Trend worth a warning: growth too slow for ``WARN_FACTOR``, whose median follows it. Scatter of a sigma of 0.5 moves
the mean of five by a factor of 1.25, so this is six times its spread."""
RISES: Final = 3
"""Doublings in a row that are worth a warning, with ``RISE_FACTOR``, however little is known yet."""
RISE_FACTOR: Final = 5.0
"""Times the median that doublings must have led to: noise doubles three times from a low value now and then."""
SEEN_BEFORE: Final = 2
"""Of the last 100 steps with a norm as high: then it is what this run has now and then (batches of which some hold no
object at all have two levels), and nothing that grows."""
WARN_AFTER: Final = 20
"""Steps before medians count: one of less says nothing, and warm-up norms fall fast."""
WARN_INTERVAL: Final = 50
"""Steps between two warnings."""

_SHORT, _LONG, _LATEST = 100, 1000, 5
_LONG_AGE = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class NormSummary:
    """Of some steps; None where there was none."""

    p50: float | None = None
    p99: float | None = None
    largest: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NormWarning:
    """Why a norm is worth a warning."""

    median: float
    factor: float
    """Times the median."""
    trend: float | None


class NormHistory:
    """Norms on the host; knows nothing of tensors."""

    def __init__(self) -> None:
        self._since_summary: list[float] = []
        self._recent: deque[float] = deque(maxlen=_SHORT)
        self._long: deque[float] = deque(maxlen=_LONG)
        self._long_median: float | None = None
        self._long_age = 0
        self._quiet = 0
        self._rises = 0

    def note(self, norm: float) -> NormWarning | None:
        """Remember the norm of a step that was taken; a warning when it is out of line.

        One that is not finite (at level observe, such steps are taken too) is told elsewhere and would blind this.
        """
        if not math.isfinite(norm):
            return None
        median, before = self.median, self._recent[-1] if self._recent else math.inf
        self._rises = self._rises + 1 if norm >= 2 * before > 0 else 0
        self._since_summary.append(norm)
        self._recent.append(norm)
        self._long.append(norm)
        self._age_long_median()
        self._quiet -= 1
        if median is None or self._quiet > 0 or not self._is_out_of_line(norm, median):
            return None
        self._quiet = WARN_INTERVAL
        return NormWarning(median=median, factor=norm / median if median else math.inf, trend=self.trend)

    @property
    def median(self) -> float | None:
        """Of the last 100 steps."""
        return sorted(self._recent)[len(self._recent) // 2] if self._recent else None

    @property
    def trend(self) -> float | None:
        """The geometric mean of the last 5 steps over the median of the last 1,000: 1 when nothing grows."""
        if self._long_median is None or len(self._long) < WARN_AFTER:
            return None
        latest = [norm for norm in list(self._recent)[-_LATEST:] if norm > 0]
        if not latest or self._long_median <= 0:
            return None
        return math.exp(sum(map(math.log, latest)) / len(latest)) / self._long_median

    def summary(self) -> NormSummary:
        """Of the steps since the last call."""
        found, self._since_summary = _summarized(self._since_summary), []
        return found

    def recent(self) -> NormSummary:
        """Of the last 100 steps."""
        return _summarized(list(self._recent))

    def _is_out_of_line(self, norm: float, median: float) -> bool:
        if len(self._recent) <= WARN_AFTER:
            return self._rises >= RISES
        rose = self._rises >= RISES and norm >= RISE_FACTOR * median
        jumped = norm >= WARN_FACTOR * median and self._num_as_high(norm) < SEEN_BEFORE
        if (rose or jumped) and norm > median * reach_of_chance(self._recent):
            return True
        trend = self.trend or 0.0
        return trend >= TREND_FACTOR and trend > reach_of_chance(self._recent, of_mean=_LATEST)

    def _num_as_high(self, norm: float) -> int:
        return sum(one >= norm for one in self._recent) - 1  # itself is among them

    def _age_long_median(self) -> None:
        self._long_age += 1
        if self._long_age >= _LONG_AGE:
            self._long_age = 0
            self._long_median = sorted(self._long)[len(self._long) // 2]


def _summarized(norms: list[float]) -> NormSummary:
    if not norms:
        return NormSummary()
    ordered = sorted(norms)
    return NormSummary(p50=_rank(ordered, 0.5), p99=_rank(ordered, 0.99), largest=ordered[-1])


def _rank(ordered: list[float], share: float) -> float:
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]
