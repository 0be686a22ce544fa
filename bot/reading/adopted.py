"""An unguarded run, from its console log and ``results.csv`` -> the same :class:`RunView`, with less in it.

Every start that the console shows, a log or ``results.csv`` begun anew, and another adoption of the same run begin an
attempt of their own. A console shows running means: one non-finite batch keeps the mean non-finite to the epoch's end.
So the first such frame of an epoch is one bad batch, observed, and how many followed is unknown.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from trainmaster.bot.core.run.adoption import Adoption
from trainmaster.bot.core.run.facts import Event, ProcessIdentity, RunRecord
from trainmaster.bot.core.run.folding import fold_beat, fold_events, shift_clock
from trainmaster.bot.core.run.view import HISTORY_S, RunView
from trainmaster.bot.reading.adopted_facts import (
    UNGUARDED,
    AtWork,
    Happened,
    adoption_in,
    bad_batch_data,
    drawing,
    epoch_finished_data,
    goes_back,
    is_another_start,
    record_of,
    redone_by,
    unread,
)
from trainmaster.bot.reading.console.facts import (
    Completed,
    ConsoleFact,
    EarlyStopped,
    ErrorOrigin,
    FatalError,
    Preparing,
    Resumed,
    Started,
    TrainFrame,
    ValBar,
    ValRow,
)
from trainmaster.bot.reading.console.follow import ConsoleFollower
from trainmaster.bot.reading.epoch_origin import EpochOrigin
from trainmaster.bot.reading.epoch_rows import EpochRows, PlacedRow
from trainmaster.bot.reading.own_clock import OwnClock
from trainmaster.bot.reading.ownership import Ownership, login_of
from trainmaster.bot.reading.read_before import BadEpochs, BeforeLog, ReadBefore
from trainmaster.bot.reading.run_files import last_lines
from trainmaster.bot.reading.tail import TailNote
from trainmaster.trainer.contract import EventKind, Phase

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
        open_console: Callable[[Path, int], ConsoleFollower] | None = None,
    ) -> None:
        self._ownership = ownership
        self._open_console = open_console or (lambda path, max_bytes: ConsoleFollower(path, max_bytes=max_bytes))
        self.adoption = adoption
        self._own_clock = OwnClock(steady)
        self._source = record
        self._start_over(first_seen_ts)

    def _start_over(self, first_seen_ts: float) -> None:
        """Nothing has been read."""
        adoption = self.adoption
        self._source_mtime_ns = -1
        self._read_before = ReadBefore(self._source)
        self._in_history = self._unannounced = False
        self._console = self._open_console(adoption.log, _LOOK_BYTES)
        self._origin = EpochOrigin()
        self._rows = EpochRows(adoption.directory / "results.csv")
        self._recorded = 1
        """Which of the adoption's attempts the log is of. One log may hold several."""
        self._attempt = 0
        self._first_of_log: int | None = None
        """None from a truncation of the log on until what follows shows whose it is."""
        self._before_log: BeforeLog = (0, None, None)
        self._process_attempt = self._read_before.process_attempt(adoption.adopted_ts)
        self._from_epoch: int | None = None
        self._frame: TrainFrame | None = None
        self._redone = False
        """Whether the engine goes back over an epoch by itself."""
        self._at = AtWork(since_ts=first_seen_ts)
        self._bad: BadEpochs = {}
        self._happened = Happened(self.run)
        place, login, ts = adoption.directory, login_of(adoption.directory), first_seen_ts
        self.view = RunView(directory=place, name=adoption.name, login=login, ts=ts, first_seen_ts=ts)

    @property
    def run(self) -> str:
        """The run's id; it has none of its own."""
        return f"adopted-{self.adoption.name}"

    def read(self, now: float) -> RunView:
        """The view with everything that the log holds now."""
        errors: list[str] = []
        if self._attempt and self._read_before.has_come_back(self.adoption.log):
            self._start_over(self.view.first_seen_ts)
        events = self._go_on_from_before(now) if self._attempt == 0 else []
        grew = self._look_at_source(now, events)
        until_s = time.monotonic() + _MAX_LOOKS_S
        while True:
            history_bytes = self._read_before.left(self._recorded, self._console.path, self._console.read_to)
            self._in_history = history_bytes is not None
            look = self._console.look(history_bytes)
            errors += unread(self._console.path, look)
            if look.note in {TailNote.TRUNCATED, TailNote.REPLACED}:
                self._first_of_log = None
                self._rows.trained.loses_sight(self._attempt)
            grew = grew or look.note not in _SILENT
            if look.note is TailNote.GREW and not self._in_history:
                self._read_before.grew_ts = now
            events += self._take(look.facts, now) + self._begun_unseen_before(now)
            caught_up = not look.more
            if look.more and time.monotonic() < until_s:
                continue
            if look.more or self._recorded == len(self.adoption.attempts):
                break
            events.append(self._next_recorded(now))
            errors.clear()
            grew = True
        self._in_history = False
        if caught_up:
            self._read_before.left(self._recorded, self._console.path, self._console.read_to)
            self._process_attempt = self._process_attempt or self._attempt
            events += self._finished(now) or self._end_of_before()
        self._note(now, tells=bool(events))
        view = fold_events(shift_clock(replace(self.view, ts=now), self._own_clock.jump_s(now)), events)
        if grew or view.heartbeat is None:
            view = fold_beat(view, self._at.heartbeat(self._frame, self._attempt, self._console.path, now), now)
        record = self._record()
        why = self._ownership.fault(self.adoption.directory, record) if self._ownership else ""
        self.view = replace(view, record=record, read_errors=tuple(errors), watched_only=why)
        return self.view

    def _go_on_from_before(self, now: float) -> list[Event]:
        self._first_of_log = self._read_before.first_number(self.adoption.log)
        number = self._attempt = self._first_of_log or self._read_before.last_number
        self._before_log = num, self._frame, first = self._read_before.before_log(self._first_of_log)
        self._rows.told = self._read_before.told
        self._rows.trained.has_done(self._read_before.done_up_to(number), number, first, self._read_before.spans)
        self._bad, self._in_history = self._read_before.bad_epochs(), True
        self._unannounced = self._read_before.is_unannounced and number == self._read_before.last_number
        bad = [self._event(EventKind.BAD_BATCH, now, attempt=key[0], **data) for key, data in self._bad.items()]
        if self._first_of_log is None:
            self._at.phase, self._at.phase_since_ts = self._read_before.last_phase(now)
            self._rows.trained.has_drawn(number, self._frame)
            bad += self._happened.again(self._read_before.ends(), self._history_ts, number)
        self._happened.counted(number, num)
        return bad

    def _log_shows(self) -> None:
        """What the log begins with is of this attempt, unless that is known already."""
        if self._first_of_log is None:
            number = self._first_of_log = self._attempt
            self._before_log = self._happened.num_counted(number), self._frame, self._rows.trained.first_of(number)

    def _note(self, now: float, *, tells: bool) -> None:
        cursor, frame = self._console.cursor, self._frame
        if cursor is not None:
            self._read_before.note(
                now,
                cursor,
                frame,
                self._bad,
                tells=tells,
                ends=self._happened.noted_ends,
                attempt=self._recorded,
                number=self._attempt,
                phase=self._at.phase,
                phase_since_ts=float(self._at.phase_since_ts),
                unannounced=self._unannounced,
                first_number=self._first_of_log,
                before_log=self._before_log,
                num=self._happened.num_counted(self._attempt),
                process_attempt=self._process_attempt,
                adopted_ts=self.adoption.adopted_ts,
                first=self._rows.trained.first_of(self._attempt),
                spans=self._rows.trained.noted(),
                running=[self._attempt, frame.epoch, float(self._at.epoch_since_ts)] if frame else None,
            )

    def stored(self) -> None:
        """What the last look found is stored: for a bot that begins from here on it is history."""
        self._read_before.stored()

    def log_tail(self) -> tuple[str, ...]:
        """The last lines of the console log."""
        return last_lines(self._console.path)

    def _look_at_source(self, now: float, events: list[Event]) -> bool:
        """Whether somebody adopted the run anew. More may be told of it without that: another attempt, an end."""
        self._source_mtime_ns, told = adoption_in(self._source, self._source_mtime_ns)
        if told is None:
            return False
        before, self.adoption = self.adoption, told
        if told.adopted_ts == before.adopted_ts:
            return False
        newest = before.attempts[min(self._recorded, len(before.attempts)) - 1]
        self._recorded = 1
        moved = told.log != self._console.path
        if moved or told.process != newest.process:
            beat, grew_ts = self.view.heartbeat, self._read_before.grew_ts
            another = moved or is_another_start(told.process, newest.process, beat, grew_ts)
            if another and self._process_attempt == self._attempt and self._over_or_at_work:
                events += self._begin(now, None, announced=True)
                self._read_before.begun_unseen(self._attempt, None, self._console.read_to)
            self._process_attempt = self._attempt
        if moved:
            self._console = self._open_console(told.log, _LOOK_BYTES)
            self._first_of_log = self._attempt
        return True

    @property
    def _over_or_at_work(self) -> bool:
        """Whether the attempt has said that it trains, or has ended, so that a start is that of another one."""
        return self._frame is not None or self._at.has_started or bool(self._happened.ends)

    def _next_recorded(self, now: float) -> Event:
        """The log of an attempt has been read to its end, and another attempt followed it."""
        self._recorded += 1
        begun = self.adoption.attempts[self._recorded - 1]
        self._console = self._open_console(begun.log, _LOOK_BYTES)
        (event,) = self._begin(now, begun.from_epoch, announced=True, process=begun.process)
        self._process_attempt = self._attempt
        return event

    def _begin(
        self, now: float, from_epoch: int | None, *, announced: bool, process: ProcessIdentity | None = None
    ) -> list[Event]:
        """Another attempt begins. Unless it is ``announced`` at once, that waits until the console shows with what."""
        self._attempt += 1
        self._frame, self._from_epoch, self._redone = None, from_epoch, False
        self._log_shows()
        self._happened.goes_on()
        self._at = AtWork(since_ts=now)
        self._read_before.begins(self._attempt)
        self._rows.trained.begins(self._attempt, from_epoch)
        self._unannounced = not announced
        data = {"from_epoch": from_epoch, "level": UNGUARDED, **(asdict(process) if process else {})}
        return [self._event(EventKind.RUN_STARTED, now, **data)] if announced else []

    def _announce(self, now: float) -> list[Event]:
        due, self._unannounced = self._unannounced, False
        return [self._event(EventKind.RUN_STARTED, now, from_epoch=self._from_epoch, level=UNGUARDED)] if due else []

    @property
    def _history_ts(self) -> float:
        """The same however often the run is adopted."""
        return min(self.adoption.adopted_ts, self.view.first_seen_ts, self._read_before.earliest_ts)

    def _event(self, kind: EventKind, ts: float, *, attempt: int | None = None, **data: Any) -> Event:
        ts = min(ts, self._history_ts) if self._in_history else ts
        return self._happened.event(kind, ts, attempt or self._attempt, data)

    def _take(self, facts: Iterable[ConsoleFact], now: float) -> list[Event]:
        events: list[Event] = []
        for fact in self._happened.of_training(facts):
            self._origin.note(fact)
            if isinstance(fact, Preparing | Started | Resumed):
                events += self._take_start(fact, now)
            elif isinstance(fact, TrainFrame):
                events += self._take_frame(fact, now)
            elif isinstance(fact, ValBar):
                self._at.enters(Phase.VALIDATING, now)
                self._rows.trained.completes(self._attempt)
            elif isinstance(fact, ValRow) and self._frame is None and self._at.phase is Phase.FIRST_BATCH:
                self._at.enters(Phase.TRAINING, now)
                self._rows.trained.has_drawn(self._attempt, None)  # the bars go elsewhere: stderr, or nowhere
            elif (redone := redone_by(fact)) is not None:
                self._redone = True
                events.append(self._event(redone[0], now, **redone[1]))
            elif isinstance(fact, Completed | EarlyStopped):
                self._log_shows()
                self._rows.trained.completes(self._attempt)
                if not self._happened.finished:
                    epochs = self._frame.epoch + self._origin.from_zero if self._frame else None
                    events.append(self._event(EventKind.RUN_FINISHED, now, epochs=epochs))
            elif isinstance(fact, FatalError) and fact.origin in {ErrorOrigin.MAIN, ErrorOrigin.CAUGHT}:
                self._log_shows()
                if (ending := self._happened.ending(fact, self._frame)) is not None:
                    events += [*self._announce(now), self._event(ending[0], now, **ending[1])]
        return events

    def _take_start(self, fact: Preparing | Started | Resumed, now: float) -> list[Event]:
        if self._over_or_at_work and not (isinstance(fact, Started) and self._at.phase is Phase.FIRST_BATCH):
            self._begin(now, None, announced=False)
        elif self._from_epoch is None:
            self._read_before.begins(self._attempt)
            self._rows.trained.begins(self._attempt, None)
        self._log_shows()
        if isinstance(fact, Resumed):
            self._from_epoch = fact.epoch
            self._rows.trained.begins(self._attempt, fact.epoch)
        if not isinstance(fact, Started):
            return []
        self._at.enters(Phase.FIRST_BATCH, now)
        return self._announce(now)

    def _take_frame(self, frame: TrainFrame, now: float) -> list[Event]:
        events: list[Event] = []
        if self._happened.finished and self._frame and drawing(self._frame) == drawing(frame):
            return events  # closing a bar draws its last frame again
        ended, anew = self._happened.finished, self._first_of_log is None
        if not self._redone and goes_back(frame, self._frame, ended=ended, anew=anew):
            events += self._begin(now, None, announced=False)
            self._rows.trained.is_met_midway(self._attempt)
        self._log_shows()
        goes_on = self._frame is not None and self._frame.line == 0
        if self._frame is None or goes_on or frame.epoch != self._frame.epoch:
            known_ts = self._read_before.epoch_since_ts(self._attempt, frame.epoch)
            self._at.epoch_since_ts = (known_ts if self._in_history or goes_on else None) or now
            started = {"epoch": frame.epoch, "epochs": frame.epochs, "batches": frame.batches}
            events += [*self._announce(now), self._event(EventKind.EPOCH_STARTED, now, **started)]
        if self._redone:
            self._bad = {at: one for at, one in self._bad.items() if at[0] != self._attempt or at[1] < frame.epoch}
            self._redone = False
        self._happened.goes_on()  # whatever was said before, it trains
        self._frame = frame
        self._rows.trained.draws(self._attempt, frame)
        self._at.enters(Phase.TRAINING, now)
        if frame.nonfinite and (self._attempt, frame.epoch) not in self._bad:
            self._bad[self._attempt, frame.epoch] = data = bad_batch_data(frame)
            events.append(self._event(EventKind.BAD_BATCH, now, **data))
        return events

    def _end_of_before(self) -> list[Event]:
        """The end of the epoch that was told last, where the file that says so is away."""
        last = self._read_before.end_unknown_to(self.view.epochs)
        return [self._event(EventKind.EPOCH_FINISHED, self._history_ts, **last)] if last else []

    def _finished(self, now: float) -> list[Event]:
        """Epochs that ``results.csv`` reports and that were not told yet."""
        events: list[Event] = []
        is_first = self._attempt == 1  # what lay there before it trained is not of it, unless it goes on with that
        for _ in range(2):
            try:
                done = self._rows.may_be_of(self._attempt, self._console.path) or (is_first and self._frame is not None)
                before = self._read_before.rows_before(self._attempt, self._rows.mark(), done=done)
                before = None if is_first and self._from_epoch is not None else before
                new = self._rows.new(self._attempt, self._origin, self._console.path, before)
                self._read_before.caught_up(self._rows.mark())
            except OSError:
                return events  # the mount may come back; what stands in it is not lost
            events += [self._epoch_finished(one, now) for one in new.rows]
            if new.begun_anew_with is None:
                break
            events += self._begin(now, new.begun_anew_with, announced=True)
            self._read_before.begun_unseen(self._attempt, new.begun_anew_with, self._console.read_to)
        return events

    def _begun_unseen_before(self, now: float) -> list[Event]:
        """The attempt that the log does not show, which began when it had been read so far, before the bot was started
        again."""
        begun = self._read_before.begun_at(self._attempt + 1, self._console.read_to) if self._in_history else None
        return self._begin(now, begun[1], announced=True) if begun else []

    def _epoch_finished(self, placed: PlacedRow, now: float) -> Event:
        self._in_history = self._read_before.knows_epoch(placed.attempt, placed.epoch) and not placed.again
        ts = self._history_ts - 2 * HISTORY_S if placed.moved else now  # older than any news
        data = epoch_finished_data(placed, self._frame, bad=(placed.attempt, placed.epoch) in self._bad)
        event = self._event(EventKind.EPOCH_FINISHED, ts, attempt=placed.attempt, **data)
        self._read_before.last_end = {"attempt": placed.attempt, **data}
        self._in_history = False
        return event

    def _record(self) -> RunRecord:
        newest = self.adoption.attempts[min(self._recorded, len(self.adoption.attempts)) - 1]
        return record_of(
            self.adoption,
            newest,
            run=self.run,
            attempt=self._attempt,
            from_epoch=self._from_epoch,
            state=self._happened.state(stopped=newest.stopped and self._process_attempt in {None, self._attempt}),
            updated_ts=self._at.phase_since_ts,
            epochs=self._frame.epochs if self._frame else None,
            process_is_older=self._process_attempt is not None and self._process_attempt < self._attempt,
        )
