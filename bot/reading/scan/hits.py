"""Where a search for telling bytes stops in a block, and the patterns of what follows it there, alike and at once."""

from __future__ import annotations

import re
from functools import lru_cache

from trainmaster.bot.reading.scan.runs import NUMBER
from trainmaster.bot.reading.scan.telling import TELLING

_BAR_BYTES = rb"[\d:%|<,./?itsKM \[\]\x80-\xff]*+"
"""What a bar consists of, percentage, glyphs, counter and times. No message can be spelt with it."""
_COUNTER = rb"(?:\|[^|\r\n]*+\| *+|[^\d|A-Za-z\r\n]*+)\d{1,9}/\d{1,9}[^\d\r\n]"
"""A frame that was cut before the end of it does not tell its batch: the one before it does."""


class Hits:
    """The places of telling bytes in a block, in order."""

    def __init__(self, block: bytearray, end: int) -> None:
        self._block = block
        self.end = end
        self._places = [-1] * len(TELLING)

    def next(self, floor: int) -> int:
        """The first at or behind ``floor``; the block's end when there is none."""
        for index, place in enumerate(self._places):
            if place < floor:
                found = self._block.find(TELLING[index], floor, self.end)
                self._places[index] = found if found >= 0 else self.end
        return min(self._places)

    def other(self, floor: int) -> int:
        """As :meth:`next`, for the bytes that no non-finite loss has either."""
        self.next(floor)
        return min(self._places[2:])


@lru_cache(maxsize=32)
def val_bars_pattern(head: bytes) -> re.Pattern[bytes] | None:
    """From the first telling byte of ``head`` on, and as many bars with that head as follow."""
    place = next((place for place, byte in enumerate(head) if byte in TELLING), None)
    if place is None:
        return None
    again = rb"(?:" + _BAR_BYTES + rb"[\r\n](?:\x1b\[K)? *" + re.escape(head) + rb")*+"
    return re.compile(re.escape(head[place:]) + again)


@lru_cache(maxsize=32)
def run_pattern(losses: int, separator: bytes) -> re.Pattern[bytes]:
    """One or more frames alike but for memory, counts and bar: the epoch in group 2, a non-finite loss among them."""
    begin = rb"((?:\x1b\[K)? *(\d+/\d+) )"
    values = rb"(?=[^:\r\n]*[nN])((?: +" + NUMBER + rb"){%d})" % losses
    end = rb" ++\d++ ++\d++: *+\d++%" + _COUNTER + _BAR_BYTES + separator
    memory = rb" *+\d[\d.]*+G"
    return re.compile(begin + memory + values + end + rb"(?:\1" + memory + rb"\3" + end + rb")*+")
