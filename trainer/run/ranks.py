"""Several GPUs: Ultralytics starts one process a rank, and this one waits for them."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import psutil
from ultralytics.utils import LOCAL_RANK, RANK

from trainmaster.trainer.contract import ExitCode, RunLayout, RunRecordState, read_json
from trainmaster.trainer.records.recorder import exit_code_of
from trainmaster.trainer.run import rank_ends
from trainmaster.trainer.stop import RunEnded, stop_signals

IS_FIRST: Final = RANK in {-1, 0}
"""Of this process: it writes the records, as the only one or as the first of a DDP run."""

VARIABLE: Final = "TRAINMASTER_RANKS"
"""Environment variable by which the ranks get what Ultralytics does not pass on: the guard's own settings."""


LAUNCHER_LOOK_S: Final = 2.0
"""Between two looks at whether the launching process is there: no more than a batch or so."""


def inherited() -> dict[str, Any] | None:
    """What the launching process left for this rank; None in any other process."""
    text = os.environ.get(VARIABLE)
    return json.loads(text) if text and LOCAL_RANK != -1 else None


class Launcher:
    """The process that started the ranks, as they see it. Nothing ends them with it: they have to look."""

    def __init__(self) -> None:
        found = (inherited() or {}).get("launcher")
        self._identity: tuple[int, float] | None = (int(found[0]), float(found[1])) if found else None
        self._looked = -LAUNCHER_LOOK_S
        self._gone = False

    @property
    def gone(self) -> bool:
        """Whether it has ended; looked at once in a while. Never for a process that no other started."""
        if self._identity is not None and not self._gone and time.monotonic() - self._looked >= LAUNCHER_LOOK_S:
            self._looked = time.monotonic()
            pid, create_time = self._identity
            try:
                process = psutil.Process(pid)
                same = process.create_time() == create_time
                self._gone = not same or process.status() == psutil.STATUS_ZOMBIE
            except psutil.NoSuchProcess:
                self._gone = True
        return self._gone


def launch(layout: RunLayout, record: dict[str, Any], start: Callable[[], Any]) -> Any:
    """``start`` launches the ranks and waits; signals go on to them, and their end is this process's.

    Raises:
        RunEnded: the ranks stopped or gave up in an orderly way.
        subprocess.CalledProcessError: they crashed.
    """
    # The launcher is started with -m, which would put the current folder first: a json.py there would hide Python's.
    rank_ends.clear(layout)
    record = {**record, "launcher": [os.getpid(), psutil.Process().create_time()]}
    given = {VARIABLE: json.dumps(record), "PYTHONSAFEPATH": "1"}
    before = {name: os.environ.get(name) for name in given}
    os.environ.update(given)
    in_main = threading.current_thread() is threading.main_thread()  # Python allows handlers nowhere else
    previous = {number: signal.signal(number, _pass_on) for number in (stop_signals() if in_main else ())}
    try:
        with _in_a_group_of_its_own():
            return start()
    except subprocess.CalledProcessError:
        state = (read_json(layout.run_json) or {}).get("state")
        code = exit_code_of(RunRecordState(state)) if state in set(RunRecordState) else 1
        if state == RunRecordState.RUNNING:  # the first rank was killed while it waited for one that had ended
            other = rank_ends.first_end(layout, record.get("attempt") or 0)
            if other is not None and (end := other.in_order) is not None:
                raise end from None
        if code in {ExitCode.STOPPED, ExitCode.GAVE_UP, ExitCode.REFUSED}:
            raise RunEnded(ExitCode(code), f"the ranks ended: {state}") from None
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
def _in_a_group_of_its_own() -> Iterator[None]:
    """Within, what is run has a process group of its own: a terminal's interrupt reaches the launcher once, through
    :func:`_pass_on`. Twice, the ranks take it for a second request and leave without saving."""
    run = subprocess.run
    if os.name == "posix":
        subprocess.run = functools.partial(run, process_group=0)  # type: ignore[assignment] # it is called as the other
    try:
        yield
    finally:
        subprocess.run = run


def _pass_on(number: int, _frame: Any) -> None:
    """The launcher (torch.distributed.run) passes a signal on to its ranks, and kills them after 30 s."""
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if "torch.distributed.run" in child.cmdline():
                child.send_signal(number)
