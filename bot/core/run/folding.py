"""Facts taken into the view of a run, in order. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import attrgetter
from types import MappingProxyType
from typing import Any

from trainmaster.bot.core.evolve import evolve
from trainmaster.bot.core.run.facts import CheckpointFact, Event
from trainmaster.bot.core.run.parsing import member_of
from trainmaster.bot.core.run.series_window import SeriesRow, with_rows
from trainmaster.bot.core.run.view import BadBatchFact, EpochView, RunView, planned_epochs, story_of
from trainmaster.trainer.contract import EventKind, Heartbeat, ReplayVerdict, SkipReason

MAX_BAD_BATCHES_KEPT = 20
"""An epoch's newest; counts go on, so a storm of thousands costs no memory."""

MAX_SERIES_KEPT = 256
"""Rows of an epoch's loss curve; when full, every other row goes."""

MAX_EPOCHS_KEPT = 5_000
"""Passes of epochs, the newest. No training has more, and a file that says so costs no more memory."""

MAX_READ_DELAY_S = 60.0
"""A heartbeat this old when its change was seen may still be of the same clock: the bot looks twice a minute."""


def _with_epochs(view: RunView, epochs: dict[tuple[int, int], EpochView]) -> RunView:
    if len(epochs) > MAX_EPOCHS_KEPT:
        epochs = {key: epochs[key] for key in sorted(epochs)[-MAX_EPOCHS_KEPT:]}
    frozen = MappingProxyType(epochs)
    return evolve(view, epochs=frozen, known_story=(frozen, story_of(frozen)))


NOT_NOTABLE = {
    EventKind.PHASE,
    EventKind.EPOCH_STARTED,
    EventKind.BAD_BATCH,
    EventKind.EPOCH_FINISHED,
    EventKind.CHECKPOINT_SAVED,
}
"""Kinds of events that are taken in as what they tell of batches, epochs, phases and checkpoints."""
_MAX_NOTABLE_KEPT = 50


def fold_events(view: RunView, events: Iterable[Event]) -> RunView:
    """``view`` with ``events`` taken in, in the order of the file. Events already taken in must not come again. What no
    event changes stays the very same object, by which checks know that they need not look again."""
    taken = list(events)
    return _with_events(view, taken) if taken else view


class _Draft:
    """A pass of an epoch while events are taken in: one copy is made of it at the end, however many told of it."""

    __slots__ = ("_before", "_changes")

    def __init__(self, before: EpochView) -> None:
        self._before = before
        self._changes: dict[str, Any] = {}

    def set(self, **changes: Any) -> None:
        """These fields are so from now on."""
        self._changes.update(changes)

    def __getattr__(self, name: str) -> Any:
        return self._changes[name] if name in self._changes else getattr(self._before, name)

    def done(self) -> EpochView:
        """The pass with what was set; the very same where that changes nothing."""
        after = evolve(self._before, **self._changes)
        return self._before if after == self._before else after


def _with_events(view: RunView, taken: Sequence[Event]) -> RunView:
    drafts: dict[tuple[int, int], _Draft] = {}
    checkpoints = {one.file: one for one in view.checkpoints}
    notable = list(view.notable)
    max_norms = dict(view.max_norms)

    def draft(key: tuple[int, int]) -> _Draft:
        known = drafts.get(key)
        if known is None:
            known = drafts[key] = _Draft(view.epochs.get(key) or EpochView(attempt=key[0], epoch=key[1]))
        return known

    for event in taken:
        kind, number = event.kind, event.integer("epoch")
        if kind not in NOT_NOTABLE:
            notable.append(event)
        if kind == EventKind.RUN_STARTED:
            checkpoints = _not_put_aside(checkpoints, event.integer("from_epoch"))
            max_norms[event.attempt] = event.numbers("settings").get("max_norm")
        if number is None:
            continue
        key = (event.attempt, number)
        if kind == EventKind.EPOCH_STARTED:
            epoch = draft(key)
            epoch.set(
                epochs=planned_epochs(number, event.integer("epochs")),
                batches=event.integer("batches"),
                started_ts=epoch.started_ts or event.ts,
            )
        elif kind == EventKind.BAD_BATCH:
            _take_bad_batch(draft(key), event, number)
        elif kind == EventKind.EPOCH_FINISHED:
            _take_end(draft(key), event)
        elif kind == EventKind.CHECKPOINT_SAVED and (fact := CheckpointFact.parse(event.data)):
            checkpoints.pop(fact.file, None)  # what was saved last stands last
            checkpoints[fact.file] = fact if fact.ts else evolve(fact, ts=event.ts)
            if key in drafts or key in view.epochs:
                draft(key).set(checkpoint=fact)
    epochs = {**view.epochs, **{key: one.done() for key, one in drafts.items()}}
    return evolve(
        _with_epochs(view, epochs) if epochs != view.epochs else view,
        phases=view.phases.with_events(one for one in taken if one.kind == EventKind.PHASE),
        checkpoints=tuple(checkpoints.values()),
        notable=tuple(notable[-_MAX_NOTABLE_KEPT:]),
        max_norms=max_norms,
    )


def _not_put_aside(checkpoints: dict[str, CheckpointFact], from_epoch: int | None) -> dict[str, CheckpointFact]:
    """Those that a rollback left, when the attempt begins with ``from_epoch``."""
    if from_epoch is None:
        return checkpoints
    return {file: one for file, one in checkpoints.items() if one.epoch is None or one.epoch < from_epoch}


def _take_bad_batch(epoch: _Draft, event: Event, number: int) -> None:
    bad = BadBatchFact(
        ts=event.ts,
        attempt=event.attempt,
        epoch=number,
        batch=event.integer("batch") or 0,
        reason=event.text("reason") or SkipReason.NONFINITE_LOSS,
        action=event.text("action") or "observed",
        losses=event.numbers("losses"),
        grad_norm=event.number("grad_norm"),
        lr=event.number("lr"),
        images=tuple(dict.fromkeys(event.texts("images"))),  # a sampler may draw one several times
        incident=event.text("incident"),
        drill=event.flag("drill"),
        replay=member_of(ReplayVerdict, event.data.get("replay")),
    )
    epoch.set(
        batches=epoch.batches or event.integer("batches"),
        num_bad=epoch.num_bad + 1,
        num_skipped=epoch.num_skipped + bad.skipped,
        num_recomputed=epoch.num_recomputed + bad.recomputed,
        bad_batches=(*epoch.bad_batches, bad)[-MAX_BAD_BATCHES_KEPT:],
    )


def _take_end(epoch: _Draft, event: Event) -> None:
    epoch.set(
        epochs=planned_epochs(epoch.epoch, event.integer("epochs") or epoch.epochs),
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
        unknown=event.texts("unknown"),
        num_bad_in_validation=event.integer("val_nonfinite") or 0,
        seconds=event.number("seconds"),
        lr=event.number("lr"),
    )


_PASS_OF = attrgetter("attempt", "epoch")


def fold_series(view: RunView, rows: Iterable[SeriesRow]) -> RunView:
    """``view`` with rows of the series taken in, in order."""
    taken = list(rows)
    if not taken:
        return view
    epochs = dict(view.epochs)
    for (attempt, number), its_rows in groupby(taken, key=_PASS_OF):
        epoch = epochs.get((attempt, number)) or EpochView(attempt=attempt, epoch=number)
        epochs[attempt, number] = _with_curve(epoch, its_rows)
    return evolve(_with_epochs(view, epochs), stretches=with_rows(view.stretches, taken))


def _with_curve(epoch: EpochView, rows: Iterable[SeriesRow]) -> EpochView:
    points = list(epoch.series)
    middle, ratio, count = epoch.norm_p50, epoch.norm_outlier_ratio, epoch.num_stretches
    for _, _, _, batch, loss, usual, high, _ in rows:
        points.append((batch, loss))
        if len(points) > MAX_SERIES_KEPT:
            del points[1::2]
        if usual is None or high is None or not (math.isfinite(usual) and math.isfinite(high)) or usual <= 0:
            continue
        middle = ((middle or 0.0) * count + usual) / (count + 1)
        ratio = max(ratio or 0.0, high / usual)
        count += 1
    return evolve(epoch, series=tuple(points), norm_p50=middle, norm_outlier_ratio=ratio, num_stretches=count)


def without_curves(view: RunView) -> RunView:
    """``view`` without all that only the series tells, which is most of what it weighs."""
    epochs = {
        key: evolve(epoch, series=(), norm_p50=None, norm_outlier_ratio=None, num_stretches=0)
        for key, epoch in view.epochs.items()
    }
    return evolve(_with_epochs(view, epochs), stretches=(), brief=True)


_CLOCK_TOLERANCE_S = 5.0
"""A heartbeat is a second old at most when it is written, and read soon after."""


def fold_beat(view: RunView, beat: Heartbeat, now: float) -> RunView:
    """``view`` with a heartbeat that was not there at the look before.

    Ages count by the bot's own clock from when it saw the change, since the clocks of two hosts may differ by hours.
    The first heartbeat that is ever seen may be old, so its own time counts, unless it lies in the future.
    """
    first = view.heartbeat is None
    seen_ts = min(beat.ts, now) if first else now
    behind_s = None if first else now - beat.ts
    if view.heartbeat is not None and view.heartbeat.attempt == beat.attempt and view.trainer_behind_s is not None:
        behind_s = min(view.trainer_behind_s, now - beat.ts)
    phase_age_s = beat.ts - beat.phase_since_ts if beat.phase_since_ts is not None else 0.0
    if not first and -_CLOCK_TOLERANCE_S <= now - beat.ts <= MAX_READ_DELAY_S:
        seen_ts = min(beat.ts, now)  # one clock: the time of writing is the better one
    return evolve(
        view,
        heartbeat=beat,
        beat_seen_ts=seen_ts,
        phase_seen_ts=seen_ts - max(0.0, phase_age_s),
        trainer_behind_s=behind_s,
    )


def shift_clock(view: RunView, by_s: float) -> RunView:
    """``view`` after the bot's own clock was set by ``by_s``: ages stay as they are."""
    if by_s == 0:
        return view
    return evolve(
        view,
        beat_seen_ts=None if view.beat_seen_ts is None else view.beat_seen_ts + by_s,
        phase_seen_ts=None if view.phase_seen_ts is None else view.phase_seen_ts + by_s,
    )
