"""Gradients that grow before the loss shows it, and clipping that has become the rule."""

from __future__ import annotations

from bot.checks.limits import CheckLimits
from bot.core.finding import Finding, Nature, Severity
from bot.core.view import RunView
from bot.core.words import number_text
from trainer.contract import EventKind


def check_gradients(view: RunView, limits: CheckLimits, now: float) -> tuple[Finding, ...]:
    """The trainer's own warnings of the newest attempt (one an epoch), and the clip rate of the running epoch."""
    return (*_growth(view), *_clip_rate(view, limits, now))


def _growth(view: RunView) -> tuple[Finding, ...]:
    newest = {
        event.integer("epoch"): event
        for event in view.notable
        if event.kind == EventKind.GRADIENT_WARNING and event.attempt == view.attempt
    }
    return tuple(
        Finding(
            run=view.run,
            check="gradient_growth",
            key=f"attempt{event.attempt}/epoch{epoch}",
            severity=Severity.WARNING,
            nature=Nature.OCCURRENCE,
            ts=event.ts,
            title=f"{view.name}: gradients are growing in epoch {epoch}, batch {event.integer('batch')}",
            body=("A norm that keeps growing comes before a bad loss.",),
            fields=(
                ("Norm", number_text(event.number("grad_norm") or 0.0)),
                ("Recent median", number_text(event.number("median") or 0.0)),
            ),
            hint=f"/train epoch {epoch} progress",
        )
        for epoch, event in newest.items()
    )


def _clip_rate(view: RunView, limits: CheckLimits, now: float) -> tuple[Finding, ...]:
    beat = view.beat
    if beat is None or not view.state.active or not beat.batch or beat.clipped_epoch is None:
        return ()
    share_pct = 100 * beat.clipped_epoch / beat.batch
    if beat.batch < limits.clip_min_batches or share_pct <= limits.clip_share_pct:
        return ()
    return (
        Finding(
            run=view.run,
            check="clip_rate",
            key=f"attempt{view.attempt}/epoch{beat.epoch}",
            severity=Severity.WARNING,
            nature=Nature.CONDITION,
            ts=now,
            title=f"{view.name}: {share_pct:.0f} % of the steps of epoch {beat.epoch} were clipped "
            f"(limit {limits.clip_share_pct:g} %)",
            body=("Clipping this often shortens nearly every step: the learning rate is too high for the data.",),
            fields=(("Clipped", f"{beat.clipped_epoch:,} of {beat.batch:,} batches"),),
            hint="/train execute rollback",
            resolution=f"{view.name}: clipping is back under {limits.clip_share_pct:g} %",
        ),
    )
