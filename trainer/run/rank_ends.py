"""Several GPUs: why a rank ended, where the one that keeps the records, and their launcher, find it.

When one rank ends, all that the first sees of it is a connection that was closed, or the launcher's signal.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import psutil
from torch.distributed import DistError

from trainmaster.trainer.contract import ExitCode, RunLayout, RunRecordState, read_json, replace_json
from trainmaster.trainer.stop import GaveUp, Refused, RunEnded, StopRequested

_ENDS: Final[Mapping[int, type[StopRequested | GaveUp | Refused]]] = {
    ExitCode.STOPPED: StopRequested,
    ExitCode.GAVE_UP: GaveUp,
    ExitCode.REFUSED: Refused,
}
Told = RunEnded | tuple[str, str]
"""An end in order, or what is told of a crash, with its traceback."""
WAIT_S: Final = 120.0
"""For the first rank's state: longer than a large one takes on a slow disk."""
LOOK_S: Final = 0.2
"""Between two looks at a file of two thousand bytes."""
DYING_S: Final = 3.0
"""For a process whose connection was closed to be gone: a large one gives its memory back first."""
_UNHEARD: Final = "DistError: it is gone and has said nothing, so it was killed, or crashed where it could not"
_OF_A_CONNECTION: Final = re.compile(
    r"gloo|NCCL|HCCL|XCCL|connection (closed|reset)|process ?group|collective", re.IGNORECASE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RankEnd:
    """How a rank other than the first ended an attempt. ``code`` is None for a crash."""

    attempt: int
    ts: float
    rank: int
    code: int | None
    why: str
    traceback: str = ""
    follows: bool = False
    """Whether it only shows that yet another rank had ended."""

    @property
    def told(self) -> Told:
        """The same end for another process."""
        kind = None if self.code is None else _ENDS.get(self.code)
        return kind(f"in rank {self.rank}, {self.why}") if kind else (f"rank {self.rank}: {self.why}", self.traceback)


def keep(layout: RunLayout, end: RankEnd) -> None:
    """``end`` can be found. A disk that takes no more takes it, too: the others tell what they have seen."""
    with suppress(OSError):
        replace_json(_path(layout, end.rank), asdict(end))


def _path(layout: RunLayout, rank: int) -> Path:
    return layout.guard / f".rank{rank}.json"


def first_end(layout: RunLayout, attempt: int) -> RankEnd | None:
    """How the first of the other ranks ended ``attempt``, which ends the rest; None where none has said anything."""
    found: list[RankEnd] = []
    with suppress(OSError):
        for path in layout.guard.glob(".rank*.json"):
            end = _read(read_json(path))
            if end is not None and end.attempt == attempt and not end.follows and end.code != ExitCode.FINISHED:
                found.append(end)
    return min(found, key=lambda end: end.ts, default=None)


def killed(
    layout: RunLayout,
    attempt: int,
    others: Mapping[int, psutil.Process | None],
    *,
    wait_s: float = 0.0,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Told | None:
    """What is told of one of the ``others``, processes by their rank, that is gone within ``wait_s`` and has said
    nothing.

    Their launcher then asks the rest to stop, by the signal that a person would send.
    """
    until = clock() + wait_s
    while True:
        for rank, process in others.items():
            if is_gone(process) and not _has_ended(layout, attempt, rank):
                return f"rank {rank}: {_UNHEARD}", ""
        if not others or clock() >= until:
            return None
        sleep(LOOK_S)


def _has_ended(layout: RunLayout, attempt: int, rank: int) -> bool:
    """Whether that rank has said so, as far as can be seen."""
    try:
        record = read_json(layout.run_json if rank == 0 else _path(layout, rank)) or {}
    except OSError:
        return True
    return record.get("attempt") == attempt and record.get("state") != RunRecordState.RUNNING


def wait_for_first(
    layout: RunLayout,
    attempt: int,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """The first rank has saved its state and ended ``attempt``, or is gone, or takes too long."""
    until = clock() + WAIT_S
    while clock() < until:
        with suppress(OSError):
            record = read_json(layout.run_json) or {}
            if record.get("attempt") != attempt or record.get("state") != RunRecordState.RUNNING:
                return
            if is_gone(process_of(int(record.get("pid") or 0))):
                return
        sleep(LOOK_S)


def clear(layout: RunLayout) -> None:
    """None of an earlier attempt is left."""
    with suppress(OSError):
        for path in layout.guard.glob(".rank*.json"):
            path.unlink(missing_ok=True)


def started_beside(environ: Mapping[str, str]) -> dict[int, psutil.Process | None]:
    """The processes of the other ranks, as the launcher of the one of ``environ`` has started them, before they can be
    asked; None for one that has ended since. Empty where they can't be seen."""
    own, found = environ["RANK"], dict[str, psutil.Process]()
    with suppress(psutil.Error):
        for child in psutil.Process(os.getppid()).children():
            with suppress(psutil.Error, KeyError):
                found[child.environ()["RANK"]] = child
    others = {rank: found.get(str(rank)) for rank in range(int(environ["WORLD_SIZE"])) if str(rank) != own}
    return others if own in found else {}


def process_of(pid: int) -> psutil.Process | None:
    """The process of that number, to be known again; None where there is none."""
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid)
    return None


def is_gone(process: psutil.Process | None) -> bool:
    """Whether it has ended. When it began, as a clock tells it, is no sign: that may be set, and psutil looks anew."""
    try:
        return process is None or not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def is_of_a_connection(error: BaseException) -> bool:
    """Whether ``error`` is what a rank sees when another has ended."""
    return isinstance(error, DistError) or (
        isinstance(error, RuntimeError) and bool(_OF_A_CONNECTION.search(str(error)))
    )


def _read(record: Mapping[str, Any] | None) -> RankEnd | None:
    with suppress(TypeError, ValueError):
        return RankEnd(**record) if record else None
    return None
