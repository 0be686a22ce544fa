"""A guarded run's directory -> a :class:`RunView`, incrementally: what has not changed is not read again."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from trainmaster.bot.core.evolve import evolve
from trainmaster.bot.core.run.facts import Event, RunRecord
from trainmaster.bot.core.run.folding import fold_beat, fold_events, fold_series, shift_clock, without_curves
from trainmaster.bot.core.run.parsing import heartbeat_of, number_of, time_of
from trainmaster.bot.core.run.phases import PhaseTimes
from trainmaster.bot.core.run.series_window import SeriesRow
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.reading.json_lines import records_of
from trainmaster.bot.reading.log_errors import LogErrorReader
from trainmaster.bot.reading.own_clock import OwnClock
from trainmaster.bot.reading.ownership import Ownership, is_gone, login_of
from trainmaster.bot.reading.plain_files import Open, open_plain
from trainmaster.bot.reading.tail import LineReader, TailNote
from trainmaster.trainer.contract import (
    ARCHIVE_DIR_NAME,
    SCHEMA_VERSION,
    Phase,
    RunLayout,
    RunRecordState,
)

MAX_DEPTH = 4
"""Ultralytics nests project/task/name; deeper than this is not searched."""
_MAX_LOG_ERRORS = 20
MAX_JSON_BYTES = 1024 * 1024
"""A record of a run has a few thousand bytes; a larger file is something else, and is not taken into memory."""
_LOG_TAIL_BYTES = 16_384
_LOG_TAIL_LINES = 15
_LOG_LINE_CHARACTERS = 240
_BEAT_BEHIND_S = 2.0
"""A heartbeat later than an error by this, and by two batches, shows that training went on."""
_LAYOUT = RunLayout(Path())
_SIGNED = tuple(
    path.name for path in (_LAYOUT.run_json, _LAYOUT.heartbeat, _LAYOUT.events, _LAYOUT.series, _LAYOUT.train_log)
)
"""What :class:`RunReader` reads, in the folder of the guard."""
_RECORD = str(_LAYOUT.run_json)
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


OVER_FOR_LONG_S = 3600.0
"""What ended within this time may be news, and is read in full at once."""
_Signature = tuple[tuple[int, ...] | None, ...]


class RunReader:
    """Keeps the newest view of one run directory. :meth:`read` never raises; what failed stands in ``read_errors``."""

    def __init__(
        self,
        directory: Path,
        *,
        first_seen_ts: float,
        steady: Callable[[], float] | None = None,
        ownership: Ownership | None = None,
        read_ahead: Callable[[Path], RunReader | None] | None = None,
    ) -> None:
        """``read_ahead``: what another process has read of the directory by the first glance."""
        self.layout = RunLayout(directory)
        self._own_clock = OwnClock(steady)
        self._ownership = ownership
        self._open: Open = partial(ownership.open, directory) if ownership else open_plain
        self._read_ahead = read_ahead
        self._log_errors = LogErrorReader(self.layout.train_log, self._open)
        self._events = LineReader(self.layout.events, open_file=self._open)
        self._series = LineReader(self.layout.series, open_file=self._open)
        self._checked: dict[Path, tuple[int, int, int]] = {}
        self._glances = False
        self._gone = False
        self._signature: _Signature | None = None
        """What the files were before the last read, of a run that is over; None where that can't be told."""
        self.view = RunView(directory=directory, name=directory.name, ts=first_seen_ts, first_seen_ts=first_seen_ts)

    def glance(self, now: float) -> RunView:
        """As :meth:`read`, but the series of a run that has been over for long stays unread: it is nearly all that
        there is to read, and the view is brief without it."""
        ahead, self._read_ahead = self._read_ahead, None
        other = ahead(self.layout.root) if ahead is not None else None
        if other is not None and not other.view.read_errors:  # they are told of the look that met them
            self._go_on_from(other, now)
            if self.unchanged():
                return self.view
        self._glances = True
        try:
            return self.read(now)
        finally:
            self._glances = False

    def _go_on_from(self, other: RunReader, now: float) -> None:
        """Nothing that the ``other`` has read of this directory is read again."""
        self._own_clock, self._log_errors = other._own_clock, other._log_errors
        self._events, self._series = other._events, other._series
        self._checked, self._gone, self._signature = other._checked, other._gone, other._signature
        self.view = evolve(other.view, ts=now, first_seen_ts=self.view.first_seen_ts)

    def unchanged(self) -> bool:
        """Whether the run is over, was read to its end, and nothing was written, replaced or given other rights in its
        directory since. Costs a stat a file, and opens none."""
        more = self._events.last.more or self._series.last.more or self._log_errors.more
        return not more and self._signature is not None and self._signature == self._sign()

    def rest(self, view: RunView) -> RunView:
        """``view``, one of this run, without its curves, which are no longer held here either: the next :meth:`read`
        reads them again."""
        if not self.view.brief:
            self._series = LineReader(self.layout.series, open_file=self._open)
            self.view = without_curves(self.view)
        told = self.view
        return evolve(view, epochs=told.epochs, known_story=told.known_story, stretches=(), brief=True)

    def _sign(self) -> _Signature | None:
        guard = f"{self.layout.root}/{self.layout.guard.name}"
        names = (str(self.layout.root), guard, *(f"{guard}/{name}" for name in _SIGNED))
        try:
            return tuple(map(_signature, names))
        except OSError:
            return None

    def read(self, now: float) -> RunView:
        """The view with everything that the files hold now."""
        errors: list[str] = []
        self._signature = None if _is_at_work(self.view.record) else self._sign()
        view = shift_clock(evolve(self.view, ts=now), self._own_clock.jump_s(now))
        record = self._changed_json(self.layout.run_json, errors)
        if record is not None:
            view = evolve(view, record=RunRecord.parse(record) or view.record)
        beat = self._changed_json(self.layout.heartbeat, errors)
        if beat is not None:
            parsed = heartbeat_of(beat)
            view = fold_beat(view, parsed, now) if parsed else view
        events = self._read_lines(self._events, errors)
        if self._events.last.note in {TailNote.TRUNCATED, TailNote.REPLACED}:
            view = evolve(view, epochs={}, checkpoints=(), notable=(), phases=PhaseTimes())
        told = list(self._known(events, errors))
        view = fold_events(view, told)
        brief = self._glances and _has_been_over(view.record, told[-1].ts if told else 0.0, now)
        if not brief:
            rows = self._read_lines(self._series, errors)
            if self._series.last.note in {TailNote.TRUNCATED, TailNote.REPLACED}:
                view = evolve(view, stretches=())
            view = fold_series(view, _series_rows(rows))
        if log_errors := self._log_errors.look(now):
            view = evolve(view, log_errors=(*view.log_errors, *log_errors)[-_MAX_LOG_ERRORS:])
        view = self._with_outlived(view)
        why, login = self._watched_only(view), login_of(self.layout.root)
        told_errors = tuple(errors)
        self.view = evolve(view, read_errors=told_errors, watched_only=why, login=login, brief=brief, gone=self._gone)
        return self.view

    def _with_outlived(self, view: RunView) -> RunView:
        """``view`` with its errors of the log marked after which training went on: by what the log says behind them, or
        by a heartbeat that was written well after them. Both files have one clock, that of their file system."""
        if all(one.outlived for one in view.log_errors):
            return view
        num_behind = len(view.log_errors) - self._log_errors.num_open
        alive_ts = self._last_beat_at_work_ts(view)
        marked = tuple(
            evolve(one, outlived=True) if number < num_behind or one.written_ts <= alive_ts else one
            for number, one in enumerate(view.log_errors)
        )
        return evolve(view, log_errors=marked)

    def _last_beat_at_work_ts(self, view: RunView) -> float:
        """Errors written until then did not end the run. The last heartbeat of all is no sign of work, and another rank
        may finish the batch in which one failed."""
        written, beat = self._checked.get(self.layout.heartbeat), view.heartbeat
        if written is None or beat is None or beat.phase is Phase.ENDED:
            return -math.inf
        return written[1] / 1e9 - _BEAT_BEHIND_S - 2 * (beat.longest_batch_s or 0.0)

    def _watched_only(self, view: RunView) -> str:
        """What is known of a run whose directory is gone was read while that was judged: it stays what it was."""
        if self._ownership is None:
            return ""
        before = self.view.watched_only if view.record is not None and is_gone(self.layout.root) else ""
        return before or self._ownership.fault(self.layout.root, view.record)

    def log_tail(self) -> tuple[str, ...]:
        """The last lines of the console log as a terminal would show them; empty when there is none."""
        # What a run names is believed of the bot's own runs only.
        return last_lines(self.layout.train_log if self.view.watched_only else self.view.log, self._open)

    def _changed_json(self, path: Path, errors: list[str]) -> dict[str, Any] | None:
        """The object in ``path`` if it was replaced since the last look."""
        try:
            stat = path.stat()
            self._gone = self._gone and path != self.layout.run_json
            identity = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
            if self._checked.get(path) == identity:
                return None
            if stat.st_size > MAX_JSON_BYTES:
                errors.append(f"{path.name} has {stat.st_size} bytes (limit {MAX_JSON_BYTES}): no record has.")
                return None
            record = self._object_in(path)
        except FileNotFoundError:
            self._gone = self._gone or (path == self.layout.run_json and path in self._checked)
            running = self.view.record is not None and self.view.record.state is RunRecordState.RUNNING
            if path == self.layout.run_json and path in self._checked and running:
                errors.append(f"{path.name} is gone. Was the run's directory moved or deleted, or its mount lost?")
            return None
        except RecursionError:
            record = None
        except OSError as error:
            errors.append(f"{path.name} can't be read: {error.strerror}. Check its permissions and the mount.")
            return None
        if record is None:
            errors.append(
                f"{path.name} holds no JSON object. The trainer replaces it whole; did something else write it?"
            )
            return None
        self._checked[path] = identity
        return record

    def _object_in(self, path: Path) -> dict[str, Any] | None:
        with os.fdopen(self._open(path), "rb") as stream:
            data = stream.read(MAX_JSON_BYTES + 1)
        try:
            value = json.loads(data.decode("utf-8"))
        except ValueError:
            return None
        return value if isinstance(value, dict) else None

    def _read_lines(self, reader: LineReader, errors: list[str]) -> list[dict[str, Any]]:
        lines = reader.read()
        if reader.last.note is TailNote.UNREADABLE:
            errors.append(
                f"{reader.path.name} can't be read: {reader.last.error}. Check its permissions and the mount."
            )
        records, torn = records_of(lines)
        if torn:
            errors.append(
                f"{reader.path.name}: {torn} damaged line(s) were passed over; everything around them was read."
            )
        return records

    def _known(self, records: Iterable[dict[str, Any]], errors: list[str]) -> Iterable[Event]:
        for record in records:
            version = record.get("v")
            if isinstance(version, int) and version > SCHEMA_VERSION:
                text = f"events are of schema {version}, this bot knows {SCHEMA_VERSION}: upgrade it to see everything."
                if text not in errors:
                    errors.append(text)
            event = Event.parse(record)
            if event:
                yield event


def _is_at_work(record: RunRecord | None) -> bool:
    return record is not None and record.state in {RunRecordState.RUNNING, RunRecordState.SUBMITTED}


def _has_been_over(record: RunRecord | None, told_ts: float, now: float) -> bool:
    """``told_ts`` is of the newest event."""
    if record is None or record.state is None or _is_at_work(record) or record.updated_ts is None:
        return False
    return now - max(record.updated_ts, told_ts) > OVER_FOR_LONG_S


def _signature(path: str) -> tuple[int, ...] | None:
    try:
        status = os.stat(path)  # noqa: PTH116 - seven a run and tick
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def last_lines(log: Path, open_file: Open = open_plain) -> tuple[str, ...]:
    """The end of a console log: what a terminal would show of each line, without colours."""
    try:
        with os.fdopen(open_file(log), "rb") as stream:
            stream.seek(0, 2)
            stream.seek(max(0, stream.tell() - _LOG_TAIL_BYTES))
            # PowerShell writes UTF-16: two bytes a character, one of them zero.
            text = stream.read(_LOG_TAIL_BYTES).replace(b"\0", b"").decode("utf-8", "replace")
    except OSError:
        return ()
    shown = [_ANSI.sub("", line).rstrip("\r").rsplit("\r", 1)[-1].rstrip() for line in text.split("\n")]
    return tuple(line[:_LOG_LINE_CHARACTERS] for line in shown if line.strip())[-_LOG_TAIL_LINES:]


def _series_rows(records: Iterable[dict[str, Any]]) -> Iterable[SeriesRow]:
    for record in records:
        told = record.get
        losses, attempt, epoch, batch = told("losses"), told("attempt"), told("epoch"), told("batch")
        if not (isinstance(attempt, int) and isinstance(epoch, int) and isinstance(batch, int)):
            continue
        if not (isinstance(losses, dict) and losses):
            continue
        clipped = told("clipped")
        yield SeriesRow(
            time_of(told("ts")),
            attempt,
            epoch,
            batch,
            sum([number for value in losses.values() if (number := number_of(value)) is not None]),
            number_of(told("grad_norm_p50")),
            number_of(told("grad_norm_p99")),
            clipped if isinstance(clipped, int) else None,
        )


def find_runs(root: Path, closed: list[Path] | None = None) -> tuple[Path, ...]:
    """Run directories under ``root``, archives left out. Folders that nobody lets us into join ``closed``.

    Raises:
        OSError: ``root`` itself can't be listed.
    """
    found: list[str] = []
    pending = [(str(root), 0)]
    while pending:
        directory, depth = pending.pop()
        try:
            with os.scandir(directory) as entries:  # thousands of runs, every few seconds: names and kinds in one go
                children = [one.path for one in entries if _may_hold_runs(one)]
        except OSError as error:
            if depth == 0:
                raise
            if closed is not None and isinstance(error, PermissionError):
                closed.append(Path(directory))
            continue
        for child in children:
            if os.path.isfile(f"{child}/{_RECORD}"):  # noqa: PTH113 - as is_run_dir, several times faster
                found.append(child)
            elif depth + 1 < MAX_DEPTH:
                pending.append((child, depth + 1))
    return tuple(sorted(map(Path, found)))


def _may_hold_runs(entry: os.DirEntry[str]) -> bool:
    return entry.name != ARCHIVE_DIR_NAME and not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False)
