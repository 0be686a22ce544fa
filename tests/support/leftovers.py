"""Ends the processes that a test leaves behind, so that a test which fails or runs out of time spoils no other.

A process is known as a test's by a mark in its environment, which survives a session of its own and a new parent; as a
descendant of the test's process; or by the test's own temporary folder, in which it stands or which its environment
names. Names of programs and command lines play no part. What a fixture of a wider scope starts (a
browser, a training made once) belongs to no single test and ends with its fixture.
"""

from __future__ import annotations

import os
import signal
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Final

import psutil

MARK: Final = "TRAINMASTER_TEST"
WIDE: Final = "wide"
GONE_WITHIN_S: Final = 10.0
"""A killed process that is still there then hangs in the kernel; it is nobody's to wait for."""


@dataclass
class Leftovers:
    """The processes of one test session. ``session`` is the mark of all of its workers."""

    session: str
    worker: str = "main"
    told: list[str] = field(default_factory=list)
    """What was ended, a line each: the test, the process id and its command."""
    _count: int = 0
    _places: list[Path] = field(default_factory=list)
    _before: set[str] = field(default_factory=set)
    """Process ids that no test has to answer for: they were there when it began, or came in :meth:`wide`. One that is
    given anew within a test is found at the end of the session."""

    @contextmanager
    def test(self, name: str) -> Iterator[None]:
        """What is started inside is ended at the end, unless inside :meth:`wide`."""
        self._count += 1
        mark = f"{self.session}:{self.worker}:{self._count}"
        self._before = _pids()
        with _environment(mark):
            yield
        places = [str(place) for place in self._places]
        self._places.clear()
        if new := _pids() - self._before:
            self._end([*_found(new, mark, exact=True, places=places), *self._unmarked_children()], name)

    def claim(self, place: Path) -> None:
        """The folder is the present test's: so is whatever process stands in it."""
        self._places.append(place)

    @contextmanager
    def wide(self) -> Iterator[None]:
        """What is started inside outlives the test."""
        with _environment(f"{self.session}:{self.worker}:{WIDE}"):
            yield
        self._before |= _pids()

    def end_all(self) -> None:
        """No process of any test of the session is left, those of a worker that died included."""
        self._before.clear()
        self._end(_found(_pids(), f"{self.session}:", exact=False), "the session")

    def _unmarked_children(self) -> list[psutil.Process]:
        """Descendants that came since, but not by way of one that is kept."""
        found: list[psutil.Process] = []
        parents = [psutil.Process()]
        while parents:
            try:
                children = parents.pop().children()
            except psutil.NoSuchProcess:
                continue
            new = [child for child in children if str(child.pid) not in self._before]
            found += new
            parents += new
        return found

    def _end(self, processes: list[psutil.Process], name: str) -> None:
        for process in processes:
            try:
                if str(process.pid) in self._before:
                    continue
                command = " ".join(process.cmdline())[:160]
                if process.pid in {os.getpid(), _resource_tracker()} or process.status() == psutil.STATUS_ZOMBIE:
                    continue
                process.send_signal(signal.SIGKILL)
            except psutil.Error:
                continue
            self.told.append(f"{name}: {process.pid} {command}")
        psutil.wait_procs(processes, timeout=GONE_WITHIN_S)


def hear_signals_that_the_parent_ignored() -> None:
    """Children get SIGINT and SIGHUP as from a terminal, even below ``nohup`` or as a background job; this process goes
    on ignoring what it was told to ignore. An ignored signal stays ignored through exec, a handled one does not."""
    for number in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, _deaf)


def new_session() -> str:
    """A mark that no other session has; its workers inherit it."""
    return os.environ.setdefault(MARK, uuid.uuid4().hex)


def _deaf(number: int, frame: object) -> None:
    """Nothing happens."""


@contextmanager
def _environment(mark: str) -> Iterator[None]:
    before = os.environ.get(MARK)
    os.environ[MARK] = mark
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(MARK, None)
        else:
            os.environ[MARK] = before


def _pids() -> set[str]:
    """Of all processes that are there."""
    return {name for name in os.listdir("/proc") if name.isdecimal()}  # noqa: PTH208 - twice a test


def _found(pids: Iterable[str], mark: str, *, exact: bool, places: Sequence[str] = ()) -> list[psutil.Process]:
    """Those with the mark, or with one that starts so, and those in ``places``."""
    wanted = f"{MARK}={mark}".encode()
    inside = [f"{place}/".encode() for place in places]
    found = []
    for folder in map(Path("/proc").joinpath, pids):
        try:
            _await_beginning(folder)
            environment = (folder / "environ").read_bytes().split(b"\0")
            cwd = os.fsencode((folder / "cwd").readlink()) + b"/"
        except OSError:
            continue  # gone, or somebody else's
        marked = wanted in environment if exact else any(entry.startswith(wanted) for entry in environment)
        if marked or any(cwd.startswith(one) or any(one in entry for entry in environment) for one in inside):
            with suppress(psutil.NoSuchProcess):
                found.append(psutil.Process(int(folder.name)))
    return found


def _await_beginning(folder: Path) -> None:
    """The process shows its words and its environment: a moment after whoever started it knows that it has begun.

    Raises:
        OSError: it has ended, or is a thread of the kernel, which never shows any.
    """
    for _ in range(1000):
        if (folder / "cmdline").read_bytes():
            return
        (folder / "exe").readlink()
        time.sleep(0.001)


def _resource_tracker() -> int | None:
    """The one of multiprocessing lives as long as its process, and complains when it is killed."""
    return getattr(resource_tracker._resource_tracker, "_pid", None)
