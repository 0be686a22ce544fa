"""Fatal lines of the console log: what no record of the trainer tells, since it had no time to."""

from __future__ import annotations

from trainmaster.bot.checks.limits import CheckLimits
from trainmaster.bot.core.alerts.finding import Finding, Nature, Severity
from trainmaster.bot.core.check_name import CheckName
from trainmaster.bot.core.run.crash_advice import crash_advice
from trainmaster.bot.core.run.view import RunView
from trainmaster.trainer.contract import EventKind

_ELSEWHERE = "The last lines say where."


def check_log_errors(view: RunView, limits: CheckLimits, now: float) -> tuple[Finding, ...]:
    """One occurrence for each fatal line of a guarded run's log that was read since the bot began to follow it. Whether
    it ended the run is told by its process and its record; where the record tells of a crash, it brings the traceback,
    and the same in the log is no news."""
    crashed = any(event.kind == EventKind.RUN_CRASHED and event.attempt == view.attempt for event in view.notable)
    return tuple(
        Finding(
            run=view.run,
            check=CheckName.LOG_ERROR,
            key=f"attempt{view.attempt}/{error.kind}/{error.digest}",
            severity=Severity.WARNING,
            nature=Nature.OCCURRENCE,
            ts=error.ts,
            title=f"{view.name}: the log tells of {crash_advice(error.kind, error.detail).told}"
            + (" in a worker or another rank" if error.in_child else ""),
            body=(error.detail, crash_advice(error.kind, error.detail).then or _ELSEWHERE),
            excerpt=error.text,
            hint="/train status",
        )
        for error in view.log_errors
        if error.in_child or not crashed
    )
