"""Ends the processes that a test leaves behind, so that a test which fails or runs out of time spoils no other.

A process is known as a test's by a mark in its environment, which survives a session of its own and a new parent, or
as a descendant of the test's process. Names and command lines play no part. What a fixture of a wider scope starts (a
browser, a training made once) belongs to no single test and ends with its fixture.
"""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Callable, Iterator
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

Identity = tuple[int, float]


@dataclass
class Leftovers:
    """The processes of one test session. ``session`` is the mark of all of its workers."""

    session: str
    worker: str = "main"
    told: list[str] = field(default_factory=list)
    """What was ended, a line each: the test, the process id and its command."""
    _count: int = 0
    _kept: set[Identity] = field(default_factory=set)

    @contextmanager
    def test(self, name: str) -> Iterator[None]:
        """What is started inside is ended at the end, unless inside :meth:`wide`."""
        self._count += 1
        mark = f"{self.session}:{self.worker}:{self._count}"
        self._keep_all()
        with _environment(mark):
            yield
        self._end([*_marked(lambda value: value == mark), *self._unmarked_children()], name)

    @contextmanager
    def wide(self) -> Iterator[None]:
        """What is started inside outlives the test."""
        with _environment(f"{self.session}:{self.worker}:{WIDE}"):
            yield
        self._keep_all()

    def end_all(self) -> None:
        """No process of any test of the session is left, those of a worker that died included."""
        self._end(_marked(lambda value: value.startswith(f"{self.session}:")), "the session")

    def _keep_all(self) -> None:
        self._kept = {_identity(child) for child in psutil.Process().children(recursive=True)}

    def _unmarked_children(self) -> list[psutil.Process]:
        """Descendants that came since, but not by way of one that is kept."""
        found: list[psutil.Process] = []
        parents = [psutil.Process()]
        while parents:
            try:
                children = parents.pop().children()
            except psutil.NoSuchProcess:
                continue
            new = [child for child in children if _identity(child) not in self._kept]
            found += new
            parents += new
        return found

    def _end(self, processes: list[psutil.Process], name: str) -> None:
        for process in processes:
            try:
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


def _marked(belongs: Callable[[str], bool]) -> list[psutil.Process]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes()
        except OSError:
            continue  # gone, or somebody else's
        for entry in environment.split(b"\0"):
            name, _, value = entry.partition(b"=")
            if name == MARK.encode() and belongs(value.decode(errors="replace")):
                with suppress(psutil.NoSuchProcess):
                    found.append(psutil.Process(int(folder.name)))
    return found


def _identity(process: psutil.Process) -> Identity:
    return process.pid, process.create_time()


def _resource_tracker() -> int | None:
    """The one of multiprocessing lives as long as its process, and complains when it is killed."""
    return getattr(resource_tracker._resource_tracker, "_pid", None)
