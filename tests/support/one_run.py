"""The runs of a bot that knows just one, read from its files and its process at each look."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.drivers.local.driver import LocalDriver


class Reader(Protocol):
    def read(self, now: float) -> RunView: ...


class OneRun:
    """The run behind ``reader``, by whatever name it is asked for, with the state of its process."""

    def __init__(self, reader: Reader, driver: LocalDriver) -> None:
        self._reader = reader
        self._driver = driver

    def look(self) -> RunView:
        view = self._reader.read(0.0)
        process = view.record.process if view.record else None
        return replace(view, process=self._driver.inspect(process) if process else None)

    def all(self) -> list[RunView]:
        return [self.look()]

    def find(self, name_or_id: str) -> RunView | None:
        return self.look()

    async def refresh(self, run: str) -> RunView | None:
        return self.look()
