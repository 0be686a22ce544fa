"""Signals: finish the batch and save (SIGTERM, SIGINT), leave at once (a second one), show all stacks (SIGUSR1)."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import IO, Any, Final

import psutil

from trainer.contract import ExitCode, RunLayout

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class RunEnded(SystemExit):
    """The run ends early, in an orderly way; ``code`` is the exit code. A caller of the API may catch it."""

    def __init__(self, code: ExitCode, why: str) -> None:
        super().__init__(int(code))
        self.why = why


class StopRequested(RunEnded):
    """Somebody asked the run to stop."""

    def __init__(self, why: str) -> None:
        super().__init__(ExitCode.STOPPED, why)


class GaveUp(RunEnded):
    """Going on would waste time: too many bad batches, or weights that are beyond repair."""

    def __init__(self, why: str) -> None:
        super().__init__(ExitCode.GAVE_UP, why)


class Refused(RunEnded):
    """The checkpoint to start from is not clean."""

    def __init__(self, why: str) -> None:
        super().__init__(ExitCode.REFUSED, why)


class StopSwitch:
    """Turns a first stop signal into a request that the loop honours at the next batch boundary.

    Where no batch is in work (start-up, waiting for data, validation), :meth:`interruptible` makes the signal raise
    :class:`StopRequested` right there instead.
    """

    def __init__(self, *, on_request: Callable[[str], None], on_second: Callable[[str], None]) -> None:
        self.requested: str | None = None
        self._on_request = on_request
        self._on_second = on_second
        self._interruptible = False
        self._previous: dict[signal.Signals, Any] = {}
        self._stacks: IO[str] | None = None

    def install(self, layout: RunLayout) -> None:
        """Signals are ours from now on; outside the main thread nothing happens, since Python allows it only there."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in STOP_SIGNALS:
            self._previous[number] = signal.signal(number, self._handle)
        with contextlib.suppress(OSError):
            self._stacks = layout.stacks.open("a", encoding="utf-8")
            faulthandler.register(signal.SIGUSR1, file=self._stacks, all_threads=True)
        os.register_at_fork(after_in_child=self._leave_child_alone)

    def uninstall(self) -> None:
        """Signals are whose they were."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()
        if self._stacks is not None:
            faulthandler.unregister(signal.SIGUSR1)
            self._stacks.close()
            self._stacks = None

    def _leave_child_alone(self) -> None:
        """A data-loader worker dies of SIGTERM as it would unguarded, and leaves SIGINT to its parent."""
        if self._previous:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_IGN)

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """Within, a stop request raises :class:`StopRequested` at once; one that is pending does so on entry."""
        if self.requested:
            raise StopRequested(self.requested)
        before, self._interruptible = self._interruptible, True
        try:
            yield
        finally:
            self._interruptible = before

    def check(self) -> None:
        """At a batch boundary.

        Raises:
            StopRequested: somebody asked.
        """
        if self.requested:
            raise StopRequested(self.requested)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        if self.requested:
            self._on_second(name)
            end_children()
            os._exit(128 + number)
        self.requested = name
        self._on_request(name)
        if self._interruptible:
            raise StopRequested(name)


def end_children() -> None:
    """No process that this one started goes on: data-loader workers, DDP ranks."""
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            child.terminate()
