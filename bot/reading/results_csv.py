"""Ultralytics' ``results.csv`` -> rows by epoch.

Two layouts: padded columns without a time (8.0 to 8.2, YOLOv5) and plain ones with it (8.3 on). A resume appends, so
epochs may repeat; a crash can tear the last line; a non-finite number stands as ``nan`` or ``inf``, or as the C library
of Windows writes it. YOLOv5's names of columns are put as Ultralytics has them. A spreadsheet that saved the file may
have changed its encoding, the separator and the decimal point, and quoted the cells.
"""

from __future__ import annotations

import codecs
import csv
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from trainmaster.bot.reading.nonfinite_text import as_python_spells
from trainmaster.bot.reading.plain_files import open_plain

MAX_BYTES = 64 * 1024 * 1024
"""A longer file is no results.csv: 300 bytes a row make 200,000 epochs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultsRow:
    """One epoch, as the file counts: from 0 before 8.0.164 and in YOLOv5, else from 1. ``values`` holds every other
    column that has a number, non-finite ones included."""

    epoch: int
    values: Mapping[str, float]

    def named(self, prefix: str) -> dict[str, float]:
        """The values whose column starts with ``prefix`` (``train/``, ``metrics/``, ``val/``, ``lr/``), without it."""
        return {name[len(prefix) :]: value for name, value in self.values.items() if name.startswith(prefix)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """All whole rows in the order of the file; a last line without its end is none."""

    columns: tuple[str, ...]
    rows: tuple[ResultsRow, ...]
    yolov5: bool = False
    """Whether YOLOv5 wrote it, which counts epochs from 0 on its console too."""
    has_holes: bool = False
    """Whether zeros stand in it: a network file system may have the bytes later, at the same size and time."""

    @property
    def from_zero(self) -> bool:
        """Whether the file shows that it counts epochs from 0."""
        return any(row.epoch == 0 for row in self.rows)

    @property
    def latest(self) -> dict[int, ResultsRow]:
        """The row of each epoch that counts: after a resume the later one, and none that the resume went back over."""
        kept: dict[int, ResultsRow] = {}
        for row in self.rows:
            for epoch in [known for known in kept if known >= row.epoch]:
                del kept[epoch]
            kept[row.epoch] = row
        return kept


EMPTY = Results(columns=(), rows=())


def parse_results(data: bytes) -> Results:
    """The rows of ``data``. What is no row (damage, a repeated header) is passed over; nothing raises."""
    text = data.decode(_encoding_of(data), "replace").removeprefix("\ufeff")
    lines = text.split("\n") if "\n" in text else text.split("\r")
    columns: tuple[str, ...] = ()
    heads: tuple[str, ...] = ()
    separator, num_added = ",", 0
    yolov5 = False
    rows: list[ResultsRow] = []
    for whole in lines[:-1]:
        line = whole.rpartition("\0")[2]  # a power cut leaves a hole, and what a resume appends begins behind it
        if begun := _HEAD.match(line):
            separator = begun[1]
        cells = _cells(line, separator)
        if begun:
            place = next((place for place, cell in enumerate(cells) if cell.lower() == "epoch"), 0)
            named = tuple(cell for cell in cells[place:] if cell)
            if ",".join(heads).startswith(",".join(named)):  # the same again, whole or torn
                continue
            heads, num_added = named, place
            columns = tuple(_as_ultralytics(name) for name in named)
            yolov5 = columns != named
        elif row := _row_of(columns, cells, num_added) or _row_of(columns, _cells(line, ","), num_added):
            rows.append(row)  # a trainer goes on in its own way in a file that a spreadsheet has saved
    return Results(columns=columns, rows=tuple(rows), yolov5=yolov5, has_holes=bytes(4) in data)


def read_results(path: Path) -> Results:
    """The rows that ``path`` has now; none when it is missing or empty.

    Raises:
        OSError: no permission, a dead mount: the caller must not take that for an empty file.
    """
    try:
        with os.fdopen(open_plain(path), "rb") as stream:
            return parse_results(stream.read(MAX_BYTES))
    except (FileNotFoundError, NotADirectoryError):
        return EMPTY


_YOLOV5_METRICS = {
    "metrics/precision": "metrics/precision",
    "metrics/recall": "metrics/recall",
    "metrics/mAP_0.5": "metrics/mAP50",
    "metrics/mAP_0.5:0.95": "metrics/mAP50-95",
}
_YOLOV5_RATE = re.compile(r"(?:x/lr|lr/)(\d+)")


def _as_ultralytics(name: str) -> str:
    """``metrics/mAP_0.5`` is ``metrics/mAP50(B)``, ``x/lr0`` is ``lr/pg0``."""
    bare, _, kind = name.partition("(")
    if bare in _YOLOV5_METRICS:
        return f"{_YOLOV5_METRICS[bare]}({kind or 'B)'}"
    rate = _YOLOV5_RATE.fullmatch(name)
    return f"lr/pg{rate[1]}" if rate else name


_HEAD: Final = re.compile(r"""(?:[^,;\t]*[,;\t])*?[\s"']*epoch[\s"']*([,;\t])""", re.IGNORECASE)
"""Before the epoch stands what somebody added: pandas numbers the rows."""
_WRAPPED: Final = re.compile(r"[A-Za-z][\w.]*\(([^(),\s]+)")
"""A number as a loop of somebody's own may write it: ``tensor(nan)``."""
_UTF16: Final = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}


def _encoding_of(data: bytes) -> str:
    """A file without a mark is UTF-16 where every other byte of its beginning is zero."""
    if data[:2] in _UTF16:
        return _UTF16[data[:2]]
    if data[:1] != b"\0" and data[1:8:2] == b"\0\0\0\0":
        return "utf-16-le"
    return "utf-16-be" if data[0:8:2] == b"\0\0\0\0" else "utf-8"


def _cells(line: str, separator: str) -> list[str]:
    cells = line.split(separator)
    if '"' in line:
        try:
            cells = next(csv.reader([line.strip()], delimiter=separator, skipinitialspace=True), cells)
        except csv.Error:
            return cells
    return [cell.strip(" \t\r'") for cell in cells]


def _own(columns: tuple[str, ...]) -> tuple[str, ...]:
    """Those that a trainer writes, the rates last: whoever added others behind them did so to the rows of then."""
    rates = [place for place, name in enumerate(columns, 1) if name.startswith("lr/")]
    return columns[: rates[-1]] if rates else columns


def _of_another_version(columns: tuple[str, ...]) -> tuple[str, ...]:
    """The columns where the head is of a version that wrote no ``time``, or did: a resume writes no other head."""
    return (columns[0], *columns[2:]) if columns[1:2] == ("time",) else (*columns[:1], "time", *columns[1:])


def _row_of(columns: tuple[str, ...], cells: list[str], num_added: int) -> ResultsRow | None:
    """``num_added``: so many columns stand before those, in rows that are as wide as their head."""
    own = _own(columns)
    if len(cells) == num_added + len(columns):
        cells = cells[num_added:]
    return _row(columns, cells) or _row(own, cells) or _row(_of_another_version(own), cells) or _wide_row(own, cells)


def _wide_row(columns: tuple[str, ...], cells: list[str]) -> ResultsRow | None:
    """A row of more cells than its head has, as a resume under a version with more losses writes it. Which figure is
    which is not known behind the time, and only what is not finite is told. A torn row and the next one are none."""
    if not columns or len(cells) <= len(columns) or _row(columns, cells[-len(columns) :]):
        return None
    sure = columns[: 2 if columns[1:2] == ("time",) else 1]
    trained_up_to = len(sure) + sum(name.startswith("train/") for name in columns) + len(cells) - len(columns)
    unsure = (f"{'train' if n <= trained_up_to else 'val'}/column {n}" for n in range(len(sure) + 1, len(cells) + 1))
    row = _row((*sure, *unsure), cells)
    told = row.values.items() if row else ()
    return row and replace(row, values={name: one for name, one in told if name == "time" or not math.isfinite(one)})


def _row(columns: tuple[str, ...], cells: list[str]) -> ResultsRow | None:
    if len(cells) == len(columns) + 1 and cells[-1] == "":  # YOLOv5 ends each row with a separator
        cells = cells[:-1]
    if not columns or len(cells) != len(columns):
        return None
    numbers = {
        name: number for name, cell in zip(columns, cells, strict=False) if (number := _figure(name, cell)) is not None
    }
    epoch = numbers.pop(columns[0], None)
    if epoch is None or not (0 <= epoch < 2**31) or epoch != int(epoch):
        return None
    return ResultsRow(epoch=int(epoch), values=numbers)


def _figure(column: str, cell: str) -> float | None:
    """pandas, which may have written the file anew, leaves a cell empty that was NaN. A trainer leaves none of its
    training losses out; a validation is not made after every epoch."""
    return math.nan if not cell and column.startswith("train/") else _number(cell)


def _number(cell: str) -> float | None:
    try:
        return float(as_python_spells(cell))
    except ValueError:
        pass
    if wrapped := _WRAPPED.match(cell):
        return _number(wrapped[1])
    # A spreadsheet of many countries has a decimal comma; the separator is another character then, or it is quoted.
    return _number(cell.replace(",", ".")) if cell.count(",") == 1 else None
