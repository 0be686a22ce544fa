"""Time, for tests: one that stands where it was set, one that jumps to the next timer, and this host's."""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")

SOME_DAY_TS = 1_760_000_000.0
"""A Thursday in October 2025, UTC; as good as any."""


@dataclass
class SetClock:
    """It stands where it was set, and moves when told. Serves where a clock is asked and where it is called."""

    ts: float = SOME_DAY_TS

    def now(self) -> float:
        return self.ts

    def __call__(self) -> float:
        return self.ts

    def pass_s(self, seconds: float) -> None:
        self.ts += seconds


class SystemClock:
    """The time of this host, for tests of real processes."""

    def now(self) -> float:
        return time.time()


class _JumpingSelector(selectors.DefaultSelector):
    def __init__(self) -> None:
        super().__init__()
        self.elapsed_s = 0.0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if timeout is None and not ready:
            raise RuntimeError("nothing will ever happen: every task waits, and no timer is set")
        if not ready and timeout:
            self.elapsed_s += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next timer instead of waiting for it. `time()` counts from 0; `now()` is
    the wall clock that goes with it."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)
        self.offset_s = SOME_DAY_TS

    def time(self) -> float:
        return self._jumping.elapsed_s

    def now(self) -> float:
        return self.offset_s + self.time()


def run_virtually(main: Coroutine[Any, Any, T], loop: VirtualLoop) -> T:
    """`main` to its end, without waiting."""
    try:
        return loop.run_until_complete(main)
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.close()
