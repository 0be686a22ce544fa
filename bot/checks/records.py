"""What could not be read of a run: a torn line, no permission, a dead mount."""

from __future__ import annotations

from trainmaster.bot.checks.limits import CheckLimits
from trainmaster.bot.core.alerts.finding import Finding, Nature, Severity
from trainmaster.bot.core.check_name import CheckName
from trainmaster.bot.core.run.view import RunView


def check_records(view: RunView, limits: CheckLimits, now: float) -> tuple[Finding, ...]:
    """A condition while the last look at the run directory failed in part."""
    if not view.read_errors:
        return ()
    return (
        Finding(
            run=view.run,
            check=CheckName.UNREADABLE,
            key="records",
            severity=Severity.WARNING,
            nature=Nature.CONDITION,
            ts=now,
            title=f"{view.name}: its records can't be read in full",
            body=view.read_errors[:5],
            fields=(("Directory", str(view.directory)),),
            hint="/train status",
            resolution=f"{view.name}: its records can be read again",
        ),
    )
