"""Rows of a training that a terminal has broken at its width, put together again: somebody copied them from it.

A row that was broken once may be an accident. Two at one place are a terminal's: the second and all others are put
together.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_MOST_PIECES: Final = 6
_CELL: Final = 11
"""Signs of a column. Copying strips blanks, so a piece may lack as many of its end."""
_BEGINS: Final = re.compile(rb"[ \t]*\d{1,9}/\d{1,9}[ \t]+\d")
_WHOLE: Final = re.compile(
    rb"[ \t]*\d{1,9}/\d{1,9}[ \t][ \t\w.+-]*:[ \t]*\d{1,3}%(?:\|[^|]*\|[ \t]*|[^\dA-Za-z|]*)\d{1,9}/\d{1,9}(?:[^\w/]|$)"
)
"""As far as its counter and one byte behind it."""
_GOES_ON: Final = re.compile(rb"[\s\d.+\-:%|/\x80-\xffGnaifNAIFe#<\[,]*")
"""What stands between the beginning of a row and its counter."""
_ROW: Final = re.compile(rb"[ \t]+all[ \t]+[\dnai][\d.+\-nafie \t]*")
_NUMBERS: Final = re.compile(rb"[\d.+\-nafie \t]*[\dnf][ \t]*")


class Piece(NamedTuple):
    """A line and its number."""

    line: bytes
    number: int


class WrappedRows:
    """Feed it every line that nothing redraws."""

    def __init__(self) -> None:
        self._held: list[Piece] = []
        self._width = 0
        """Of the terminal, as far as one row has shown it."""
        self.knows_width = False

    def put(self, line: bytes, number: int) -> tuple[list[Piece], bool]:
        """What is to be read now, before ``line`` unless that was taken, too."""
        if not self._held:
            if self._may_go_on(line):
                self._held.append(Piece(line, number))
                return [], True
            return [], False
        if self._is_completed_by(line):
            held, self._held = self._held, []
            self._learn(max(_cells(piece.line) for piece in held))
            return ([self._as_one([*held, Piece(line, number)])], True) if self.knows_width else (held, False)
        if len(self._held) < _MOST_PIECES and self._goes_on(line):
            self._held.append(Piece(line, number))
            return [], True
        held = self.rest()
        more, taken = self.put(line, number)
        return [*held, *more], taken

    def rest(self) -> list[Piece]:
        """What no line has finished; nothing is held afterwards."""
        held, self._held = self._held, []
        return [self._as_one(held)] if held and _ROW.match(held[0].line) else held

    def _may_go_on(self, line: bytes) -> bool:
        if _BEGINS.match(line):
            found = _WHOLE.match(line)
            return found is None or found.end() == len(line)  # the counter itself may be cut
        return self.knows_width and _ROW.fullmatch(line) is not None and self._fills(line)

    def _is_completed_by(self, line: bytes) -> bool:
        first = self._held[0].line
        if _ROW.match(first):
            return _NUMBERS.fullmatch(line) is not None and not self._fills(line)
        if _BEGINS.match(line) or (self.knows_width and not self._fills(first)):
            return False
        return _WHOLE.match(self._as_one([*self._held, Piece(line, 0)]).line) is not None

    def _goes_on(self, line: bytes) -> bool:
        if _ROW.match(self._held[0].line):
            return _NUMBERS.fullmatch(line) is not None
        return bool(line) and not _BEGINS.match(line) and _GOES_ON.fullmatch(line) is not None

    def _as_one(self, pieces: list[Piece]) -> Piece:
        *broken, last = pieces
        width = self._width if self.knows_width else 0
        whole = b"".join(piece.line + b" " * max(0, width - _cells(piece.line)) for piece in broken) + last.line
        return Piece(whole, pieces[0].number)

    def _fills(self, line: bytes) -> bool:
        return 0 <= self._width - _cells(line) < _CELL

    def _learn(self, width: int) -> None:
        if self.knows_width:
            return
        self.knows_width = abs(width - self._width) < _CELL
        self._width = max(width, self._width) if self.knows_width else width


def is_wrapped(sample: bytes) -> bool:
    """Whether a terminal has broken rows of ``sample``, a part of a log."""
    rows = WrappedRows()
    for number, line in enumerate(sample.split(b"\n")):
        if b"\r" not in line.rstrip(b"\r"):
            rows.put(line.rstrip(b"\r"), number)
    return rows.knows_width


def _cells(line: bytes) -> int:
    return len(line.decode("utf-8", "replace"))
