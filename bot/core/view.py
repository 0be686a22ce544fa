"""Everything known of a run, immutable, folded from its facts in order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

from bot.core.facts import CheckpointFact, Event, Heartbeat, ProcessFact, RunRecord
from bot.core.run import RunState, judge_state
from trainer.contract import EventKind, SkipReason, Verdict

MAX_BAD_BATCHES_KEPT = 20
"""An epoch's newest; counts go on, so a storm of thousands costs no memory."""

MAX_SERIES_KEPT = 256
"""Rows of an epoch's loss curve; when full, every other row goes."""


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
        chosen: dict[int, EpochView] = {}
        for (_, number), view in sorted(self.epochs.items()):
            if number in chosen and chosen[number].attempt < view.attempt:
                chosen = {kept: epoch for kept, epoch in chosen.items() if kept < number}
            chosen[number] = view
        return tuple(chosen[number] for number in sorted(chosen))

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

    @property
    def last_clean(self) -> CheckpointFact | None:
        """The newest checkpoint that is attested clean and can be resumed."""
        clean = [c for c in self.checkpoints if c.verdict is Verdict.CLEAN and c.resumable and c.epoch is not None]
        return max(clean, key=lambda c: (c.epoch or 0, c.ts or 0.0), default=None)


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
    for event in events:
        number = event.integer("epoch")
        if event.kind not in _NOT_NOTABLE:
            notable.append(event)
        back_to = event.integer("from_epoch") if event.kind == EventKind.RUN_STARTED else None
        if back_to is not None:  # what came later was put aside
            checkpoints = [one for one in checkpoints if one.epoch is None or one.epoch < back_to]
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
        view,
        epochs=MappingProxyType(epochs),
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
    )


def fold_series(view: RunView, rows: Iterable[tuple[int, int, int, float]]) -> RunView:
    """``view`` with rows ``(attempt, epoch, batch, total loss)`` of the series taken in, in order."""
    epochs = dict(view.epochs)
    for attempt, number, batch, loss in rows:
        key = (attempt, number)
        epoch = epochs.get(key) or EpochView(attempt=attempt, epoch=number)
        series = (*epoch.series, (batch, loss))
        epochs[key] = replace(epoch, series=series if len(series) <= MAX_SERIES_KEPT else series[::2])
    return replace(view, epochs=MappingProxyType(epochs))
