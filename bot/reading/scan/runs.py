"""Runs of frames that are spelt alike: passed over by looking at one byte in so many, not at each.

A logger that writes a line for every frame, or puts each into a record, or a loss that stays NaN, makes every frame
telling. But such frames follow each other by the thousand with one width, and differ in digits and bar glyphs only: the
bytes of a few places that make a frame a frame, picked with the width as stride, tell how many are alike.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache
from typing import NamedTuple

NUMBER = rb"[-+]?(?:\d+(?:\.\d*)?(?:e[-+]?\d+)?|[nN][aA][nN]|[iI][nN][fF](?:inity|INITY)?)"
_FRAME = (
    rb"(?P<before>.*?[^\d./]|)(?P<epoch>\d+/\d+) +\d[\d.]*(?P<memory>G)(?P<cells>(?: +"
    + NUMBER
    + rb")+): *\d+(?P<share>%)"
    rb"(?P<behind>.*)"
)
_VAL_BAR = rb"(?P<before>.*?)(?P<epoch>Class +Images +[A-Z][^%:]*): *\d+(?P<share>%)(?P<behind>.*)"
_BAR = rb"(?:[\d:|<,./?itsKM \[\]\x80-\xff]++|\\u2[0-9a-f]{3})*+"
"""Counter, glyphs and times, as they are or as JSON escapes them. No message can be spelt with it."""
_COUNTER = rb"(?:\\u2[0-9a-f]{3}|[^\dA-Za-z])*\d{1,9}/\d{1,9}\D"
"""A frame that was cut before the end of it does not tell its batch: the one before it does, and has to be read."""
_DIGITS = b"0123456789."
_OF_BARS = bytes(byte for byte in range(256) if byte >= 0x80 or chr(byte) in "0123456789:|<,./?itsKM []")
_FROM_END = (1, 4, 6)
"""Bytes that are looked at, counted from the end of a frame: behind one that was cut, a message may fill the width."""
_VARIES = rb"\d+"
_ANY_DIGIT = bytes.maketrans(b"0123456789", b"0000000000")
_SHORTEST = 3
"""Fewer frames are read one by one."""


class FrameRun(NamedTuple):
    """Frames of one epoch, or bars of one validation, like one that was read. Made by the thousand."""

    width: int
    """In bytes, with the separator that ends each."""
    separator: bytes
    marks: tuple[tuple[int, bytes], ...]
    """The places in it, and the byte at each, that all of them share."""
    epoch_at: int
    epoch: bytes
    """What names the epoch, with the byte before it; the head of a validation bar."""
    around: tuple[bytes, bytes]
    """What stands before and behind, with other digits."""
    columns: int
    """How many values a frame has; one with more or fewer tells no losses."""
    nonfinite: bool
    finite: tuple[int, ...]
    """Where the last character of each column stands, which is a letter of what is not finite; none if one does."""
    tail: tuple[int, ...]
    """Where bytes of a bar stand near the end."""

    @property
    def shows_losses(self) -> bool:
        """Whether it is of training frames."""
        return self.nonfinite or bool(self.finite)

    def follow(self, block: bytearray, place: int, end: int) -> int:
        """How many from ``place`` on are of this run."""
        width = self.width
        count = (end - place) // width
        if count < _SHORTEST or any(
            not block.startswith(byte, place + offset + (_SHORTEST - 1) * width) for offset, byte in self.marks
        ):
            return 0
        for offset, byte in self.marks:
            picked = block[place + offset : place + count * width : width].translate(_same(byte))
            count = picked.find(1) % (count + 1)
        for offset in self.finite:
            picked = block[place + offset : place + count * width : width].translate(_same(_DIGITS))
            count = picked.find(1) % (count + 1)
        for offset in self.tail:
            picked = block[place + offset : place + count * width : width].translate(_same(_OF_BARS))
            count = picked.find(1) % (count + 1)
        if count < _SHORTEST:
            return 0
        last = place + (count - 1) * width
        # Epochs only grow, so what holds of the first and the last holds of all between.
        same = block.startswith(self.epoch, place + self.epoch_at) and block.startswith(
            self.epoch, last + self.epoch_at
        )
        return count if same else 0

    def goes_on_with(self, piece: bytes, separator: bytes) -> FrameRun | None:
        """The run of another width that ``piece`` begins, if it is one more frame of the same epoch and kind."""
        run = run_of(piece, separator)
        return run if run is not None and run.kind == self.kind else None

    @property
    def kind(self) -> tuple[object, ...]:
        """What frames of one run share whatever their width is."""
        return self.epoch, self.around, self.columns, self.nonfinite, self.separator


@cache
def _same(wanted: bytes) -> bytes:
    """For ``translate``: 0 for each of the ``wanted`` bytes, 1 for any other. A byte is then looked for by ``memchr``,
    five times as fast as ``lstrip`` compares."""
    return bytes(byte not in wanted for byte in range(256))


def run_of(piece: bytes, separator: bytes) -> FrameRun | None:
    """The run that ``piece``, which ``separator`` ends, may begin; None when it is no frame or bar spelt in full, or
    has anything in it that is not of one."""
    if piece.count(b"%") != 1:
        return None
    # All that counts but the epoch is the same whatever the digits are, unless they stand for other letters.
    run = _run_like(piece if b"\\" in piece else piece.translate(_ANY_DIGIT), separator)
    if run is None:
        return None
    return run._replace(epoch=piece[run.epoch_at : run.epoch_at + len(run.epoch)])


@lru_cache(maxsize=512)
def _run_like(piece: bytes, separator: bytes) -> FrameRun | None:
    found = re.fullmatch(_FRAME, piece, re.DOTALL) if b"G " in piece else None
    found = found or (re.fullmatch(_VAL_BAR, piece, re.DOTALL) if b"Class " in piece else None)
    if found is None:
        return None
    bar = re.match(_BAR, found["behind"])
    behind = found["behind"][bar.end() if bar else 0 :]
    is_frame = "memory" in found.groupdict()
    if is_frame and not re.match(_COUNTER, found["behind"]):
        return None
    cells = found["cells"] if is_frame else b""
    marks = [(len(piece), separator), (found.start("share"), b"%")]
    marks.append((found.start("memory"), b"G") if is_frame else (found.start("epoch"), b"C"))
    letter = re.search(rb"[nN]", cells)
    nonfinite = letter is not None
    if letter:
        marks.append((found.start("cells") + letter.start(), letter[0]))
    if behind and not behind[-1:].isdigit():
        marks.append((len(piece) - 1, piece[-1:]))
    before = re.sub(_VARIES, b"0", found["before"].rstrip(b" "))
    start = found.start("epoch") - (1 if found["before"] else 0)
    return FrameRun(
        len(piece) + 1,
        separator,
        tuple(marks),
        start,
        piece[start : found.end("epoch")],
        (before, re.sub(_VARIES, b"0", behind)),
        len(cells.split()),
        nonfinite,
        () if nonfinite else tuple(found.start("cells") + cell.end() - 1 for cell in re.finditer(rb"[^ ]+", cells)),
        () if behind else tuple(len(piece) - place for place in _FROM_END if piece[-place] in _OF_BARS),
    )
