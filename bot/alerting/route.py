"""Into which channel, and whom it calls. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from trainmaster.bot.alerting.dedup import NotifyReason
from trainmaster.bot.alerting.limits import AlertLimits, Audience
from trainmaster.bot.core.alerts.alert import Alert, AlertState
from trainmaster.bot.core.alerts.alert_record import Told, severity_rank
from trainmaster.bot.core.alerts.finding import Severity


class MentionReason(StrEnum):
    """Why people are mentioned, or why not."""

    FIRST_CRITICAL = "first critical"
    AGAIN_AFTER_QUIET = "again after quiet"
    ESCALATED = "escalated"
    OWNER = "owner"
    """It is not critical: the owner of its run alone is mentioned."""
    NOT_CRITICAL = "not critical"
    OVER = "over"
    """Nobody is called for what has resolved, or was acknowledged."""
    CALLED_BEFORE = "called before"
    IN_BURST = "in burst"
    """The first alerts of the burst called them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """``channel`` None is the alert channel."""

    reason: MentionReason
    channel: str | None = None
    mentions: tuple[str, ...] = ()


def route(
    alert: Alert,
    why: NotifyReason,
    told: Told | None,
    *,
    now: float,
    limits: AlertLimits,
    audience: Audience,
    in_burst: bool = False,
) -> Route:
    """Where the message goes and whom it mentions. ``told`` is what was told before it."""
    reason = _mention_reason(alert, why, told, now=now, limits=limits, in_burst=in_burst)
    mentions: tuple[str, ...] = ()
    if reason in {MentionReason.FIRST_CRITICAL, MentionReason.AGAIN_AFTER_QUIET}:
        mentions = audience.called_for(alert.finding)
        if alert.finding.severity is not Severity.CRITICAL:
            reason = MentionReason.OWNER if mentions else MentionReason.NOT_CRITICAL
    elif reason is MentionReason.ESCALATED and told is not None and told.num_escalations < len(audience.escalation):
        mentions = audience.escalation[told.num_escalations].users
    channel = audience.channel_by_severity.get(alert.finding.severity)
    return Route(reason=reason, channel=channel, mentions=mentions)


def _mention_reason(
    alert: Alert, why: NotifyReason, told: Told | None, *, now: float, limits: AlertLimits, in_burst: bool
) -> MentionReason:
    if alert.finding.severity is Severity.INFO:
        return MentionReason.NOT_CRITICAL
    if alert.state is not AlertState.FIRING or alert.acked_by is not None:
        return MentionReason.OVER
    if why is NotifyReason.ESCALATED:
        return MentionReason.ESCALATED
    if in_burst:
        return MentionReason.IN_BURST
    if told is None or why is NotifyReason.RAISED:
        return MentionReason.FIRST_CRITICAL
    if why is NotifyReason.REFIRED and (
        severity_rank(told.severity) < severity_rank(alert.finding.severity)
        or now - told.ts >= limits.mention_again_after_s
    ):
        return MentionReason.AGAIN_AFTER_QUIET
    return MentionReason.CALLED_BEFORE
