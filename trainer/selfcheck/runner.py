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

from trainmaster.trainer.selfcheck.report import Row, Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """``timeout_s``: a part that takes longer is ended and has failed."""

    name: str
    title: str
    timeout_s: float


PARTS: Final = (
    Part(name="surroundings", title="This machine", timeout_s=60),
    Part(name="traces", title="A bad batch leaves no trace", timeout_s=90),
    Part(name="half", title="Mixed precision", timeout_s=90),
    Part(name="resume", title="Killed, and resumed", timeout_s=120),
    Part(name="ranks", title="Several devices", timeout_s=120),
    Part(name="steps", title="What the guard costs", timeout_s=150),
)
"""In order; the longest last, so that a fault shows early."""
LAST_LINES: Final = 6
MODULE: Final = "trainmaster.trainer.selfcheck"

Progress = Callable[[str], None]


def run(device: str | None, tell: Progress, parts: tuple[Part, ...] = PARTS) -> list[Row]:
    """Every row of every part; nothing is left on disk, and no process.

    ``device`` as Ultralytics takes it; None lets each part choose what is there. ``tell`` gets a line of progress.

    Raises:
        KeyboardInterrupt: after the part at work was ended.
        OSError: there is no folder for temporary files.
    """
    folder = Path(tempfile.mkdtemp(prefix="trainmaster-selfcheck-"))
    began = time.monotonic()
    rows: list[Row] = []
    try:
        for number, part in enumerate(parts, 1):
            tell(f"[{number}/{len(parts)}] {part.title} ...")
            found = list(_run_part(part, folder, device))
            rows += found
            bad = sum(row.status is Status.FAILED for row in found)
            spent_s = time.monotonic() - began
            tell(f"[{number}/{len(parts)}] {part.title}: {f'{bad} FAILED' if bad else 'done'}, {spent_s:.0f} s so far")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return rows


def environment(folder: Path) -> dict[str, str]:
    """A child's: everything that libraries like to write goes below ``folder``, and nothing phones home."""
    below = {
        "YOLO_CONFIG_DIR": "yolo",
        "MPLCONFIGDIR": "matplotlib",
        "TMPDIR": "tmp",
        "XDG_CACHE_HOME": "cache",
        "TORCHINDUCTOR_CACHE_DIR": "inductor",
    }
    for name in below.values():
        (folder / name).mkdir(parents=True, exist_ok=True)
    return {
        **os.environ,
        **{key: str(folder / name) for key, name in below.items()},
        "YOLO_OFFLINE": "true",
        "PYTHONUNBUFFERED": "1",
        "PYTHONSAFEPATH": "1",
    }


def _run_part(part: Part, folder: Path, device: str | None) -> Iterator[Row]:
    place = folder / part.name
    place.mkdir()
    command = [sys.executable, "-P", "-m", MODULE, part.name, str(place), device or ""]
    began = time.monotonic()
    with subprocess.Popen(
        command,
        env=environment(folder),
        cwd=place,
        stdin=subprocess.DEVNULL,
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
            child.wait(part.timeout_s)
        except subprocess.TimeoutExpired:
            late = True
        finally:
            _end_group(child)
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
            detail=_last_words(lines),
        )
    elif child.returncode or not rows:
        yield Row(
            part=part.title,
            name="ended in order",
            status=Status.FAILED,
            value=f"exit code {child.returncode}",
            detail=_last_words(lines),
        )


def _read(stream: IO[str], lines: list[str]) -> None:
    with contextlib.suppress(ValueError):  # closed under it
        lines.extend(line.rstrip("\n") for line in stream)


def _last_words(lines: list[str]) -> str:
    said = [line.strip() for line in lines if line.strip() and Row.parse(line) is None]
    return " | ".join(said[-LAST_LINES:])


def _end_group(child: subprocess.Popen[str]) -> None:
    """The child and what it started are gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
