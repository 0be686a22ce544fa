"""Of which encoding a log in two bytes a character is, told from how it begins."""

from __future__ import annotations

import codecs
from typing import Final

_MARKS: Final = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
"""PowerShell's ``>`` writes one."""
HEAD_BYTES: Final = 256
"""Of a log without a mark, so many are looked at."""
_LEAST_BYTES: Final = 16
_SHARE: Final = 0.7
"""Letters, digits and blanks have a zero beside them; the glyphs of a bar have none."""


def utf16_of(head: bytes) -> str | None:
    """The codec's name if ``head`` is in UTF-16, with a byte order mark or without."""
    marked = _MARKS.get(head[:2])
    if marked is not None or b"\0" not in head[:_LEAST_BYTES]:
        return marked
    head = head[: min(len(head), HEAD_BYTES) & ~1]
    evens, odds = head[::2].count(0), head[1::2].count(0)
    needed = _SHARE * len(head) / 2
    if evens == 0 and odds >= needed:
        return "utf-16-le"
    return "utf-16-be" if odds == 0 and evens >= needed else None


def too_short_for_utf16(head: bytes) -> bool:
    """Whether more of a log that begins with ``head`` is needed to tell."""
    return len(head) < 2 or (len(head) < _LEAST_BYTES and b"\0" in head)
