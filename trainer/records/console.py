"""The console output is kept in ``guard/train.log`` as well."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

MAX_HELD_CHARACTERS = 1_000_000
"""Of what is printed before the run directory is known."""


class Tee:
    """Passes on to ``stream`` and copies to a file once there is one; holds what comes before. Never fails."""

    def __init__(self, stream: TextIO, copy: Copy) -> None:
        self._stream = stream
        self._copy = copy

    def write(self, text: str) -> int:
        """Both have ``text``, as far as they can: a console on a full disk or a closed pipe must not stop training."""
        self._copy.write(text)
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """The stream has passed on what it holds, if it can."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class Copy:
    """The file end of a tee, shared by standard output and standard error."""

    def __init__(self) -> None:
        self._held = io.StringIO()
        self._file: TextIO | None = None
        self.is_open = False

    def write(self, text: str) -> None:
        """The log has ``text`` too, or will have it."""
        if self._file is None:
            if self._held.tell() < MAX_HELD_CHARACTERS and not self.is_open:
                self._held.write(text)
            return
        with contextlib.suppress(OSError, ValueError):  # a full disk must not stop training
            self._file.write(text)

    def open(self, path: Path) -> None:
        """From now on, and for what was held, ``path`` is the log; nothing when the console already goes there."""
        self.is_open = True
        if _is_standard_output(path):
            return
        with contextlib.suppress(OSError):
            new = not path.exists() or not path.stat().st_size
            self._file = path.open("a", encoding="utf-8", buffering=1, errors="replace")
            if not new:
                stamp = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
                self._file.write(f"\n{'=' * 30} next attempt, {stamp} {'=' * 30}\n")
            self._file.write(self._held.getvalue())
        self._held = io.StringIO()

    def close(self) -> None:
        """The log is whole."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None


_current: Copy | None = None


@contextlib.contextmanager
def copying() -> Iterator[Copy]:
    """Within, standard output and error go through a tee, and so do the loggers that hold on to them."""
    global _current  # noqa: PLW0603 - there is one console
    if _current is not None:
        yield _current
        return
    copy = _current = Copy()
    streams = sys.stdout, sys.stderr
    nowhere = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - a program without a console has no streams
    tees = Tee(sys.stdout or nowhere, copy), Tee(sys.stderr or nowhere, copy)
    sys.stdout, sys.stderr = tees
    moved = _move_loggers(dict(zip(map(id, streams), tees, strict=True)))
    try:
        yield copy
    finally:
        for handler, stream in moved:
            handler.stream = stream
        if sys.stdout is tees[0]:
            sys.stdout = streams[0]
        if sys.stderr is tees[1]:
            sys.stderr = streams[1]
        for stream in filter(None, streams):
            _flush_or_give_up(stream)
        nowhere.close()
        copy.close()
        _current = None


@contextlib.contextmanager
def logged_to(path: Path, *, enabled: bool = True) -> Iterator[None]:
    """Within, ``path`` gets what the console gets."""
    if not enabled:
        yield
        return
    with copying() as copy:
        if not copy.is_open:
            copy.open(path)
        yield


def _move_loggers(tees: dict[int, Tee]) -> list[tuple[Any, Any]]:
    """Handlers of Ultralytics' logger that write to a stream now teed; with the stream they had."""
    moved = []
    for handler in logging.getLogger("ultralytics").handlers:
        stream = getattr(handler, "stream", None)
        if id(stream) in tees:
            handler.stream = tees[id(stream)]  # type: ignore[attr-defined]
            moved.append((handler, stream))
    return moved


def _flush_or_give_up(stream: TextIO) -> None:
    """What ``stream`` still holds is out, or given up: Python would end with exit code 120 over it."""
    try:
        stream.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _is_standard_output(path: Path) -> bool:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        mine, there = os.fstat(1), path.stat()
        return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)
    return False
