"""Whose a run directory is: one trainer at a time, and nothing of an earlier run overwritten."""

from __future__ import annotations

import fcntl
import os
import time
from typing import Final

import psutil

from trainmaster.trainer.arguments import ArgumentsError
from trainmaster.trainer.contract import RunLayout

LOCK_PATIENCE_S: Final = 8.0
"""The data-loader workers of a killed trainer hold its lock until they notice, after 5 s (torch's
MP_STATUS_CHECK_INTERVAL)."""


class RunInUseError(ArgumentsError):
    """Another trainer works in the run directory."""


class RunLock:
    """Held from construction to :meth:`release` or the end of the process.

    Raises:
        RunInUseError: another trainer holds it.
        ArgumentsError: the directory cannot be written.
    """

    def __init__(self, layout: RunLayout, *, patience_s: float = LOCK_PATIENCE_S) -> None:
        self._descriptor: int | None = None
        try:
            layout.guard.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(layout.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise ArgumentsError(
                f"the run directory {layout.root} cannot be written: {error.strerror or error}",
                "make it writable, or give project= another place",
            ) from error
        deadline = time.monotonic() + patience_s
        while not self._taken():
            holder = os.pread(self._descriptor, 32, 0).decode(errors="replace").strip()
            alive = holder.isdigit() and psutil.pid_exists(int(holder))
            if alive or time.monotonic() > deadline:
                self._forget()
                raise RunInUseError(
                    f"another trainer (pid {holder or 'unknown'}) works in {layout.root}",
                    "stop it first, or give this run another name",
                )
            time.sleep(0.2)
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)
        os.register_at_fork(after_in_child=self._forget)

    def release(self) -> None:
        """Another trainer may work in the directory."""
        if self._descriptor is not None:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        self._forget()

    def _taken(self) -> bool:
        assert self._descriptor is not None
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _forget(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def set_aside(layout: RunLayout) -> None:
    """What an earlier guarded run left in the directory is in the archive (``exist_ok=True`` starts another one).

    Raises:
        ArgumentsError: it could not be moved; what was not stays where it was.
    """
    if not layout.run_json.exists():
        return
    try:
        _move_to_archive(layout)
    except OSError as error:
        raise ArgumentsError(
            f"the earlier run in {layout.root} cannot be put aside: {error.strerror or error}",
            "give this run another name",
        ) from error


def _move_to_archive(layout: RunLayout) -> None:
    target = layout.archive / time.strftime("replaced-%Y%m%d-%H%M%S", time.gmtime())
    (target / "guard").mkdir(parents=True)
    for path in layout.guard.iterdir():
        if path != layout.lock:
            path.rename(target / "guard" / path.name)
    for path in (layout.weights, layout.results_csv, layout.root / "args.yaml"):
        if path.exists():
            path.rename(target / path.name)
