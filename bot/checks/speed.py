"""A run that has become slow against itself, and an epoch that takes longer than those before."""

from __future__ import annotations

from statistics import median
from typing import Final

from trainmaster.bot.checks.limits import CheckLimits
from trainmaster.bot.core.alerts.finding import Finding, Nature, Severity
from trainmaster.bot.core.check_name import CheckName
from trainmaster.bot.core.conversation.tokens import moment
from trainmaster.bot.core.run.forecast import Basis, duration, forecast
from trainmaster.bot.core.run.view import RunView
from trainmaster.trainer.contract import Phase

MIN_STRETCHES: Final = 10
"""Before the window, for a median that says something; about a fifth of an epoch."""
MIN_SLOW_STRETCHES: Final = 3
MIN_EPOCHS: Final = 2


def check_speed(view: RunView, limits: CheckLimits, now: float) -> tuple[Finding, ...]:
    """A condition while batches take far longer than this attempt's own median, and one while the running epoch takes
    far longer than the finished ones."""
    if not view.state.active:
        return ()
    return (*_slowdown(view, limits, now), *_late(view, limits, now))


def _slowdown(view: RunView, limits: CheckLimits, now: float) -> tuple[Finding, ...]:
    beat = view.beat
    if beat is None or beat.phase is not Phase.TRAINING:
        return ()
    began_ts = view.trainer_now(now) - limits.slow_window_s
    before: list[float] = []
    recent: list[float] = []
    attempt = view.attempt
    for one in view.stretches:
        ts, batch_s = one.ts, one.batch_s
        if batch_s is not None and ts is not None and one.attempt == attempt:
            # A stretch belongs to the window when more than half of it lies there.
            (recent if ts - batch_s * one.num_batches / 2 >= began_ts else before).append(batch_s)
    if len(before) < MIN_STRETCHES:
        return ()
    if len(recent) < MIN_SLOW_STRETCHES:
        # Stretches of a long epoch last as long as the window: the newest ones count.
        recent = [*before[len(recent) - MIN_SLOW_STRETCHES :], *recent]
        before = before[: len(before) - MIN_SLOW_STRETCHES]
    if len(before) < MIN_STRETCHES:
        return ()
    usual_s, now_s = median(before), median(recent)
    if now_s <= limits.slow_factor * usual_s:
        return ()
    return (
        Finding(
            run=view.run,
            check=CheckName.SLOWDOWN,
            key=f"attempt{view.attempt}",
            severity=Severity.WARNING,
            nature=Nature.CONDITION,
            ts=now,
            title=f"{view.name}: batches take {now_s / usual_s:.1f} times as long as before "
            f"(limit {limits.slow_factor:g})",
            body=(
                "Look at what else uses the GPU, the processors and the disk of the data; /train status shows them.",
            ),
            fields=(
                ("A batch now", f"{now_s:.2f} s"),
                ("Median of this run", f"{usual_s:.2f} s"),
                ("Epoch", f"{beat.epoch}"),
            ),
            hint="/train status",
            resolution=f"{view.name}: as fast as before",
        ),
    )


def _late(view: RunView, limits: CheckLimits, now: float) -> tuple[Finding, ...]:
    ahead, running, beat = forecast(view, now), view.current, view.beat
    if ahead.basis is not Basis.MEASURED or ahead.num_measured < MIN_EPOCHS or ahead.epoch_s is None:
        return ()
    if running is None or running.finished:
        return ()
    if beat is not None and beat.epoch == running.epoch and beat.epoch_elapsed_s is not None:
        elapsed_s = beat.epoch_elapsed_s + view.trainer_now(now) - beat.ts
    elif running.started_ts is not None:
        elapsed_s = view.trainer_now(now) - running.started_ts
    else:
        return ()
    limit_s = max(limits.late_factor * ahead.epoch_s, ahead.epoch_s + limits.late_min_s)
    if elapsed_s <= limit_s:
        return ()
    left = f"{moment(ahead.epoch_end_ts)}" if ahead.epoch_end_ts is not None and ahead.epoch_left_s else "unknown"
    return (
        Finding(
            run=view.run,
            check=CheckName.EPOCH_LATE,
            key=f"attempt{view.attempt}/epoch{running.epoch}",
            severity=Severity.WARNING,
            nature=Nature.CONDITION,
            ts=now,
            title=f"{view.name}: epoch {running.epoch} is late: {duration(elapsed_s)} so far, usually "
            f"{duration(ahead.epoch_s)}",
            body=(f"The limit is {duration(limit_s)}, from the median of {ahead.num_measured} finished epochs.",),
            fields=(("Expected end", left),),
            hint=f"/train epoch {running.epoch} progress",
            resolution=f"{view.name}: epoch {running.epoch} has ended",
        ),
    )
