"""Rows of a training that a terminal has broken at its width, put together again: somebody copied them from it.

Two rows that are broken at one place are a terminal's: the second and all others are put together. One that was broken
once may be an accident, unless it has all of its columns and nothing before it was wider, or redrawn.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, NamedTuple

_MOST_PIECES: Final = 6
_CELL: Final = 11
"""Signs of a column. Copying strips blanks, so a piece may lack as many of its end."""
_BEGINS: Final = rb"[ \t]*\d{1,9}/\d{1,9}[ \t]+\d[\d.,]*(?:[G \t]|$)"
_WHOLE: Final = (
    rb"[ \t]*\d{1,9}/\d{1,9}[ \t][ \t\w.+-]*:[ \t]*\d{1,3}%(?:\|[^|]*\|[ \t]*|[^\dA-Za-z|]*)\d{1,9}/\d{1,9}(?:[^\w/]|$)"
)
"""As far as its counter and one byte behind it."""
_GOES_ON: Final = rb"[\s\d.+\-:%|/\x80-\xffGnaifNAIFe#<\[,]*"
"""What stands between the beginning of a row and its counter."""
_ROW: Final = rb"[ \t]+all[ \t]+[\dnai][\d.+\-nafie \t]*"
_NUMBERS: Final = rb"[\d.+\-nafie \t]*[\dnf][ \t]*"


class Piece(NamedTuple):
    """A line and its number."""

    line: bytes
    number: int


class WrappedRows:
    """Feed it every line that nothing redraws. ``is_row``: whether a line has all columns of a row."""

    def __init__(self, is_row: Callable[[bytes], bool]) -> None:
        self._is_row = is_row
        self._widest = 0
        """So many signs of a line stood unbroken."""
        self.redraws = False
        """Whether a line of the log was redrawn, so that nobody has copied it from a terminal."""
        self._held: list[Piece] = []
        self._width = 0
        """Of the terminal, as far as one row has shown it."""
        self.knows_width = False

    def passes(self, line: bytes) -> bool:
        """Whether ``line`` is none of a broken row, at a glance: it has its counter and a rate, as nearly all have."""
        share = line.find(b"%")
        if share < 0 or self._held or line.count(b"/", share) <= 1:
            return False
        self._widest = max(self._widest, share)
        return True

    def wants(self, line: bytes) -> bool:
        """Whether ``line`` may belong to a broken row."""
        return bool(self._held) or self._may_go_on(line)

    def put(self, line: bytes, number: int) -> tuple[list[Piece], bool]:
        """What is to be read now, before ``line`` unless that was taken, too."""
        if not self._held:
            if self._may_go_on(line):
                self._held.append(Piece(line, number))
                return [], True
            return [], False
        if self._is_completed_by(line):
            held, self._held = self._held, []
            width = max(_cells(piece.line) for piece in held)
            self._learn(width)
            if self.knows_width:
                return [self._as_one([*held, Piece(line, number)])], True
            if width <= self._widest or self.redraws:
                return held, False
            whole = self._once_broken([*held, Piece(line, number)])
            return ([whole], True) if whole else (held, False)
        if len(self._held) < _MOST_PIECES and self._goes_on(line):
            self._held.append(Piece(line, number))
            return [], True
        held = self.rest()
        more, taken = self.put(line, number)
        return [*held, *more], taken

    def rest(self) -> list[Piece]:
        """What no line has finished; nothing is held afterwards."""
        held, self._held = self._held, []
        return [self._as_one(held)] if held and re.match(_ROW, held[0].line) else held

    def _may_go_on(self, line: bytes) -> bool:
        if re.match(_BEGINS, line):
            found = re.match(_WHOLE, line)
            return found is None or found.end() == len(line)  # the counter itself may be cut
        return self.knows_width and re.fullmatch(_ROW, line) is not None and self._fills(line)

    def _is_completed_by(self, line: bytes) -> bool:
        first = self._held[0].line
        if re.match(_ROW, first):
            return re.fullmatch(_NUMBERS, line) is not None and not self._fills(line)
        if re.match(_BEGINS, line) or (self.knows_width and not self._fills(first)):
            return False
        whole = self._as_one([*self._held, Piece(line, 0)]).line
        found = re.match(_WHOLE, whole)
        cut = _cells(line) > _cells(first) - _CELL
        return found is not None and (found.end() < len(whole) or not cut)

    def _goes_on(self, line: bytes) -> bool:
        if re.match(_ROW, self._held[0].line):
            return re.fullmatch(_NUMBERS, line) is not None
        return bool(line) and not re.match(_BEGINS, line) and re.fullmatch(_GOES_ON, line) is not None

    def _as_one(self, pieces: list[Piece]) -> Piece:
        *broken, last = pieces
        width = self._width if self.knows_width else 0
        whole = b"".join(piece.line + b" " * max(0, width - _cells(piece.line)) for piece in broken) + last.line
        return Piece(whole, pieces[0].number)

    def _once_broken(self, pieces: list[Piece]) -> Piece | None:
        """``pieces`` as a row, if they are one; copying may have stripped the blank between two columns."""
        joined = (between.join(piece.line for piece in pieces) for between in (b"", b" "))
        return next((Piece(line, pieces[0].number) for line in joined if self._is_row(line)), None)

    def _fills(self, line: bytes) -> bool:
        return 0 <= self._width - _cells(line) < _CELL

    def _learn(self, width: int) -> None:
        if self.knows_width:
            return
        self.knows_width = abs(width - self._width) < _CELL
        self._width = max(width, self._width) if self.knows_width else width


def is_wrapped(sample: bytes) -> bool:
    """Whether a terminal has broken rows of ``sample``, a part of a log."""
    if not any(map(_may_be_broken, sample.split(b"\n"))):  # nearly all logs; no pattern is even compiled
        return False
    rows = WrappedRows(lambda _: False)
    for number, line in enumerate(sample.split(b"\n")):
        if b"\r" not in line.rstrip(b"\r"):
            rows.put(line.rstrip(b"\r"), number)
    return rows.knows_width


def _may_be_broken(line: bytes) -> bool:
    return b"G " in line and (b"/" not in line.partition(b"%")[2] or line.rstrip()[-1:].isdigit())


def _cells(line: bytes) -> int:
    return len(line.decode("utf-8", "replace"))
