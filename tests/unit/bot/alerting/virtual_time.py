"""An event loop whose clock jumps to the next timer instead of waiting for it."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
START_TS = 1_700_000_000.0


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
    """`time()` counts from 0; `now()` is the wall clock that goes with it. Is a `trainmaster.bot.ports.Clock`."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)
        self.offset_s = START_TS

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
