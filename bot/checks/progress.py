"""Hangs, told by phase: before the first batch, between batches, in validation or saving."""

from __future__ import annotations

from bot.checks.limits import CheckLimits
from bot.core.finding import Finding, Nature, Severity
from bot.core.forecast import duration
from bot.core.run import RunState
from bot.core.tokens import moment
from bot.core.view import RunView
from trainer.contract import Phase

CHECK = "stalled"


def check_progress(view: RunView, limits: CheckLimits, now: float) -> tuple[Finding, ...]:
    """One condition while the newest sign of progress is older than its phase allows. A run that is not at work, or
    whose process is over, never stalls."""
    beat, record = view.beat, view.record
    if record is None or not (view.state.active or view.state is RunState.UNKNOWN):
        return ()
    phase = beat.phase if beat else Phase.STARTUP
    since = record.started_ts
    if beat:
        since = beat.ts if phase is Phase.TRAINING else beat.phase_since_ts or beat.ts
    if since is None or phase is None or phase is Phase.ENDED:
        return ()
    timeout_s, reason = _timeout(view, phase, limits)
    silent_s = now - since
    if silent_s <= timeout_s:
        return ()
    where = (
        f"epoch {beat.epoch}, batch {beat.batch}" if beat and beat.epoch and beat.batch else "before the first batch"
    )
    return (
        Finding(
            run=view.run,
            check=CHECK,
            key=f"attempt{view.attempt}/{phase}",
            severity=Severity.CRITICAL,
            nature=Nature.CONDITION,
            ts=now,
            title=f"{view.name}: no progress for {duration(silent_s)} ({where})",
            body=(f"Phase {phase.value.replace('_', ' ')}; the limit is {duration(timeout_s)}: {reason}.",),
            fields=(
                ("Last sign of life", moment(since)),
                ("Process", view.process.status.value if view.process else "unknown"),
                (
                    "CPU",
                    f"{view.process.cpu_pct:.0f} %" if view.process and view.process.cpu_pct is not None else "unknown",
                ),
            ),
            excerpt="\n".join(view.log_tail),
            hint="/train stop now",
            resolution=f"{view.name}: progress again",
        ),
    )


def _timeout(view: RunView, phase: Phase, limits: CheckLimits) -> tuple[float, str]:
    if phase in {Phase.STARTUP, Phase.FIRST_BATCH}:
        return limits.startup_timeout_s, "the time that starting up may take"
    if phase in {Phase.VALIDATING, Phase.SAVING}:
        return limits.validation_timeout_s, "the time that validation or saving may take"
    beat = view.beat
    if beat and beat.batch and beat.epoch_elapsed_s:
        per_batch_s = beat.epoch_elapsed_s / beat.batch
        learnt_s = limits.stall_factor * per_batch_s
        if learnt_s > limits.stall_min_s:
            return learnt_s, f"{limits.stall_factor:g} times the epoch's mean batch time of {per_batch_s:.1f} s"
    return limits.stall_min_s, "the least that is called a stall"
