"""Time, for tests: one that stands where it was set, and this host's."""

from __future__ import annotations

import time
from dataclasses import dataclass

SOME_DAY_TS = 1_760_000_000.0
"""A Thursday in October 2025, UTC; as good as any."""


@dataclass
class SetClock:
    """It stands where it was set, and moves when told. Serves where a clock is asked and where it is called."""

    ts: float = SOME_DAY_TS

    def now(self) -> float:
        return self.ts

    def __call__(self) -> float:
        return self.ts

    def pass_s(self, seconds: float) -> None:
        self.ts += seconds


class SystemClock:
    """The time of this host, for tests of real processes."""

    def now(self) -> float:
        return time.time()
