"""Opening what a folder of somebody's names: a regular file, or nothing. Loads no torch."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final

_FLAGS: Final = {
    "rb": os.O_RDONLY,
    "wb": os.O_WRONLY | os.O_CREAT | os.O_TRUNC,
    "ab": os.O_WRONLY | os.O_CREAT | os.O_APPEND,
}


class NoRegularFileError(OSError):
    """A folder, a pipe, a device or a socket stands where a file of bytes belongs."""


def opened_plain(path: Path, mode: str = "rb") -> BinaryIO:
    """As ``path.open(mode)``, of a regular file alone. A pipe would be waited for without end, and a device may act.

    Raises:
        NoRegularFileError: it is none.
        OSError: it can't be opened.
    """
    with suppress(FileNotFoundError):  # what is written may be new
        _require_plain(path, path.stat())
    descriptor = os.open(path, _FLAGS[mode] | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY, 0o666)
    stream: BinaryIO = os.fdopen(descriptor, mode)  # type: ignore[assignment] # of a mode that mypy can't tell
    try:
        _require_plain(path, os.fstat(descriptor))  # the name may lead elsewhere by now
    except BaseException:
        stream.close()
        raise
    return stream


def _require_plain(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise NoRegularFileError(errno.EINVAL, "is no regular file", str(path))


def written_at(stream: BinaryIO) -> tuple[int, int]:
    """What changes when somebody writes to the open file: its size in bytes, and when it was last written. Another that
    takes its name is nothing to it."""
    status = os.fstat(stream.fileno())
    return status.st_size, status.st_mtime_ns
