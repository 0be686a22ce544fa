"""Whose a run directory is: one trainer at a time, and nothing of an earlier run overwritten."""

from __future__ import annotations

import fcntl
import gc
import os
import re
import socket
import time
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Final

import psutil

from trainmaster.trainer.arguments import ArgumentsError
from trainmaster.trainer.contract import RunLayout, boot_id
from trainmaster.trainer.jobs.environment import RUN_ID_VARIABLE, restarts
from trainmaster.trainer.jobs.ownership import Owner, anything_saved, lock_patience_s, may_follow_another, owner_of

HEARTBEAT_WATCH_S: Final = 5.0
"""A training writes its heartbeat once a second."""


class RunInUseError(ArgumentsError):
    """Another trainer works in the run directory."""


class RunLock:
    """Held from construction to :meth:`release`, or for as long as it is there.

    Raises:
        RunInUseError: another trainer holds it.
        ArgumentsError: the directory cannot be written, or its disk has no locks.
    """

    def __init__(self, layout: RunLayout, *, patience_s: float | None = None) -> None:
        self._descriptor: int | None = None
        patience_s = lock_patience_s(os.environ) if patience_s is None else patience_s
        try:
            layout.guard.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(layout.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise ArgumentsError(
                f"the run directory {layout.root} cannot be written: {error.strerror or error}",
                "make it writable, or give project= another place",
            ) from error
        deadline = time.monotonic() + patience_s
        told = False
        if not self._taken(layout):
            gc.collect()  # a trainer of this process that nobody has any more holds it until then
        while not self._taken(layout):
            holder = os.pread(self._descriptor, 256, 0).decode(errors="replace").strip()
            if (_lives_here(holder) and not may_follow_another(os.environ)) or time.monotonic() > deadline:
                self._forget()
                mine = holder.partition(" ")[0] == str(os.getpid()) and _lives_here(holder)
                raise RunInUseError(
                    f"another trainer ({_shown(holder)}) works in {layout.root}",
                    "it was made in this process: train with it, or delete it"
                    if mine
                    else "stop it first, or give this run another name",
                )
            if not told and may_follow_another(os.environ):
                told = True
                text = f"{layout.root}: the trainer of an earlier start ({_shown(holder)}) holds it still: waiting"
                print(text, flush=True)  # the output of a job is a file, and this may take minutes
            time.sleep(0.2)
        if may_follow_another(os.environ) and _beats(layout):
            self._forget()
            raise RunInUseError(
                f"another trainer works in {layout.root} though its lock is free: locks don't hold on this disk",
                "stop the other one; trainmaster doctor proves whether locks hold between nodes",
            )
        with suppress(OSError):  # no space: the lock holds all the same, and only who holds it is not told
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()} {socket.gethostname()} {boot_id()}\n".encode(), 0)
        forget = weakref.WeakMethod(self._forget)  # what is called at a fork can't be taken back
        os.register_at_fork(after_in_child=lambda: (still := forget()) and still())

    def __del__(self) -> None:
        self._forget()

    def release(self) -> None:
        """Another trainer may work in the directory."""
        if self._descriptor is not None:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        self._forget()

    def _taken(self, layout: RunLayout) -> bool:
        assert self._descriptor is not None
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            self._forget()
            raise ArgumentsError(
                f"{layout.root} can't be locked ({error.strerror or error}), so two trainers could work there",
                "mount its disk such that flock holds (Lustre: -o flock; NFS: its lock service), or take another one",
            ) from error
        return True

    def _forget(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _lives_here(holder: str) -> bool:
    """Whether the process that ``holder`` names lives on this boot of this host; older trainers wrote a pid alone."""
    pid, _, where = holder.partition(" ")
    here = not where or where == f"{socket.gethostname()} {boot_id()}"
    return here and pid.isdecimal() and psutil.pid_exists(int(pid))


def _shown(holder: str) -> str:
    pid, _, where = holder.partition(" ")
    host = where.partition(" ")[0]
    return f"pid {pid or 'unknown'}" + (f" on {host}" if host else "")


def _beats(layout: RunLayout) -> bool:
    """Whether anybody else writes the heartbeat."""
    deadline = time.monotonic() + HEARTBEAT_WATCH_S
    before = _stamp(layout.heartbeat)
    while time.monotonic() < deadline:
        time.sleep(0.5)
        if _stamp(layout.heartbeat) != before:
            return True
    return False


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_mtime_ns


def sweep_unfinished(layout: RunLayout) -> list[Path]:
    """What killed trainers of the run left half-written of its records is gone, and a drill that none of them took up;
    only for who holds its lock. A submission may write ``run.json`` without one, so of that only what is older.

    Raises:
        OSError: it can't be taken away; the rest stays too.
    """
    found = [path for name in _RECORDS for path in temporaries_of(layout.guard / name)]
    for folder in _incident_folders(layout):
        found += temporaries_of(folder / "incident.json")
        found += sorted(folder.glob(".*.partial"))
    found += sorted(layout.root.glob(f".{layout.results_csv.name}.*.partial"))
    found = [path for path in found if not path.name.startswith(".run.json") or _is_old(path)]
    found += [layout.drill] if layout.drill.exists() else []
    for path in found:
        path.unlink(missing_ok=True)
    for folder in _incident_folders(layout):
        with suppress(OSError):  # it holds something, as all do but one that was only just made
            folder.rmdir()
    return found


_RECORDS: Final = ("run.json", "heartbeat.json", "offenders.json", ".environment.json", "data.jsonl.gz")
"""What a trainer alone writes in ``guard/`` under a name of its own first."""
_SUBMISSION_S: Final = 60.0


def temporaries_of(record: Path) -> list[Path]:
    """Files beside ``record`` by whose names it is written; an editor's own (``.run.json.swp``) is none of them."""
    beside = sorted(record.parent.glob(f".{record.name}.*"))
    return [path for path in beside if re.fullmatch(r"[a-z0-9_]{8}|\d+", path.name.rpartition(".")[2])]


def _incident_folders(layout: RunLayout) -> list[Path]:
    try:
        return [path for path in layout.incidents.iterdir() if path.name.isdigit()]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _is_old(path: Path) -> bool:
    try:
        return abs(time.time() - path.stat().st_mtime) > _SUBMISSION_S
    except FileNotFoundError:
        return False


def set_aside(layout: RunLayout) -> None:
    """What an earlier guarded run left in the directory is in the archive (``exist_ok=True`` starts another one).

    Raises:
        ArgumentsError: it could not be moved; what was not stays where it was.
    """
    if not layout.run_json.exists():
        return
    if os.environ.get(RUN_ID_VARIABLE) or restarts(os.environ):
        may_be_ours = owner_of(layout, os.environ) in {Owner.OURS, Owner.UNREADABLE}
        if may_be_ours and not anything_saved(layout):
            return  # the same run begins again
        if may_be_ours:
            raise ArgumentsError(
                f"this job has trained in {layout.root} before it was queued again, and would start at epoch 1",
                "resume=True in your script once a checkpoint is there; or trainmaster train, which goes on by itself",
            )
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
