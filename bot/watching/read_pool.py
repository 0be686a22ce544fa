"""Blocking looks at many places from one thread. One that does not return costs its thread and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

Answer = TypeVar("Answer")

TIMEOUT_S = 20.0
"""A look at a run directory on a dead mount never returns; after this it is given up, and its thread left behind."""
_COMPUTES_S = 0.01
"""A look that has used so much of a processor is no dead mount."""
PATIENCE_S = 0.25
"""A look that takes longer keeps its thread, and the looks behind it get another one."""
_TURN_S = 0.02
"""What was seen is taken in for no longer than this before the event loop may do something else."""
PRECEDES_S = 0.5
"""So long from its beginning a look lets those of a higher rank wait, and so long in all these let others pass."""
_STEP_S = 0.002


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked(Generic[Answer]):
    """What came of one look: the answer, or why there is none, and how long it took (0 where it was given up)."""

    place: Any
    answer: Answer | None = None
    error: Exception | None = None
    took_s: float = 0.0


class _Precedence:
    """Who goes first, in the event loop and in the threads: both share one lock of the interpreter."""

    def __init__(self) -> None:
        self._began: dict[object, tuple[int, float]] = {}

    def begin(self, rank: int) -> object:
        """A look of that rank is under way; the token that ends it."""
        token = object()
        self._began[token] = rank, time.monotonic()
        return token

    def end(self, token: object) -> None:
        """The look of that token is over, and nobody waits for it any more."""
        self._began.pop(token, None)

    def gives_way(self, rank: int) -> bool:
        """Whether one of a lower rank has begun just now."""
        now_s = time.monotonic()
        return any(other < rank and now_s - since_s < PRECEDES_S for other, since_s in tuple(self._began.values()))


class _Manners:
    """Of the looks of one round, which together let others pass for so long and no longer."""

    def __init__(self, precedence: _Precedence, rank: int) -> None:
        self._precedence = precedence
        self._rank = rank
        self._left_s = PRECEDES_S
        self.first = rank == 0

    def gives_way(self) -> bool:
        """Whether somebody else is to go first for a moment, which is counted."""
        if self._left_s <= 0 or not self._precedence.gives_way(self._rank):
            return False
        self._left_s -= _STEP_S
        return True


class _Shift:
    """Work to be done in order, by one thread."""

    def __init__(
        self, work: Mapping[Any, Callable[[], Any]], over: Callable[[], None], gives_way: Callable[[], bool]
    ) -> None:
        self._gives_way = gives_way
        self.seen: deque[Looked[Any]] = deque()
        self.at: tuple[Any, float] | None = None
        """The place that is being looked at, and since when (monotonic)."""
        self.over = False
        self._processor: int | None = None
        """The clock of its thread's own work."""
        self._processor_s = 0.0
        self._waiting = deque(work.items())
        self._ended = over

    def take_rest(self) -> dict[Any, Callable[[], Any]]:
        """What was not begun; it is somebody else's now."""
        rest: dict[Any, Callable[[], Any]] = {}
        with contextlib.suppress(IndexError):
            while True:
                place, look = self._waiting.popleft()
                rest[place] = look
        return rest

    def stuck_s(self) -> float:
        """How long the look that is under way has taken."""
        at = self.at
        return 0.0 if at is None else time.monotonic() - at[1]

    def works(self) -> bool:
        """Whether the look that is under way computes, as far as this system tells; one on a dead mount does not."""
        clock = self._processor
        if clock is None or self.at is None:
            return False
        try:
            return time.clock_gettime(clock) - self._processor_s >= _COMPUTES_S
        except OSError:  # the thread has ended
            return False

    def run(self) -> None:
        """Everything is done that nobody took away."""
        if hasattr(time, "pthread_getcpuclockid"):
            self._processor = time.pthread_getcpuclockid(threading.get_ident())
        with contextlib.suppress(IndexError):
            while True:
                while self._gives_way():
                    time.sleep(_STEP_S)
                place, look = self._waiting.popleft()
                if self._processor is not None:
                    self._processor_s = time.clock_gettime(self._processor)
                began_s = time.monotonic()
                self.at = place, began_s
                try:
                    looked = Looked(place=place, answer=look())
                except Exception as error:  # noqa: BLE001 - handed on to who asked
                    looked = Looked(place=place, error=error)
                self.seen.append(replace(looked, took_s=time.monotonic() - began_s))
                self.at = None
        self.over = True
        self._ended()


class _Worker:
    """A daemon thread: a process that ends does not wait for it."""

    def __init__(self) -> None:
        self._shift: _Shift | None = None
        self._shifts: SimpleQueue[_Shift | None] = SimpleQueue()
        threading.Thread(target=self._run, name="look", daemon=True).start()

    @property
    def free(self) -> bool:
        """Whether what it was given is done."""
        return self._shift is None or self._shift.over

    def begin(self, shift: _Shift) -> None:
        """``shift`` is done next."""
        self._shift = shift
        self._shifts.put(shift)

    def dismiss(self) -> None:
        """The thread ends when it is done, if ever."""
        self._shifts.put(None)

    def _run(self) -> None:
        while (shift := self._shifts.get()) is not None:
            shift.run()


class ReadPool:
    """Asks many places at once, on the event loop's behalf. A place that has not answered yet is not asked again."""

    def __init__(self, *, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._patience_s = min(PATIENCE_S, timeout_s / 2)
        self._silent: dict[Hashable, tuple[_Shift, float]] = {}
        """Places that were given up: who still waits there, and since when."""
        self._worker = _Worker()
        self._precedence = _Precedence()
        self._turn = asyncio.Lock()
        """Of several rounds one at a time is taken in: all in one go of the event loop kept that from all else."""

    def __del__(self) -> None:
        self._worker.dismiss()

    async def look(
        self,
        work: Mapping[Any, Callable[[], Answer]],
        take: Callable[[Looked[Answer]], None],
        *,
        patience_s: float | None = None,
        rank: int = 0,
    ) -> None:
        """``take`` got what came of every look of ``work``, in the event loop, each as soon as it is known.
        ``patience_s``: as :data:`PATIENCE_S`, for looks that compute. Those of a lower ``rank`` go first."""
        patience_s = min(self._patience_s if patience_s is None else patience_s, self._timeout_s / 2)
        mine: dict[Any, Callable[[], Answer]] = {}
        for place, look in work.items():
            if self._is_silent(place):
                take(Looked(place=place, error=self._timeout(self._silent[place][1])))
            else:
                mine[place] = look
        if not mine:
            return
        loop, news = asyncio.get_running_loop(), asyncio.Event()

        def tell() -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(news.set)

        manners, token = _Manners(self._precedence, rank), self._precedence.begin(rank)
        shifts = [self._begin(_Shift(mine, tell, manners.gives_way))]
        try:
            while shifts:
                # Not wait_for: in Python 3.11 it swallows a cancellation that comes with the news.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._patience_s):  # whatever is waited for, answers are taken
                        await news.wait()
                news.clear()
                for shift in list(shifts):
                    over = shift.over  # before its last answers are taken
                    await self._take(shift.seen, take, manners)
                    if over:
                        shifts.remove(shift)
                        continue
                    stuck_s = shift.stuck_s()
                    limit_s = patience_s if shift.works() else self._patience_s
                    if stuck_s > limit_s and (rest := shift.take_rest()):
                        shifts.append(self._begin(_Shift(rest, tell, manners.gives_way)))
                    if stuck_s > self._timeout_s:
                        shifts.remove(shift)
                        self._give_up(shift, take)
        finally:
            self._precedence.end(token)
            for shift in shifts:  # cancelled: what is under way ends by itself, the rest does not begin
                shift.take_rest()
                self._leave(shift)

    async def ask(self, place: Hashable, look: Callable[[], Answer]) -> Answer:
        """The answer of one place.

        Raises:
            TimeoutError: it gave none in time, now or at an earlier look.
            Exception: what looking raised.
        """
        answers: list[Looked[Answer]] = []
        await self.look({place: look}, answers.append)
        if answers[0].error is not None:
            raise answers[0].error
        return answers[0].answer  # type: ignore[return-value]  # without an error this is the answer

    def _begin(self, shift: _Shift) -> _Shift:
        if not self._worker.free:
            self._worker.dismiss()
            self._worker = _Worker()
        self._worker.begin(shift)
        return shift

    async def _take(self, seen: deque[Looked[Any]], take: Callable[[Looked[Any]], None], manners: _Manners) -> None:
        while seen:
            while manners.gives_way():  # noqa: ASYNC110 - for a moment that another one measures
                await asyncio.sleep(_STEP_S)
            async with contextlib.nullcontext() if manners.first else self._turn:
                until_s = time.monotonic() + _TURN_S
                while seen and time.monotonic() < until_s:
                    take(seen.popleft())
                await asyncio.sleep(0)  # before another round has its turn: what else is due comes in between

    def _give_up(self, shift: _Shift, take: Callable[[Looked[Any]], None]) -> None:
        at = self._leave(shift)
        while shift.seen:  # it has answered this instant
            take(shift.seen.popleft())
            at = None
        if at is not None:
            take(Looked(place=at[0], error=self._timeout(at[1])))

    def _leave(self, shift: _Shift) -> tuple[Any, float] | None:
        at = shift.at
        if at is not None:
            self._silent[at[0]] = shift, at[1]
        return at

    def _is_silent(self, place: Hashable) -> bool:
        known = self._silent.get(place)
        if known is None:
            return False
        if known[0].over:
            del self._silent[place]
        return not known[0].over

    def _timeout(self, since_s: float) -> TimeoutError:
        return TimeoutError(f"no answer for {time.monotonic() - since_s:.0f} s; is its mount dead?")
