"""Everything known of a run, immutable, folded from its facts in order."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import is_
from pathlib import Path
from typing import Final

from trainmaster.bot.core.run.facts import CheckpointFact, Event, Identity, LogError, ProcessFact, RunRecord
from trainmaster.bot.core.run.job import JobIdentity
from trainmaster.bot.core.run.phases import PhaseTimes
from trainmaster.bot.core.run.series_window import SeriesWindow
from trainmaster.bot.core.run.state import RunState, is_submitted_anew, judge_state
from trainmaster.trainer.contract import EventKind, Heartbeat, ReplayVerdict, RunLayout, Verdict

HISTORY_S: Final = 60.0
"""An occurrence from more than this before the run was first seen is history: recorded, not told. Covers the time
between a trainer's first record and the first look at it."""


def planned_epochs(epoch: int | None, epochs: int | None) -> int | None:
    """``epochs``, the number planned, where ``epoch`` can be one of them; else None: nobody reads "epoch 19 of 18"."""
    return None if epoch is not None and epochs is not None and epochs < epoch else epochs


@dataclass(frozen=True, slots=True, kw_only=True)
class BadBatchFact:
    """One batch that the guard judged bad."""

    ts: float
    attempt: int
    epoch: int
    batch: int
    reason: str
    action: str
    losses: Mapping[str, float]
    grad_norm: float | None
    lr: float | None
    images: tuple[str, ...]
    incident: str | None
    drill: bool
    replay: ReplayVerdict | None = None
    """What it did when it ran twice more at once; None where it did not, and of an older trainer."""

    @property
    def skipped(self) -> bool:
        """Whether the guard left it out, so that nothing of it remains."""
        return self.action == "skipped"

    @property
    def recomputed(self) -> bool:
        """Whether its window was run again and was good: neither lost nor harmful."""
        return self.action == "recomputed"


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochView:
    """One pass over the data by one attempt. Counts are of this pass."""

    attempt: int
    epoch: int
    epochs: int | None = None
    batches: int | None = None
    started_ts: float | None = None
    finished_ts: float | None = None
    batches_done: int | None = None
    num_bad: int = 0
    num_skipped: int = 0
    num_recomputed: int = 0
    num_clipped: int | None = None
    bad_batches: tuple[BadBatchFact, ...] = ()
    losses: Mapping[str, float] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    fitness: float | None = None
    validated: bool = False
    unknown: tuple[str, ...] = ()
    """Names of metrics that were not finite and that the guard took as unknown."""
    num_bad_in_validation: int = 0
    """Validation batches whose loss was not finite, left out of its mean."""
    seconds: float | None = None
    lr: float | None = None
    norm_p50: float | None = None
    """Mean over its stretches of the median gradient norm, before clipping."""
    norm_outlier_ratio: float | None = None
    """The largest, over its stretches, of the norm that 1 % of the steps exceed over the median of the stretch."""
    num_stretches: int = 0
    checkpoint: CheckpointFact | None = None
    series: tuple[tuple[int, float], ...] = ()
    """(batch, mean total loss of the batches since the row before), thinned to :data:`folding.MAX_SERIES_KEPT` rows."""

    @property
    def finished(self) -> bool:
        """Whether the epoch's end was reported."""
        return self.finished_ts is not None

    @property
    def num_in_weights(self) -> int:
        """Bad batches that the model was trained on."""
        return max(0, self.num_bad - self.num_skipped - self.num_recomputed)

    @property
    def nonfinite_columns(self) -> tuple[str, ...]:
        """Every figure of the finished epoch that is not finite, but for the training losses of an epoch whose bad
        batches are known: they say the same. Of a validation with bad batches, its losses."""
        if all(map(math.isfinite, (*self.losses.values(), *self.metrics.values(), self.fitness or 0.0))):
            return tuple(dict.fromkeys(self.unknown))  # nearly all epochs, asked of each at every look
        told = {} if self.num_bad else {f"train/{name}": value for name, value in self.losses.items()}
        figures = {**told, **self.metrics}
        if self.fitness is not None:
            figures["fitness"] = self.fitness
        found = [name for name, value in figures.items() if not math.isfinite(value)]
        return tuple(dict.fromkeys([*found, *self.unknown]))

    @property
    def total_loss(self) -> float | None:
        """Sum of the mean losses; None before any is known."""
        return sum(self.losses.values()) if self.losses else None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView:
    """A run as of ``ts``. ``epochs`` is keyed by (attempt, epoch)."""

    directory: Path
    name: str
    ts: float
    first_seen_ts: float
    record: RunRecord | None = None
    heartbeat: Heartbeat | None = None
    process: ProcessFact | None = None
    epochs: Mapping[tuple[int, int], EpochView] = field(default_factory=dict)
    known_story: tuple[Mapping[tuple[int, int], EpochView], tuple[EpochView, ...]] | None = field(
        default=None, repr=False, compare=False
    )
    """What :meth:`story` says of that very ``epochs``, since every check asks for it."""
    known_state: tuple[RunRecord | None, Heartbeat | None, ProcessFact | None, RunState] | None = field(
        default=None, repr=False, compare=False
    )
    """What :attr:`state` says of those very facts, for the same reason."""
    stretches: tuple[SeriesWindow, ...] = ()
    """The newest, over all epochs and attempts."""
    brief: bool = False
    """Whether the series was left unread, so that there are no curves, norms and stretches to judge."""
    phases: PhaseTimes = field(default_factory=PhaseTimes)
    beat_seen_ts: float | None = None
    """When the bot saw the heartbeat change, by the bot's own clock; the trainer's may differ."""
    phase_seen_ts: float | None = None
    """When the phase began, by the bot's own clock."""
    trainer_behind_s: float | None = None
    """How far the trainer's clock is behind the bot's at most: the least age at which a new heartbeat was seen. Less
    than nothing when it is ahead, None before the second one."""
    log_errors: tuple[LogError, ...] = ()
    """Fatal lines of the console log, newest last."""
    stacks: tuple[str, ...] = ()
    """What a stalled trainer was doing, as lines; taken when a finding needs them."""
    checkpoints: tuple[CheckpointFact, ...] = ()
    notable: tuple[Event, ...] = ()
    """Newest last: everything but batches, epochs, phases and checkpoints (starts, stops, crashes, healed states)."""
    max_norms: Mapping[int, float | None] = field(default_factory=dict)
    """Gradient norm at which an attempt clips, by attempt."""
    login: str | None = None
    """The user of this host to whom the run's directory belongs."""
    watched_only: str = ""
    """Why the bot only looks at the run and does nothing to it (``owned by uid 1000``); empty when it may act."""
    spare: bool = False
    """Whether it is watched only because another Trainmaster acts on it, or may."""
    process_fault: str = ""
    """Why the process that the record names must not be signalled (``process 7 is no trainer of this run``)."""
    gone: bool = False
    """Whether its record was there and is not any more: it was moved or deleted, or its mount is lost."""
    read_errors: tuple[str, ...] = ()
    """What could not be read at the last look, in words."""
    log_tail: tuple[str, ...] = ()
    """The last lines of the console log, read when a finding needs them."""

    @property
    def at_work(self) -> Identity | None:
        """What trains, or is to train next: the job that was submitted since, until it signs in; else what the record
        names. None where that is nothing."""
        job = self.process.job if self.process is not None else None
        if self.record is None or job is None or not is_submitted_anew(self.record, self.process):
            return self.record.process if self.record is not None else None
        return JobIdentity(
            id=job.id, cluster=job.cluster, restart=job.restarts, submit_ts=job.submit_ts, name=f"tm-{self.run}"
        )

    @property
    def log(self) -> Path:
        """Where its console output goes. Its own log lies in its directory, wherever that was moved to since."""
        own = RunLayout(self.directory).train_log
        named = self.directory / (self.record.log if self.record is not None and self.record.log else own)
        return own if named.parts[-2:] == own.parts[-2:] else named

    @property
    def run(self) -> str:
        """The run's id; the directory's name when no record tells one."""
        return self.record.run if self.record else self.name

    @property
    def news_from_ts(self) -> float:
        """What happened before, by the clock of whoever wrote it down, is history of the run, which nobody is told. A
        clock that was put back is before the first look; what happens by it is news all the same."""
        behind_s = max(0.0, self.trainer_behind_s or 0.0) if self.guarded else 0.0
        return min(self.first_seen_ts, self.ts) - HISTORY_S - behind_s

    @property
    def attempt(self) -> int:
        """The number of the newest attempt, from 1."""
        return self.record.attempt if self.record else 1

    @property
    def guarded(self) -> bool:
        """Whether a guarded trainer writes its records; of another run only its console and ``results.csv`` tell."""
        return self.record is not None and bool(self.record.layers)

    @property
    def state(self) -> RunState:
        """As :func:`trainmaster.bot.core.run.state.judge_state` says of it."""
        facts, known = (self.record, self.heartbeat, self.process), self.known_state
        if known is not None and all(map(is_, facts, known)):
            return known[3]
        state = judge_state(*facts)
        object.__setattr__(self, "known_state", (*facts, state))
        return state

    @property
    def began_ts(self) -> float | None:
        """When the first attempt began, as far as the events tell."""
        return min((one.ts for one in self.notable if one.kind == EventKind.RUN_STARTED), default=None)

    @property
    def beat(self) -> Heartbeat | None:
        """The heartbeat, if it is of the newest attempt."""
        if self.heartbeat is None or (self.record and self.heartbeat.attempt != self.record.attempt):
            return None
        return self.heartbeat

    @property
    def total_epochs(self) -> int | None:
        """How many epochs the run is planned for; None while that is unknown. The estimate of a run with ``time=`` may
        lie behind what is done, and is then none."""
        planned = self.beat.epochs if self.beat and self.beat.epochs else (self.record.epochs if self.record else None)
        return planned_epochs(self.beat.epoch if self.beat else None, planned)

    @property
    def current(self) -> EpochView | None:
        """The newest epoch of the newest attempt."""
        keys = [key for key in self.epochs if key[0] == self.attempt]
        return self.epochs[max(keys)] if keys else None

    def epoch(self, number: int) -> EpochView | None:
        """The newest pass of epoch ``number``, in whichever attempt; what a rollback undid gives way to its repeat."""
        keys = [key for key in self.epochs if key[1] == number]
        return self.epochs[max(keys)] if keys else None

    def story(self) -> tuple[EpochView, ...]:
        """One pass of each epoch, in order, as the run now stands: the newest attempt's word on each, and nothing that
        a rollback gave up."""
        if self.known_story is not None and self.known_story[0] is self.epochs:
            return self.known_story[1]
        return story_of(self.epochs)

    @property
    def num_bad(self) -> int:
        """Bad batches over the story, skipped or not."""
        return sum(epoch.num_bad for epoch in self.story())

    @property
    def num_skipped(self) -> int:
        """Skipped batches over the story."""
        return sum(epoch.num_skipped for epoch in self.story())

    @property
    def num_clipped(self) -> int:
        """Clipped steps over the story, the running epoch included."""
        running = self.current
        beat = self.beat.clipped_epoch if self.beat and running and not running.finished else None
        return sum(epoch.num_clipped or 0 for epoch in self.story()) + (beat or 0)

    def trainer_now(self, now: float) -> float:
        """``now`` by the trainer's clock, as far as the heartbeat tells how it differs."""
        beat = self.beat
        if beat is None or self.beat_seen_ts is None:
            return now
        return beat.ts + max(0.0, now - self.beat_seen_ts)

    @property
    def last_clean(self) -> CheckpointFact | None:
        """The newest checkpoint that is attested clean and can be resumed."""
        clean = [c for c in self.checkpoints if c.verdict is Verdict.CLEAN and c.resumable and c.epoch is not None]
        return max(clean, key=lambda c: (c.epoch or 0, c.ts or 0.0), default=None)


def story_of(epochs: Mapping[tuple[int, int], EpochView]) -> tuple[EpochView, ...]:
    """One pass of each epoch, as :meth:`RunView.story` tells it."""
    chosen: dict[int, EpochView] = {}
    newest = 0
    for (_, number), view in sorted(epochs.items()):
        if number <= newest:  # another attempt, which gave up what came behind it
            chosen = {kept: epoch for kept, epoch in chosen.items() if kept < number}
        chosen[number], newest = view, number
    return tuple(chosen.values())


def stands_at(view: RunView, attempt: int) -> str:
    """Where the run stands when ``attempt`` was ended while it was starting up; empty when that attempt trained
    something, or there is nothing to resume from."""
    if any(number == attempt for number, _ in view.epochs):
        return ""
    stops = [one for one in view.notable if one.kind == EventKind.RUN_STOPPED and one.attempt < attempt]
    if stops and stops[-1].flag("resumable"):
        return f"in epoch {stops[-1].integer('epoch')} after batch {stops[-1].integer('batch') or 0:,}"
    return f"after epoch {view.last_clean.epoch}" if view.last_clean is not None else ""
