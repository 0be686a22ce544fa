"""A silence: what makes no sound until when, and who wanted it so."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from trainmaster.bot.core.alerts.alert import Alert
from trainmaster.bot.core.alerts.alert_record import severity_rank
from trainmaster.bot.core.alerts.finding import Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """Covers the alerts that match every part that is given; ``check`` is a pattern such as ``disk*``, and
    ``fingerprint`` names an alert and with it those that are told in its message. Never covers
    what is worse than ``max_severity``: who silences a warning has not heard of the critical alert that follows it.

    It delays and does not swallow: what still holds when it ends, and each warning that happened meanwhile, is told
    then.
    """

    id: int
    until_ts: float
    by: str
    created_ts: float
    fingerprint: str | None = None
    run: str | None = None
    check: str | None = None
    max_severity: Severity = Severity.CRITICAL

    def covers(self, alert: Alert, now: float) -> bool:
        """Whether the alert makes no sound at ``now`` on account of this silence."""
        finding = alert.finding
        return (
            now < self.until_ts
            and severity_rank(finding.severity) <= severity_rank(self.max_severity)
            and self.fingerprint in {None, alert.fingerprint, alert.told_with}
            and self.run in {None, finding.run}
            and (self.check is None or fnmatchcase(finding.check, self.check))
        )
