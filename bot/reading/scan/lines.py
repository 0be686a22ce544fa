"""Numbers of the physical lines of a file, for the few that are asked for."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from io import FileIO

_BLOCK_BYTES = 1024 * 1024
_SPARSE = 12
"""Up to so many line feeds a block are found one by one, faster than counting looks at every byte."""
_DENSE_BLOCKS = 48
"""So many blocks of lines of every width are counted in passing (0.4 ms each); then it is cheaper to count only if one
must."""

_FRAME_BYTES = 64
"""Narrower lines are counted one by one."""
_SPELLING = (b"/", b"G", b":", b"%", b'"', b"|", b"=", b"e", b"a")
"""What frames share, whatever their numbers and bars are."""
_SPELLING_BYTES = b"".join(_SPELLING)
_ALIKE = 16
_SHORT_ROWS = 64
"""After so many rows of fewer than :data:`_ALIKE` lines of one width, each is looked for."""


class LineCounter:
    """Numbers lines while the blocks of a file pass by. Where they have many lines, only from the first line on that is
    asked for: most logs have none."""

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}
        self._origin = 0
        """The offset of the line that the others are counted from."""
        self._line = 0
        self._counted_to = 0
        self._sleeps = False
        self._dense_blocks = 0
        self._rows = _Rows()

    @property
    def asked(self) -> bool:
        """Whether a line was asked for."""
        return bool(self._numbers)

    def note(self, block: bytearray, base: int, offset: int) -> None:
        """Number the line that begins at ``offset``, no earlier than any that was asked for before, and goes on to the
        block at ``base`` at least."""
        if self._sleeps:
            self._sleeps = False
            self._origin, self._line, self._counted_to = offset, 0, max(offset, base)
        if self._dense_blocks <= _DENSE_BLOCKS:
            self._advance(block, base, offset)
            self._numbers[offset] = self._line

    def pass_by(self, block: bytearray, base: int, end: int) -> None:
        """The block at ``base`` ends at the place ``end``; the next begins there."""
        if self._sleeps or self._dense_blocks > _DENSE_BLOCKS:
            return
        if self._numbers:
            self._advance(block, base, base + end)
            return
        found = _counted_if_few(block, self._counted_to - base, end)
        self._sleeps = found is None
        self._line += found or 0
        self._counted_to = base + end

    def pass_lines(self, block: bytearray, base: int, place: int, stop: int, lines: int) -> None:
        """From ``place`` of the block to ``stop`` there are so many whole lines."""
        if self._numbers and self._dense_blocks <= _DENSE_BLOCKS:
            self._advance(block, base, base + place)
            self._line += lines
            self._counted_to = base + stop

    def numbers(self, stream: FileIO, offsets: AbstractSet[int]) -> dict[int, int]:
        """The number (from 1) of the line that holds each of ``offsets``: what was not counted in passing is now."""
        if not offsets:
            return {}
        origin = line_numbers(stream, [self._origin])[self._origin] if self._origin else 1
        known = {offset: origin + line for offset, line in self._numbers.items()}
        counted = (0, 1) if self._sleeps else (self._counted_to, origin + self._line)
        return known | line_numbers(stream, offsets - known.keys(), counted=counted)

    def _advance(self, block: bytearray, base: int, offset: int) -> None:
        if offset > self._counted_to:
            found, slow = self._rows.count(block, self._counted_to - base, offset - base)
            self._dense_blocks += slow
            self._line += found
            self._counted_to = offset


def line_numbers(stream: FileIO, offsets: Iterable[int], *, counted: tuple[int, int] = (0, 1)) -> dict[int, int]:
    """The number (from 1) of the line that holds each of ``offsets``. ``counted`` is an offset whose line is known."""
    numbers: dict[int, int] = {}
    wanted = sorted(set(offsets))
    block, rows = bytearray(_BLOCK_BYTES), _Rows()
    base, line = counted if wanted and counted[0] <= wanted[0] else (0, 1)
    length = place = 0
    for offset in wanted:
        while base + length <= offset:
            line += rows.count(block, place, length)[0]
            base += length
            stream.seek(base)
            length, place = stream.readinto(block), 0
            if length == 0:
                break
        stop = min(offset - base, length)
        line += rows.count(block, place, stop)[0]
        place = stop
        numbers[offset] = line
    return numbers


class _Rows:
    """Counts line feeds, several times as fast as ``block.count`` where lines of one width follow each other by the
    thousand."""

    def __init__(self) -> None:
        self._shared: dict[int, tuple[int, ...]] = {}
        """Of lines so wide, the places that the last ones shared: three of :data:`_SPELLING` and perhaps the end."""

    def count(self, block: bytearray, start: int, stop: int) -> tuple[int, bool]:
        """How many line feeds there are, and whether each byte had to be looked at."""
        few = _counted_if_few(block, start, stop)
        if few is not None:
            return few, False
        found = short = 0
        while short < _SHORT_ROWS:
            first = block.find(b"\n", start, stop)
            second = block.find(b"\n", first + 1, stop) if first >= 0 else -1
            if second < 0:
                return found + (first >= 0), False
            alike = self._num_alike(block, first, second, stop)
            short += alike < _ALIKE
            found += alike + 1
            start = second + (alike - 1) * (second - first) + 1
        return found + block.count(b"\n", start, stop), True

    def _num_alike(self, block: bytearray, first: int, second: int, stop: int) -> int:
        """How many lines from the one between two line feeds on are as wide as it, and hide no line feed within them.

        Several short lines can be as wide together as one. They do not share the bytes that the first two lines share.
        """
        width = second - first
        if width < _FRAME_BYTES or block.find(b"\n", second + 1, stop) != second + width:
            return 1
        shared = self._shared.get(width, ())
        if shared and all(block[first + place] in _SPELLING_BYTES for place in shared[:3]):
            alike = _agree(block, first, stop, (width, *shared))
            if alike >= _ALIKE:
                return alike
        shared = _shared_by_two(block, first, second)
        if not shared:
            return 2
        self._shared[width] = shared
        return _agree(block, first, stop, (width, *shared))


def _counted_if_few(block: bytearray, start: int, stop: int) -> int | None:
    """How many line feeds there are; None when they are more than :data:`_SPARSE`."""
    for found in range(_SPARSE):
        place = block.find(b"\n", start, stop)
        if place < 0:
            return found
        start = place + 1
    return None


def _shared_by_two(block: bytearray, first: int, second: int) -> tuple[int, ...]:
    """Places in lines as wide as the one between two line feeds at which it has the same byte as the one behind it."""
    width = second - first
    found = [
        place - first
        for mark in _SPELLING
        for place in (block.find(mark, first + 1, second), block.rfind(mark, first + 1, second))
    ]
    shared = sorted(place for place in found if place > 0 and _is_same(block, first + place, width))
    if not shared:
        return ()
    ends = (width - 1,) if _is_same(block, second - 1, width) else ()
    return shared[0], shared[len(shared) // 2], shared[-1], *ends


def _agree(block: bytearray, first: int, stop: int, places: tuple[int, ...]) -> int:
    """How many lines behind the line feed at ``first``, as wide as the first of ``places`` says, have at each of the
    places the byte that the first line has there."""
    width = places[0]
    alike = (stop - 1 - first) // width
    for place in places:
        picked = block[first + place : first + alike * width + 1 : width]
        byte = picked[:1]
        if picked != byte * len(picked):
            alike = len(picked) - len(picked.lstrip(byte))
    return alike


def _is_same(block: bytearray, place: int, width: int) -> bool:
    return block[place] == block[place + width]
