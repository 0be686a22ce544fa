"""The new bytes of a growing file, each read once, over restarts of the reader and accidents of the file."""

from __future__ import annotations

import os
import re
import zlib
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from glob import escape
from pathlib import Path
from typing import Final

from trainmaster.bot.reading.plain_files import NotPlainError, Open, open_plain

HEAD_BYTES = 16 * 1024
"""The first bytes tell a file from another one that got the same inode, or was written anew. Two trainings of one
command begin with some 6 KiB that are the same: arguments and layers, before the first time is told."""
_COPY_BYTES = 8 * 1024
"""Two files whose beginnings have as much in common are of one training, and so are those that show the same rate of
work."""
_RATE: Final = re.compile(rb"\d[KMG]?it/s|\ds/it")
DEFAULT_MAX_BYTES = 8 * 1024 * 1024
"""One look reads no more; the rest comes at the next look."""
MAX_LINE_BYTES = 1024 * 1024
"""Of a longer line only the beginning is kept."""
_HOLE: Final = bytes(4)
"""No text has it in any encoding. A network file system tells of a size before it has the bytes, and shows zeros."""


class TailNote(StrEnum):
    """What a look at the file found."""

    FIRST = "first"
    """Read from the beginning, for the first time."""
    GREW = "grew"
    UNCHANGED = "unchanged"
    MISSING = "missing"
    """Not there, or not yet. Should it come back the same, reading goes on where it was."""
    TRUNCATED = "truncated"
    """Shorter than what was read: read again from the beginning."""
    REPLACED = "replaced"
    """Another file under the same name: read from its beginning."""
    ROTATED = "rotated"
    """Moved aside (``train.log.1``, ``train.log-20260131``): its unread rest; the next look reads the new file."""
    UNREADABLE = "unreadable"
    """No permission, a dead mount, a folder: nothing is lost, the next look tries again."""

    @property
    def restarts(self) -> bool:
        """Whether the bytes do not continue those of the look before."""
        return self in {TailNote.FIRST, TailNote.TRUNCATED, TailNote.REPLACED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """How far a file was read, and which file. ``head_bytes`` of its beginning have the checksum ``head_crc``."""

    device: int
    inode: int
    offset: int
    modified_ns: int
    head_bytes: int
    head_crc: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TailRead:
    """One look. ``more`` is true when ``max_bytes`` left some for the next; ``error`` says why it was unreadable."""

    data: bytes
    cursor: Cursor | None
    note: TailNote
    more: bool = False
    error: str = ""


def read_new(
    path: Path, cursor: Cursor | None, *, max_bytes: int = DEFAULT_MAX_BYTES, open_file: Open = open_plain
) -> TailRead:
    """The bytes of ``path`` behind ``cursor``, at most ``max_bytes``. Never raises; one stat if unchanged."""
    try:
        if cursor is not None and _unchanged(path.stat(), cursor):
            return TailRead(data=b"", cursor=cursor, note=TailNote.UNCHANGED)
        return _read(path, cursor, max_bytes, open_file)
    except (FileNotFoundError, NotADirectoryError):
        return TailRead(data=b"", cursor=cursor, note=TailNote.MISSING)
    except NotPlainError as error:
        return TailRead(data=b"", cursor=cursor, note=TailNote.UNREADABLE, error=error.why)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        return TailRead(data=b"", cursor=cursor, note=TailNote.UNREADABLE, error=str(error))


def _unchanged(status: os.stat_result, cursor: Cursor) -> bool:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns) == (
        cursor.device,
        cursor.inode,
        cursor.offset,
        cursor.modified_ns,
    )


def _read(path: Path, cursor: Cursor | None, max_bytes: int, open_file: Open) -> TailRead:
    descriptor = open_file(path)
    try:
        status = os.fstat(descriptor)
        head = os.pread(descriptor, HEAD_BYTES, 0).partition(_HOLE)[0]
        note = _judge(status, head, cursor)
        if note is TailNote.REPLACED and cursor is not None:
            rest = _rotated_rest(path, cursor, max_bytes, open_file)
            if rest is not None:
                return rest
        offset = 0 if cursor is None or note.restarts else cursor.offset
        data = os.pread(descriptor, min(max_bytes, max(0, status.st_size - offset)), offset)
    finally:
        os.close(descriptor)
    more = offset + len(data) < status.st_size
    if not more and data.endswith(_HOLE):
        data = data.rstrip(b"\0")
    if not data and note is TailNote.GREW:
        note = TailNote.UNCHANGED
    after = Cursor(
        device=status.st_dev,
        inode=status.st_ino,
        offset=offset + len(data),
        modified_ns=status.st_mtime_ns,
        head_bytes=len(head),
        head_crc=zlib.crc32(head),
    )
    return TailRead(data=data, cursor=after, note=note, more=more)


def _judge(status: os.stat_result, head: bytes, cursor: Cursor | None) -> TailNote:
    if cursor is None:
        return TailNote.FIRST
    same_head = zlib.crc32(head[: cursor.head_bytes]) == cursor.head_crc
    if (status.st_dev, status.st_ino) != (cursor.device, cursor.inode):
        is_same = same_head and is_copy(head[: cursor.head_bytes], cursor.offset, status)
        return TailNote.GREW if is_same else TailNote.REPLACED
    if status.st_size < cursor.offset:
        return TailNote.TRUNCATED
    return TailNote.GREW if same_head else TailNote.REPLACED


def is_copy(head: bytes, offset: int, status: os.stat_result) -> bool:
    """Whether another file with the same head is what was read up to ``offset``: an editor, ``rsync``, ``sed -i`` or a
    move to another disk write it anew. A shorter head may be that of every training of one command."""
    return status.st_size >= offset and (len(head) >= _COPY_BYTES or _RATE.search(head) is not None)


def _rotated_rest(path: Path, cursor: Cursor, max_bytes: int, open_file: Open) -> TailRead | None:
    """What was moved aside before it was read, by whichever name; None when there is nothing of it."""
    for aside in path.parent.glob(f"{escape(path.stem)}*"):
        with suppress(OSError):
            status = aside.stat()
            if (status.st_dev, status.st_ino) != (cursor.device, cursor.inode) or status.st_size <= cursor.offset:
                continue
            with os.fdopen(open_file(aside), "rb") as stream:
                if zlib.crc32(stream.read(cursor.head_bytes)) != cursor.head_crc:
                    continue
                stream.seek(cursor.offset)
                data = stream.read(max_bytes)
            after = replace(cursor, offset=cursor.offset + len(data))
            return TailRead(data=data, cursor=after, note=TailNote.ROTATED, more=True)
    return None


class LineReader:
    """Whole lines of a growing file; a last line without its end waits for it. Memory is bounded."""

    def __init__(
        self,
        path: Path,
        cursor: Cursor | None = None,
        *,
        max_bytes: int = DEFAULT_MAX_BYTES,
        open_file: Open = open_plain,
    ) -> None:
        self.path = path
        self._open_file = open_file
        self.last: TailRead = TailRead(data=b"", cursor=cursor, note=TailNote.MISSING)
        """The look behind the lines of the last :meth:`read`, without its bytes."""
        self._max_bytes = max_bytes
        self._cursor = cursor
        self._partial = b""
        self._overlong = False

    @property
    def cursor(self) -> Cursor | None:
        """Persist this: a reader started from it repeats no line and misses none."""
        if self._cursor is None or self._overlong:
            return self._cursor
        return replace(self._cursor, offset=self._cursor.offset - len(self._partial))

    def read(self) -> list[bytes]:
        """The lines completed since the last call, without their ends. Of an overlong line the beginning."""
        look = read_new(self.path, self._cursor, max_bytes=self._max_bytes, open_file=self._open_file)
        self.last, self._cursor = replace(look, data=b""), look.cursor
        if look.note.restarts:
            self._partial, self._overlong = b"", False
        *lines, rest = look.data.split(b"\n")
        complete: list[bytes] = []
        for line in lines:
            complete.append(self._partial if self._overlong else (self._partial + line)[:MAX_LINE_BYTES])
            self._partial, self._overlong = b"", False
        if not self._overlong:
            self._partial += rest
            self._overlong = len(self._partial) > MAX_LINE_BYTES
            self._partial = self._partial[:MAX_LINE_BYTES]
        return complete
