"""An alert: a finding with identity and life. Pure; the pipeline in ``bot.alerting`` stores and delivers it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from trainmaster.bot.core.alerts.finding import Finding


class AlertState(StrEnum):
    """Alertmanager's life of an alert."""

    PENDING = "pending"
    """Seen, not yet held long enough to be told."""
    FIRING = "firing"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """``finding`` is the newest sight of it. ``told`` is whether it ever went to the channel: what was never announced
    is never announced as resolved. ``times_fired`` counts the times that it fired again after a resolution."""

    finding: Finding
    state: AlertState
    since_ts: float
    updated_ts: float
    resolved_ts: float | None = None
    acked_by: str | None = None
    acked_ts: float | None = None
    told: bool = False
    told_with: str | None = None
    """Fingerprint of the alert in whose message this one is told, since one trouble is behind both; None when it has a
    message of its own."""
    times_fired: int = 1

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the finding that it is about."""
        return self.finding.fingerprint


def card_key(run: str) -> str:
    """Key of the run's card, the root of the run's thread. No fingerprint reads like it, and it begins with the run as
    all of them do."""
    return f"{run}/card"
