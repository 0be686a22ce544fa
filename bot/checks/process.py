"""The trainer's process: gone without a word, a zombie, or its pid reused."""

from __future__ import annotations

import signal as signals

from bot.checks.limits import CheckLimits
from bot.core.facts import ProcessFact, ProcessStatus
from bot.core.finding import Finding, Nature, Severity
from bot.core.message import ActionId, Button
from bot.core.run import RunState
from bot.core.tokens import moment
from bot.core.view import RunView

CHECK = "process_died"


def check_process(view: RunView, limits: CheckLimits, now: float) -> tuple[Finding, ...]:
    """One condition while the record says running and the process is over; it resolves when a new attempt starts."""
    del limits, now
    if view.state is not RunState.DIED or view.process is None:
        return ()
    pid = view.record.pid if view.record else None
    beat = view.beat
    where = f"epoch {beat.epoch}, batch {beat.batch}" if beat and beat.epoch else "before the first batch"
    clean = view.last_clean
    return (
        Finding(
            run=view.run,
            check=CHECK,
            key=f"attempt{view.attempt}",
            severity=Severity.CRITICAL,
            nature=Nature.CONDITION,
            ts=view.process.ts,
            title=f"{view.name}: the training process died at {where}",
            body=(ending_text(view.process),),
            fields=(
                ("Process", f"{pid}"),
                ("Phase", beat.phase.value if beat and beat.phase else "unknown"),
                ("Last sign of life", moment(beat.ts) if beat else "none"),
                ("Last clean checkpoint", f"epoch {clean.epoch}" if clean else "none"),
            ),
            excerpt="\n".join(view.log_tail),
            hint="/train execute rollback",
            resolution=f"{view.name}: training runs again",
            buttons=(Button(action=ActionId.PROPOSE_ROLLBACK, label="Propose rollback", value=view.run),),
        ),
    )


def ending_text(process: ProcessFact) -> str:
    """How the process ended, as far as the operating system told."""
    if process.signal is not None:
        try:
            name = signals.Signals(process.signal).name
        except ValueError:
            name = "unknown signal"
        killed = " (the kernel's out-of-memory killer uses it too)" if process.signal == signals.SIGKILL else ""
        return f"It was ended by signal {process.signal}, {name}{killed}."
    if process.exit_code is not None:
        return f"It ended with exit code {process.exit_code} and did not say why in its record."
    if process.status is ProcessStatus.REPLACED:
        return "Its pid now belongs to another process; how it ended is not known."
    if process.status is ProcessStatus.ZOMBIE:
        return "It is a zombie: ended, and not yet collected by its parent."
    return "How it ended is not known: it was not started by this bot, so only its parent was told the exit code."
