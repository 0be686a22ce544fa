"""Run directories are read by a second process while this one loads its libraries: of a thousand runs that is most of
a start.

The other process is a fork. It hands over each reader as it is after one glance and ends by itself. A reader goes on
from there as after any look of its own, so that what was written meanwhile is found. What never comes, because the
other process hangs, failed or was killed, is read here.
"""

from __future__ import annotations

import contextlib
import copyreg
import gc
import io
import logging
import os
import pickle
import signal
import struct
import tempfile
import threading
import time
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, Final, NamedTuple

from trainmaster.bot.reading.ownership import Ownership
from trainmaster.bot.reading.run_files import RunReader, find_runs

_LOG = logging.getLogger(__name__)

_WORTH_IT: Final = 32
"""Fewer runs are read in less time than their readers take from one process to the other."""
_LIFE_S: Final = 60
"""A mount that gives no answer may let go by then; whoever waits for the first look has given up long before."""
_HEADER: Final = struct.Struct("<IQ")
"""The sizes of a place and of its reader, before both."""
_OWNERSHIP: Final = "ownership"
_OOM_SCORE: Final = Path("/proc/self/oom_score_adj")
_DESCRIPTORS: Final = Path("/proc/self/fd")
_OWN_GROUP: Final = Path("/proc/self/cgroup")
_GROUPS: Final = Path("/sys/fs/cgroup")


class _Other(NamedTuple):
    """The other process, and what it writes to."""

    file: IO[bytes]
    """Without a name; it ends with the last of both processes."""
    descriptor: int
    """Of the process: its number may be another one's by the time that it is over."""
    pid: int


class ReadAhead:
    """The runs of RUNS_DIR (``ownership.root``) are read from the last to the first, from now on. To be made while
    there is one thread. Nothing is read where that gains nothing or can't be had: one processor, no Linux, no room for
    another process."""

    def __init__(self, ownership: Ownership) -> None:
        self._ownership = ownership
        self._other = _fork(ownership)
        self._lock = threading.Lock()
        self._frames: dict[str, tuple[int, int]] = {}
        """Where the reader of a place begins in the file, and how long it is."""
        self._indexed = 0

    def take(self, place: Path) -> RunReader | None:
        """The reader of ``place`` after a glance by the other process; None when it has not come, or was taken."""
        with self._lock:
            if self._other is None:
                return None
            descriptor = self._other.file.fileno()
            try:
                if str(place) not in self._frames:
                    self._index(descriptor)
                start, size = self._frames.pop(str(place), (0, 0))
                body = os.pread(descriptor, size, start)
            except OSError:  # of the disk that the file is on
                return None
        if not body:
            return None
        try:
            reader = _Unpickler(io.BytesIO(body), self._ownership).load()
        except Exception:  # noqa: BLE001 - whatever it is, the run is read again
            _LOG.exception("read-ahead-unreadable: %s; it is read again", place)
            return None
        return reader if isinstance(reader, RunReader) else None

    def close(self) -> None:
        """The other process is ended, and what was not taken is dropped."""
        with self._lock:
            other, self._other = self._other, None
            self._frames.clear()
        if other is None:
            return
        other.file.close()
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(other.descriptor, signal.SIGKILL)
        os.close(other.descriptor)
        with contextlib.suppress(RuntimeError):  # no thread more may begin: what is left of it is an entry in a table
            threading.Thread(target=_reap, args=(other.pid,), name="read-ahead", daemon=True).start()

    def _index(self, descriptor: int) -> None:
        """Whole frames only: one may be half written."""
        size = os.fstat(descriptor).st_size
        while self._indexed + _HEADER.size <= size:
            of_place, of_reader = _HEADER.unpack(os.pread(descriptor, _HEADER.size, self._indexed))
            start = self._indexed + _HEADER.size
            if start + of_place + of_reader > size:
                return
            place = os.fsdecode(os.pread(descriptor, of_place, start))
            self._frames[place] = start + of_place, of_reader
            self._indexed = start + of_place + of_reader


def _fork(ownership: Ownership) -> _Other | None:
    if ownership.root is None or not hasattr(os, "pidfd_open") or _num_processors() < 2:
        return None
    with contextlib.ExitStack() as stack:
        try:
            os.close(os.pidfd_open(os.getpid()))  # without a descriptor, which a kernel may refuse, nobody would end it
            file, here = stack.enter_context(tempfile.TemporaryFile()), os.getpid()
            pid = os.fork()
            if pid == 0:
                _read_and_exit(ownership, ownership.root, file.fileno(), here)
            other = _Other(file, os.pidfd_open(pid), pid)
        except OSError:  # or it is over, and whoever started this process has children reaped unseen
            return None
        stack.pop_all()
    return other


def _num_processors() -> float:
    """That this process may use at once, by the quota of its control group, too, such as a container's ``--cpus``."""
    number = len(os.sched_getaffinity(0))
    try:
        (own,) = (line for line in _OWN_GROUP.read_text().splitlines() if line.startswith("0::"))
        quota, period = (_GROUPS / own.removeprefix("0::").lstrip("/") / "cpu.max").read_text().split()
        return min(number, int(quota) / int(period))
    except (OSError, ValueError, ZeroDivisionError):  # no groups of version 2, or no quota ("max")
        return number


def _read_and_exit(ownership: Ownership, root: Path, descriptor: int, reads_for: int) -> None:
    """The other process, from its first step to its last: nothing of this one's, which is the process ``reads_for``, is
    flushed, closed or told."""
    try:
        _step_aside(descriptor)
        places = find_runs(root)
        if len(places) < _WORTH_IT:
            return
        with open(descriptor, "wb", closefd=False) as stream:
            for place in reversed(places):  # whoever takes begins with the first
                if os.getppid() != reads_for:
                    return
                stream.write(_frame(place, ownership))
                stream.flush()
    finally:
        os._exit(0)


def _frame(place: Path, ownership: Ownership) -> bytes:
    """The reader of ``place`` after a glance, for :meth:`ReadAhead.take`; empty when it can't be handed over."""
    reader, body = RunReader(place, first_seen_ts=0.0, steady=time.monotonic, ownership=ownership), io.BytesIO()
    reader.glance(time.time())
    try:
        _Pickler(body).dump(reader)
    except RecursionError:  # an event may hold lists within lists within lists
        return b""
    name = os.fsencode(place)
    return _HEADER.pack(len(name), body.tell()) + name + body.getbuffer()


def _step_aside(descriptor: int) -> None:
    """Nobody waits for this process by a pipe or a lock that it holds open; of what was open, ``descriptor`` is left.
    Where memory is short it is the first to go."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # it may be ignored from before
    signal.alarm(_LIFE_S)
    gc.disable()
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(nowhere, stream)
    with contextlib.suppress(OSError):
        _OOM_SCORE.write_text("1000")
    with contextlib.suppress(OSError):
        for number in map(int, os.listdir(_DESCRIPTORS)):  # noqa: PTH208 - names, which are numbers
            if number not in {0, 1, 2, descriptor}:
                with contextlib.suppress(OSError):  # that of the list itself is closed by now
                    os.close(number)


def _reap(pid: int) -> None:
    """One that hangs on a dead mount ends when that lets go."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)


def _read_only(values: dict[Any, Any]) -> MappingProxyType[Any, Any]:
    return MappingProxyType(values)


class _Pickler(pickle.Pickler):
    """Each process has whom it trusts for itself."""

    dispatch_table = copyreg.dispatch_table | {MappingProxyType: lambda one: (_read_only, (dict(one),))}

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)

    def persistent_id(self, obj: object) -> str | None:
        """A word for what the reading process has of its own; None for all else."""
        return _OWNERSHIP if isinstance(obj, Ownership) else None


class _Unpickler(pickle.Unpickler):
    """Reads what a fork of this very process wrote into a file without a name."""

    def __init__(self, file: IO[bytes], ownership: Ownership) -> None:
        super().__init__(file)
        self._ownership = ownership

    def persistent_load(self, pid: object) -> Ownership:
        """What this process has of its own by that word."""
        if pid != _OWNERSHIP:
            raise pickle.UnpicklingError(f"no {_OWNERSHIP}: {pid}")
        return self._ownership
