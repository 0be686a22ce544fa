"""Asking what may never answer: a GPU driver, a dead mount."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Generic, TypeVar

Answer = TypeVar("Answer")
Answer_co = TypeVar("Answer_co", covariant=True)


class Patient(Generic[Answer_co]):
    """Asks in a thread of its own, which never keeps the process from ending. While an earlier question has no answer
    nothing is asked again, so a hung driver costs one thread and not one a look."""

    def __init__(self, name: str, ask: Callable[[], Answer_co], *, timeout_s: float) -> None:
        self.name = name
        self._ask = ask
        self._timeout_s = timeout_s
        self._waiting = False

    async def look(self) -> Answer_co:
        """The answer.

        Raises:
            TimeoutError: there is none yet.
            Exception: what asking raised.
        """
        if self._waiting:
            raise TimeoutError(f"an earlier question has had no answer for more than {self._timeout_s:g} s")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer_co] = loop.create_future()
        self._waiting = True
        threading.Thread(target=self._run, args=(loop, future), name=f"ask {self.name}", daemon=True).start()
        try:
            async with asyncio.timeout(self._timeout_s):  # wait_for of 3.11 can swallow a cancellation
                return await future
        except TimeoutError as error:
            raise TimeoutError(f"no answer within {self._timeout_s:g} s") from error

    def _run(self, loop: asyncio.AbstractEventLoop, future: asyncio.Future[Any]) -> None:
        answer, error = None, None
        try:
            answer = self._ask()
        except Exception as raised:  # noqa: BLE001 - handed on to who asked
            error = raised
        self._waiting = False
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(_answer, future, answer, error)


def _answer(future: asyncio.Future[Any], answer: object, error: Exception | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(answer)
