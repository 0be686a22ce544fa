"""Of which encoding a log in two bytes a character is, told from how it begins, and what is in it all the same."""

from __future__ import annotations

import codecs
import re
from typing import Final

_MARKS: Final = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
"""PowerShell's ``>`` writes one."""
HEAD_BYTES: Final = 256
"""Of a log without a mark, so many are looked at."""
_LEAST_BYTES: Final = 16
_SHARE: Final = 0.7
"""Letters, digits and blanks have a zero beside them; the glyphs of a bar have none."""
_NARROW: Final = re.compile(rb"[\t\r\n\x1b -~]{8,}")
_SURELY_NARROW: Final = 32
"""So many bytes in a row are no characters of two bytes, nor are fewer with a line end of Windows among them."""
_STEP: Final = 16 * 1024
"""Bytes that are looked through at once, so that a log that changes all the time costs little more."""
_ABOVE_BARS: Final = bytes(
    chr(byte) in "\t\r\n\x1b" or (" " <= chr(byte) <= "~" and chr(byte) != "%") for byte in range(256)
)
"""For ``translate``: what the upper byte of a character is in no text of the Latin alphabet, and in no bar."""
_PLAIN: Final = rb"[\t\r\n\x1b A-Za-z0-9:./-]"
"""Of these, unlike of the glyphs of bars, neither byte is the other one of a character that stands eight times."""


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


class WideText:
    """A log in UTF-16 as UTF-8. One that another shell has written on, as ``>>`` of cmd does behind PowerShell's ``>``,
    goes on in one byte a character, and one that was cut within a character begins anew at the next."""

    def __init__(self, encoding: str, head: bytes) -> None:
        big = encoding == "utf-16-be" or head[:2] == codecs.BOM_UTF16_BE
        self._upper = 0 if big else 1
        self._wide = re.compile(rb"(?:\0%b){8,}" % _PLAIN if big else rb"(?:%b\0){8,}" % _PLAIN)
        self._decoder = codecs.getincrementaldecoder("utf-16-be" if big else "utf-16-le")("replace")
        self._is_narrow = False

    def utf8(self, data: bytes) -> bytes:
        """``data``, the next bytes of the log, cut anywhere."""
        return b"".join(self._utf8(data[start : start + _STEP]) for start in range(0, len(data), _STEP))

    def _utf8(self, data: bytes) -> bytes:
        read: list[bytes] = []
        start = 0
        while start < len(data):
            stop = self._changes_at(data, start)
            read.append(data[start:stop] if self._is_narrow else self._decoded(data[start:stop]))
            if stop < len(data):
                self._decoder.reset()
                self._is_narrow = self._wide.match(data, stop) is None
            start = stop
        return b"".join(read)

    def _decoded(self, data: bytes) -> bytes:
        return self._decoder.decode(data).replace("\ufeff", "").encode("utf-8", "replace")

    def _changes_at(self, data: bytes, start: int) -> int:
        if self._is_narrow:
            found = self._wide.search(data, start)
            return found.start() if found else len(data)
        whole = start - len(self._decoder.getstate()[0])
        upper = data[start + (self._upper + start - whole) % 2 :: 2]
        if b"\1\1\1" not in upper.translate(_ABOVE_BARS):  # nearly every log, at a twentieth of the price
            return len(data)
        stop = next((one.start() for one in _NARROW.finditer(data, start) if _is_surely_narrow(one[0])), len(data))
        cut = (one.start() for one in self._wide.finditer(data, start, stop) if (one.start() - whole) % 2)
        return next(cut, stop)


def _is_surely_narrow(found: bytes) -> bool:
    return len(found) >= _SURELY_NARROW or b"\r\n" in found
