"""Writes the run directory: ``run.json``, ``heartbeat.json``, ``events.jsonl``, ``series.jsonl``.

A record that cannot be written never stops training: it is said on the console and in the event log. Events wait in
memory until the log can be written again, and follow in their order.
"""

from __future__ import annotations

import math
import os
import socket
import sys
import time
import traceback
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import psutil

from trainmaster.trainer.contract import (
    HEARTBEAT_KEYS,
    RUN_KEYS,
    SCHEMA_VERSION,
    SERIES_KEYS,
    EventKind,
    Heartbeat,
    Phase,
    RunFile,
    RunLayout,
    RunRecordState,
    append_line,
    boot_id,
    encode_number,
    encode_record,
    read_json,
    replace_json,
)
from trainmaster.trainer.jobs import launch_environment
from trainmaster.trainer.jobs.environment import RUN_ID_VARIABLE, job_of, launch_key
from trainmaster.trainer.jobs.time_limit import with_limit

HEARTBEAT_INTERVAL_S: Final = 1.0
FAULT_INTERVAL_S: Final = 600.0
"""Between two events about the same record: a disk at its limit takes one write and refuses the next."""
LAST_WORD_PAUSES_S: Final = (0.2, 0.8)
"""Between the tries to write how an attempt ended: a record that still says "running" reads as a death."""
ROOM_BYTES: Final = 256 * 2**10
"""Kept on the disk for the words of an end: a disk that is full may be what ended the attempt."""
MAX_PENDING: Final = 5000
"""Events that wait for space, 2 MB or so; beyond that the newest are dropped and counted."""
NUM_TRACEBACK_LINES: Final = 20


class Recorder:
    """One attempt of one run. Construct it once the lock is held."""

    def __init__(
        self,
        layout: RunLayout,
        *,
        warn: Callable[[str], None],
        silent: bool = False,
        attempt: int | None = None,
        ultralytics: str | None = None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.layout = layout
        self._sleep = sleep
        self._silent = silent  # a DDP rank other than the first
        self._warn = warn
        self._clock = clock
        self._faults: set[str] = set()
        self._told_ts: dict[str, float] = {}
        self._pending: deque[str] = deque()
        self._num_dropped = 0
        self._last_beat = 0.0
        try:
            previous = read_json(layout.run_json) or {}
        except OSError as error:
            previous = {}
            self.storage_fault("run.json", error)
        before = previous.get("attempt")
        self.attempt = attempt or (before + 1 if isinstance(before, int) else 1)
        self.goes_on = before == self.attempt
        """Whether another process has begun this attempt: the one that launched this rank."""
        self._seq = self._above_all() if self.goes_on else 0
        self.run = str(previous.get("run") or os.environ.get(RUN_ID_VARIABLE) or uuid.uuid4().hex[:12])
        self.started_ts = clock()
        process = psutil.Process()
        self.create_time = process.create_time()
        kept = {key: previous[key] for key in RUN_KEYS if key in previous}
        self._run = replace(
            RunFile(**{**kept, "run": self.run}),
            v=SCHEMA_VERSION,
            attempt=self.attempt,
            pid=process.pid,
            exit_code=None,
            create_time=self.create_time,
            host=socket.gethostname(),
            boot_id=boot_id(),
            python=sys.executable,
            argv=tuple(sys.orig_argv),
            cwd=str(Path.cwd()),
            log=str(layout.train_log),
            started_ts=self.started_ts,
            state=RunRecordState.RUNNING,
            layers=tuple(kept.get("layers") or ()),
            job=job_of(os.environ) if silent else with_limit(job_of(os.environ), os.environ),
            launch_key=launch_key(os.environ),
            ultralytics=ultralytics,
        )
        self._beat = Heartbeat(
            ts=self.started_ts,
            run=self.run,
            attempt=self.attempt,
            pid=process.pid,
            phase=Phase.STARTUP,
            phase_since_ts=self.started_ts,
            skipped=0,
            skipped_epoch=0,
            clipped=0,
            clipped_epoch=0,
            streak=0,
        )

    def _above_all(self) -> int:
        """A number that no event has which another process wrote: each of them takes more than a byte."""
        with suppress(OSError):
            return self.layout.events.stat().st_size
        return 0

    @property
    def host(self) -> str:
        """The host's name, as in ``run.json``."""
        return str(self._run.host)

    @property
    def trainer_class(self) -> str | None:
        """As ``run.json`` has it: that of the attempt before, until this one's is known."""
        return self._run.trainer_class

    @property
    def phase(self) -> Phase:
        """What the trainer is doing."""
        return self._beat.phase or Phase.STARTUP

    @property
    def state(self) -> RunRecordState:
        """As ``run.json`` has it."""
        return self._run.state or RunRecordState.RUNNING

    def update_run(self, **changes: Any) -> None:
        """``run.json`` holds ``changes`` too."""
        self._run = replace(self._run, **{"updated_ts": self._clock(), **changes})
        self._guarded("run.json", lambda: replace_json(self.layout.run_json, encoded(asdict(self._run)), durable=True))

    def keep_environment(self) -> None:
        """What a job was started with is kept, for the next one; of a process of its own host the bot sees that."""
        if self._run.job is not None:
            start = launch_environment.started_with
            self._guarded(".environment.json", lambda: launch_environment.remember(self.layout, start()))

    def keep_room(self) -> None:
        """There is room for how the attempt ends, if there is any now."""
        if self._silent:
            return
        self._free_room()  # of one that was killed; and nothing is written to where a link of that name leads
        try:
            with self._room.open("xb") as stream:
                stream.write(os.urandom(ROOM_BYTES))  # a disk that compresses keeps no room for zeros
        except OSError:  # full already, which every record tells
            self._free_room()

    def _free_room(self) -> None:
        with suppress(OSError):
            self._room.unlink(missing_ok=True)

    @property
    def _room(self) -> Path:
        return self.layout.guard / ".room"

    def end(self, state: RunRecordState, exit_code: int) -> None:
        """The attempt is over."""
        if not self._silent:
            self._free_room()
        self.set_phase(Phase.ENDED, epoch=self._beat.epoch)
        for pause_s in (*LAST_WORD_PAUSES_S, 0.0):
            self.update_run(state=state, exit_code=int(exit_code))
            if "run.json" not in self._faults:
                break
            self._sleep(pause_s)
        self.flush()

    def event(self, kind: EventKind, **fields: Any) -> None:
        """One more line in ``events.jsonl``.

        Also from a signal handler that interrupts another event: each is written once, under a number of its own.
        """
        seq = self._seq = self._seq + 1
        record = {
            "v": SCHEMA_VERSION,
            "ts": self._clock(),
            "run": self.run,
            "attempt": self.attempt,
            "seq": seq,
            "kind": kind,
            **fields,
        }
        if self._silent:
            return
        if len(self._pending) >= MAX_PENDING:
            self._num_dropped += 1
        else:
            self._pending.append(encode_record(encoded(record)))
        self.flush()

    def flush(self) -> None:
        """Events that waited for space are in the log, as many as it takes."""
        while self._pending:
            line = self._pending.popleft()  # before it is written: a signal handler may flush too
            if not self._guarded("events.jsonl", partial(append_line, self.layout.events, line)):
                self._pending.appendleft(line)
                return
        if self._num_dropped:
            num_dropped, self._num_dropped = self._num_dropped, 0
            self.event(EventKind.NOTICE, text=f"{num_dropped} events were dropped while nothing could be written")

    def series(self, **fields: Any) -> None:
        """One more row in ``series.jsonl``."""
        record = {"ts": self._clock(), "attempt": self.attempt, **fields}
        assert set(record) == set(SERIES_KEYS), set(record) ^ set(SERIES_KEYS)
        self._guarded("series.jsonl", lambda: append_line(self.layout.series, encode_record(encoded(record))))

    def set_phase(self, phase: Phase, *, epoch: int | None) -> None:
        """The phase changes, if it does: an event, and a heartbeat at once."""
        if phase == self._beat.phase and self._last_beat:
            return
        self._beat = replace(self._beat, phase=phase, phase_since_ts=self._clock(), epoch=epoch)
        self.event(EventKind.PHASE, phase=phase, epoch=epoch)
        self.beat(force=True)

    def beat_due(self) -> bool:
        """Whether a heartbeat would be written now; lets the caller spare the trouble of gathering it."""
        return not 0 <= self._clock() - self._last_beat < HEARTBEAT_INTERVAL_S  # a clock that was set back is no reason

    def beat(self, *, force: bool = False, **changes: Any) -> None:
        """``heartbeat.json`` holds ``changes``, at most once a second unless forced."""
        self._beat = replace(self._beat, **changes)
        if not force and not self.beat_due():
            return
        self._last_beat = self._clock()
        self._beat = replace(self._beat, ts=self._last_beat)
        self.flush()
        self._guarded("heartbeat.json", lambda: replace_json(self.layout.heartbeat, encoded(asdict(self._beat))))

    def crashed(
        self, error: BaseException | tuple[str, str], *, epoch: int | None = None, batch: int | None = None
    ) -> None:
        """The attempt ends with ``error``, or what another process tells of one; it came in ``batch`` of ``epoch``,
        both from 1."""
        text, told = words_of(error) if isinstance(error, BaseException) else error
        begun = self._beat.epoch is not None
        place = {"epoch": epoch if begun else None, "batch": batch if begun else None}
        self.event(EventKind.RUN_CRASHED, error=text, traceback=told, **place)
        self.end(RunRecordState.CRASHED, 1)

    def take_over(self) -> Heartbeat:
        """What a killed process has recorded is gone on with, so that its end can be told; its last heartbeat."""
        with suppress(OSError):
            run, beat = (read_json(path) or {} for path in (self.layout.run_json, self.layout.heartbeat))
            self._run = replace(self._run, **{key: run[key] for key in RUN_KEYS if key in run})
            self._beat = replace(self._beat, **{key: beat[key] for key in HEARTBEAT_KEYS if key in beat})
        self._seq = self._above_all()
        return self._beat

    def _guarded(self, what: str, write: Callable[[], None]) -> bool:
        """Whether it is written."""
        if self._silent:
            return True
        try:
            write()
        except OSError as error:
            self.storage_fault(what, error)
            return False
        self.written(what)
        return True

    def written(self, what: str) -> None:
        """``what`` was written; the next time that it can't be is told again."""
        if what in self._faults:
            self._faults.discard(what)
            self._warn(f"{what} can be written again")

    def storage_fault(self, what: str, error: Exception) -> None:
        """``what`` could not be written; said once until it was :meth:`written`, and then once in a while."""
        if what in self._faults:
            return
        self._faults.add(what)
        now = self._clock()
        if now - self._told_ts.get(what, -math.inf) < FAULT_INTERVAL_S:
            return
        self._told_ts[what] = now
        self._warn(f"storage-fault: {what} could not be written: {error}. Training goes on.")
        self.event(EventKind.STORAGE_FAULT, what=what, error=str(error))


def words_of(error: BaseException) -> tuple[str, str]:
    """What is told of ``error``, and the end of its traceback."""
    lines = "".join(traceback.format_exception(error)).splitlines()
    return f"{type(error).__name__}: {error}", "\n".join(lines[-NUM_TRACEBACK_LINES:])


def encoded(value: Any) -> Any:
    """``value`` with numbers as JSON can carry them."""
    if isinstance(value, Mapping):
        return {str(key): encoded(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [encoded(item) for item in value]
    if isinstance(value, bool | str) or value is None:
        return value
    if isinstance(value, int | float):
        return encode_number(value)
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item"):
        return encode_number(value.item())
    return str(value)
