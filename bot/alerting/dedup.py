"""What is news to the people in the channel, judged against what they were told and what Slack has taken. Pure."""

from __future__ import annotations

from enum import StrEnum

from trainmaster.bot.alerting.escalate import EscalateReason, escalation
from trainmaster.bot.alerting.limits import AlertLimits, Audience
from trainmaster.bot.alerting.track import TrackReason
from trainmaster.bot.core.alerts.alert import Alert, AlertState
from trainmaster.bot.core.alerts.alert_record import Told, severity_rank
from trainmaster.bot.core.alerts.finding import Nature


class NotifyReason(StrEnum):
    """Why something is said, or why not."""

    FIRST = "first"
    JOINED = "joined"
    """Told in the message of an alert of another run, without a sound of its own."""
    REFIRED = "refired"
    RAISED = "raised"
    ESCALATED = "escalated"
    REPEAT = "repeat"
    CHANGED = "changed"
    RESOLVED = "resolved"
    NOT_FIRING = "not firing"
    """Pending, or not found at this look."""
    NEVER_TOLD = "never told"
    """Resolved, and nobody had heard of it."""
    ACKNOWLEDGED = "acknowledged"
    NOT_SEEN = "not seen"
    """Slack has not taken the message yet: there is nothing to repeat."""
    SPOKEN_FOR = "spoken for"
    """Another alert of the same trouble repeats and escalates for it."""
    UNCHANGED = "unchanged"

    @property
    def loud(self) -> bool:
        """A new message, which a silence or a cause can mute."""
        return self in _LOUD

    @property
    def edits(self) -> bool:
        """The message is to read otherwise, which makes no sound."""
        return self in _EDITS


_LOUD = {
    *(NotifyReason.FIRST, NotifyReason.REFIRED, NotifyReason.RAISED),
    *(NotifyReason.ESCALATED, NotifyReason.REPEAT),
}
_EDITS = {NotifyReason.CHANGED, NotifyReason.RESOLVED, NotifyReason.JOINED}
TELLING = frozenset({TrackReason.CHANGED, TrackReason.BACK, TrackReason.RAISED, TrackReason.REFIRED})
"""Changes that the alert's message shows."""


def notify_reason(
    alert: Alert,
    change: TrackReason | None,
    told: Told | None,
    *,
    sent_ts: float | None,
    now: float,
    limits: AlertLimits,
    audience: Audience,
) -> NotifyReason:
    """What is to be said of ``alert`` now. ``change`` is what this look did to it, if anything; ``sent_ts`` is when its
    message stood in the channel."""
    if alert.state is AlertState.PENDING:
        return NotifyReason.NOT_FIRING
    if told is None:
        if alert.state is AlertState.RESOLVED:
            return NotifyReason.NEVER_TOLD
        return NotifyReason.FIRST if alert.resolved_ts is None else NotifyReason.NOT_FIRING
    if alert.state is AlertState.RESOLVED:
        return NotifyReason.RESOLVED if change is TrackReason.RESOLVED else NotifyReason.UNCHANGED
    if alert.resolved_ts is not None:
        return NotifyReason.NOT_FIRING
    if alert.times_fired > told.times_fired:
        return NotifyReason.REFIRED
    if severity_rank(alert.finding.severity) > severity_rank(told.severity):
        return NotifyReason.RAISED
    if change in TELLING:
        return NotifyReason.CHANGED
    if escalation(alert, told, sent_ts=sent_ts, now=now, audience=audience).reason is EscalateReason.DUE:
        return NotifyReason.ESCALATED
    return _repeat(alert, told, sent_ts, now, limits)


def _repeat(alert: Alert, told: Told, sent_ts: float | None, now: float, limits: AlertLimits) -> NotifyReason:
    repeat_s = limits.repeat_s(alert.finding.severity)
    if alert.finding.nature is Nature.OCCURRENCE or repeat_s is None:
        return NotifyReason.UNCHANGED
    if alert.acked_by is not None:
        return NotifyReason.ACKNOWLEDGED
    if sent_ts is None:
        return NotifyReason.NOT_SEEN
    return NotifyReason.REPEAT if now - max(told.ts, sent_ts) >= repeat_s else NotifyReason.UNCHANGED
