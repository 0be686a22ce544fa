"""Trainers and resumes as children of one process that has torch loaded already, each with a fault of its own."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Final

GROWS: Final = 1
"""Calls that a full disk refuses."""
CHANGES: Final = 2
"""Calls that a dead disk, or one gone read-only, refuses."""
TIMED_OUT: Final = -999


class Way(IntEnum):
    """What becomes of the process or the call; as in ``faults.c``."""

    COUNT = 0
    KILL = 1
    TEAR = 2
    TERM = 3
    FAIL = 4
    SHORT = 5
    HALT = 6
    FLAKY = 7


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Befalls the calls ``first`` to ``last`` of those ``kinds``. Of :attr:`Way.FLAKY` one in ``last``, as the seed
    ``first`` has it."""

    way: Way = Way.COUNT
    error: int = 0
    kinds: int = CHANGES
    first: int = 0
    last: int = 0


def run(
    work: Callable[[], int],
    *,
    root: Path,
    out: Path,
    fault: Fault | None = None,
    log: Path | None = None,
    environ: Mapping[str, str] | None = None,
    halted: Callable[[], None] | None = None,
    timeout_s: float = 600.0,
) -> int:
    """The exit code of ``work`` in a child, negative for a signal. ``log`` gets a line for each call below ``root``;
    ``halted`` is called while the child stands still before one of them."""
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        _work(work, root=root, out=out, fault=fault, log=log, environ=environ or {})
    deadline = time.monotonic() + timeout_s
    while True:
        done, status = os.waitpid(pid, os.WNOHANG | os.WUNTRACED)
        if done and os.WIFSTOPPED(status):
            if halted is not None:
                halted()
            deadline = time.monotonic() + timeout_s
            os.kill(pid, signal.SIGCONT)
        elif done:
            return os.waitstatus_to_exitcode(status)
        elif time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return TIMED_OUT
        else:
            time.sleep(0.001)


def _work(
    work: Callable[[], int], *, root: Path, out: Path, fault: Fault | None, log: Path | None, environ: Mapping[str, str]
) -> None:
    """In the child: never comes back."""
    code = 98
    try:
        descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        os.environ.update(environ)
        if fault is not None:
            begin = ctypes.CDLL(None).trainmaster_fault
            begin.argtypes = [ctypes.c_char_p, ctypes.c_char_p, *[ctypes.c_int] * 3, ctypes.c_long, ctypes.c_long]
            begin.restype = None
            place = str(log).encode() if log else None
            begin(str(root).encode(), place, fault.way, fault.error, fault.kinds, fault.first, fault.last)
        code = work()
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:  # noqa: BLE001 - printed, and told by the code; nothing of the parent may run here
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)
