"""The process that copies while a run trains: its own, at the lowest priority, and the trainer waits for nothing."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

import psutil

from trainmaster.trainer.contract import MODULE_ARGV, RunLayout, read_json, replace_json
from trainmaster.trainer.copies.copying import Copying
from trainmaster.trainer.copies.place import VARIABLE, CopyError, Folder, NotOursError, below, shown
from trainmaster.trainer.records.run_directory import temporaries_of

LOOK_S: Final = 2.0
"""Between looks at the run's ledger."""
RETRY_S: Final = (10.0, 600.0)
"""First pause after a failure, and the longest: each is twice the one before."""
LINGER_S: Final = 600.0
"""After the trainer's end, at most, for what is not copied yet."""
STALLED_S: Final = 900.0
"""Without a byte, a copy in work counts as stalled: a gigabyte at a megabyte a second takes as long."""
SLOW_S: Final = 2 * 3600.0
"""Behind without a break for this long, the copies don't keep up: states of two hours would be lost with the disk."""


class CopyState(StrEnum):
    """How the copies of a run are doing."""

    CURRENT = "current"
    COPYING = "copying"
    FAILING = "failing"
    NOT_OURS = "not_ours"


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyStatus:
    """``guard/copy.json``, which the trainer reads. ``behind`` files are not there yet."""

    ts: float
    pid: int
    place: str
    state: CopyState
    error: str | None = None
    behind: int = 0
    behind_since_ts: float | None = None
    v: int = 1

    def trouble(self, *, still_s: float, behind_s: float) -> str | None:
        """What a person should know; None when all is well. It has said the same for ``still_s``, and files have
        waited for ``behind_s`` without a break, both by a clock that nobody sets."""
        if self.state in {CopyState.FAILING, CopyState.NOT_OURS}:
            return self.error or "it can't be used"
        if self.state is CopyState.COPYING and still_s > STALLED_S:
            minutes = f"{still_s / 60:.0f} min"
            if not self.behind:
                return f"{self.place} has given no answer for {minutes}"
            return f"{self.place}: not a byte for {minutes}; {self.behind} files are not there yet"
        if self.behind_since_ts is not None and behind_s > SLOW_S:
            hours = behind_s / 3600
            return f"{self.place} is too slow: for {hours:.1f} h files wait to be copied, {self.behind} of them now"
        return None


def status_of(layout: RunLayout) -> CopyStatus | None:
    """As the copying process wrote it; None when there is none that can be read.

    Raises:
        OSError: the run directory can't be read.
    """
    record = read_json(_status_file(layout)) or {}
    known = {name: record[name] for name in CopyStatus.__dataclass_fields__ if name in record}
    try:
        return CopyStatus(**{**known, "state": CopyState(str(record.get("state")))})
    except (TypeError, ValueError):
        return None


def start(layout: RunLayout, place: str, *, keep: int, follow: int | None = None) -> subprocess.Popen[bytes]:
    """A process copies the run while process ``follow`` (this one, by default) lives. It takes milliseconds.

    It leaves the family of this process at once, so that nobody takes it for a worker of a dead trainer.

    Raises:
        OSError: it could not be started.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TRAINMASTER_")}
    words = ("copy", str(layout.root), f"keep={keep}", f"follow={follow or os.getpid()}", "--background")
    return subprocess.Popen(
        [sys.executable, *MODULE_ARGV, *words],
        env={**kept, VARIABLE: place, "CUDA_VISIBLE_DEVICES": ""},  # the address may hold a password, so no argument
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def leave_the_family() -> None:
    """This process is nobody's child any more, and runs when nobody else wants to."""
    if os.fork():
        os._exit(0)
    with contextlib.suppress(OSError, AttributeError, psutil.Error):
        own = psutil.Process()
        own.nice(19)
        own.ionice(psutil.IOPRIO_CLASS_IDLE)
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def follow(
    layout: RunLayout,
    place: str,
    *,
    keep: int,
    pid: int,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.time,
    monotonic: Callable[[], float] = time.monotonic,
) -> None:
    """Until process ``pid`` is over and everything is copied, or :data:`LINGER_S` later. One at a time for a run: while
    another one copies, there is nothing to do here."""
    trainer = _started(pid)
    with _alone(layout) as is_ours:
        if is_ours:
            with contextlib.suppress(OSError):  # of one that was killed
                for left in temporaries_of(_status_file(layout)):
                    left.unlink(missing_ok=True)
            _Following(
                layout=layout,
                place=below(place, layout.name),
                keep=keep,
                trainer=trainer,
                sleep=sleep,
                clock=clock,
                monotonic=monotonic,
            ).run()


@dataclass(slots=True, kw_only=True)
class _Following:
    layout: RunLayout
    place: str
    keep: int
    trainer: psutil.Process | None
    sleep: Callable[[float], None]
    clock: Callable[[], float]
    monotonic: Callable[[], float]
    _copying: Copying | None = None
    _behind: int = 0
    _behind_since: float | None = None
    _said_s: float = float("-inf")

    def run(self) -> None:
        """It looks, copies and tells until there is nothing more to do; see :func:`follow`."""
        pause_s, ended_at, seen = RETRY_S[0], None, None
        while True:
            over = not _lives(self.trainer)
            ended_at = ended_at or (self.monotonic() if over else None)
            stamp = _stamp(self.layout.checkpoints)
            well = True
            if stamp != seen or over:
                well = self._looked()
                seen = stamp if well else None
            if ended_at is not None and (well or self.monotonic() - ended_at > LINGER_S):
                return
            self.sleep(LOOK_S if well else pause_s)
            pause_s = RETRY_S[0] if well else min(2 * pause_s, RETRY_S[1])

    def _looked(self) -> bool:
        self._say(CopyState.COPYING)  # before anything is asked there: it may never answer
        kept, self._copying = self._copying, None  # a mount that came back is another one
        try:
            copying = kept or self._anew()
            copying.look(self._progress)
            self._copying = copying
        except NotOursError as error:
            self._say(CopyState.NOT_OURS, error=str(error))
        except CopyError as error:
            if kept is not None:
                return self._looked()  # its connection is as old as the last look, and may have been cut since
            self._say(CopyState.FAILING, error=str(error))
        except OSError as error:  # of the run's own disk
            self._say(CopyState.FAILING, error=f"{self.layout.root} can't be used: {error.strerror or error}")
        else:
            self._say(CopyState.CURRENT)
            return True
        return False

    def _anew(self) -> Copying:
        folder = Folder(self.place)
        folder.answered = self._heard
        return Copying(self.layout, folder, keep=self.keep)

    def _progress(self, behind: int) -> None:
        self._behind = behind
        self._behind_since = (self._behind_since or self.clock()) if behind else None
        self._heard()

    def _heard(self) -> None:
        """The place gives signs of life, however slow it is."""
        if self.monotonic() - self._said_s > 1.0:
            self._say(CopyState.COPYING, behind=self._behind)

    def _say(self, state: CopyState, *, error: str | None = None, behind: int = 0) -> None:
        self._said_s = self.monotonic()
        status = CopyStatus(
            ts=self.clock(),
            pid=os.getpid(),
            place=shown(self.place),
            state=state,
            error=error,
            behind=behind,
            behind_since_ts=self._behind_since,
        )
        with contextlib.suppress(OSError):  # the run's own disk is full or gone: its trainer says that
            replace_json(_status_file(self.layout), asdict(status))


@contextlib.contextmanager
def _alone(layout: RunLayout) -> Iterator[bool]:
    """Whether this is the only one that copies the run."""
    with _lock_of(layout).open("ab") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        except OSError:  # a file system without locks: two copy the same, which harms nothing
            pass
        yield True


def is_copied_by_somebody(layout: RunLayout) -> bool | None:
    """Whether a process copies the run now, one that gets no answer or can't write how it goes among them; None where
    locks tell nothing."""
    try:
        with _lock_of(layout).open("ab") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    return False


def _status_file(layout: RunLayout) -> Path:
    return layout.guard / "copy.json"


def _lock_of(layout: RunLayout) -> Path:
    return layout.guard / "copy.lock"


def _started(pid: int) -> psutil.Process | None:
    try:
        return psutil.Process(pid)
    except psutil.Error:
        return None


def _lives(process: psutil.Process | None) -> bool:
    try:
        return process is not None and process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size
