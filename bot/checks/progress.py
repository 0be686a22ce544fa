"""Hangs, told by phase: before the first batch, between batches, in validation or saving."""

from __future__ import annotations

from dataclasses import dataclass

from trainmaster.bot.checks.limits import CheckLimits
from trainmaster.bot.core.alerts.finding import Finding, Nature, Severity
from trainmaster.bot.core.check_name import CheckName
from trainmaster.bot.core.conversation.tokens import moment
from trainmaster.bot.core.run.facts import ProcessFact
from trainmaster.bot.core.run.forecast import duration
from trainmaster.bot.core.run.state import RunState, starts_again
from trainmaster.bot.core.run.view import RunView
from trainmaster.trainer.contract import Phase


def check_progress(view: RunView, limits: CheckLimits, now: float) -> tuple[Finding, ...]:
    """One condition while the newest sign of progress is older than its phase allows. A run that is not at work, or
    whose process is over, never stalls."""
    stall = stall_of(view, limits, now)
    if stall is None:
        return ()
    beat, process = view.beat, view.process
    where = (
        f"epoch {beat.epoch}, batch {beat.batch:,}"
        if beat and beat.epoch is not None and beat.batch
        else "before the first batch"
    )
    return (
        Finding(
            run=view.run,
            check=CheckName.STALLED,
            key=f"attempt{view.attempt}/{stall.phase}",
            severity=Severity.CRITICAL,
            nature=Nature.CONDITION,
            ts=now,
            title=f"{view.name}: no progress for {duration(now - stall.since_ts)} ({where})",
            body=(
                f"Phase {stall.phase.value.replace('_', ' ')}; the limit is {duration(stall.timeout_s)}: {stall.why}.",
            ),
            fields=(
                ("Last sign of life", moment(stall.since_ts)),
                ("Process", _process_text(process)),
                ("CPU", f"{process.cpu_pct:.0f} %" if process and process.cpu_pct is not None else "unknown"),
            ),
            excerpt=excerpt_of(view),
            hint="/train stop now",
            resolution=f"{view.name}: progress again",
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Stall:
    """Since when, by the bot's clock, and by which limit."""

    phase: Phase
    since_ts: float
    timeout_s: float
    why: str


def stall_of(view: RunView, limits: CheckLimits, now: float) -> Stall | None:
    """Whether the run stands still."""
    beat, record = view.beat, view.record
    if record is None or not (view.state.active or view.state is RunState.UNKNOWN):
        return None
    phase = beat.phase if beat else Phase.STARTUP
    # A start in the future is another host's clock: the run is no older than the bot's knowledge of it.
    since_ts = view.first_seen_ts if record.started_ts is None or record.started_ts > now else record.started_ts
    if beat:
        beat_ts = view.beat_seen_ts if view.beat_seen_ts is not None else beat.ts
        phase_ts = view.phase_seen_ts if view.phase_seen_ts is not None else beat.phase_since_ts
        since_ts = beat_ts if phase is Phase.TRAINING or phase_ts is None else phase_ts
    if starts_again(record, view.process):  # what was written before is of a start that is over
        job = view.process.job if view.process is not None else None
        phase, since_ts = Phase.STARTUP, max(since_ts, (job.start_ts if job is not None else None) or since_ts)
    if phase is None or phase is Phase.ENDED:
        return None
    timeout_s, why = _timeout(view, phase, limits)
    if now - since_ts <= timeout_s:
        return None
    return Stall(phase=phase, since_ts=since_ts, timeout_s=timeout_s, why=why)


def excerpt_of(view: RunView) -> str:
    """What a stalled trainer was doing, and the last lines of its log."""
    if not view.stacks:
        return "\n".join(view.log_tail)
    return "\n".join(("What it is doing, newest call first:", *view.stacks, "", "Its log:", *view.log_tail))


def _process_text(process: ProcessFact | None) -> str:
    if process is None:
        return "unknown"
    return f"{process.status.value}, {process.detail}" if process.detail else process.status.value


def _timeout(view: RunView, phase: Phase, limits: CheckLimits) -> tuple[float, str]:
    if phase is Phase.TRAINING:
        shows_batches = view.guarded or view.beat is None or view.beat.epoch is not None
        return _batch_timeout(view, limits) if shows_batches else _epoch_timeout(view, limits)
    what = phase.value.replace("_", " ")
    longest_s = view.phases.longest_s.get(phase)
    if longest_s is not None:
        learnt_s = min(max(limits.stall_factor * longest_s, limits.phase_min_s), limits.phase_max_s)
        return learnt_s, f"learnt, since the longest {what} so far took {duration(longest_s)}"
    if phase in {Phase.STARTUP, Phase.FIRST_BATCH}:
        return limits.startup_timeout_s, "the time that starting up may take"
    return limits.validation_timeout_s, f"the time that {what} may take until the run has shown its own"


def _epoch_timeout(view: RunView, limits: CheckLimits) -> tuple[float, str]:
    """Of a console that shows the ends of epochs and no batches, whose bars went elsewhere."""
    known_s = [epoch.seconds for epoch in view.epochs.values() if epoch.seconds is not None]
    if not known_s:
        return limits.phase_max_s, "the most that an epoch may take whose batches the console does not show"
    why = f"{limits.stall_factor:g} times the longest epoch so far of {duration(max(known_s))}, as no batches are shown"
    return max(limits.stall_factor * max(known_s), limits.phase_min_s), why


def _batch_timeout(view: RunView, limits: CheckLimits) -> tuple[float, str]:
    beat = view.beat
    known_s, what = None, "longest batch so far"
    if beat and beat.longest_batch_s is not None:
        known_s = beat.longest_batch_s
    elif beat and beat.batch and beat.epoch_elapsed_s:
        known_s, what = beat.epoch_elapsed_s / beat.batch, "epoch's mean batch time"
    if known_s is None or limits.stall_factor * known_s <= limits.stall_min_s:
        return limits.stall_min_s, "the least that is called a stall"
    why = f"{limits.stall_factor:g} times the {what} of {known_s:.1f} s"
    if limits.stall_factor * known_s > limits.stall_max_s:
        return limits.stall_max_s, "the most that a batch may take"
    return limits.stall_factor * known_s, why
