"""The loss: a stretch of batches far above those before, and epochs that no longer bring anything."""

from __future__ import annotations

import math
from collections.abc import Sequence

from trainmaster.bot.checks.limits import CheckLimits
from trainmaster.bot.checks.memory import remembered
from trainmaster.bot.core.alerts.finding import Finding, Nature, Severity
from trainmaster.bot.core.check_name import CheckName
from trainmaster.bot.core.conversation.words import number_text
from trainmaster.bot.core.run.series_window import SeriesWindow
from trainmaster.bot.core.run.view import EpochView, RunView


@remembered(of=lambda view: (view.stretches, view.epochs, view.attempt, view.state.active, view.total_epochs))
def check_loss(view: RunView, limits: CheckLimits, now: float) -> tuple[Finding, ...]:
    """An occurrence for each epoch with a spike (the newest epochs), and a condition while the loss has stopped falling
    in the middle of the schedule."""
    return (*_spikes(view, limits), *_trend(view, limits, now))


def _spikes(view: RunView, limits: CheckLimits) -> tuple[Finding, ...]:
    """The first of each epoch. Only the newest stretches are kept, so what is old is judged no more."""
    found: dict[int, Finding] = {}
    attempt = view.attempt
    above = [one for one in view.stretches if one.loss_deviation is not None and one.attempt == attempt]
    for one in above:
        if one.epoch in found or one.loss_before is None or not _is_spike(one, limits):
            continue
        middle = number_text(one.loss_before)
        limit = f"{limits.spike_rise_pct:g} % and {limits.spike_mads:g} robust deviations above it"
        found[one.epoch] = Finding(
            run=view.run,
            check=CheckName.LOSS_SPIKE,
            key=f"attempt{attempt}/epoch{one.epoch}",
            severity=Severity.WARNING,
            nature=Nature.OCCURRENCE,
            ts=one.ts or view.ts,
            title=f"{view.name}: the loss jumped to {number_text(one.loss)} in epoch {one.epoch}, batch {one.batch:,}",
            body=(f"The stretches before had a median of {middle}; the limit is {limit}.",),
            fields=(("Mean loss of the stretch", number_text(one.loss)), ("Median before", middle)),
            hint=f"/train epoch {one.epoch} progress",
        )
    return tuple(found.values())


def _is_spike(stretch: SeriesWindow, limits: CheckLimits) -> bool:
    middle, deviation = stretch.loss_before, stretch.loss_deviation
    if middle is None or deviation is None or not math.isfinite(stretch.loss):  # without one it was reached before
        return False
    rise = stretch.loss - middle
    return rise > abs(middle) * limits.spike_rise_pct / 100 and rise > limits.spike_mads * deviation


def _trend(view: RunView, limits: CheckLimits, now: float) -> tuple[Finding, ...]:
    if not view.state.active:
        return ()
    patience = limits.loss_patience_epochs
    story = _warmed_up([epoch for epoch in view.story() if epoch.finished and _is_known(epoch)])
    if len(story) <= patience or _schedule_is_nearly_over(view, story, limits):
        return ()
    before, recent = story[:-patience], story[-patience:]
    best = min(_loss(epoch) for epoch in before)
    if any(_loss(epoch) < best for epoch in recent) or _fitness_grew(before, recent):
        return ()
    since = recent[0].epoch
    return (
        Finding(
            run=view.run,
            check=CheckName.LOSS_TREND,
            key="loss",  # of the run's epochs, whichever attempt trained them: a resume makes no news of it
            severity=Severity.WARNING,
            nature=Nature.CONDITION,
            ts=now,
            title=f"{view.name}: the loss has not fallen for {patience} epochs, and validation is no better",
            body=(
                f"Since epoch {since} no mean loss was below {number_text(best)}; the learning rate is still high.",
                "A rate that is too high, or labels that contradict each other, look like this.",
            ),
            fields=(
                ("Best before", number_text(best)),
                ("Newest", number_text(_loss(recent[-1]))),
                ("Limit", f"{patience} epochs"),
            ),
            hint=f"/train epoch {recent[-1].epoch} progress",
            resolution=f"{view.name}: the loss falls again",
        ),
    )


def _warmed_up(story: Sequence[EpochView]) -> Sequence[EpochView]:
    """From the epoch with the highest rate on. While the rate rises a detector finds nothing yet: its loss is that of
    few boxes, and low."""
    rates = [epoch.lr if epoch.lr is not None else -math.inf for epoch in story]
    return story[rates.index(max(rates)) :] if story else story


def _is_known(epoch: EpochView) -> bool:
    return epoch.total_loss is not None and math.isfinite(epoch.total_loss)


def _loss(epoch: EpochView) -> float:
    assert epoch.total_loss is not None
    return epoch.total_loss


def _schedule_is_nearly_over(view: RunView, story: Sequence[EpochView], limits: CheckLimits) -> bool:
    """By the learning rate, or by the share of epochs done where none is told. Ultralytics' schedules end near 0."""
    rates = [epoch.lr for epoch in story if epoch.lr is not None]
    if rates and story[-1].lr is not None:
        return story[-1].lr < limits.loss_lr_share * max(rates)
    if not view.total_epochs:
        return True
    return story[-1].epoch >= (1 - limits.loss_lr_share) * view.total_epochs


def _fitness_grew(before: Sequence[EpochView], recent: Sequence[EpochView]) -> bool:
    best = max((epoch.fitness for epoch in before if epoch.fitness is not None), default=None)
    return any(epoch.fitness is not None and (best is None or epoch.fitness > best) for epoch in recent)
