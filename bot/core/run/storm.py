"""A NaN storm: evidence that a run will not get over its bad batches by itself. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from trainmaster.bot.core.run.state import RunState
from trainmaster.bot.core.run.view import BadBatchFact, RunView
from trainmaster.bot.core.setting import Setting
from trainmaster.trainer.contract import EventKind

_NAN_PERSISTED = "nan persisted"
"""What stock Ultralytics says when its own recovery ends the run (engine/trainer.py, ``_handle_nan_recovery``)."""


class StormKind(StrEnum):
    """Which rule called the bad batches a storm."""

    GAVE_UP = "gave_up"
    """The trainer ended by itself, with exit code 4 or in Ultralytics' own words."""
    RATE = "rate"
    """Too many bad batches, in a row or within a window."""
    POISONED = "poisoned"
    """The mean loss of an epoch was not finite and that of the next is not either: what is carried over is the
    weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StormLimits:
    """When a run is past saving. The trainer ends a guarded run by the same numbers; these are for runs that it does
    not end."""

    num_bad: Annotated[int, Setting("batches", ge=1, le=19, name="storm_bad_batches")] = 10
    """Bad ones that are put up with, in a row or within the window."""
    window_batches: Annotated[int, Setting("batches", ge=1, name="storm_window_batches")] = 2000
    """10 in 2,000 is 0.5 %; the run that this is made for saw 1 % and was past saving."""
    max_age_s: float = 86_400.0
    """Of the evidence. What happened longer ago has been decided by a person, with or without this bot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Storm:
    """``key`` names the evidence: a storm that is still the same one has the same key."""

    kind: StormKind
    attempt: int
    epoch: int
    ts: float
    why: str

    @property
    def key(self) -> str:
        """The same evidence, the same key."""
        return f"attempt{self.attempt}/epoch{self.epoch}/{self.kind}"


def storm_of(view: RunView, limits: StormLimits, now: float) -> Storm | None:
    """The storm that the newest attempt is in, or ended in; None in fair weather."""
    found = _gave_up(view) or (_poisoned(view) or _rate(view, limits) if _at_work(view) else None)
    return found if found is not None and now - found.ts <= limits.max_age_s else None


def _at_work(view: RunView) -> bool:
    return view.state.active or view.state is RunState.UNKNOWN


def _gave_up(view: RunView) -> Storm | None:
    if view.state not in {RunState.GAVE_UP, RunState.CRASHED}:
        return None
    for event in reversed(view.notable):
        if event.attempt != view.attempt or event.kind not in {EventKind.RUN_GAVE_UP, EventKind.RUN_CRASHED}:
            continue
        if event.kind == EventKind.RUN_CRASHED and _NAN_PERSISTED not in (event.text("error") or "").lower():
            continue
        current = view.current
        epoch = event.integer("epoch") or (current.epoch if current else 0)
        said = event.text("why") or event.text("error") or "it gave no reason"
        why = f"the trainer ended by itself in epoch {epoch}: {said.rstrip('.')}."
        return Storm(kind=StormKind.GAVE_UP, attempt=view.attempt, epoch=epoch, ts=event.ts, why=why)
    return None


def _rate(view: RunView, limits: StormLimits) -> Storm | None:
    """As the guard counts (``SkipBudget`` of trainer/batches): across epochs, and never fewer than two an epoch,
    since a small data set shows one bad image again in every epoch."""
    current, beat = view.current, view.beat
    bad = [one for epoch in view.story() if epoch.attempt == view.attempt for one in epoch.bad_batches]
    bad = [one for one in bad if not one.recomputed]
    if current is None or current.finished or not bad:
        return None
    last = bad[-1]
    beats_here = beat is not None and beat.epoch == current.epoch
    if beat is not None and beats_here and (beat.streak or 0) >= limits.num_bad:
        return _storm_of_rate(view, last, f"{beat.streak} bad batches in a row")
    num_batches = current.batches or (beat.batches if beat else None)
    if not num_batches:
        return None
    here = (current.epoch - 1) * num_batches + ((beat.batch or 0) if beat is not None and beats_here else 0)
    here = max(here, (last.epoch - 1) * num_batches + last.batch)
    num_recent = sum(here - (one.epoch - 1) * num_batches - one.batch < limits.window_batches for one in bad)
    allowed = max(limits.num_bad, 2 * math.ceil(min(here, limits.window_batches) / num_batches))
    if num_recent > allowed:
        text = f"{num_recent} bad batches among the last {min(here, limits.window_batches):,}, the limit is {allowed}"
        return _storm_of_rate(view, last, text)
    return None


def _storm_of_rate(view: RunView, last: BadBatchFact, text: str) -> Storm:
    why = f"{text}; the last one was in epoch {last.epoch}."
    return Storm(kind=StormKind.RATE, attempt=view.attempt, epoch=last.epoch, ts=last.ts, why=why)


def _poisoned(view: RunView) -> Storm | None:
    current, beat = view.current, view.beat
    if current is None or current.finished or beat is None or beat.epoch != current.epoch or not beat.batch:
        return None
    before = view.epochs.get((view.attempt, current.epoch - 1))
    if before is None or not before.finished or _finite(before.losses) or _finite(beat.losses):
        return None
    why = (
        f"the loss of epoch {before.epoch} was not finite, and that of epoch {current.epoch} is not either: "
        "the weights are no numbers any more."
    )
    return Storm(kind=StormKind.POISONED, attempt=view.attempt, epoch=current.epoch, ts=beat.ts, why=why)


def _finite(losses: Mapping[str, float]) -> bool:
    return all(map(math.isfinite, losses.values()))
