"""Lines that a container's log driver or a notebook's host has cut into several records, put together again.

Docker and containerd cut what has no line feed at 16 KiB, in the middle of a frame; a progress bar that is redrawn has
none for hours. journald cuts at 48 KiB.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

MAX_HELD_CHARACTERS: Final = 64 * 1024
_MAX_SOURCES: Final = 16
TAG_BYTES: Final = 80
"""So many of a line hold its tag."""
_CHUNK_BYTES: Final = 16 * 1024
"""Docker cuts a line only there: an unfinished record that is shorter is what a stream held as its process ended."""
ERROR: Final = b"Traceback (most recent call last):"
_TIME: Final = rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z "
_TIME_BYTES: Final = 31
"""``docker logs --timestamps`` has it before each piece."""
_HINTS: Final = ('"stream"', '"stream_name"', '"logtag"', '"partial_', '"_LINE_BREAK"')
_OF_DOCKER: Final = frozenset({"log", "stream", "time"})
_OF_KAGGLE: Final = frozenset({"data", "stream_name", "time"})
_CRI: Final = (
    rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d) (?P<stream>std(?:out|err)) "
    rb"(?:(?P<partial>P)|F)(?::[\w:]*)? "
)
"""What containerd, CRI-O and podman write before each line, with a tag for one that goes on in the next."""


class RecordParts:
    """What the records so far have left unfinished."""

    def __init__(self) -> None:
        self._held: dict[str, str] = {}
        self._ends_lines = False
        """Whether a record of this log has kept its line feed, so that one without it is unfinished."""

    def joined(self, record: str, fields: Any, text: str) -> str:
        """``text`` of a ``record`` with what came before it of the same line, but for what the next one finishes."""
        if not isinstance(fields, dict) or not (self._held or any(hint in record for hint in _HINTS)):
            return text
        source = str(fields.get("stream") or fields.get("stream_name", ""))
        is_last = fields.keys() >= _OF_DOCKER and len(text.encode("utf-8", "replace")) < _CHUNK_BYTES
        text = self._held.pop(source, "") + text
        if self._goes_on(fields, text) and len(text) <= MAX_HELD_CHARACTERS:
            cut = 0 if is_last else max(text.rfind("\r"), text.rfind("\n")) + 1
            if len(self._held) < _MAX_SOURCES:
                self._held[source] = text[cut:]
                text = text[:cut]
        return text

    def rest(self) -> list[str]:
        """What no record has finished; nothing is held afterwards."""
        held, self._held = [text for text in self._held.values() if text], {}
        return held

    def _goes_on(self, fields: Mapping[str, Any], text: str) -> bool:
        if fields.get("logtag") == "P" or fields.get("_LINE_BREAK") == "line-max":
            return True
        if str(fields.get("partial_message", "")).lower() == "true":
            return str(fields.get("partial_last", "")).lower() != "true"
        if not keeps_line_ends(fields):
            return False
        self._ends_lines = self._ends_lines or "\n" in text
        return self._ends_lines and not text.endswith("\n")


def keeps_line_ends(fields: Any) -> bool:
    """Whether a record of these ``fields``, as Docker and Kaggle write them, has its line feed unless its line goes on
    in the next."""
    return isinstance(fields, dict) and (fields.keys() >= _OF_DOCKER or fields.keys() >= _OF_KAGGLE)


def last_cuts(piece: bytes, start: int) -> list[int]:
    """Where in ``piece``, which begins so many bytes behind the beginning of its line, the runtime may have cut that
    line last. Without records, as ``docker logs`` prints it, nothing else tells of errors amid a bar."""
    if not start:  # a bar is redrawn, and a record is not
        return []
    end = start + len(piece)
    stamped = _CHUNK_BYTES + _TIME_BYTES
    cuts = [end - end % chunk - start for chunk in (_CHUNK_BYTES, stamped) if end > chunk]
    return [cut for cut in cuts if 0 < cut < len(piece)]


def names_stream(line: bytes) -> bool:
    """Whether ``line`` begins with the tag that a container's runtime writes, which names one stream of two."""
    return _tag_of(line) is not None


class CutLines:
    """The same for lines of plain text, whose tag stands in front (the container runtime interface of Kubernetes)."""

    def __init__(self) -> None:
        self._held = b""
        self._goes_on = False
        self._unfinished: bytes | None = None
        """The stream of which a line goes on, whatever the other one says meanwhile."""

    def is_broken_by(self, piece: bytes) -> bool:
        """Whether ``piece``, with which a line begins, is of the other stream, amid a line of the process's output."""
        if self._unfinished is None:
            return False
        tag = _tag_of(piece)
        return tag is not None and tag["stream"] != self._unfinished

    def begun(self, piece: bytes) -> bytes:
        """``piece``, with which a line begins, behind what the line before left unfinished."""
        tag = _tag_of(piece)
        self._goes_on = tag is not None and tag["partial"] is not None
        if self.is_broken_by(piece) and not self._goes_on:
            return piece
        held, self._held = self._held, b""
        if tag and (self._goes_on or tag["stream"] == self._unfinished):
            self._unfinished = tag["stream"] if self._goes_on else None
        return held + piece[tag.end() :] if tag and held else piece

    def ended(self, piece: bytes) -> bytes:
        """``piece``, with which a line ends, or nothing if the next line finishes it."""
        if not self._goes_on or len(piece) > MAX_HELD_CHARACTERS:
            return piece
        tag = _tag_of(piece)
        self._held, self._goes_on = piece[tag.end() if tag else 0 :], False
        return b""

    def rest(self) -> bytes:
        """What no line has finished; nothing is held afterwards."""
        held, self._held = self._held, b""
        return held


def whole_piece(block: bytearray, start: int, stop: int, before_block: bytes) -> bytes:
    """The piece of ``block`` between two places, behind what the line before has left unfinished for it; nothing if the
    next line finishes it. ``before_block`` is the line before the block, which begins a line, where it is tagged."""
    piece = bytes(block[start:stop])
    head = block.rfind(b"\n", 0, start) + 1
    tag = _tag_of(bytes(block[head : head + TAG_BYTES])) if is_tagged(block, head) else None
    if tag is None:
        return piece
    if tag["partial"] and block[stop : stop + 1] == b"\n":
        return b""
    if head != start:
        return piece
    earlier = _tag_of(line_before(block, head) if head else before_block)
    if earlier is None or not earlier["partial"] or earlier["stream"] != tag["stream"]:
        return piece
    return earlier.string[earlier.end() :].rpartition(b"\r")[2] + piece[tag.end() :]


def line_before(block: bytearray, head: int) -> bytes:
    """The line of ``block`` that ends before the place ``head``; nothing where none of the runtimes has written it."""
    before = block.rfind(b"\n", 0, max(0, head - 1)) + 1
    return bytes(block[before : head - 1]) if is_tagged(block, before) else b""


def is_tagged(line: bytes | bytearray, start: int) -> bool:
    """Whether a runtime may have written what begins at ``start``: most lines of most logs are told by two bytes."""
    return line[start + 4 : start + 5] == b"-" and line[start + 10 : start + 11] == b"T"


def _tag_of(piece: bytes) -> re.Match[bytes] | None:
    return re.match(_CRI, piece) if is_tagged(piece, 0) else None
