"""A guarded run's directory -> a :class:`RunView`, incrementally: what has not changed is not read again."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from trainmaster.bot.core.run.facts import Event, RunRecord
from trainmaster.bot.core.run.folding import fold_beat, fold_events, fold_series, shift_clock
from trainmaster.bot.core.run.parsing import heartbeat_of
from trainmaster.bot.core.run.phases import PhaseTimes
from trainmaster.bot.core.run.series_window import SeriesRow
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.reading.log_errors import LogErrorReader
from trainmaster.bot.reading.own_clock import OwnClock
from trainmaster.bot.reading.ownership import Ownership, login_of
from trainmaster.bot.reading.plain_files import Open, open_plain
from trainmaster.bot.reading.tail import LineReader, TailNote
from trainmaster.trainer.contract import (
    ARCHIVE_DIR_NAME,
    SCHEMA_VERSION,
    RunLayout,
    RunRecordState,
    decode_number,
    is_run_dir,
)

MAX_DEPTH = 4
"""Ultralytics nests project/task/name; deeper than this is not searched."""
_MAX_LOG_ERRORS = 20
MAX_JSON_BYTES = 1024 * 1024
"""A record of a run has a few thousand bytes; a larger file is something else, and is not taken into memory."""
_LOG_TAIL_BYTES = 16_384
_LOG_TAIL_LINES = 15
_LOG_LINE_CHARACTERS = 240
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class RunReader:
    """Keeps the newest view of one run directory. :meth:`read` never raises; what failed stands in ``read_errors``."""

    def __init__(
        self,
        directory: Path,
        *,
        first_seen_ts: float,
        steady: Callable[[], float] | None = None,
        ownership: Ownership | None = None,
    ) -> None:
        self.layout = RunLayout(directory)
        self._own_clock = OwnClock(steady)
        self._ownership = ownership
        self._log_errors = LogErrorReader(self.layout.train_log, self._open)
        self._events = LineReader(self.layout.events, open_file=self._open)
        self._series = LineReader(self.layout.series, open_file=self._open)
        self._checked: dict[Path, tuple[int, int, int]] = {}
        self.view = RunView(directory=directory, name=directory.name, ts=first_seen_ts, first_seen_ts=first_seen_ts)

    def read(self, now: float) -> RunView:
        """The view with everything that the files hold now."""
        errors: list[str] = []
        view = shift_clock(replace(self.view, ts=now), self._own_clock.jump_s(now))
        record = self._changed_json(self.layout.run_json, errors)
        if record is not None:
            view = replace(view, record=RunRecord.parse(record) or view.record)
        beat = self._changed_json(self.layout.heartbeat, errors)
        if beat is not None:
            parsed = heartbeat_of(beat)
            view = fold_beat(view, parsed, now) if parsed else view
        events = self._read_lines(self._events, errors)
        if self._events.last.note in {TailNote.TRUNCATED, TailNote.REPLACED}:
            view = replace(view, epochs={}, checkpoints=(), notable=(), phases=PhaseTimes())
        view = fold_events(view, self._known(events, errors))
        rows = self._read_lines(self._series, errors)
        if self._series.last.note in {TailNote.TRUNCATED, TailNote.REPLACED}:
            view = replace(view, stretches=())
        view = fold_series(view, _series_rows(rows))
        if log_errors := self._log_errors.look(now):
            view = replace(view, log_errors=(*view.log_errors, *log_errors)[-_MAX_LOG_ERRORS:])
        why = self._ownership.fault(self.layout.root, view.record) if self._ownership else ""
        self.view = replace(view, read_errors=tuple(errors), watched_only=why, login=login_of(self.layout.root))
        return self.view

    def _open(self, path: Path) -> int:
        return open_plain(path, self._ownership.readers(self.layout.root) if self._ownership else None)

    def log_tail(self) -> tuple[str, ...]:
        """The last lines of the console log as a terminal would show them; empty when there is none."""
        record = self.view.record
        # What a run names is believed of the bot's own runs only.
        named = self.layout.root / record.log if record and record.log and not self.view.watched_only else None
        return last_lines(named or self.layout.train_log, self._open)

    def _changed_json(self, path: Path, errors: list[str]) -> dict[str, Any] | None:
        """The object in ``path`` if it was replaced since the last look."""
        try:
            stat = path.stat()
            identity = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
            if self._checked.get(path) == identity:
                return None
            if stat.st_size > MAX_JSON_BYTES:
                errors.append(f"{path.name} has {stat.st_size} bytes (limit {MAX_JSON_BYTES}): no record has.")
                return None
            record = self._object_in(path)
        except FileNotFoundError:
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
        records: list[dict[str, Any]] = []
        torn = 0
        for line in lines:
            if not line.strip():
                continue
            try:
                value = json.loads(line)
            except (ValueError, RecursionError):
                torn += 1
                continue
            if isinstance(value, dict):
                records.append(value)
            else:
                torn += 1
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


def last_lines(log: Path, open_file: Open = open_plain) -> tuple[str, ...]:
    """The end of a console log: what a terminal would show of each line, without colours."""
    try:
        with os.fdopen(open_file(log), "rb") as stream:
            stream.seek(0, 2)
            stream.seek(max(0, stream.tell() - _LOG_TAIL_BYTES))
            text = stream.read(_LOG_TAIL_BYTES).decode("utf-8", "replace")
    except OSError:
        return ()
    shown = [_ANSI.sub("", line).rstrip("\r").rsplit("\r", 1)[-1].rstrip() for line in text.split("\n")]
    return tuple(line[:_LOG_LINE_CHARACTERS] for line in shown if line.strip())[-_LOG_TAIL_LINES:]


def _series_rows(records: Iterable[dict[str, Any]]) -> Iterable[SeriesRow]:
    for record in records:
        losses = record.get("losses")
        numbers = [decode_number(value) for value in losses.values()] if isinstance(losses, dict) else []
        attempt, epoch, batch = record.get("attempt"), record.get("epoch"), record.get("batch")
        clipped = record.get("clipped")
        if isinstance(attempt, int) and isinstance(epoch, int) and isinstance(batch, int) and numbers:
            yield SeriesRow(
                ts=decode_number(record.get("ts")),
                attempt=attempt,
                epoch=epoch,
                batch=batch,
                loss=sum(number for number in numbers if number is not None),
                norm_p50=decode_number(record.get("grad_norm_p50")),
                norm_p99=decode_number(record.get("grad_norm_p99")),
                clipped=clipped if isinstance(clipped, int) else None,
            )


def find_runs(root: Path) -> tuple[Path, ...]:
    """Run directories under ``root``, archives left out.

    Raises:
        OSError: ``root`` itself can't be listed.
    """
    found: list[Path] = []
    pending = [(root, 0)]
    while pending:
        directory, depth = pending.pop()
        try:
            children = [child for child in directory.iterdir() if child.is_dir() and not child.is_symlink()]
        except OSError:
            if directory == root:
                raise
            continue
        for child in children:
            if child.name == ARCHIVE_DIR_NAME or child.name.startswith("."):
                continue
            if is_run_dir(child):
                found.append(child)
            elif depth + 1 < MAX_DEPTH:
                pending.append((child, depth + 1))
    return tuple(sorted(found))
