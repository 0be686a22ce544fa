"""Several GPUs: Ultralytics starts one process a rank, and this one waits for them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import psutil
from ultralytics.utils import LOCAL_RANK, RANK

from trainmaster.trainer.arguments import ArgumentsError
from trainmaster.trainer.contract import ExitCode, Phase, RunLayout, RunRecordState, read_json
from trainmaster.trainer.records import stacks
from trainmaster.trainer.records.recorder import words_of
from trainmaster.trainer.run import rank_ends
from trainmaster.trainer.stop import ONE_REQUEST_S, PASSED_ON_S, STATES, RunEnded, StopRequested, stop_signals

IS_FIRST: Final = RANK in {-1, 0}
"""Of this process: it writes the records, as the only one or as the first of a DDP run."""

VARIABLE: Final = "TRAINMASTER_RANKS"
"""Environment variable by which the ranks get what Ultralytics does not pass on: the guard's own settings."""


_PATIENCE: Final = "TORCH_ELASTIC_SHUTDOWN_TIMEOUT"
"""Environment variable by which torch's launcher knows how many seconds after it has asked them it kills the ranks."""
_UNENDED: Final = (None, RunRecordState.RUNNING)
_UNBEGUN: Final = "ChildFailedError: a rank ended before all had begun to train; the console of their launcher says why"
LAUNCHER_LOOK_S: Final = 2.0
"""Between two looks at whether the launching process is there: no more than a batch or so."""
_PARENT: Final = os.getppid()
"""Of a rank: torch's launcher, which the launching process has started."""


def inherited() -> dict[str, Any] | None:
    """What the launching process left for this rank; None in any other process."""
    text = os.environ.get(VARIABLE)
    return json.loads(text) if text and LOCAL_RANK != -1 else None


def stacks_of(layout: RunLayout) -> Path | None:
    """Where the stacks of this process go; None for a rank that knows of no directory yet that it is the first's: one
    that it made would be taken, for that one."""
    return layout.stacks if IS_FIRST or inherited() else None


def one_request_s() -> float:
    """Stop signals that reach this process within this time are one request."""
    return PASSED_ON_S if RANK == -1 else ONE_REQUEST_S


def require_world(world_size: int, device: Any) -> None:
    """A rank is one of as many as ``device`` names.

    Raises:
        ArgumentsError: the environment names another number. Alone, a rank that is not the first trains and saves
            nothing; with too few others the first waits for the rest for hours.
    """
    named = int(os.environ.get("WORLD_SIZE", "1"))
    if RANK != -1 and named != max(world_size, 1):
        raise ArgumentsError(
            f"the environment makes this process rank {RANK} of {named} (RANK, WORLD_SIZE), and device={device} names "
            f"{max(world_size, 1)}",
            "unset RANK LOCAL_RANK WORLD_SIZE: Ultralytics starts its ranks itself, from device=",
        )


class Launcher:
    """What started the ranks, as they see it: a process, and torch's launcher, which that has started. Nothing ends
    them with either: they have to look."""

    def __init__(self) -> None:
        self._pid: int | None = (inherited() or {}).get("launcher")
        self._process = None if self._pid is None else rank_ends.process_of(self._pid)
        self._looked = -LAUNCHER_LOOK_S
        self._gone = False

    @property
    def gone(self) -> bool:
        """Whether one has ended; looked at once in a while. Never for a process that no other started."""
        if self._pid is not None and not self._gone and time.monotonic() - self._looked >= LAUNCHER_LOOK_S:
            self._looked = time.monotonic()
            self._gone = os.getppid() != _PARENT or rank_ends.is_gone(self._process)
        return self._gone


def why_all_stop() -> str:
    """Why the ranks stop where nobody asked this one."""
    return "the process that launched the ranks is gone" if Launcher().gone else "another rank was asked to stop"


def launch(
    layout: RunLayout, record: dict[str, Any], start: Callable[[], Any], unheard: Callable[[rank_ends.Told], None]
) -> Any:
    """``start`` launches the ranks and waits; signals go on to them, and their end is this process's.

    ``unheard`` is told how they ended where the first of them had no time to put it on record: its launcher killed it
    while it waited for one that had ended, or since it was asked to stop and could not; or nothing could be launched.

    Raises:
        RunEnded: the ranks stopped or gave up in an orderly way.
        subprocess.CalledProcessError: they crashed.
    """
    # The launcher is started with -m, which would put the current folder first: a json.py there would hide Python's.
    rank_ends.clear(layout)
    record = {**record, "launcher": os.getpid()}
    patience_s = os.environ.get(_PATIENCE, f"{rank_ends.WAIT_S:.0f}")
    given = {VARIABLE: json.dumps(record), "PYTHONSAFEPATH": "1", _PATIENCE: patience_s}
    before = {name: os.environ.get(name) for name in given}
    os.environ.update(given)
    in_main = threading.current_thread() is threading.main_thread()  # Python allows handlers nowhere else
    passing_on = _PassingOn()
    previous = {number: signal.signal(number, passing_on) for number in (stop_signals() if in_main else ())}
    try:
        with _launching(layout), stacks.shown():
            return start()
    except (subprocess.CalledProcessError, StopRequested) as error:
        end = _end(layout, record.get("attempt") or 0, passing_on.asked, unheard)
        if end is not None and end.code == ExitCode.FINISHED:
            return None
        raise end or error from None
    except Exception as error:  # batch=-1, a callback that can't be pickled, a full disk
        if (read_json(layout.run_json) or {}).get("state") in _UNENDED:  # else the ranks have told their end
            unheard(words_of(error))
        raise
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _launching(layout: RunLayout) -> Iterator[None]:
    """Within, what is run has a process group of its own: a terminal's interrupt reaches the launcher once, through
    :class:`_PassingOn`. Twice, the ranks take it for a second request and leave without saving.

    It finds the run's directory there, which Ultralytics has removed: until the first rank makes it, many seconds
    later, another run of that name would take it for its own.
    """
    run: Any = subprocess.run
    group = {"process_group": 0} if os.name == "posix" else {}

    def launched(*command: Any, **how: Any) -> Any:
        layout.root.mkdir(parents=True, exist_ok=True)
        return run(*command, **how, **group)

    subprocess.run = launched
    try:
        yield
    finally:
        subprocess.run = run


class _PassingOn:
    """Handles signals: the launcher (torch.distributed.run) passes them on to its ranks, and kills these later."""

    def __init__(self) -> None:
        self.asked: str | None = None
        """The first signal."""

    def __call__(self, number: int, _frame: Any) -> None:
        """Pass it on.

        Raises:
            StopRequested: nothing is launched yet.
        """
        self.asked = self.asked or signal.Signals(number).name
        passed_on = False
        for child in psutil.Process().children():
            with contextlib.suppress(psutil.Error):
                if "torch.distributed.run" in child.cmdline():
                    child.send_signal(number)
                    passed_on = True
        if not passed_on:
            raise StopRequested(self.asked)


def _end(
    layout: RunLayout, attempt: int, asked: str | None, unheard: Callable[[rank_ends.Told], None]
) -> RunEnded | None:
    """In which order the ranks ended; None for a crash. What the first has finished nobody takes back: the others only
    evaluate at the end."""
    run = read_json(layout.run_json) or {}
    if run.get("pid") != os.getpid():  # torch's launcher, killed or asked twice, has waited for no rank that saves
        rank_ends.wait_for_first(layout, attempt)
        run = read_json(layout.run_json) or {}
    state = run.get("state")
    if codes := [code for code, of in STATES.items() if of == state]:
        return RunEnded(codes[0], f"the ranks ended: {state}")
    if state not in _UNENDED:
        return None
    other = rank_ends.first_end(layout, attempt)
    told = other.told if other else StopRequested(asked) if asked else None
    first = int(run.get("pid") or 0)
    beat = read_json(layout.heartbeat) or {}
    if not told and (first in {0, os.getpid()} or beat.get("phase") == Phase.STARTUP):
        told = _UNBEGUN, ""  # that their launcher asked the first to stop may be on record, as if a person had
    if told and (state or not asked) and (first == os.getpid() or rank_ends.is_gone(rank_ends.process_of(first))):
        unheard(told)
    return told if isinstance(told, RunEnded) else None
