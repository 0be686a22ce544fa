"""Opening what a run directory names: a regular file, or nothing. Loads no torch."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


def opened_plain(path: Path) -> BinaryIO:
    """A stream of the regular file ``path``. A pipe would be waited for without end, and a device may act.

    Raises:
        OSError: it is none, or can't be opened.
    """
    _require_plain(path, path.stat())
    stream = os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY), "rb")
    try:
        _require_plain(path, os.fstat(stream.fileno()))  # the name may lead elsewhere by now
    except BaseException:
        stream.close()
        raise
    return stream


def _require_plain(path: Path, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "is no regular file", str(path))


def written_at(stream: BinaryIO) -> tuple[int, int]:
    """What changes when somebody writes to the open file: its size in bytes, and when it was last written. Another that
    takes its name is nothing to it."""
    status = os.fstat(stream.fileno())
    return status.st_size, status.st_mtime_ns
