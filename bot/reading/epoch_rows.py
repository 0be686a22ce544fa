"""What is new in the ``results.csv`` of an adopted run, each row with the attempt that it is of."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from trainmaster.bot.reading.epoch_origin import EpochOrigin
from trainmaster.bot.reading.results_csv import EMPTY, Results, ResultsRow, read_results
from trainmaster.bot.reading.trained import Trained

NO_CHECKSUM: Final = -1
"""Of a row that was told, and nobody noted which it was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedRow:
    """The row of an epoch that ``attempt`` finished. ``epoch`` as the console counts; ``again``: it tells more now;
    ``moved``: it was told as another attempt's."""

    attempt: int
    epoch: int
    row: ResultsRow
    seconds: float | None
    again: bool = False
    moved: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRows:
    """``begun_anew_with``: the first epoch of a training that only the file shows, which is of no attempt yet."""

    rows: tuple[PlacedRow, ...] = ()
    begun_anew_with: int | None = None


class EpochRows:
    """Follows one ``results.csv`` and tells its new rows, with epochs counted from 1."""

    def __init__(self, path: Path) -> None:
        self.trained = Trained()
        self._path = path
        self._results: Results = EMPTY
        self._stamp: tuple[int, int] | None = None
        """The time and the size of the file when it was read, -1 as long as bytes of it may come later: there are disks
        that know no time, or only seconds."""
        self._placed_stamp: tuple[int, int] | None = None
        self._crc = 0
        self._placed_at = -1
        self._pending = False
        self._told: dict[tuple[int, int], Mapping[str, float]] = {}
        self.told: dict[tuple[int, int], int] = {}
        """The checksum of every row that was told, by attempt and epoch, be it by the bot before this."""

    def mark(self) -> list[int] | None:
        """When the file was written last, and a checksum of its whole rows; None when it is missing.

        Raises:
            OSError: it is there and can't be read.
        """
        written_ns = self._read()
        return None if written_ns is None else [written_ns, self._crc]

    def _read(self) -> int | None:
        """When the file, of which all is known now, was written last; None when it is missing, and not merely away."""
        try:
            status = self._path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        if (status.st_mtime_ns, status.st_size) != self._stamp:
            self._results = read_results(self._path)
            rows = [(row.epoch, *row.values.items()) for row in self._results.rows]
            size = -1 if self._results.has_holes else status.st_size
            self._stamp, self._crc = (status.st_mtime_ns, size), zlib.crc32(repr(rows).encode())
        return status.st_mtime_ns

    def _last_with_rows(self, newest: int, epochs: Sequence[int], before: tuple[int, list[int]] | None) -> int:
        """The newest attempt that may have rows: one before those of ``before`` where the rows are those of its mark,
        whoever wrote them anew, began another file or touched it since, and none was seen to come to the same. One that
        did may have written them before its console, which lags, showed that it began, if no older one has them."""
        mark = self.mark()
        if mark is None or before is None:
            return newest
        first, then = before
        came_to_it = self._have_last_row(range(first, newest + 1), epochs)
        is_older = self._have_last_row(range(1, first), epochs)
        same_time, same_rows = (one == other for one, other in zip(mark, then, strict=True))
        as_before = same_rows and not (came_to_it and not (same_time and is_older))
        as_before |= same_time and then[1] == NO_CHECKSUM
        return first - 1 if as_before else newest

    def _have_last_row(self, attempts: Iterable[int], epochs: Sequence[int]) -> bool:
        """Whether one of ``attempts`` was seen to come to the last row, or had it by what was told."""
        if not epochs:
            return False
        row, epoch = self._results.rows[-1], epochs[-1]
        checksum = _checksum(row.values)
        return any(
            self.trained.ended_with(one, epoch, row.named("train/")) or self.told.get((one, epoch)) == checksum
            for one in attempts
        )

    def may_be_of(self, attempt: int, log: Path) -> bool:
        """Whether the file may hold a row of ``attempt``: it has finished an epoch, or its console lags behind."""
        return self.trained.has_finished(attempt) or _mtime_ns(self._path) > _mtime_ns(log)

    def new(self, newest: int, origin: EpochOrigin, log: Path, before: tuple[int, list[int]] | None) -> NewRows:
        """Rows, or figures of them, that were not told yet. ``newest`` is the newest attempt; ``before``: since which
        one a file of which mark holds nothing.

        Raises:
            OSError: the file is there and can't be read.
        """
        mtime_ns = self._read()
        if mtime_ns is None:
            return NewRows()
        if self._stamp == self._placed_stamp and (not self._pending or self._placed_at == self.trained.changes):
            return NewRows()
        self._placed_stamp, self._placed_at = self._stamp, self.trained.changes
        shift = origin.shift_of(self._results)
        epochs = [row.epoch + shift for row in self._results.rows]
        last = self._last_with_rows(newest, epochs, before)
        losses = [row.named("train/") for row in self._results.rows]
        ahead = mtime_ns >= _mtime_ns(log)

        def told(place: int, attempt: int) -> bool | None:
            key, values = (attempt, epochs[place]), self._results.rows[place].values
            if key in self._told:
                return _is_the_same(self._told[key], values)
            noted = self.told.get(key, NO_CHECKSUM)
            return None if noted == NO_CHECKSUM else noted == _checksum(values)

        attempts = self.trained.place(epochs, last, ahead=ahead, losses=losses, told=told)
        placed = zip(attempts, epochs, strict=True)
        self._pending = any(one is None or (one < newest and self.trained.waits_for(newest, at)) for one, at in placed)
        found: list[PlacedRow] = []
        seconds = seconds_of(self._results)
        for place, attempt in enumerate(attempts):
            if attempt is None:
                continue
            epoch, row, took_s = epochs[place], self._results.rows[place], seconds[place]
            if told(place, attempt) is False:
                if attempt == newest:
                    self._placed_stamp = None
                    return NewRows(rows=tuple(found), begun_anew_with=epoch)
                continue
            known = self._told.get((attempt, epoch))
            if known is None or _tells_more(known, row.values):
                moved = self._is_told_of_another(newest, attempt, epoch, row)
                self._told[attempt, epoch] = row.values
                self.told[attempt, epoch] = _checksum(row.values)
                one = PlacedRow(
                    attempt=attempt, epoch=epoch, row=row, seconds=took_s, again=known is not None, moved=moved
                )
                found.append(one)
        return NewRows(rows=tuple(found))

    def _is_told_of_another(self, newest: int, attempt: int, epoch: int, row: ResultsRow) -> bool:
        """Whether the very row was told as another attempt's. Without its time it may be that of another training."""
        if "time" not in row.values or (attempt, epoch) in self.told:
            return False
        checksum = _checksum(row.values)
        return any(self.told.get((number, epoch)) == checksum for number in range(1, newest + 1))


def _checksum(row: Mapping[str, float]) -> int:
    """Of what its trainer alone writes, and at once: a program that goes over the file adds or fills other columns."""
    own = {name: value for name, value in row.items() if name.startswith("train/") or name == "time"}
    return zlib.crc32(repr(own or dict(row)).encode())


def _is_the_same(known: Mapping[str, float], row: Mapping[str, float]) -> bool:
    """Whether all that both rows tell is alike: a program that goes over the file may add columns, or fill them."""
    both = known.keys() & row.keys()
    return bool(both or known == row) and all(repr(known[name]) == repr(row[name]) for name in both)


def _tells_more(known: Mapping[str, float], row: Mapping[str, float]) -> bool:
    """Whether ``row`` has a figure of a validation that was not ``known``, or one that is not finite."""
    added = row.keys() - known.keys()
    return any(name.startswith(("val/", "metrics/")) or not math.isfinite(row[name]) for name in added)


def seconds_of(results: Results) -> list[float | None]:
    """How long the epoch of each row took. The column ``time`` (8.3 on) counts from the start of the process; a resume
    starts it anew. None where it is not finite, and for the row behind that."""
    seconds: list[float | None] = []
    before: float | None = 0.0
    for row in results.rows:
        now = row.values.get("time")
        if now is None or not math.isfinite(now):
            seconds.append(None)
            before = before if now is None else None
            continue
        seconds.append(None if before is None else (now - before if now > before else now))
        before = now
    return seconds


def _mtime_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
