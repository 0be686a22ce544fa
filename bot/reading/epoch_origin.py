"""From which number a console and a ``results.csv`` count epochs, found from what both hold.

Ultralytics' console counts from 1, its ``results.csv`` from 0 before 8.0.164. YOLOv3, v5, v6, v7 and v9 count from 0 in
both, and their console shows the last epoch as the total.
"""

from __future__ import annotations

import re
from typing import Final

from trainmaster.bot.reading.console.facts import ConsoleFact, RunBanner, Started, TrainFrame
from trainmaster.bot.reading.results_csv import Results

_VERSION: Final = re.compile(r"Ultralytics (?:YOLO)?v?(\d+)\.(\d+)\.(\d+)")
_ROWS_FROM_ONE: Final = (8, 0, 164)
"""The first version that writes them so."""


class EpochOrigin:
    """What the console has shown so far."""

    def __init__(self) -> None:
        self._from_zero: bool | None = None
        self._rows_from_zero = False
        """By the version that wrote them: a file that a resume began has no row 0 to show it."""
        self._planned: int | None = None

    @property
    def from_zero(self) -> bool:
        """Whether the console counts from 0, as far as it has shown."""
        return self._from_zero is True

    def note(self, fact: ConsoleFact) -> None:
        """Take in ``fact`` of the console."""
        if isinstance(fact, Started):
            self._planned = fact.epochs
        elif isinstance(fact, RunBanner):
            self._from_zero = not fact.version.startswith("Ultralytics")
            version = _VERSION.match(fact.version)
            self._rows_from_zero = version is not None and tuple(map(int, version.groups())) < _ROWS_FROM_ONE
        elif isinstance(fact, TrainFrame):
            if fact.epoch == 0:
                self._from_zero = True
            elif self._from_zero is None and self._planned is not None:
                self._from_zero = fact.epochs == self._planned - 1

    def shift_of(self, results: Results) -> int:
        """What to add to the epochs of ``results`` to have those of the console."""
        begun_late = bool(results.rows) and results.rows[0].epoch > 1
        csv_from_zero = results.from_zero or results.yolov5 or (begun_late and self._rows_from_zero)
        console_from_zero = results.yolov5 if self._from_zero is None else self._from_zero
        if not results.rows or csv_from_zero == console_from_zero:
            return 0
        return 1 if csv_from_zero else -1
