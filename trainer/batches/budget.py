"""How many bad batches a run puts up with."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SkipLimit:
    """How many bad batches are put up with; see :class:`guard_settings.GuardSettings` for the reasons."""

    streak: int
    count: int
    window: int


class SkipBudget:
    """Counts bad batches and says when it is enough."""

    def __init__(self, limit: SkipLimit) -> None:
        self._limit = limit
        self._positions: deque[int] = deque()
        self._seen = 0
        self._spent = False
        self.streak = 0

    def batch_over(self) -> None:
        """The batch in work is over; it was a good one unless it was spent."""
        self._seen += 1
        if not self._spent:
            self.streak = 0
        self._spent = False

    def spend(self, *, batches_per_epoch: int) -> str | None:
        """One batch is lost; why to give up, or None."""
        self.streak += 1
        self._spent = True
        self._positions.append(self._seen)
        while self._positions and self._positions[0] <= self._seen - self._limit.window:
            self._positions.popleft()
        if self.streak >= self._limit.streak:
            return f"{self.streak} bad batches in a row; the limit is {self._limit.streak}"
        covered = min(self._seen + 1, self._limit.window)
        allowed = max(self._limit.count, 2 * math.ceil(covered / max(batches_per_epoch, 1)))
        if len(self._positions) > allowed:
            return f"{len(self._positions)} bad batches among the last {covered}; the limit is {allowed}"
        return None
