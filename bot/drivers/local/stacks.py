"""What a process that makes no progress is doing right now: its stacks, without changing anything in it."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from trainmaster.bot.core.run.facts import ProcessIdentity
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.drivers.local.proc_stat import catches
from trainmaster.bot.errors import DriverError
from trainmaster.trainer.contract import RunLayout

_MAX_LINES: Final = 30
_MAX_OTHER_THREADS: Final = 4
_SITE: Final = re.compile(r'"[^"]*/site-packages/')
_MAX_BYTES: Final = 65_536
_ANSWER_S: Final = 1.0
"""``faulthandler`` writes from within the signal handler, even while Python hangs in C code: at once, or not at all (a
stopped process, one in an uninterruptible read)."""
_POLL_S: Final = 0.02
_PY_SPY_S: Final = 10.0

Signal = Callable[[ProcessIdentity, int], bool]


class Stacks:
    """Takes the stacks of a stalled run once a stall, and remembers them while it lasts."""

    def __init__(self, send: Signal, *, py_spy: str | None = None) -> None:
        self._send = send
        self._py_spy = py_spy if py_spy is not None else shutil.which("py-spy")
        self._taken: dict[str, tuple[float, tuple[str, ...]]] = {}

    def take(self, view: RunView, since_ts: float) -> tuple[str, ...]:
        """The stacks of the run, which stands still since ``since_ts``; empty when they can't be had."""
        known = self._taken.get(view.run)
        if known is not None and known[0] == since_ts:
            return known[1]
        process = view.record.process if view.record else None
        if not isinstance(process, ProcessIdentity) or view.process is None or view.process.over:
            return ()  # what runs on another node shows no stacks here
        if view.watched_only or view.process_fault:
            return ()
        # Taken down before it is tried: what hangs or fails is not tried at every look.
        self._taken[view.run] = (since_ts, ())
        lines = self._by_signal(process, RunLayout(view.directory).stacks)
        if not lines and self._py_spy:
            lines = _by_py_spy(self._py_spy, process.pid)
        self._taken[view.run] = (since_ts, lines)
        return lines

    def _by_signal(self, process: ProcessIdentity, file: Path) -> tuple[str, ...]:
        """SIGUSR1 ends a process that does not handle it: an unguarded one, or a guarded one that is just starting."""
        if not file.exists() or not catches(process.pid, signal.SIGUSR1):
            return ()
        try:
            before = file.stat().st_size
            if not self._send(process, signal.SIGUSR1):
                return ()
        except (DriverError, OSError):
            return ()
        return _appended(file, before)


def _appended(file: Path, before: int) -> tuple[str, ...]:
    """What was written behind ``before``, once it has come to rest."""
    deadline = time.monotonic() + _ANSWER_S
    size = before
    while time.monotonic() < deadline:
        time.sleep(_POLL_S)
        try:
            grown = file.stat().st_size
        except OSError:
            return ()
        if grown == size > before:
            break
        size = grown
    if size <= before:
        return ()
    with file.open("rb") as stream:
        stream.seek(max(before, size - _MAX_BYTES))
        return _telling(stream.read(_MAX_BYTES).decode("utf-8", "replace").splitlines())


def _telling(lines: list[str]) -> tuple[str, ...]:
    """The innermost calls of the main thread, which ``faulthandler`` writes last, and where a few others stand."""
    starts = [index for index, line in enumerate(lines) if line.startswith(("Thread ", "Current thread "))]
    if not starts:
        return tuple(lines[:_MAX_LINES])
    main = [line for line in lines[starts[-1] :] if line.strip()][: _MAX_LINES - 2 * _MAX_OTHER_THREADS]
    others = [line for start in starts[:-1][:_MAX_OTHER_THREADS] for line in lines[start : start + 2]]
    return tuple(_SITE.sub('"', line) for line in (*main, *others))


def _by_py_spy(program: str, pid: int) -> tuple[str, ...]:
    """Needs leave to look into the process: the same user with ptrace allowed, or root."""
    try:
        done = subprocess.run(
            [program, "dump", "--nonblocking", "--pid", str(pid)],
            capture_output=True,
            timeout=_PY_SPY_S,
            check=False,
            text=True,
            errors="replace",
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return tuple(_SITE.sub('"', line) for line in done.stdout.splitlines()[:_MAX_LINES]) if done.returncode == 0 else ()
