"""Gradients that grow before the loss shows it, and clipping that rises above the run's own habit."""

from __future__ import annotations

from statistics import median
from typing import Final

from trainmaster.bot.checks.limits import CheckLimits
from trainmaster.bot.core.alerts.finding import Finding, Nature, Severity
from trainmaster.bot.core.check_name import CheckName
from trainmaster.bot.core.conversation.words import number_text
from trainmaster.bot.core.decisions.buttons import rollback_button
from trainmaster.bot.core.run.view import RunView
from trainmaster.trainer.contract import EventKind

NUM_GROWN: Final = 3
"""Newest stretches, all of which must have grown: one is chance."""
NUM_BEFORE_GROWTH: Final = 15
"""Stretches before them, for a median that says something."""


def check_gradients(view: RunView, limits: CheckLimits, now: float) -> tuple[Finding, ...]:
    """The trainer's own warnings of the newest attempt (one an epoch); norms that have grown and stay so; and the clip
    rate of the running epoch against the run's own earlier ones (decision 0006)."""
    return (*_growth(view), *_trend(view, limits, now), *_clip_rate(view, limits, now))


def _growth(view: RunView) -> tuple[Finding, ...]:
    newest = {
        event.integer("epoch"): event
        for event in view.notable
        if event.kind == EventKind.GRADIENT_WARNING and event.attempt == view.attempt
    }
    return tuple(
        Finding(
            run=view.run,
            check=CheckName.GRADIENT_GROWTH,
            key=f"attempt{event.attempt}/epoch{epoch}",
            severity=Severity.WARNING,
            nature=Nature.OCCURRENCE,
            ts=event.ts,
            title=f"{view.name}: gradients are growing in epoch {epoch}, batch {event.integer('batch') or 0:,}",
            body=("A norm that keeps growing comes before a bad loss.",),
            fields=(
                ("Norm", number_text(event.number("grad_norm") or 0.0)),
                ("Recent median", number_text(event.number("median") or 0.0)),
            ),
            hint=f"/train epoch {epoch} progress",
        )
        for epoch, event in newest.items()
    )


def _trend(view: RunView, limits: CheckLimits, now: float) -> tuple[Finding, ...]:
    if not view.state.active:
        return ()
    attempt = view.attempt
    norms = [one.norm_p50 for one in view.stretches if one.norm_p50 is not None and one.attempt == attempt]
    if len(norms) < NUM_BEFORE_GROWTH + NUM_GROWN:
        return ()
    usual, grown = median(norms[:-NUM_GROWN]), min(norms[-NUM_GROWN:])
    if usual <= 0 or grown <= limits.gradient_growth_factor * usual:
        return ()
    epoch = view.stretches[-1].epoch
    return (
        Finding(
            run=view.run,
            check=CheckName.GRADIENT_TREND,
            key=f"attempt{view.attempt}",
            severity=Severity.WARNING,
            nature=Nature.CONDITION,
            ts=now,
            title=f"{view.name}: gradient norms are {grown / usual:.1f} times the run's median "
            f"(limit {limits.gradient_growth_factor:g})",
            body=(
                f"Over the last {NUM_GROWN} stretches of batches: the training becomes unstable before the loss does.",
            ),
            fields=(("Norm now", number_text(grown)), ("Median of this attempt", number_text(usual))),
            hint=f"/train epoch {epoch} progress",
            resolution=f"{view.name}: gradient norms are as before",
        ),
    )


def _clip_rate(view: RunView, limits: CheckLimits, now: float) -> tuple[Finding, ...]:
    beat = view.beat
    if beat is None or not view.state.active or not beat.batch or beat.clipped_epoch is None:
        return ()
    # Another attempt may clip at another norm, so its epochs are no measure.
    earlier = [
        100 * epoch.num_clipped / epoch.batches_done
        for epoch in view.story()
        if epoch.attempt == view.attempt and epoch.finished and epoch.num_clipped is not None and epoch.batches_done
    ]
    share_pct = 100 * beat.clipped_epoch / beat.batch
    if not earlier or beat.batch < limits.clip_min_batches:
        return ()
    usual_pct = median(earlier)
    if share_pct - usual_pct <= limits.clip_rise_pct:
        return ()
    return (
        Finding(
            run=view.run,
            check=CheckName.CLIP_RATE,
            key=f"attempt{view.attempt}/epoch{beat.epoch}",
            severity=Severity.WARNING,
            nature=Nature.CONDITION,
            ts=now,
            title=f"{view.name}: {share_pct:.0f} % of the batches of epoch {beat.epoch} were clipped, before it were "
            f"{usual_pct:.0f} % (limit {limits.clip_rise_pct:g} points more)",
            body=(
                "Gradients are larger than this run's own usual ones: the learning rate may be too high for the data.",
            ),
            fields=(
                ("Clipped", f"{beat.clipped_epoch:,} of {beat.batch:,} batches"),
                ("Median of earlier epochs", f"{usual_pct:.0f} %"),
            ),
            hint="/train execute rollback",
            resolution=f"{view.name}: clipping is as usual again",
            buttons=(rollback_button(view.run),),
        ),
    )
