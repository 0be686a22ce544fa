"""Bars, small charts and cut text, for terminals with and without UTF-8. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from typing import Final

from rich.cells import cell_len, set_cell_size

from trainmaster.visible import visible_line

_SPIKE_ROOM: Final = 3.0
"""Times the range of the lower 90 % that a chart goes beyond it: one spike of 1e18 must not flatten all the rest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Glyphs:
    """What things are drawn with. ``levels`` go from low to high, ``parts`` from a sliver to almost a full cell."""

    levels: str
    full: str
    parts: str
    empty: str
    nonfinite: str
    dot: str
    cut: str
    encoding: str

    def text(self, foreign: str) -> str:
        """``foreign`` in one line, with what a terminal would obey, hide or could not write shown instead."""
        shown = visible_line(foreign)
        return shown.encode(self.encoding, "backslashreplace").decode(self.encoding)

    def fit(self, text: str, width: int) -> str:
        """``text`` cut to ``width`` cells, with a mark where something is missing."""
        if cell_len(text) <= width:
            return text
        room = width - cell_len(self.cut)
        return self.cut[: max(0, width)] if room <= 0 else set_cell_size(text, room).rstrip() + self.cut

    def padded(self, text: str, width: int) -> str:
        """``text`` in exactly ``width`` cells."""
        return set_cell_size(self.fit(text, width), width)

    def bar(self, share: float, width: int) -> str:
        """``share`` (0 to 1) of ``width`` cells, full only when all is done."""
        share = min(1.0, max(0.0, share)) if math.isfinite(share) else 0.0
        steps = len(self.parts) + 1
        eighths = math.floor(share * width * steps)
        whole, rest = divmod(eighths, steps)
        drawn = self.full * whole + (self.parts[rest - 1] if rest else "")
        return drawn + self.empty * (width - len(drawn))

    def chart(self, values: Sequence[float], width: int) -> str:
        """``values`` in ``width`` cells at most, each the mean of its neighbours where there are more; a cell with a
        value that is not finite has a mark of its own."""
        cells = _buckets(values, width)
        finite = sorted(value for value in cells if math.isfinite(value))
        if not finite:
            return self.nonfinite * len(cells)
        low = finite[0]
        usual = finite[(len(finite) - 1) * 9 // 10]
        high = min(finite[-1], usual + _SPIKE_ROOM * (usual - low)) if usual > low else finite[-1]
        return "".join(self._level(value, low, high) for value in cells)

    def _level(self, value: float, low: float, high: float) -> str:
        if not math.isfinite(value):
            return self.nonfinite
        top = len(self.levels) - 1
        span = high - low
        if not math.isfinite(span):
            return self.levels[top if value > high / 2 else 0]
        share = min(1.0, (value - low) / span) if span > 0 else 0.4
        return self.levels[round(share * top)]


UNICODE: Final = Glyphs(
    levels="▁▂▃▄▅▆▇█", full="█", parts="▏▎▍▌▋▊▉", empty="░", nonfinite="×", dot="·", cut="…", encoding="utf-8"
)
ASCII: Final = Glyphs(
    levels="_.-~=+*#", full="#", parts="", empty=".", nonfinite="!", dot="|", cut="..", encoding="ascii"
)


def glyphs_for(encoding: str | None) -> Glyphs:
    """What a terminal with ``encoding`` can show."""
    known = (encoding or "ascii").lower().replace("-", "").replace("_", "")
    return UNICODE if known in {"utf8", "utf16", "utf32"} else ASCII


def _buckets(values: Sequence[float], width: int) -> list[float]:
    count = len(values)
    if count <= width or width <= 0:
        return list(values[: max(0, width)])
    edges = [index * count // width for index in range(width + 1)]
    return [_mean(values[start:end]) for start, end in pairwise(edges)]


def _mean(values: Sequence[float]) -> float:
    return fmean(values) if all(math.isfinite(value) for value in values) else math.nan
