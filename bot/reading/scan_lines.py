"""Numbers of the physical lines of a file, for the few that are asked for."""

from __future__ import annotations

from collections.abc import Iterable
from io import FileIO

_BLOCK_BYTES = 1024 * 1024
_SPARSE = 64
"""Up to so many line feeds a block are found one by one, faster than counting looks at every byte."""


def line_numbers(stream: FileIO, offsets: Iterable[int]) -> dict[int, int]:
    """The number (from 1) of the line that holds each of ``offsets``."""
    numbers: dict[int, int] = {}
    block = bytearray(_BLOCK_BYTES)
    base = length = place = 0
    line = 1
    for offset in sorted(set(offsets)):
        while base + length <= offset:
            line += _count(block, place, length)
            base += length
            stream.seek(base)
            length, place = stream.readinto(block), 0
            if length == 0:
                break
        stop = min(offset - base, length)
        line += _count(block, place, stop)
        place = stop
        numbers[offset] = line
    return numbers


def _count(block: bytearray, start: int, stop: int) -> int:
    for found in range(_SPARSE):
        place = block.find(b"\n", start, stop)
        if place < 0:
            return found
        start = place + 1
    return _SPARSE + block.count(b"\n", start, stop)
