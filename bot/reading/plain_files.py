"""Opening what a run directory names: a regular file, or nothing.

A pipe would hang the reader, a device may act when it is opened, and ``/proc`` has files that are secrets.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Final

Open = Callable[[Path], int]
"""A descriptor to read from; raises ``OSError`` for what must not be read."""

_KERNEL_MOUNTS: Final = ("/proc", "/sys", "/dev")


class NotPlainError(OSError):
    """No regular file, or one that the bot must not read for the owner of the run."""

    def __init__(self, path: Path, why: str, detail: str = "") -> None:
        super().__init__(errno.EPERM, why + detail, str(path))
        self.why = why


def open_plain(path: Path, owners: frozenset[int] | None = None) -> int:
    """A descriptor of the regular file ``path``; the caller closes it. With ``owners`` only a file of theirs: what
    a stranger's link leads to is not read on the stranger's behalf.

    Raises:
        OSError: it can't be read, or is none; :class:`NotPlainError` says why.
    """
    _require_plain(path, path.stat(), owners)
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        # The file that is open is the one to judge: the name may point elsewhere by now.
        _require_plain(path, os.fstat(descriptor), owners)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def is_of_kernel(status: os.stat_result) -> bool:
    """Whether it lies on one of the kernel's own file systems."""
    return status.st_dev in _kernel_devices()


def _require_plain(path: Path, status: os.stat_result, owners: frozenset[int] | None) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = ", but a directory" if stat.S_ISDIR(status.st_mode) else ""
        raise NotPlainError(path, "is not a regular file", kind)
    if is_of_kernel(status):
        raise NotPlainError(path, "is one of the kernel's own files")
    if owners is not None and status.st_uid not in owners:
        raise NotPlainError(path, f"is owned by uid {status.st_uid}, which is not the run's owner")


@lru_cache(maxsize=1)
def _kernel_devices() -> frozenset[int]:
    found = set()
    for mount in _KERNEL_MOUNTS:
        try:
            found.add(os.stat(mount).st_dev)  # noqa: PTH116 - of the mount, not of a file
        except OSError:
            continue
    with suppress(OSError):  # a container may have no mount of its own there
        found.discard(os.stat("/").st_dev)  # noqa: PTH116
    return frozenset(found)
