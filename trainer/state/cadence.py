"""How often a state is saved within an epoch: often enough that a death costs little, not so often that saving does."""

from __future__ import annotations

import math
from typing import Final

BETWEEN_DEATHS_S: Final = 86_400.0
"""That a training of days runs from one end that saves nothing to the next: docs/ten-bad-days.md has seven in ten."""
LEAST_S: Final = 120.0
"""So that a state which costs nothing isn't written all the time."""
MOST_S: Final = 600.0
"""What a power cut may cost at most, unless a state takes half a minute and more."""
LEAST_TIMES: Final = 20
"""An interval is so many saves long at least: a disk that has become slow must not stop a training."""


class Cadence:
    """``given_s``: what the user wants; None to let the cost of a save decide."""

    def __init__(self, given_s: float | None) -> None:
        self._is_given = given_s is not None
        self.interval_s: float | None = given_s or None
        """Seconds from one state to the next; None where none is wanted."""
        self.saved(0.0)

    def saved(self, pause_s: float) -> None:
        """Training stood for ``pause_s`` seconds while a state was saved, and the next one is so much later.

        The root of twice the cost times the time between deaths loses least on average to both together (J. W. Young, A
        first order approximation to the optimum checkpoint interval, CACM 17, 1974). Between the two bounds saving then
        takes at most a 280th of the time, and never more than a twentieth. A save that failed stood in the way as long.
        """
        if not self._is_given:
            best_s = math.sqrt(2 * max(pause_s, 0.0) * BETWEEN_DEATHS_S)
            self.interval_s = max(LEAST_TIMES * pause_s, min(MOST_S, max(LEAST_S, best_s)))
