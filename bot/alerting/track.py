"""Findings of one look become the lives of alerts. Pure: what changes is returned, nothing is stored or told here."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from trainmaster.bot.alerting.limits import AlertLimits
from trainmaster.bot.core.alerts.alert import Alert, AlertState
from trainmaster.bot.core.alerts.alert_record import severity_rank
from trainmaster.bot.core.alerts.finding import Finding, Nature, Severity
from trainmaster.bot.core.check_name import AnyCheck


class TrackReason(StrEnum):
    """Why an alert is as it is after this look."""

    HELD = "held"
    """Found, and not for long enough to fire."""
    FIRED = "fired"
    REFIRED = "refired"
    """Fires again after people had been told of an earlier time."""
    RAISED = "raised"
    """Worse than before; an acknowledgement of the lesser thing holds no more."""
    CHANGED = "changed"
    """The same, with other figures."""
    TOO_SOON = "too soon"
    """Other figures, taken at a later look; the alert is as it was."""
    CLEARING = "clearing"
    """Not found, and not for long enough to be resolved. Such an alert is firing and has a ``resolved_ts``."""
    BACK = "back"
    """Found again before it was resolved."""
    RESOLVED = "resolved"
    DROPPED = "dropped"
    """Gone before it fired."""
    OLD = "old"
    """Happened before the run was first seen: recorded only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracked:
    """An alert after this look, and why."""

    alert: Alert
    reason: TrackReason


def track(
    alerts: Mapping[str, Alert],
    findings: Iterable[Finding],
    now: float,
    limits: AlertLimits,
    *,
    news_from_ts: float,
    unjudged: Collection[AnyCheck] = frozenset(),
) -> tuple[Tracked, ...]:
    """The alerts that this look changes, and those that it would change later.

    ``alerts`` are the known ones by fingerprint. ``unjudged`` names checks that gave no answer at this look: that they
    found nothing is no evidence. What happened before ``news_from_ts`` is recorded, and news to nobody. Looking again
    with the same findings at the same time changes nothing.
    """
    found = _worst_by_fingerprint(findings)
    tracked = []
    for fingerprint, finding in found.items():
        one = _found(alerts.get(fingerprint), finding, now, limits, news_from_ts)
        if one:
            tracked.append(one)
    for fingerprint, alert in alerts.items():
        if fingerprint not in found and alert.finding.check not in unjudged:
            one = _absent(alert, now, limits)
            if one:
                tracked.append(one)
    return tuple(tracked)


def _worst_by_fingerprint(findings: Iterable[Finding]) -> dict[str, Finding]:
    found: dict[str, Finding] = {}
    for finding in findings:
        known = found.get(finding.fingerprint)
        if known is None or severity_rank(finding.severity) > severity_rank(known.severity):
            found[finding.fingerprint] = finding
    return found


def _found(
    alert: Alert | None, finding: Finding, now: float, limits: AlertLimits, news_from_ts: float
) -> Tracked | None:
    if alert is not None and alert.state is AlertState.FIRING:
        return _still_firing(alert, finding, now, limits)
    if finding.nature is Nature.OCCURRENCE:
        if finding.over and alert is None and finding.severity is not Severity.CRITICAL:
            return None  # no emergency, and over before anybody was told: the operation that it was part of tells it
        return _happened(alert, finding, now, limits, news_from_ts)
    if limits.hold_s(finding.check, finding.severity, finding.nature) <= 0:
        return _fire(alert, finding, now, since_ts=_pending_since(alert, now))
    if alert is None or alert.state is AlertState.RESOLVED or now < alert.since_ts:
        return _hold(alert, finding, now)
    if now - alert.since_ts >= limits.hold_s(finding.check, finding.severity, finding.nature):
        return _fire(alert, finding, now, since_ts=alert.since_ts)
    return None


def _pending_since(alert: Alert | None, now: float) -> float:
    return min(alert.since_ts, now) if alert is not None and alert.state is AlertState.PENDING else now


def _hold(alert: Alert | None, finding: Finding, now: float) -> Tracked:
    # Also taken when the clock was put back: the hold begins anew instead of lasting as long as the jump.
    pending = Alert(finding=finding, state=AlertState.PENDING, since_ts=now, updated_ts=now)
    if alert is not None:
        pending = replace(pending, told=alert.told, times_fired=alert.times_fired)
    return Tracked(alert=pending, reason=TrackReason.HELD)


def _fire(alert: Alert | None, finding: Finding, now: float, *, since_ts: float) -> Tracked:
    fired = Alert(finding=finding, state=AlertState.FIRING, since_ts=since_ts, updated_ts=now)
    if alert is None or not alert.told:
        return Tracked(alert=fired, reason=TrackReason.FIRED)
    fired = replace(fired, told=True, times_fired=alert.times_fired + 1)
    return Tracked(alert=fired, reason=TrackReason.REFIRED)


def _happened(
    alert: Alert | None, finding: Finding, now: float, limits: AlertLimits, news_from_ts: float
) -> Tracked | None:
    if alert is not None and alert.state is AlertState.RESOLVED:
        # Told before, as a condition that has passed, or history: only a later happening is news.
        later_s = limits.again_s if alert.told else 0.0
        if finding.ts <= alert.finding.ts + later_s:
            return None
    if finding.ts < news_from_ts:
        old = Alert(
            finding=finding, state=AlertState.RESOLVED, since_ts=finding.ts, updated_ts=now, resolved_ts=finding.ts
        )
        return Tracked(alert=replace(old, told=alert.told) if alert else old, reason=TrackReason.OLD)
    return _fire(alert, finding, now, since_ts=finding.ts)


def _still_firing(alert: Alert, finding: Finding, now: float, limits: AlertLimits) -> Tracked | None:
    if alert.finding.nature is Nature.CONDITION and finding.nature is Nature.OCCURRENCE:
        # What held has become what happened: it is over. Its last figures are taken along.
        return _absent(alert, now, limits, last=replace(finding, nature=Nature.CONDITION))
    if finding.over:
        over = replace(alert, finding=finding, state=AlertState.RESOLVED, updated_ts=now, resolved_ts=now)
        return Tracked(alert=over, reason=TrackReason.RESOLVED)
    if finding.nature is Nature.OCCURRENCE and finding.ts > alert.since_ts + limits.again_s:
        return _fire(alert, finding, now, since_ts=finding.ts)
    if severity_rank(finding.severity) > severity_rank(alert.finding.severity):
        raised = replace(alert, finding=finding, updated_ts=now, resolved_ts=None, acked_by=None, acked_ts=None)
        return Tracked(alert=raised, reason=TrackReason.RAISED)
    if alert.resolved_ts is not None:
        return Tracked(alert=replace(alert, finding=finding, updated_ts=now, resolved_ts=None), reason=TrackReason.BACK)
    if replace(alert.finding, ts=finding.ts) == finding:
        return None
    if 0 <= now - alert.updated_ts < limits.edit_after_s(now - alert.since_ts):
        return Tracked(alert=alert, reason=TrackReason.TOO_SOON)
    return Tracked(alert=replace(alert, finding=finding, updated_ts=now), reason=TrackReason.CHANGED)


def _absent(alert: Alert, now: float, limits: AlertLimits, last: Finding | None = None) -> Tracked | None:
    if alert.state is AlertState.PENDING:
        dropped = replace(alert, state=AlertState.RESOLVED, updated_ts=now, resolved_ts=now)
        return Tracked(alert=dropped, reason=TrackReason.DROPPED)
    if alert.state is not AlertState.FIRING or alert.finding.nature is Nature.OCCURRENCE:
        return None
    hold_s = limits.resolve_after_s(alert.finding.check)
    gone_ts = alert.resolved_ts
    alert = replace(alert, finding=last or alert.finding)
    if gone_ts is None or now < gone_ts:
        alert = replace(alert, updated_ts=now, resolved_ts=now)
        if hold_s > 0:
            return Tracked(alert=alert, reason=TrackReason.CLEARING)
    elif now - gone_ts < hold_s:
        return None
    return Tracked(alert=replace(alert, state=AlertState.RESOLVED, updated_ts=now), reason=TrackReason.RESOLVED)
