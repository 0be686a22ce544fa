"""Bars, small charts and cut text, for terminals with and without UTF-8. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from typing import Final

from rich.cells import cell_len, set_cell_size

from trainmaster.visible import visible_line

_FEWEST_AROUND: Final = 6
"""Cells beside a mark in the middle; with fewer nothing is told by either end."""
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

    def end(self, text: str, width: int) -> str:
        """The last ``width`` cells of ``text``, with a mark where something is missing before them."""
        if cell_len(text) <= width:
            return text
        room = width - cell_len(self.cut)
        return self.cut[: max(0, width)] if room <= 0 else self.cut + _last_cells(text, room).lstrip()

    def middle(self, text: str, width: int) -> str:
        """``text`` cut to ``width`` cells, with a mark in its middle where something is missing: the ends of names and
        of paths tell more than their middles."""
        if cell_len(text) <= width:
            return text
        room = width - cell_len(self.cut)
        if room < _FEWEST_AROUND:
            return self.fit(text, width)
        tail = _last_cells(text, room // 2)
        return set_cell_size(text, room - cell_len(tail)).rstrip() + self.cut + tail.lstrip()

    def names(self, names: Iterable[str], width: int) -> dict[str, str]:
        """Each of ``names`` in at most ``width`` cells. Names that differ stay different: what they share goes first,
        and where that is not enough they are numbered."""
        wanted = sorted(set(names))
        shown = {name: self.middle(name, width) for name in wanted}
        for alike in _alike(shown):
            shared = _shared(alike[0], alike[-1])
            shown |= {name: self.middle(self.cut + name[max(1, shared - 1) :], width) for name in alike}
        taken = {short for short, count in Counter(shown.values()).items() if count == 1}
        for alike in _alike(shown):
            number = 0
            for name in alike:
                short = shown[name]
                while short in taken:
                    number += 1
                    tail = f"{self.cut}{number}"
                    short = set_cell_size(shown[name], max(0, width - cell_len(tail))).rstrip() + tail
                taken.add(short)
                shown[name] = short
        return shown

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


def _shared(first: str, last: str) -> int:
    """How many letters both begin with; of names in order, the first and the last share what all share."""
    return next((at for at, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), len(first))


def _last_cells(text: str, width: int) -> str:
    at = len(text)
    while at > 0 and cell_len(text[at - 1 :]) <= width:
        at -= 1
    return text[at:]


def _alike(shown: Mapping[str, str]) -> list[list[str]]:
    """The names that are shown as another one is, in groups."""
    groups: dict[str, list[str]] = {}
    for name, short in shown.items():
        groups.setdefault(short, []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def _buckets(values: Sequence[float], width: int) -> list[float]:
    count = len(values)
    if count <= width or width <= 0:
        return list(values[: max(0, width)])
    edges = [index * count // width for index in range(width + 1)]
    return [_mean(values[start:end]) for start, end in pairwise(edges)]


def _mean(values: Sequence[float]) -> float:
    return fmean(values) if all(math.isfinite(value) for value in values) else math.nan
