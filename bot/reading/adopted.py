"""An unguarded run, from its console log and ``results.csv`` -> the same :class:`RunView`, with less in it.

A console shows running means: one non-finite batch keeps the mean non-finite to the epoch's end. So the first such
frame of an epoch is one bad batch, observed, and how many followed is unknown.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from trainmaster.bot.core.run.adoption import AdoptedAttempt, Adoption
from trainmaster.bot.core.run.facts import Event, RunRecord
from trainmaster.bot.core.run.folding import fold_beat, fold_events, shift_clock
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.reading.console.facts import (
    Completed,
    ConsoleFact,
    EarlyStopped,
    ErrorOrigin,
    FatalError,
    NanRecovery,
    Notice,
    NoticeKind,
    Started,
    TrainFrame,
    ValBar,
)
from trainmaster.bot.reading.console.follow import ConsoleFollower
from trainmaster.bot.reading.own_clock import OwnClock
from trainmaster.bot.reading.ownership import Ownership
from trainmaster.bot.reading.read_before import ReadBefore
from trainmaster.bot.reading.results_csv import Results, read_results
from trainmaster.bot.reading.run_files import last_lines
from trainmaster.bot.reading.tail import TailNote
from trainmaster.trainer.contract import EventKind, Heartbeat, Phase, RunRecordState, encode_number, read_json

UNGUARDED = "none (unguarded)"
"""The level of a run that nothing guards."""

_SILENT = frozenset({TailNote.UNCHANGED, TailNote.MISSING, TailNote.UNREADABLE})
"""Looks that found no new byte."""
_LOOK_BYTES = 1024 * 1024
_MAX_LOOKS_S = 5.0
"""A long log is caught up with over several checks: the time-out of a check is not far above."""


class AdoptedReader:
    """Keeps the newest view of one adopted run. :meth:`read` never raises; what failed stands in ``read_errors``."""

    def __init__(
        self,
        adoption: Adoption,
        *,
        first_seen_ts: float,
        record: Path | None = None,
        steady: Callable[[], float] | None = None,
        ownership: Ownership | None = None,
    ) -> None:
        self._ownership = ownership
        self.adoption = adoption
        self._own_clock = OwnClock(steady)
        self._source = record
        self._source_mtime_ns = -1
        self._attempt = 1
        self._read_before = ReadBefore(record)
        self._in_history = False
        self._console = ConsoleFollower(adoption.log, max_bytes=_LOOK_BYTES)
        self._results_mtime_ns = -1
        self._frame: TrainFrame | None = None
        self._phase = Phase.STARTUP
        self._phase_since_ts = first_seen_ts
        self._epoch_since_ts = first_seen_ts
        self._state = RunRecordState.RUNNING
        self._fatal: FatalError | None = None
        self._bad_epochs: set[int] = set()
        self._finished_epochs: set[int] = set()
        self._seq = 0
        self.view = RunView(
            directory=adoption.directory, name=adoption.name, ts=first_seen_ts, first_seen_ts=first_seen_ts
        )

    @property
    def run(self) -> str:
        """The run's id; it has none of its own."""
        return f"adopted-{self.adoption.name}"

    def read(self, now: float) -> RunView:
        """The view with everything that the log holds now."""
        errors: list[str] = []
        events: list[Event] = []
        grew = False
        self._look_at_source()
        until_s = time.monotonic() + _MAX_LOOKS_S
        while True:
            history_bytes = self._read_before.left(self._attempt, self._console.path, self._offset)
            self._in_history = history_bytes is not None
            look = self._console.look(history_bytes)
            if look.note is TailNote.UNREADABLE:
                errors.append(f"{self._console.path} can't be read: {look.error}. Check its permissions and the mount.")
            if look.note is TailNote.MISSING:
                errors.append(f"{self._console.path} is not there (yet).")
            grew = grew or look.note not in _SILENT
            events += self._take(look.facts, now)
            if look.more and time.monotonic() < until_s:
                continue
            if look.more:
                break
            if self._attempt == len(self.adoption.attempts):
                break
            events.append(self._next_attempt(now))
            errors.clear()
            grew = True
        self._in_history = False
        events += self._finished(now)
        self._note(now)
        view = fold_events(shift_clock(replace(self.view, ts=now), self._own_clock.jump_s(now)), events)
        if grew or view.heartbeat is None:
            view = fold_beat(view, self._heartbeat(now), now)
        record = self._record()
        why = self._ownership.fault(self.adoption.directory, record) if self._ownership else ""
        self.view = replace(view, record=record, read_errors=tuple(errors), watched_only=why)
        return self.view

    @property
    def _offset(self) -> int:
        """How far the log of the attempt was read."""
        return self._console.cursor.offset if self._console.cursor else 0

    def _note(self, now: float) -> None:
        cursor, frame = self._console.cursor, self._frame
        if cursor is not None:
            self._read_before.note(
                now,
                attempt=self._attempt,
                offset=cursor.offset,
                inode=cursor.inode,
                epochs=sorted(self._finished_epochs),
                running=[self._attempt, frame.epoch, float(self._epoch_since_ts)] if frame else None,
            )

    def log_tail(self) -> tuple[str, ...]:
        """The last lines of the console log."""
        return last_lines(self._console.path)

    def _look_at_source(self) -> None:
        """Whether somebody started the run again, or told more of it."""
        if self._source is None:
            return
        try:
            mtime_ns = self._source.stat().st_mtime_ns
        except OSError:
            return
        if mtime_ns == self._source_mtime_ns:
            return
        told = Adoption.from_json(read_json(self._source) or {})
        if told is not None:
            self._source_mtime_ns = mtime_ns
            self.adoption = told

    def _next_attempt(self, now: float) -> Event:
        """The log of an attempt has been read to its end, and another attempt followed it."""
        self._attempt += 1
        begun = self.adoption.attempts[self._attempt - 1]
        self._console = ConsoleFollower(begun.log, max_bytes=_LOOK_BYTES)
        self._frame, self._state, self._fatal = None, RunRecordState.RUNNING, None
        self._phase, self._phase_since_ts, self._epoch_since_ts = Phase.STARTUP, now, now
        self._bad_epochs.clear()
        if begun.from_epoch is not None:
            self._finished_epochs = {epoch for epoch in self._finished_epochs if epoch < begun.from_epoch}
        process = begun.process
        data: dict[str, Any] = {"from_epoch": begun.from_epoch, "level": UNGUARDED}
        if process is not None:
            data |= {"pid": process.pid, "create_time": process.create_time, "host": process.host}
        return self._event(EventKind.RUN_STARTED, now, **data)

    def _attempt_of(self, epoch: int) -> int:
        """Who trained a finished epoch: the newest attempt that began with it or before it."""
        for number in range(self._attempt, 1, -1):
            begun = self.adoption.attempts[number - 1].from_epoch
            if begun is None or begun <= epoch:
                return number
        return 1

    def _event(self, kind: EventKind, ts: float, *, attempt: int | None = None, **data: Any) -> Event:
        self._seq += 1
        if self._in_history:
            ts = min(ts, self.adoption.adopted_ts)
        return Event(ts=ts, run=self.run, attempt=attempt or self._attempt, seq=self._seq, kind=kind, data=data)

    def _take(self, facts: Iterable[ConsoleFact], now: float) -> list[Event]:
        events: list[Event] = []
        for fact in facts:
            if isinstance(fact, Started):
                self._enter(Phase.FIRST_BATCH, now)
                self._state, self._fatal = RunRecordState.RUNNING, None
            elif isinstance(fact, TrainFrame):
                events += self._take_frame(fact, now)
            elif isinstance(fact, ValBar):
                self._enter(Phase.VALIDATING, now)
            elif isinstance(fact, Notice) and fact.kind is NoticeKind.BATCH_HALVED:
                events.append(self._event(EventKind.OUT_OF_MEMORY, now, **_batch_sizes(fact.text)))
            elif isinstance(fact, NanRecovery):
                events.append(self._event(EventKind.NOTICE, now, text=fact.text))
            elif isinstance(fact, Completed | EarlyStopped):
                if self._state is not RunRecordState.FINISHED:
                    epochs = self._frame.epoch if self._frame else None
                    events.append(self._event(EventKind.RUN_FINISHED, now, epochs=epochs))
                self._state = RunRecordState.FINISHED
            elif isinstance(fact, FatalError) and fact.origin is ErrorOrigin.MAIN:
                self._fatal = fact
                events.append(self._event(EventKind.RUN_CRASHED, now, error=fact.detail, traceback=fact.text))
        return events

    def _take_frame(self, frame: TrainFrame, now: float) -> list[Event]:
        events: list[Event] = []
        if self._frame is None or frame.epoch != self._frame.epoch:
            known_ts = self._read_before.epoch_since_ts(self._attempt, frame.epoch) if self._in_history else None
            self._epoch_since_ts = now if known_ts is None else known_ts
            started = {"epoch": frame.epoch, "epochs": frame.epochs, "batches": frame.batches}
            events.append(self._event(EventKind.EPOCH_STARTED, now, **started))
            self._bad_epochs.discard(frame.epoch)
        self._frame = frame
        self._enter(Phase.TRAINING, now)
        if frame.nonfinite and frame.epoch not in self._bad_epochs:
            self._bad_epochs.add(frame.epoch)
            losses = {name: encode_number(value) for name, value in frame.losses}
            data: dict[str, Any] = {
                "epoch": frame.epoch,
                "batch": frame.batch,
                "batches": frame.batches,
                "reason": "nonfinite_loss",
                "action": "observed",
                "losses": losses,
            }
            events.append(self._event(EventKind.BAD_BATCH, now, **data))
        return events

    def _enter(self, phase: Phase, now: float) -> None:
        if phase is not self._phase:
            self._phase, self._phase_since_ts = phase, now

    def _finished(self, now: float) -> list[Event]:
        """Epochs that ``results.csv`` reports and that were not told yet."""
        path = self.adoption.directory / "results.csv"
        try:
            mtime_ns = path.stat().st_mtime_ns
        except OSError:
            return []
        if mtime_ns == self._results_mtime_ns:
            return []
        self._results_mtime_ns = mtime_ns
        results: Results = read_results(path)
        seconds = _seconds_by_epoch(results)
        events: list[Event] = []
        for epoch, row in results.latest.items():
            if epoch in self._finished_epochs:
                continue
            self._finished_epochs.add(epoch)
            self._in_history = self._read_before.knows_epoch(epoch)
            batches = self._frame.batches if self._frame else None
            data: dict[str, Any] = {
                "epoch": epoch,
                "epochs": self._frame.epochs if self._frame else None,
                "batches": batches,
                "batches_done": batches,
                "losses": {name: encode_number(value) for name, value in row.named("train/").items()},
                "metrics": {f"metrics/{name}": encode_number(value) for name, value in row.named("metrics/").items()},
                "validated": bool(row.named("metrics/")),
                "nonfinite": 1 if epoch in self._bad_epochs else 0,
                "seconds": seconds.get(epoch),
                "lr": row.values.get("lr/pg0"),
            }
            events.append(self._event(EventKind.EPOCH_FINISHED, now, attempt=self._attempt_of(epoch), **data))
        self._in_history = False
        return events

    def _state_of(self, newest: AdoptedAttempt) -> RunRecordState:
        if newest.stopped and self._state is not RunRecordState.FINISHED:
            return RunRecordState.STOPPED
        return RunRecordState.CRASHED if self._fatal else self._state

    def _record(self) -> RunRecord:
        newest = self.adoption.attempts[self._attempt - 1]
        process = newest.process
        relaunch = self.adoption.relaunch
        return RunRecord(
            run=self.run,
            attempt=self._attempt,
            pid=process.pid if process else None,
            create_time=process.create_time if process else None,
            host=process.host if process else None,
            boot_id=process.boot_id if process else None,
            log=str(newest.log),
            started_ts=process.create_time if process and process.create_time else None,
            updated_ts=self._phase_since_ts,
            epochs=self._frame.epochs if self._frame else None,
            level=UNGUARDED,
            state=self._state_of(newest),
            from_epoch=newest.from_epoch,
            guarded=False,
            relaunch=replace(relaunch, log=str(self.adoption.log_of_next())) if relaunch else None,
        )

    def _heartbeat(self, now: float) -> Heartbeat:
        frame = self._frame
        try:
            written_ts = self._console.path.stat().st_mtime
        except OSError:
            written_ts = now
        return Heartbeat(
            ts=min(now, written_ts),
            attempt=self._attempt,
            phase=self._phase,
            phase_since_ts=self._phase_since_ts,
            epoch=frame.epoch if frame else None,
            epochs=frame.epochs if frame else None,
            batch=frame.batch if frame else None,
            batches=frame.batches if frame else None,
            losses=dict(frame.losses) if frame else {},
            epoch_elapsed_s=max(0.0, now - self._epoch_since_ts) if frame else None,
        )


_BATCH_SIZES = re.compile(r"with batch=(\d+).*?to batch=(\d+)")


def _batch_sizes(text: str) -> dict[str, int]:
    """What the engine says when it halves the batch; empty when it says it in other words."""
    found = _BATCH_SIZES.search(text)
    return {"batch_size_before": int(found[1]), "batch_size_after": int(found[2])} if found else {}


def _seconds_by_epoch(results: Results) -> dict[int, float]:
    """How long each epoch took. The column ``time`` (8.3 on) counts from the start of the process; a resume starts it
    anew."""
    seconds: dict[int, float] = {}
    before = 0.0
    for row in results.rows:
        now = row.values.get("time")
        if now is not None:
            seconds[row.epoch] = now - before if now > before else now
            before = now
    return seconds
