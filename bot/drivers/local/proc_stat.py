"""``/proc/PID/stat``: everything cheap about one process in one read. Source: proc_pid_stat(5)."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_OVER: Final = frozenset({"Z", "X", "x"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcStat:
    """One process. ``started_s`` counts from the boot, so it stays when the clock is set."""

    pid: int
    name: str
    state: str
    parent: int
    group: int
    session: int
    cpu_s: float
    started_s: float
    rss_bytes: int
    num_threads: int
    wait_status: int
    """As ``waitpid`` tells it; 0 unless it is a zombie that this user may look into."""

    @property
    def over(self) -> bool:
        """Whether it is a zombie or dead, and not only its first thread: a driver may hold another one of a process
        that was killed, with its memory on the card and its locks."""
        return self.state in _OVER and self.num_threads <= 1


def read_stat(pid: int, proc: Path = PROC) -> ProcStat | None:
    """The process that has ``pid`` now; None when there is none.

    Raises:
        OSError: the system would not say.
    """
    try:
        with open(f"{proc}/{pid}/stat", "rb") as stream:  # noqa: PTH123 - a look at every run, several times faster
            text = stream.read().decode("utf-8", "replace")
    except (FileNotFoundError, ProcessLookupError, NotADirectoryError):
        return None
    # The name may hold blanks and brackets of its own: the last bracket ends it.
    opened, closed = text.index("("), text.rindex(")")
    fields = text[closed + 2 :].split()
    return ProcStat(
        pid=pid,
        name=text[opened + 1 : closed],
        state=fields[0],
        parent=int(fields[1]),
        group=int(fields[2]),
        session=int(fields[3]),
        cpu_s=(int(fields[11]) + int(fields[12])) / _TICKS_PER_S,
        started_s=int(fields[19]) / _TICKS_PER_S,
        rss_bytes=int(fields[21]) * _PAGE_BYTES,
        num_threads=int(fields[17]),
        wait_status=int(fields[49]) if len(fields) > 49 else 0,
    )


class ProcTable:
    """Every process of this host, read at most once in ``max_age_s`` however many runs ask."""

    def __init__(self) -> None:
        self._read_at = -float("inf")
        self._processes: Mapping[int, ProcStat] = {}

    def processes(self, *, max_age_s: float) -> Mapping[int, ProcStat]:
        """Every process of this host by its pid, looked up at most ``max_age_s`` ago."""
        now = time.monotonic()
        if now - self._read_at > max_age_s:
            found = {}
            for name in os.listdir(PROC):  # noqa: PTH208 - names only
                if name.isdigit():
                    stat = _read_quietly(int(name))
                    if stat is not None:
                        found[stat.pid] = stat
            self._processes, self._read_at = found, now
        return self._processes


def _read_quietly(pid: int) -> ProcStat | None:
    try:
        return read_stat(pid)
    except (OSError, ValueError, IndexError):
        return None


def catches(pid: int, signum: int) -> bool:
    """Whether the process handles the signal by itself. One that does not would most likely be ended by it.

    Source: ``SigCgt`` in proc_pid_status(5), a hexadecimal mask in which signal 1 is the lowest bit.
    """
    try:
        status = (PROC / str(pid) / "status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    mask = next((line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:")), "0")
    return bool(int(mask, 16) >> (signum - 1) & 1)
