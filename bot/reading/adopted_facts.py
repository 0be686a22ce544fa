"""The records that an unguarded run does not write, put together from what its console and ``results.csv`` show."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import InitVar, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from trainmaster.bot.core.run.adoption import AdoptedAttempt, Adoption
from trainmaster.bot.core.run.facts import Event, ProcessIdentity, RunRecord
from trainmaster.bot.core.run.folding import NOT_NOTABLE
from trainmaster.bot.reading.console.errors import is_user_stop
from trainmaster.bot.reading.console.facts import (
    ConsoleFact,
    FatalError,
    Header,
    NanRecovery,
    Notice,
    NoticeKind,
    PlainBar,
    Preparing,
    Resumed,
    RunBanner,
    Started,
    TrainFrame,
)
from trainmaster.bot.reading.console.follow import ConsoleLook
from trainmaster.bot.reading.epoch_rows import PlacedRow
from trainmaster.bot.reading.tail import TailNote
from trainmaster.trainer.contract import EventKind, Heartbeat, Phase, RunRecordState, encode_number, read_json

UNGUARDED: Final = "none (unguarded)"
"""The level of a run that nothing guards."""
STOPPED_BY_USER: Final = "Ctrl-C ended it. It can go on from the checkpoint of the last epoch that ended (last.pt)."
_BATCH_SIZES: Final = re.compile(r"with batch=(\d+).*?to batch=(\d+)")


_ENDED: Final = {
    EventKind.RUN_FINISHED: RunRecordState.FINISHED,
    EventKind.RUN_STOPPED: RunRecordState.STOPPED,
    EventKind.RUN_CRASHED: RunRecordState.CRASHED,
}
_MAX_ENDS_NOTED: Final = 5
_BEFORE_FRAMES: Final = (RunBanner, Header, PlainBar, Notice)
"""What may follow a start before its first frame."""


class Happened:
    """Makes the events of a run. What happened once has one number, also for a bot that reads the log again. So what it
    may read in another order (batches, epochs) or not at all (the start of a rotated log's attempt) is not counted."""

    def __init__(self, run: str) -> None:
        self._run = run
        self._counts: Counter[int] = Counter()
        self.ends: list[Event] = []
        """What ended the newest attempt, as long as it has not gone on since."""
        self._evaluated = False
        """Whether the final evaluation has begun, which prints the engine's version again."""
        self._elsewhere = False
        """Whether a process of the engine began behind the end, or a start that went no further. Unless it trains, it
        only validates or exports."""
        self._only_started = False

    def of_training(self, facts: Iterable[ConsoleFact]) -> Iterator[ConsoleFact]:
        """``facts``, each once it is looked at, without what a process behind the end says that does not train."""
        for fact in facts:
            if isinstance(fact, RunBanner):
                failed = any(one.kind != EventKind.RUN_FINISHED for one in self.ends)
                self._elsewhere, self._evaluated = failed or self._evaluated or self._only_started, self.finished
            elif isinstance(fact, Preparing | Started | Resumed | TrainFrame):
                self._elsewhere = False
            elif self._elsewhere:
                continue
            self._only_started = isinstance(fact, Started) or (self._only_started and isinstance(fact, _BEFORE_FRAMES))
            yield fact

    def event(self, kind: EventKind, ts: float, attempt: int, data: dict[str, Any]) -> Event:
        """It happened at ``ts`` in ``attempt``."""
        self._counts[attempt] += kind not in NOT_NOTABLE and kind != EventKind.RUN_STARTED
        event = Event(ts=ts, run=self._run, attempt=attempt, seq=self._counts[attempt], kind=kind, data=data)
        if kind in _ENDED:
            self.ends.append(event)
        return event

    def again(self, ends: Sequence[tuple[int, EventKind, dict[str, Any]]], ts: float, attempt: int) -> list[Event]:
        """What a bot before this had noted as :attr:`noted_ends`."""
        for seq, kind, data in ends:
            self._counts[attempt] = seq - 1
            self.event(kind, ts, attempt, data)
        return self.ends

    def num_counted(self, attempt: int) -> int:
        """How many of its events have a number."""
        return self._counts[attempt]

    def counted(self, attempt: int, number: int) -> None:
        """So many had one in a log that is gone."""
        self._counts[attempt] = max(self._counts[attempt], number)

    def ending(self, error: FatalError, frame: TrainFrame | None) -> tuple[EventKind, dict[str, Any]] | None:
        """The event that ``error`` behind ``frame`` is; None where it was said before: each rank of a training says the
        same. Ctrl-C is a stop that a person asked for; any other error ends the attempt as long as no frame follows."""
        kind = EventKind.RUN_STOPPED if is_user_stop(error.detail) else EventKind.RUN_CRASHED
        data: dict[str, Any] = {"error": error.detail, "traceback": error.text}
        if kind is EventKind.RUN_STOPPED:
            place = {"epoch": frame.epoch if frame else None, "batch": frame.batch if frame else None}
            data = {"resumable": False, "why": STOPPED_BY_USER, **place}
        said = any((one.kind, one.text("error")) == (kind, data.get("error")) for one in self.ends)
        return None if said else (kind, data)

    def goes_on(self) -> None:
        """Nothing so far was the end, or another attempt begins."""
        self.ends, self._evaluated = [], False

    @property
    def noted_ends(self) -> list[list[Any]]:
        """The last of :attr:`ends`, as plain JSON, each with its number."""
        return [[one.seq, one.kind, one.data] for one in self.ends[-_MAX_ENDS_NOTED:]]

    @property
    def finished(self) -> bool:
        """Whether the attempt was complete, whatever its process died of later."""
        orderly = [one.kind for one in self.ends if one.kind != EventKind.RUN_CRASHED]
        return orderly[-1:] == [EventKind.RUN_FINISHED]

    def state(self, *, stopped: bool) -> RunRecordState:
        """How the newest attempt stands. ``stopped``: this bot ended it on purpose."""
        if stopped and not self.finished:
            return RunRecordState.STOPPED
        kinds = [one.kind for one in self.ends]
        last = EventKind.RUN_CRASHED if EventKind.RUN_CRASHED in kinds else next(iter(kinds[-1:]), None)
        return RunRecordState.RUNNING if last is None else _ENDED[EventKind(last)]


@dataclass(slots=True)
class AtWork:
    """What the newest attempt is at, and since when."""

    since_ts: InitVar[float]
    phase: Phase = Phase.STARTUP
    phase_since_ts: float = field(init=False)
    epoch_since_ts: float = field(init=False)

    def __post_init__(self, since_ts: float) -> None:
        self.phase_since_ts = self.epoch_since_ts = since_ts

    @property
    def has_started(self) -> bool:
        """Whether it has said that it trains, and drawn no frame since, as far as is known."""
        return self.phase in {Phase.FIRST_BATCH, Phase.TRAINING}

    def enters(self, phase: Phase, now: float) -> None:
        """It is at ``phase`` now, which may be what it was at before."""
        if phase is not self.phase:
            self.phase, self.phase_since_ts = phase, now

    def heartbeat(self, frame: TrainFrame | None, attempt: int, log: Path, now: float) -> Heartbeat:
        """What the last ``frame`` shows, as old as the ``log`` is."""
        try:
            written_ts = log.stat().st_mtime
        except OSError:
            written_ts = now
        return Heartbeat(
            ts=min(now, written_ts),
            attempt=attempt,
            phase=self.phase,
            phase_since_ts=self.phase_since_ts,
            epoch=frame.epoch if frame else None,
            epochs=frame.epochs if frame else None,
            batch=frame.batch if frame else None,
            batches=frame.batches if frame else None,
            losses=dict(frame.losses) if frame else {},
            epoch_elapsed_s=max(0.0, now - self.epoch_since_ts) if frame else None,
        )


def record_of(
    adoption: Adoption,
    newest: AdoptedAttempt,
    *,
    run: str,
    attempt: int,
    from_epoch: int | None,
    state: RunRecordState,
    updated_ts: float,
    epochs: int | None,
    process_is_older: bool,
) -> RunRecord:
    """As ``run.json`` would read. ``newest`` is the newest attempt that somebody told of."""
    process, relaunch = newest.process, adoption.relaunch
    return RunRecord(
        run=run,
        attempt=attempt,
        pid=process.pid if process else None,
        create_time=process.create_time if process else None,
        host=process.host if process else None,
        boot_id=process.boot_id if process else None,
        log=str(newest.log),
        started_ts=process.create_time if process and process.create_time else None,
        updated_ts=updated_ts,
        epochs=epochs,
        level=UNGUARDED,
        state=state,
        from_epoch=from_epoch,
        guarded=False,
        process_is_older=process_is_older,
        relaunch=replace(relaunch, log=str(adoption.log_of_next())) if relaunch else None,
    )


def epoch_finished_data(placed: PlacedRow, frame: TrainFrame | None, *, bad: bool) -> dict[str, Any]:
    """As the event would read. ``frame`` is the newest one: it has the number of batches and of epochs."""
    row, batches = placed.row, frame.batches if frame else None
    figures = {f"metrics/{name}": value for name, value in row.named("metrics/").items()}
    figures |= {f"val/{name}": value for name, value in row.named("val/").items()}
    # Of the other columns (learning rates, times, whatever a callback added) only a ruin counts.
    figures |= {
        name: value for name, value in row.values.items() if not name.startswith("train/") and not math.isfinite(value)
    }
    lr, validation = row.values.get("lr/pg0"), row.named("val/")
    validated = bool(row.named("metrics/")) and (not validation or any(validation.values()))
    return {
        "epoch": placed.epoch,
        "epochs": frame.epochs if frame else None,
        "batches": batches,
        "batches_done": batches,
        "losses": {name: encode_number(value) for name, value in row.named("train/").items()},
        "metrics": {name: encode_number(value) for name, value in figures.items()},
        "validated": validated,  # without one (val=False, --noval) zeros stand in their place
        "nonfinite": 1 if bad else 0,
        "seconds": placed.seconds,
        "lr": lr if lr is not None and math.isfinite(lr) else None,
    }


def bad_batch_data(frame: TrainFrame) -> dict[str, Any]:
    """As the event of a bad batch would read: seen, and nothing done about it."""
    return {
        "epoch": frame.epoch,
        "batch": frame.batch,
        "batches": frame.batches,
        "reason": "nonfinite_loss",
        "action": "observed",
        "losses": {name: encode_number(value) for name, value in frame.losses},
    }


def redone_by(fact: ConsoleFact) -> tuple[EventKind, dict[str, Any]] | None:
    """The event that ``fact`` is, if the engine says with it that it goes back over an epoch by itself."""
    if isinstance(fact, Notice) and fact.kind is NoticeKind.BATCH_HALVED:
        return EventKind.OUT_OF_MEMORY, _batch_sizes(fact.text)
    return (EventKind.NOTICE, {"text": fact.text}) if isinstance(fact, NanRecovery) else None


def _batch_sizes(text: str) -> dict[str, int]:
    """What the engine says when it halves the batch; empty when it says it in other words."""
    found = _BATCH_SIZES.search(text)
    return {"batch_size_before": int(found[1]), "batch_size_after": int(found[2])} if found else {}


def adoption_in(record: Path | None, known_mtime_ns: int) -> tuple[int, Adoption | None]:
    """When ``record`` was written and what it says; None where it can't be read or was written at the known time."""
    try:
        mtime_ns = record.stat().st_mtime_ns if record is not None else known_mtime_ns
        fresh = record is not None and mtime_ns != known_mtime_ns
        told = Adoption.from_json(read_json(record) or {}) if record is not None and fresh else None
    except OSError:
        told = None
    return (known_mtime_ns, None) if told is None else (mtime_ns, told)


def unread(log: Path, look: ConsoleLook) -> list[str]:
    """Why a look at the ``log`` could not read it, in words; empty when it could."""
    if look.note is TailNote.UNREADABLE:
        return [f"{log} can't be read: {look.error}. Check its permissions and the mount."]
    return [f"{log} is not there (yet)."] if look.note is TailNote.MISSING else []


def is_another_start(
    told: ProcessIdentity | None, known: ProcessIdentity | None, beat: Heartbeat | None, grew_ts: float
) -> bool:
    """Whether the process that a person told of is of another attempt than the ``known`` one, whose last sign of life
    is ``beat``, or that its log was seen to grow at ``grew_ts``, since the clock of its disk may be behind: who tells
    of none, or of one at last that was there before, begins nothing."""
    if told is None or told == known:
        return False
    return known is not None or beat is None or told.create_time is None or told.create_time > max(beat.ts, grew_ts)


def goes_back(frame: TrainFrame, last: TrainFrame | None, *, ended: bool, anew: bool) -> bool:
    """Whether ``frame`` is of another attempt than the ``last``, though no line shows its start: an earlier epoch, or,
    in a log begun ``anew``, an earlier batch. The engine itself goes back to repeat an epoch, and says so."""
    if last is None:
        return False
    if frame.epoch != last.epoch:
        return frame.epoch < last.epoch
    return ended or (anew and (frame.batch or 0) < (last.batch or 0))


def drawing(frame: TrainFrame) -> str:
    """The same for two frames that show the same, NaN included."""
    return repr((frame.epoch, frame.epochs, frame.batch, frame.batches, frame.losses))
