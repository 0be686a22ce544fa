"""How an alert stands with the people in the channel: the alert, and what they were last told of it."""

from __future__ import annotations

from dataclasses import dataclass

from trainmaster.bot.core.alerts.alert import Alert
from trainmaster.bot.core.alerts.finding import Severity

_ORDER = tuple(Severity)


def severity_rank(severity: Severity) -> int:
    """The place of a severity in their order: larger is worse."""
    return _ORDER.index(severity)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What went to the channel of an alert. ``ts`` is the newest word that makes a sound (an edit makes none);
    ``fired_ts`` is the word of the firing that goes on now, and the counts are of that firing."""

    ts: float
    fired_ts: float
    times_fired: int
    severity: Severity
    num_repeats: int = 0
    num_escalations: int = 0
    called: bool = False
    """Whether the alert's own message mentions the people on call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertRecord:
    """``told`` is None while the alert was never announced. ``is_open``: time alone can still change it, or what is
    told of it, so it is looked at again even when no check finds it."""

    alert: Alert
    told: Told | None = None
    is_open: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Leader:
    """An alert with a message of its own. ``joined_ts`` is when another alert was last told in that message; None when
    none ever was."""

    record: AlertRecord
    joined_ts: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """Of a group of alerts that are told in one message: the newest word, and the most that any of them said."""

    ts: float
    num_escalations: int
    num_repeats: int


def urgency(alert: Alert) -> tuple[int, float]:
    """By which alerts are told: the worst first, then as they came."""
    return -severity_rank(alert.finding.severity), alert.finding.ts
