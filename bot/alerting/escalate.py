"""Whom to call next when nobody acknowledges. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from trainmaster.bot.alerting.limits import Audience
from trainmaster.bot.core.alerts.alert import Alert, AlertState
from trainmaster.bot.core.alerts.alert_record import Told
from trainmaster.bot.core.alerts.finding import Severity


class EscalateReason(StrEnum):
    """Whether the next group is called."""

    NOT_CRITICAL = "not critical"
    ACKNOWLEDGED = "acknowledged"
    NOBODY_LEFT = "nobody left"
    NOT_SEEN = "not seen"
    """Slack has not taken the message yet: nobody could acknowledge it."""
    WAITING = "waiting"
    DUE = "due"


@dataclass(frozen=True, slots=True, kw_only=True)
class Escalation:
    """``group`` is whom to mention now; empty when nobody."""

    reason: EscalateReason
    group: tuple[str, ...] = ()


def escalation(alert: Alert, told: Told, *, sent_ts: float | None, now: float, audience: Audience) -> Escalation:
    """Whether the next group is to be mentioned. ``sent_ts`` is when the alert's message stood in the channel."""
    if alert.state is not AlertState.FIRING or alert.finding.severity is not Severity.CRITICAL:
        return Escalation(reason=EscalateReason.NOT_CRITICAL)
    if alert.acked_by is not None:
        return Escalation(reason=EscalateReason.ACKNOWLEDGED)
    if told.num_escalations >= len(audience.escalation):
        return Escalation(reason=EscalateReason.NOBODY_LEFT)
    if sent_ts is None:
        return Escalation(reason=EscalateReason.NOT_SEEN)
    seen_ts = max(told.fired_ts, sent_ts)
    tier = audience.escalation[told.num_escalations]
    if now - seen_ts < tier.after_s:
        return Escalation(reason=EscalateReason.WAITING)
    return Escalation(reason=EscalateReason.DUE, group=tier.users)
