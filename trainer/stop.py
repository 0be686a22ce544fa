"""Signals: finish the batch and save (SIGTERM, SIGINT, SIGHUP), leave at once (a second one)."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, Final

from trainmaster.trainer.contract import ExitCode, RunRecordState
from trainmaster.trainer.records import stacks

WORKER_GRACE_S: Final = 60
"""Between SIGTERM and the end of a data-loader worker: longer than a batch and the saving of a state, shorter than the
90 s after which systemd kills."""
ONE_REQUEST_S: Final = 5.0
"""Signals that reach one of several ranks within this time are one request: a cluster or systemd that ends a job sends
one to each of its processes, and their launcher passes on what it gets, at once but for a busy machine."""
PASSED_ON_S: Final = 0.3
"""The same for a process alone: what starts a trainer (a container, ``conda run``, ``timeout``) passes on a signal that
reached both, some 30 ms later. Whoever asks again means it."""
STATES: Final = {
    ExitCode.FINISHED: RunRecordState.FINISHED,
    ExitCode.STOPPED: RunRecordState.STOPPED,
    ExitCode.GAVE_UP: RunRecordState.GAVE_UP,
    ExitCode.REFUSED: RunRecordState.REFUSED,
}
"""What ``run.json`` says of an end in order."""


def stop_signals() -> tuple[signal.Signals, ...]:
    """What asks a run to stop. The end of its terminal (SIGHUP) does, unless ``nohup`` had it ignored."""
    hung_up = () if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (signal.SIGHUP,)
    return (signal.SIGTERM, signal.SIGINT, *hung_up)


class RunEnded(SystemExit):
    """The run ends early, in an orderly way; ``code`` is the exit code. A caller of the API may catch it."""

    def __init__(self, code: ExitCode, why: str) -> None:
        super().__init__(int(code))
        self.why = why

    @property
    def state(self) -> RunRecordState:
        """As ``run.json`` records it."""
        return STATES[ExitCode(int(self.code or 0))]


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
    :class:`StopRequested` right there instead. Signals within ``one_request_s`` of the first are the same request.
    """

    def __init__(
        self,
        *,
        on_request: Callable[[str], object],
        on_second: Callable[[str], object],
        one_request_s: float = PASSED_ON_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.requested: str | None = None
        self._requested_at_s = 0.0
        self._one_request_s = one_request_s
        self._monotonic = monotonic
        self._on_request = on_request
        self._on_second = on_second
        self._interruptible = False

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Within, signals are ours.

        Outside the main thread nothing happens: Python allows it only there.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        previous = {number: signal.signal(number, self._handle) for number in stop_signals()}
        _watch_forks()
        _in_work.append(self)
        try:
            yield
        finally:
            _in_work.remove(self)
            for number, handler in previous.items():
                signal.signal(number, handler)

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
        since_s = self._monotonic() - self._requested_at_s
        if self.requested and (number == signal.SIGHUP or since_s < self._one_request_s):
            return  # the shell and the kernel each send one when a terminal closes: that is one request
        if self.requested:
            self._on_second(name)
            end_all_workers()
            os._exit(ExitCode.STOPPED)
        self.requested, self._requested_at_s = name, self._monotonic()
        self._on_request(name)
        if self._interruptible:
            raise StopRequested(name)


_in_work: Final[list[StopSwitch]] = []
"""Those whose signals are installed."""


@functools.cache
def _watch_forks() -> None:
    """Once a process: what is called at a fork can't be taken back, and would keep all of a training that it held."""
    os.register_at_fork(after_in_child=_leave_child_alone)


def _leave_child_alone() -> None:
    """A data-loader worker dies of SIGTERM as it would unguarded, and leaves the other two to its parent."""
    if _in_work:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


@contextlib.contextmanager
def stoppable(say: Callable[[str], object]) -> Iterator[None]:
    """Within, and for as long as no trainer has taken the signals over, a stop request ends at once what is being done.

    Loading torch and Ultralytics takes seconds; an orderly end there is better than death by signal, which reads as a
    crash. Nothing has been created then, or what was begun (an archive) is finished by asking again.
    """
    switch = StopSwitch(on_request=lambda name: say(f"{name}: stopped before training began"), on_second=say)
    with stacks.shown(), switch.installed(), switch.interruptible():
        yield


class WorkerStart:
    """``worker_init_fn`` of a loader: its workers outlive a stop request that went to the whole process group.

    A terminal's interrupt or end and a service manager's SIGTERM reach the workers too. Torch takes a worker that dies
    for a failure and raises wherever the trainer happens to be, in the middle of a batch or of saving. So a worker
    ignores SIGINT and SIGHUP, and dies of SIGTERM a while later only; the trainer ends it long before.
    """

    def __init__(self, own: Callable[[int], object] | None) -> None:
        self._own = own

    def __call__(self, worker_id: int) -> None:
        """In the worker, once torch has set its own handlers."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, _end_later)
        if self._own is not None:
            self._own(worker_id)


def _end_later(_number: int, _frame: FrameType | None) -> None:
    signal.alarm(WORKER_GRACE_S)


def end_workers(loader: Any) -> None:
    """No worker of ``loader`` goes on."""
    iterator = getattr(loader, "iterator", None)
    workers = list(getattr(iterator, "_workers", ()))
    close = getattr(loader, "close", None) or getattr(iterator, "_shutdown_workers", None)  # up to 8.4.70 no close
    if close is not None:
        with contextlib.suppress(RuntimeError):  # torch's word for a worker that has died already
            close()
    for worker in workers:
        if worker.is_alive():
            worker.kill()


def end_loaders(trainer: Any) -> None:
    """No worker of the loaders of ``trainer`` goes on."""
    for name in ("train_loader", "test_loader"):
        end_workers(getattr(trainer, name, None))


def end_all_workers() -> None:
    """No daemon process of this one goes on: os._exit skips what would end them."""
    for child in multiprocessing.active_children():
        if child.daemon:
            child.kill()
