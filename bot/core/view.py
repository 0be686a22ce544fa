"""Everything known of a run, immutable, folded from its facts in order."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

from bot.core.facts import CheckpointFact, Event, Heartbeat, LogError, ProcessFact, RunRecord
from bot.core.phases import PhaseTimes
from bot.core.run import RunState, judge_state
from bot.core.stretches import SeriesRow, Stretch, with_rows
from trainer.contract import EventKind, SkipReason, Verdict

MAX_BAD_BATCHES_KEPT = 20
"""An epoch's newest; counts go on, so a storm of thousands costs no memory."""

MAX_SERIES_KEPT = 256
"""Rows of an epoch's loss curve; when full, every other row goes."""

MAX_READ_DELAY_S = 60.0
"""A heartbeat this old when its change was seen may still be of the same clock: the bot looks twice a minute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BadBatch:
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
    bad_batches: tuple[BadBatch, ...] = ()
    losses: Mapping[str, float] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    fitness: float | None = None
    validated: bool = False
    seconds: float | None = None
    lr: float | None = None
    norm_p50: float | None = None
    """Mean over its stretches of the median gradient norm, before clipping."""
    norm_outlier_ratio: float | None = None
    """The largest, over its stretches, of the norm that 1 % of the steps exceed over the median of the stretch."""
    num_stretches: int = 0
    checkpoint: CheckpointFact | None = None
    series: tuple[tuple[int, float], ...] = ()
    """(batch, mean total loss of the batches since the row before), thinned to :data:`MAX_SERIES_KEPT` rows."""

    @property
    def finished(self) -> bool:
        """Whether the epoch's end was reported."""
        return self.finished_ts is not None

    @property
    def num_in_weights(self) -> int:
        """Bad batches that the model was trained on."""
        return max(0, self.num_bad - self.num_skipped - self.num_recomputed)

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
    story_of: tuple[Mapping[tuple[int, int], EpochView], tuple[EpochView, ...]] | None = field(
        default=None, repr=False, compare=False
    )
    """What :meth:`story` says of that very ``epochs``, since every check asks for it."""
    stretches: tuple[Stretch, ...] = ()
    """The newest, over all epochs and attempts."""
    phases: PhaseTimes = field(default_factory=PhaseTimes)
    beat_seen_ts: float | None = None
    """When the bot saw the heartbeat change, by the bot's own clock; the trainer's may differ."""
    phase_seen_ts: float | None = None
    """When the phase began, by the bot's own clock."""
    log_errors: tuple[LogError, ...] = ()
    """Fatal lines of the console log, newest last."""
    stacks: tuple[str, ...] = ()
    """What a stalled trainer was doing, as lines; taken when a finding needs them."""
    checkpoints: tuple[CheckpointFact, ...] = ()
    notable: tuple[Event, ...] = ()
    """Newest last: everything but batches, epochs, phases and checkpoints (starts, stops, crashes, healed states)."""
    read_errors: tuple[str, ...] = ()
    """What could not be read at the last look, in words."""
    log_tail: tuple[str, ...] = ()
    """The last lines of the console log, read when a finding needs them."""

    @property
    def run(self) -> str:
        """The run's id; the directory's name when no record tells one."""
        return self.record.run if self.record else self.name

    @property
    def attempt(self) -> int:
        """The newest attempt."""
        return self.record.attempt if self.record else 1

    @property
    def guarded(self) -> bool:
        """Whether a guarded trainer writes its records; of another run only its console and ``results.csv`` tell."""
        return self.record is not None and bool(self.record.layers)

    @property
    def state(self) -> RunState:
        """See :func:`bot.core.run.judge_state`."""
        return judge_state(self.record, self.heartbeat, self.process)

    @property
    def beat(self) -> Heartbeat | None:
        """The heartbeat, if it is of the newest attempt."""
        if self.heartbeat is None or (self.record and self.heartbeat.attempt != self.record.attempt):
            return None
        return self.heartbeat

    @property
    def total_epochs(self) -> int | None:
        """How many epochs the run is planned for."""
        if self.beat and self.beat.epochs:
            return self.beat.epochs
        return self.record.epochs if self.record else None

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
        if self.story_of is not None and self.story_of[0] is self.epochs:
            return self.story_of[1]
        return _story(self.epochs)

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


def _story(epochs: Mapping[tuple[int, int], EpochView]) -> tuple[EpochView, ...]:
    chosen: dict[int, EpochView] = {}
    for (_, number), view in sorted(epochs.items()):
        if number in chosen and chosen[number].attempt < view.attempt:
            chosen = {kept: epoch for kept, epoch in chosen.items() if kept < number}
        chosen[number] = view
    return tuple(chosen[number] for number in sorted(chosen))


def _with_epochs(view: RunView, epochs: dict[tuple[int, int], EpochView]) -> RunView:
    frozen = MappingProxyType(epochs)
    return replace(view, epochs=frozen, story_of=(frozen, _story(frozen)))


_NOT_NOTABLE = {
    EventKind.PHASE,
    EventKind.EPOCH_STARTED,
    EventKind.BAD_BATCH,
    EventKind.EPOCH_FINISHED,
    EventKind.CHECKPOINT_SAVED,
}
_MAX_NOTABLE_KEPT = 50


def fold_events(view: RunView, events: Iterable[Event]) -> RunView:
    """``view`` with ``events`` taken in, in the order of the file. Events already taken in must not come again."""
    epochs = dict(view.epochs)
    checkpoints = list(view.checkpoints)
    notable = list(view.notable)
    phases = view.phases
    for event in events:
        number = event.integer("epoch")
        if event.kind not in _NOT_NOTABLE:
            notable.append(event)
        back_to = event.integer("from_epoch") if event.kind == EventKind.RUN_STARTED else None
        if back_to is not None:  # what came later was put aside
            checkpoints = [one for one in checkpoints if one.epoch is None or one.epoch < back_to]
        if event.kind == EventKind.PHASE:
            phases = phases.with_event(event)
        if number is None:
            continue
        key = (event.attempt, number)
        epoch = epochs.get(key) or EpochView(attempt=event.attempt, epoch=number)
        if event.kind == EventKind.EPOCH_STARTED:
            epochs[key] = replace(
                epoch,
                epochs=event.integer("epochs"),
                batches=event.integer("batches"),
                started_ts=epoch.started_ts or event.ts,
            )
        elif event.kind == EventKind.BAD_BATCH:
            epochs[key] = _with_bad_batch(epoch, event, number)
        elif event.kind == EventKind.EPOCH_FINISHED:
            epochs[key] = _finished(epoch, event)
        elif event.kind == EventKind.CHECKPOINT_SAVED:
            fact = CheckpointFact.parse(event.data)
            if fact:
                checkpoints = [c for c in checkpoints if c.file != fact.file]
                checkpoints.append(replace(fact, ts=fact.ts or event.ts))
                if key in epochs:
                    epochs[key] = replace(epoch, checkpoint=fact)
    return replace(
        _with_epochs(view, epochs) if epochs != view.epochs else view,
        phases=phases,
        checkpoints=tuple(checkpoints),
        notable=tuple(notable[-_MAX_NOTABLE_KEPT:]),
    )


def _with_bad_batch(epoch: EpochView, event: Event, number: int) -> EpochView:
    bad = BadBatch(
        ts=event.ts,
        attempt=event.attempt,
        epoch=number,
        batch=event.integer("batch") or 0,
        reason=event.text("reason") or SkipReason.NONFINITE_LOSS,
        action=event.text("action") or "observed",
        losses=event.numbers("losses"),
        grad_norm=event.number("grad_norm"),
        lr=event.number("lr"),
        images=event.texts("images"),
        incident=event.text("incident"),
        drill=event.flag("drill"),
    )
    return replace(
        epoch,
        batches=epoch.batches or event.integer("batches"),
        num_bad=epoch.num_bad + 1,
        num_skipped=epoch.num_skipped + bad.skipped,
        num_recomputed=epoch.num_recomputed + bad.recomputed,
        bad_batches=(*epoch.bad_batches, bad)[-MAX_BAD_BATCHES_KEPT:],
    )


def _finished(epoch: EpochView, event: Event) -> EpochView:
    return replace(
        epoch,
        epochs=event.integer("epochs") or epoch.epochs,
        batches=event.integer("batches") or epoch.batches,
        finished_ts=event.ts,
        batches_done=event.integer("batches_done"),
        num_skipped=max(epoch.num_skipped, event.integer("skipped") or 0),
        num_bad=max(epoch.num_bad, event.integer("nonfinite") or 0, event.integer("skipped") or 0),
        num_clipped=event.integer("clipped"),
        losses=event.numbers("losses"),
        metrics=event.numbers("metrics"),
        fitness=event.number("fitness"),
        validated=event.flag("validated"),
        seconds=event.number("seconds"),
        lr=event.number("lr"),
    )


def fold_series(view: RunView, rows: Iterable[SeriesRow]) -> RunView:
    """``view`` with rows of the series taken in, in order."""
    taken = list(rows)
    if not taken:
        return view
    epochs = dict(view.epochs)
    for row in taken:
        key = (row.attempt, row.epoch)
        epoch = epochs.get(key) or EpochView(attempt=row.attempt, epoch=row.epoch)
        series = (*epoch.series, (row.batch, row.loss))
        epochs[key] = _with_norms(replace(epoch, series=series if len(series) <= MAX_SERIES_KEPT else series[::2]), row)
    return replace(_with_epochs(view, epochs), stretches=with_rows(view.stretches, taken))


def _with_norms(epoch: EpochView, row: SeriesRow) -> EpochView:
    middle, high = row.norm_p50, row.norm_p99
    if middle is None or high is None or not (math.isfinite(middle) and math.isfinite(high)) or middle <= 0:
        return epoch
    count = epoch.num_stretches
    return replace(
        epoch,
        norm_p50=((epoch.norm_p50 or 0.0) * count + middle) / (count + 1),
        norm_outlier_ratio=max(epoch.norm_outlier_ratio or 0.0, high / middle),
        num_stretches=count + 1,
    )


_CLOCK_TOLERANCE_S = 5.0
"""A heartbeat is a second old at most when it is written, and read soon after."""


def fold_beat(view: RunView, beat: Heartbeat, now: float) -> RunView:
    """``view`` with a heartbeat that was not there at the look before.

    Ages count by the bot's own clock from when it saw the change, since the clocks of two hosts may differ by hours.
    The first heartbeat that is ever seen may be old, so its own time counts, unless it lies in the future.
    """
    first = view.heartbeat is None
    seen_ts = min(beat.ts, now) if first else now
    phase_age_s = beat.ts - beat.phase_since_ts if beat.phase_since_ts is not None else 0.0
    if not first and -_CLOCK_TOLERANCE_S <= now - beat.ts <= MAX_READ_DELAY_S:
        seen_ts = min(beat.ts, now)  # one clock: the time of writing is the better one
    return replace(view, heartbeat=beat, beat_seen_ts=seen_ts, phase_seen_ts=seen_ts - max(0.0, phase_age_s))


def shift_clock(view: RunView, by_s: float) -> RunView:
    """``view`` after the bot's own clock was set by ``by_s``: ages stay as they are."""
    return replace(
        view,
        beat_seen_ts=None if view.beat_seen_ts is None else view.beat_seen_ts + by_s,
        phase_seen_ts=None if view.phase_seen_ts is None else view.phase_seen_ts + by_s,
    )
