"""Asking what may never answer: a GPU driver, a dead mount."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Generic, TypeVar

Answer = TypeVar("Answer")
Answer_co = TypeVar("Answer_co", covariant=True)
_Asker = tuple[asyncio.AbstractEventLoop, asyncio.Future[Any]]


class Patient(Generic[Answer_co]):
    """Asks in a thread of its own, which never keeps the process from ending. Who asks while a question is under way
    gets its answer; while one has had none for too long nothing is asked again, so a hung driver costs one thread and
    not one a look."""

    def __init__(self, name: str, ask: Callable[[], Answer_co], *, timeout_s: float) -> None:
        self.name = name
        self._ask = ask
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._askers: list[_Asker] | None = None
        """Of the question under way; None while there is none."""
        self._began_s = 0.0

    async def look(self) -> Answer_co:
        """The answer.

        Raises:
            TimeoutError: there is none yet.
            Exception: what asking raised.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer_co] = loop.create_future()
        with self._lock:
            now_s, is_first = time.monotonic(), self._askers is None
            if self._askers is None:
                self._askers, self._began_s = [], now_s
            elif now_s - self._began_s > self._timeout_s:
                raise TimeoutError(f"an earlier question has had no answer for more than {self._timeout_s:g} s")
            self._askers.append((loop, future))
        if is_first:
            self._begin()
        try:
            async with asyncio.timeout(self._timeout_s):  # wait_for of 3.11 can swallow a cancellation
                return await future
        except TimeoutError as error:
            raise TimeoutError(f"no answer within {self._timeout_s:g} s") from error

    def _begin(self) -> None:
        try:
            threading.Thread(target=self._run, name=f"ask {self.name}", daemon=True).start()
        except RuntimeError as error:  # as many as this host allows
            self._tell(None, OSError(f"no thread to ask in: {error}"))

    def _run(self) -> None:
        answer, error = None, None
        try:
            answer = self._ask()
        except Exception as raised:  # noqa: BLE001 - handed on to who asked
            error = raised
        self._tell(answer, error)

    def _tell(self, answer: object, error: Exception | None) -> None:
        with self._lock:
            askers, self._askers = self._askers or [], None
        for loop, future in askers:
            with suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(_answer, future, answer, error)


def _answer(future: asyncio.Future[Any], answer: object, error: Exception | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(answer)
