"""How far numbers above zero lie apart, in factors: what scatters widely by nature has a long tail, and no fault."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise
from typing import Final

MAD_TO_DEVIATION: Final = 1.4826
"""Of a normal distribution."""
SIGMAS: Final = 5.0
"""Standard deviations of the logarithms: chance gets there once in three million."""
_MOST: Final = 700.0
"""Beyond it, an exponential is no number any more."""


def reach_of_chance(values: Iterable[float], *, of_mean: int = 1) -> float:
    """Times their level that one more of ``values`` may be by chance, or the geometric mean of the next ``of_mean``.

    Losses and gradient norms of a classifier that has learned its data lie a hundred times apart: a hard image is no
    spike. The deviation is the robust one from each to the next, which neither a wild value nor a trend moves.
    """
    logs = [math.log(value) for value in values if value > 0]
    steps = sorted(abs(later - earlier) for earlier, later in pairwise(logs))
    sigma = MAD_TO_DEVIATION * steps[len(steps) // 2] / math.sqrt(2) if steps else 0.0
    return math.exp(min(SIGMAS * sigma / math.sqrt(of_mean), _MOST))
