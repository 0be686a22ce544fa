"""The state directory: one bot at a time."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from pathlib import Path

from trainmaster.bot.errors import StoreError

_READ_ONLY = frozenset({errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC})


def lock(state_dir: Path) -> int | None:
    """The state directory is ours; the lock ends with the process, however it ends. None when it can't be written and
    holds no lock of an earlier start: watching goes on all the same.

    Raises:
        StoreError: another bot has it, or it is no directory.
    """
    try:
        descriptor = _open(state_dir)
    except OSError as error:
        if error.errno in _READ_ONLY and state_dir.is_dir():
            return None
        raise StoreError(
            "state-dir", f"{state_dir} can't be used: {error.strerror}.", "set STATE_DIR to a writable directory"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(descriptor)
        raise StoreError(
            "already-running",
            f"another Trainmaster (pid {holder}) uses {state_dir}.",
            "stop it first, or give this one a STATE_DIR of its own",
        ) from error
    except OSError as error:
        os.close(descriptor)
        raise StoreError(
            "state-dir",
            f"{state_dir} can't be locked ({error.strerror}), so two bots could act on the same runs.",
            "set STATE_DIR to a directory on a local disk",
        ) from error
    try:
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    except OSError:
        pass  # read-only, or full: the lock holds without its name
    return descriptor


def _open(state_dir: Path) -> int:
    path = state_dir / "lock"
    try:
        state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        _close_to_others(state_dir)
        return descriptor
    except OSError as error:
        if error.errno not in _READ_ONLY or not path.exists():
            raise
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def _close_to_others(state_dir: Path) -> None:
    """Nobody else reads or writes there: it holds what was said, decided and launched. Files of an earlier version, or
    of a person's own making, are closed too; what can't be is left, and ``doctor`` names it."""
    for folder, _, names in os.walk(state_dir):
        for path, mode in ((Path(folder), 0o700), *((Path(folder, name), 0o600) for name in names)):
            with contextlib.suppress(OSError):
                if not path.is_symlink():
                    path.chmod(mode)
