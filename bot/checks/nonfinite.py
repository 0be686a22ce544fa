"""Non-finite loss, gradient or statistics, and loss spikes: one alert an epoch, counting up."""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import Enum, auto
from pathlib import PurePath

from trainmaster.bot.checks.limits import CheckLimits
from trainmaster.bot.checks.memory import MAX_TOLD, remembered, settled
from trainmaster.bot.core.alerts.finding import Finding, Nature, Severity
from trainmaster.bot.core.check_name import CheckName
from trainmaster.bot.core.conversation.message import ButtonStyle
from trainmaster.bot.core.conversation.words import REASON_TEXT, capitalized, counted, losses_text, number_text
from trainmaster.bot.core.decisions.buttons import rollback_button
from trainmaster.bot.core.run.epoch_report import bad_batches_fate, metrics_text, nonfinite_text, replays_text
from trainmaster.bot.core.run.state import RunState
from trainmaster.bot.core.run.view import BadBatchFact, EpochView, RunView

MAX_IMAGES_SHOWN = 6


def check_nonfinite(view: RunView, limits: CheckLimits, now: float) -> tuple[Finding, ...]:
    """A condition while bad batches are recent in the running epoch of the newest attempt; an occurrence for an epoch
    that is over, so that a night's events are told even when the bot was away."""
    bad = [epoch for epoch in view.story() if epoch.bad_batches]
    batches = tuple(
        _finding(view, epoch, firing=standing is _Recency.RECENT)
        for epoch in bad[-MAX_TOLD:]
        if (standing := _standing(view, epoch, limits)) is not _Recency.CLEARED
    )
    return (*batches, *_figures(view, limits, now))


@remembered(of=lambda view: (view.directory, *settled(view)))
def _figures(view: RunView, limits: CheckLimits, now: float) -> tuple[Finding, ...]:
    """An occurrence for the first of each row of epochs whose figures (validation losses, metrics, or training losses
    that no bad batch explains) are not finite: a validation that is broken stays so, and is told once."""
    found: list[Finding] = []
    before = ""
    for epoch in view.story():
        if not epoch.finished:
            continue
        said = nonfinite_text(epoch)
        if said and not before:
            found.append(_figures_finding(view, epoch, said))
        before = said
    return tuple(found[-MAX_TOLD:])


def _figures_finding(view: RunView, epoch: EpochView, said: str) -> Finding:
    of_training = any(name.startswith(("train/", "lr/")) for name in epoch.nonfinite_columns)
    return Finding(
        run=view.run,
        check=CheckName.NONFINITE,
        key=f"attempt{epoch.attempt}/epoch{epoch.epoch}/figures",
        severity=Severity.CRITICAL if of_training else Severity.WARNING,
        nature=Nature.OCCURRENCE,
        ts=epoch.finished_ts or view.ts,
        title=f"{view.name}: epoch {epoch.epoch} ended with figures that are not finite",
        body=(
            f"{capitalized(said)}.",
            _meaning(epoch, of_training=of_training),
        ),
        fields=(
            ("Mean loss", losses_text(epoch.losses) or "unknown"),
            ("Validation", metrics_text(epoch) or "unknown"),
        ),
        hint=f"/train epoch {epoch.epoch} progress",
    )


def _meaning(epoch: EpochView, *, of_training: bool) -> str:
    if of_training:
        return "What the model was trained on, or at which rate, is in its weights."
    known = ("val/", "metrics/", "fitness")
    if epoch.nonfinite_columns and not any(name.startswith(known) for name in epoch.nonfinite_columns):
        return "Losses and metrics are finite. trainmaster verify tells of its checkpoint."
    return (
        "The training losses are finite: half precision in validation, a bad validation image or label, or "
        "batch-norm statistics that are spoilt. trainmaster verify tells of its checkpoint."
    )


class _Recency(Enum):
    RECENT = auto()
    CLEARED = auto()
    """Enough healthy batches followed in the running epoch. None does where its running losses stay spoilt."""
    PAST = auto()
    """The epoch, or the run, is over: nothing can clear it any more."""


def _standing(view: RunView, epoch: EpochView, limits: CheckLimits) -> _Recency:
    if epoch != view.current or epoch.finished or not (view.state.active or view.state is RunState.UNKNOWN):
        return _Recency.PAST
    beat = view.beat
    if beat is not None and beat.epoch is not None and beat.epoch > epoch.epoch:
        return _Recency.PAST
    if beat is None or beat.epoch != epoch.epoch or beat.batch is None or not _is_finite(beat.losses):
        return _Recency.RECENT
    recent = beat.batch - epoch.bad_batches[-1].batch < limits.clear_batches
    return _Recency.RECENT if recent else _Recency.CLEARED


def _is_finite(losses: Mapping[str, float]) -> bool:
    return all(map(math.isfinite, losses.values()))


def _finding(view: RunView, epoch: EpochView, *, firing: bool) -> Finding:
    last = epoch.bad_batches[-1]
    in_weights = epoch.num_in_weights
    where = f"epoch {epoch.epoch}, batch {last.batch:,}" + (f" of {epoch.batches:,}" if epoch.batches else "")
    count = counted(epoch.num_bad, "batch", "batches")
    fate = f"{in_weights} went into the weights" if in_weights else bad_batches_fate(epoch)
    return Finding(
        run=view.run,
        check=CheckName.NONFINITE,
        key=f"attempt{epoch.attempt}/epoch{epoch.epoch}",
        severity=Severity.CRITICAL if in_weights or epoch.num_bad > 5 else Severity.WARNING,
        nature=Nature.CONDITION if firing else Nature.OCCURRENCE,
        ts=last.ts,
        title=f"{view.name}: {REASON_TEXT.get(last.reason, last.reason)} in {where}"
        + (" (drill)" if last.drill else ""),
        body=(
            f"{count} in epoch {epoch.epoch}: {fate}.",
            *_images(last),
            *([said] if (said := replays_text(epoch)) else []),
        ),
        fields=_fields(last),
        hint=f"/train epoch {epoch.epoch} progress",
        resolution=f"{view.name}: epoch {epoch.epoch} is {_outcome(in_weights, firing=firing)}",
        buttons=(rollback_button(view.run, ButtonStyle.DANGER if in_weights else ButtonStyle.PLAIN),),
    )


def _outcome(in_weights: int, *, firing: bool) -> str:
    """How the epoch is once nothing is found of it any more: it goes on, is over, or was given up by a start anew. None
    of them takes a bad batch out of the weights."""
    if not in_weights:
        return "healthy again"
    past = "past its bad batches" if firing else "over"
    return f"{past}, with {counted(in_weights, 'bad batch', 'bad batches')} in the weights"


def _images(last: BadBatchFact) -> tuple[str, ...]:
    """The files of the batch in a line: they are part of what happened, not of the details."""
    if not last.images:
        return ()
    shown = ", ".join(PurePath(image).name for image in last.images[:MAX_IMAGES_SHOWN])
    more = len(last.images) - MAX_IMAGES_SHOWN
    return (f"Images: {shown}" + (f" and {more} more" if more > 0 else ""),)


def _fields(last: BadBatchFact) -> tuple[tuple[str, str], ...]:
    fields = [
        ("Loss", losses_text(last.losses) or "unknown"),
    ]
    if last.grad_norm is not None:
        fields.append(("Gradient norm", number_text(last.grad_norm)))
    if last.lr is not None:
        fields.append(("Learning rate", number_text(last.lr)))
    if last.incident:
        fields.append(("Incident", last.incident))
    return tuple(fields)
