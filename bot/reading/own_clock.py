"""Whether the bot's own clock was set, or the host slept, since the look before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

MIN_JUMP_S: Final = 10.0
"""Less is how long a look may take, and no check minds it."""


class OwnClock:
    """``steady`` counts seconds that no setting moves and no sleep of the host counts (``time.monotonic``); None where
    time is made up."""

    def __init__(self, steady: Callable[[], float] | None) -> None:
        self._steady = steady
        self._before: tuple[float, float] | None = None

    def jump_s(self, now: float) -> float:
        """By how much ``now`` is off from what passed since the last call; 0 when it is not."""
        if self._steady is None:
            return 0.0
        steady, before = self._steady(), self._before
        self._before = (now, steady)
        jump_s = 0.0 if before is None else (now - before[0]) - (steady - before[1])
        return jump_s if abs(jump_s) > MIN_JUMP_S else 0.0
