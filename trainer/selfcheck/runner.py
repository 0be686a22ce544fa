"""Runs the parts, each in a process of its own, so that a lost device or a killed child ends one part only.

Loads no torch: it must be able to report what a broken torch does.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import psutil

from trainmaster.trainer.selfcheck.disks import PLACES_VARIABLE, exported, own_folder
from trainmaster.trainer.selfcheck.report import BROKEN_OFF, Row, Status, last_words


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """``timeout_s``: a part that takes longer is ended and has failed. ``of_one``: it looks at one trainer, so it runs
    on the first of several devices; what Ultralytics launches for several has no model to look at."""

    name: str
    title: str
    timeout_s: float
    of_one: bool = False


PARTS: Final = (
    Part(name="engine", title="Ultralytics", timeout_s=60),
    Part(name="surroundings", title="This machine", timeout_s=60),
    Part(name="traces", title="A bad batch leaves no trace", timeout_s=90, of_one=True),
    Part(name="half", title="Mixed precision", timeout_s=90, of_one=True),
    Part(name="resume", title="Killed, and resumed", timeout_s=120, of_one=True),
    Part(name="ranks", title="Several devices", timeout_s=120),
    Part(name="steps", title="What the guard costs", timeout_s=150, of_one=True),
)
"""In order; the longest last, so that a fault shows early."""
_BELOW: Final = {
    "YOLO_CONFIG_DIR": "yolo",
    "MPLCONFIGDIR": "matplotlib",
    "TMPDIR": "tmp",
    "XDG_CACHE_HOME": "cache",
    "TORCHINDUCTOR_CACHE_DIR": "inductor",
}
_ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_LOOK_S: Final = 0.1
"""So soon a signal is heard."""
_STRAY_ROUNDS: Final = 5
_STRAY_WAIT_S: Final = 1.0
MODULE: Final = "trainmaster.trainer.selfcheck"

Progress = Callable[[str], None]


def run(device: str | None, tell: Progress, parts: tuple[Part, ...] = PARTS) -> list[Row]:
    """Every row of every part; nothing is left on disk, and no process.

    ``device`` as Ultralytics takes it; None lets each part choose what is there. ``tell`` gets a line of progress.

    Raises:
        KeyboardInterrupt: a signal asked for the end, and the part at work was ended.
        NoRoomError: there is no room for its own files.
    """
    with _noted_signals() as stop:
        folder = Path(tempfile.mkdtemp(prefix="trainmaster-selfcheck-", dir=own_folder()))
        try:
            return _run_parts(parts, folder, device, tell, stop)
        finally:
            end_strays(folder)
            shutil.rmtree(folder, ignore_errors=True)


def _run_parts(
    parts: tuple[Part, ...], folder: Path, device: str | None, tell: Progress, stop: threading.Event
) -> list[Row]:
    began = time.monotonic()
    rows: list[Row] = []
    for number, part in enumerate(parts, 1):
        tell(f"[{number}/{len(parts)}] {part.title} ...")
        try:
            found = list(_run_part(part, folder, device, stop))
        except OSError as error:  # its folder could not be made
            told = f"{error.filename or folder}: {error.strerror or error}"
            found = [Row(part=part.title, name=BROKEN_OFF, status=Status.FAILED, value=told)]
        if stop.is_set():
            raise KeyboardInterrupt
        rows += found
        bad = sum(row.status is Status.FAILED for row in found)
        spent_s = time.monotonic() - began
        tell(f"[{number}/{len(parts)}] {part.title}: {f'{bad} FAILED' if bad else 'done'}, {spent_s:.0f} s so far")
    return rows


def all_of(device: str | None) -> list[str]:
    """The devices of a list such as ``0,1``, ``cuda:0,1`` or ``[0, 1]``; empty when none is asked for."""
    plain = "".join(sign for sign in (device or "").lower().removeprefix("cuda:") if sign not in "[]() '\"")
    return [one.removeprefix("cuda:") for one in plain.split(",") if one]


def first_of(device: str | None) -> str | None:
    """The first device of a list, or the only one as it was asked for."""
    devices = all_of(device)
    return devices[0] if len(devices) > 1 else device


@contextlib.contextmanager
def _noted_signals() -> Iterator[threading.Event]:
    """Within, each signal that asks for the end sets the event and interrupts nothing: the second one, too, finds
    everything cleaned up. Only the main thread may ask for that; another has signals as they were."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in _ENDING}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def environment(folder: Path) -> dict[str, str]:
    """A child's: everything that libraries like to write goes below ``folder``, and nothing phones home."""
    for name in _BELOW.values():
        (folder / name).mkdir(parents=True, exist_ok=True)
    return {
        **os.environ,
        **{key: str(folder / name) for key, name in _BELOW.items()},
        PLACES_VARIABLE: exported(),
        "YOLO_OFFLINE": "true",
        "PYTHONUNBUFFERED": "1",
        "PYTHONSAFEPATH": "1",
    }


def _run_part(part: Part, folder: Path, device: str | None, stop: threading.Event) -> Iterator[Row]:
    place = folder / part.name
    place.mkdir()
    asked = first_of(device) if part.of_one else device
    command = [sys.executable, "-P", "-m", MODULE, part.name, str(place), asked or ""]
    began = time.monotonic()
    with subprocess.Popen(
        command,
        env=environment(folder),
        cwd=place,
        stdin=subprocess.PIPE,  # nothing is written: its end tells the child that this process is gone
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="backslashreplace",
        start_new_session=True,
    ) as child:
        assert child.stdout is not None
        lines: list[str] = []
        reader = threading.Thread(target=_read, args=(child.stdout, lines), daemon=True)
        reader.start()
        late = False
        try:
            late = not _ended(child, part.timeout_s, stop)
        finally:
            _end_group(child)
            end_strays(folder)
        reader.join(5.0)
    rows = [row for line in list(lines) if (row := Row.parse(line)) is not None]
    yield from rows
    if late:
        yield Row(
            part=part.title,
            name="in time",
            status=Status.FAILED,
            value=f"ended after {time.monotonic() - began:.0f} s",
            limit=f"{part.timeout_s:.0f} s",
            detail=last_words(list(lines)),
            device=rows[-1].device if rows else "",
        )
    elif child.returncode or not rows:
        yield Row(
            part=part.title,
            name=BROKEN_OFF,
            status=Status.FAILED,
            value=f"exit code {child.returncode}",
            detail=last_words(list(lines)),
            device=rows[-1].device if rows else "",
        )


def _ended(child: subprocess.Popen[str], timeout_s: float, stop: threading.Event) -> bool:
    """Whether the child ended by itself, in time and before somebody asked for the end."""
    deadline = time.monotonic() + timeout_s
    while not stop.is_set() and time.monotonic() < deadline:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(_LOOK_S)
            return True
    return False


def _read(stream: IO[str], lines: list[str]) -> None:
    with contextlib.suppress(ValueError):  # closed under it
        lines.extend(line.rstrip("\n") for line in stream)


def _end_group(child: subprocess.Popen[str]) -> None:
    """The child and what it started are gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def end_strays(folder: Path) -> None:
    """No other process is left that got the environment of a part: launchers put theirs into sessions of their own."""
    mark = str(folder / _BELOW["TMPDIR"])
    for _ in range(_STRAY_ROUNDS):
        strays = [process for process in psutil.process_iter() if _has(process, "TMPDIR", mark)]
        for process in strays:
            with contextlib.suppress(psutil.Error):
                process.kill()
        if not strays:
            return
        psutil.wait_procs(strays, timeout=_STRAY_WAIT_S)


def _has(process: psutil.Process, name: str, value: str) -> bool:
    try:
        return process.pid != os.getpid() and process.environ().get(name) == value
    except (psutil.Error, OSError):  # another user's, or gone
        return False
