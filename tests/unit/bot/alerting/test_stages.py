from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.bot.alerting.fakes import TIERS, finding
from trainmaster.bot.alerting.compose import compose_alert
from trainmaster.bot.alerting.dedup import NotifyReason, notify_reason
from trainmaster.bot.alerting.escalate import EscalateReason, escalation
from trainmaster.bot.alerting.group import GroupReason, group
from trainmaster.bot.alerting.inhibit import InhibitReason, inhibit
from trainmaster.bot.alerting.limits import AlertLimits, Audience
from trainmaster.bot.alerting.route import MentionReason, route
from trainmaster.bot.alerting.silence import SilenceReason, scope_of, silencing
from trainmaster.bot.alerting.track import TrackReason
from trainmaster.bot.core.alerts.alert import Alert, AlertState
from trainmaster.bot.core.alerts.alert_record import AlertRecord, Told
from trainmaster.bot.core.alerts.finding import Nature, Severity
from trainmaster.bot.core.alerts.silence import Silence
from trainmaster.bot.core.health.no_run import HOST_RUN

NOW = 1_700_000_000.0
LIMITS = AlertLimits()
AUDIENCE = Audience(on_call=("U1",), escalation=TIERS)


def alert(check: str = "stalled", **changes: object) -> Alert:
    base = Alert(finding=finding(check), state=AlertState.FIRING, since_ts=NOW, updated_ts=NOW, told=True)
    return replace(base, **changes)  # type: ignore[arg-type]


def told(**changes: object) -> Told:
    base = Told(ts=NOW, fired_ts=NOW, times_fired=1, severity=Severity.CRITICAL)
    return replace(base, **changes)  # type: ignore[arg-type]


GAVE_UP = alert("run_gave_up", finding=finding("run_gave_up", nature=Nature.OCCURRENCE, ts=NOW))


@pytest.mark.parametrize(
    ("target", "cause", "reason"),
    [
        (alert("stalled"), alert("process_died"), InhibitReason.CAUSE_FIRING),
        (alert("epoch_late"), alert("process_died"), InhibitReason.CAUSE_FIRING),
        (alert("nonfinite"), alert("process_died"), InhibitReason.FREE),
        (alert("process_died"), alert("stalled"), InhibitReason.FREE),
        (alert("stalled"), alert("process_died", state=AlertState.PENDING), InhibitReason.FREE),
        (alert("stalled"), alert("process_died", state=AlertState.RESOLVED), InhibitReason.FREE),
        (alert("stalled"), alert("process_died", resolved_ts=NOW), InhibitReason.CAUSE_FIRING),
        (alert("stalled"), alert("process_died", finding=finding("process_died", run="other")), InhibitReason.FREE),
        (alert("nonfinite", finding=finding("nonfinite", ts=NOW - 60)), GAVE_UP, InhibitReason.CAUSE_HAPPENED),
        (alert("nonfinite", finding=finding("nonfinite", ts=NOW + 1)), GAVE_UP, InhibitReason.FREE),
        (alert("nonfinite", finding=finding("nonfinite", ts=NOW - 3600)), GAVE_UP, InhibitReason.FREE),
    ],
    ids=[
        "dead-mutes-stalled",
        "dead-mutes-late",
        "dead-does-not-mute-nan",
        "stalled-does-not-mute-dead",
        "pending-cause",
        "resolved-cause",
        "cause-going-away",
        "cause-on-another-run",
        "what-led-to-giving-up",
        "what-came-after-giving-up",
        "what-came-long-before",
    ],
)
def test_inhibition(target: Alert, cause: Alert, reason: InhibitReason) -> None:
    decided = inhibit(target, [target, cause], LIMITS)
    assert decided.reason is reason
    assert decided.cause == (None if reason is InhibitReason.FREE else cause.fingerprint)


def silence(**changes: object) -> Silence:
    return replace(Silence(id=1, until_ts=NOW + 100, by="U1", created_ts=NOW), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        (silence(fingerprint=alert().fingerprint), SilenceReason.SILENCED),
        (silence(run=alert().finding.run), SilenceReason.SILENCED),
        (silence(check="stal*"), SilenceReason.SILENCED),
        (silence(check="disk*"), SilenceReason.HEARD),
        (silence(run="other"), SilenceReason.HEARD),
        (silence(until_ts=NOW), SilenceReason.HEARD),
        (silence(max_severity=Severity.WARNING), SilenceReason.HEARD),
    ],
    ids=["fingerprint", "run", "check-pattern", "other-check", "other-run", "ended", "worse-than-silenced"],
)
def test_silence_covers_what_it_names_and_nothing_else(one: Silence, reason: SilenceReason) -> None:
    assert silencing(alert(), [one], NOW).reason is reason


def test_information_under_a_silence_is_let_go() -> None:
    info = alert(finding=finding("epoch_finished", severity=Severity.INFO, nature=Nature.OCCURRENCE))
    assert silencing(info, [silence()], NOW).reason is SilenceReason.LET_GO


@pytest.mark.parametrize("nature", list(Nature))
def test_silence_asked_under_an_alert_covers_its_kind_on_its_run(nature: Nature) -> None:
    scope = scope_of(alert(finding=finding("nonfinite", nature=nature)))
    assert (scope.fingerprint, scope.run, scope.check) == (None, "digits-1", "nonfinite")


REPEAT_S = LIMITS.repeat_critical_s
NO_ESCALATION = replace(AUDIENCE, escalation=())


@pytest.mark.parametrize(
    ("one", "change", "before", "sent_ts", "now", "reason"),
    [
        (alert(state=AlertState.PENDING), TrackReason.HELD, None, None, NOW, NotifyReason.NOT_FIRING),
        (alert(), TrackReason.FIRED, None, None, NOW, NotifyReason.FIRST),
        (alert(), None, None, None, NOW, NotifyReason.FIRST),
        (alert(resolved_ts=NOW), None, None, None, NOW, NotifyReason.NOT_FIRING),
        (alert(state=AlertState.RESOLVED), TrackReason.RESOLVED, None, None, NOW, NotifyReason.NEVER_TOLD),
        (alert(state=AlertState.RESOLVED), TrackReason.RESOLVED, told(), NOW, NOW, NotifyReason.RESOLVED),
        (alert(state=AlertState.RESOLVED), None, told(), NOW, NOW, NotifyReason.UNCHANGED),
        (alert(times_fired=2), TrackReason.REFIRED, told(), NOW, NOW, NotifyReason.REFIRED),
        (alert(times_fired=2), None, told(), NOW, NOW, NotifyReason.REFIRED),
        (alert(), TrackReason.RAISED, told(severity=Severity.WARNING), NOW, NOW, NotifyReason.RAISED),
        (alert(), TrackReason.CHANGED, told(), NOW, NOW, NotifyReason.CHANGED),
        (alert(), TrackReason.TOO_SOON, told(), NOW, NOW, NotifyReason.UNCHANGED),
        (alert(), None, told(), NOW, NOW + REPEAT_S - 1, NotifyReason.UNCHANGED),
        (alert(), None, told(), NOW, NOW + REPEAT_S, NotifyReason.REPEAT),
        (alert(), None, told(), None, NOW + REPEAT_S, NotifyReason.NOT_SEEN),
        (alert(), None, told(), NOW + 3000, NOW + REPEAT_S, NotifyReason.UNCHANGED),
        (alert(acked_by="U1"), None, told(), NOW, NOW + REPEAT_S, NotifyReason.ACKNOWLEDGED),
        (GAVE_UP, None, told(), NOW, NOW + REPEAT_S, NotifyReason.UNCHANGED),
        (alert(resolved_ts=NOW), None, told(), NOW, NOW + REPEAT_S, NotifyReason.NOT_FIRING),
    ],
    ids=[
        "pending",
        "fires",
        "fires-after-a-silence",
        "going-away-after-a-silence",
        "resolved-but-nobody-knew",
        "resolved",
        "resolved-before",
        "fires-again",
        "fires-again-after-a-silence",
        "raised",
        "changed",
        "changed-too-soon",
        "within-the-repeat-interval",
        "repeat",
        "not-sent-yet",
        "sent-late",
        "acknowledged",
        "occurrence-is-not-repeated",
        "going-away-is-not-repeated",
    ],
)
def test_dedup(
    one: Alert, change: TrackReason | None, before: Told | None, sent_ts: float | None, now: float, reason: NotifyReason
) -> None:
    decided = notify_reason(one, change, before, sent_ts=sent_ts, now=now, limits=LIMITS, audience=NO_ESCALATION)
    assert decided is reason


WAIT_S = TIERS[0].after_s


@pytest.mark.parametrize(
    ("one", "before", "sent_ts", "now", "reason"),
    [
        (alert(), told(), NOW, NOW + WAIT_S - 1, EscalateReason.WAITING),
        (alert(), told(), NOW, NOW + WAIT_S, EscalateReason.DUE),
        (alert(), told(num_escalations=1), NOW, NOW + 2 * WAIT_S - 1, EscalateReason.WAITING),
        (alert(), told(num_escalations=1), NOW, NOW + 2 * WAIT_S, EscalateReason.DUE),
        (alert(), told(num_escalations=2), NOW, NOW + 9 * WAIT_S, EscalateReason.NOBODY_LEFT),
        (alert(acked_by="U1"), told(), NOW, NOW + WAIT_S, EscalateReason.ACKNOWLEDGED),
        (alert(), told(), None, NOW + WAIT_S, EscalateReason.NOT_SEEN),
        (alert(), told(), NOW + 3600, NOW + 3600 + WAIT_S - 1, EscalateReason.WAITING),
        (alert(finding=finding(severity=Severity.WARNING)), told(), NOW, NOW + WAIT_S, EscalateReason.NOT_CRITICAL),
        (alert(state=AlertState.RESOLVED), told(), NOW, NOW + WAIT_S, EscalateReason.NOT_CRITICAL),
    ],
    ids=[
        "before-its-time",
        "first-group",
        "between-groups",
        "second-group",
        "all-called",
        "acknowledged",
        "never-sent",
        "sent-an-hour-late",
        "warning",
        "resolved",
    ],
)
def test_escalation(one: Alert, before: Told, sent_ts: float | None, now: float, reason: EscalateReason) -> None:
    decided = escalation(one, before, sent_ts=sent_ts, now=now, audience=AUDIENCE)
    assert decided.reason is reason
    assert bool(decided.group) is (reason is EscalateReason.DUE)


def burst(num: int, severity: Severity = Severity.CRITICAL) -> list[AlertRecord]:
    return [
        AlertRecord(alert=alert(finding=finding(key=f"{i}", severity=severity)), told=told(severity=severity))
        for i in range(num)
    ]


@pytest.mark.parametrize(
    ("before", "reason"),
    [
        ([], GroupReason.ALONE),
        (burst(2), GroupReason.ALONE),
        (burst(3), GroupReason.IN_BURST),
        (burst(9, Severity.WARNING), GroupReason.ALONE),
    ],
    ids=["first", "third", "fourth", "critical-after-warnings"],
)
def test_grouping(before: list[AlertRecord], reason: GroupReason) -> None:
    decided = group(alert(), before, LIMITS)
    assert decided.reason is reason
    assert decided.root == ("digits-1/stalled/0" if reason is GroupReason.IN_BURST else None)


WARNING = alert(finding=finding(severity=Severity.WARNING))
QUIET_S = LIMITS.mention_again_after_s


@pytest.mark.parametrize(
    ("one", "why", "before", "now", "reason", "mentions"),
    [
        (alert(), NotifyReason.FIRST, None, NOW, MentionReason.FIRST_CRITICAL, ("U1",)),
        (WARNING, NotifyReason.FIRST, None, NOW, MentionReason.NOT_CRITICAL, ()),
        (alert(), NotifyReason.REPEAT, told(), NOW, MentionReason.CALLED_BEFORE, ()),
        (alert(), NotifyReason.REFIRED, told(), NOW + 60, MentionReason.CALLED_BEFORE, ()),
        (alert(), NotifyReason.REFIRED, told(), NOW + QUIET_S, MentionReason.AGAIN_AFTER_QUIET, ("U1",)),
        (alert(), NotifyReason.RAISED, told(severity=Severity.WARNING), NOW, MentionReason.FIRST_CRITICAL, ("U1",)),
        (alert(), NotifyReason.ESCALATED, told(), NOW, MentionReason.ESCALATED, ("U2",)),
        (alert(), NotifyReason.ESCALATED, told(num_escalations=1), NOW, MentionReason.ESCALATED, ("U3",)),
        (alert(state=AlertState.RESOLVED), NotifyReason.RESOLVED, told(), NOW, MentionReason.OVER, ()),
        (alert(acked_by="U1"), NotifyReason.CHANGED, told(), NOW, MentionReason.OVER, ()),
    ],
    ids=[
        "critical-first",
        "warning",
        "repeat",
        "flapping",
        "again-after-quiet",
        "raised",
        "escalated",
        "escalated-twice",
        "resolved",
        "acknowledged",
    ],
)
def test_mentions(
    one: Alert, why: NotifyReason, before: Told | None, now: float, reason: MentionReason, mentions: tuple[str, ...]
) -> None:
    decided = route(one, why, before, now=now, limits=LIMITS, audience=AUDIENCE)
    assert (decided.reason, decided.mentions) == (reason, mentions)


def test_alert_inside_a_burst_mentions_nobody() -> None:
    decided = route(alert(), NotifyReason.FIRST, None, now=NOW, limits=LIMITS, audience=AUDIENCE, in_burst=True)
    assert (decided.reason, decided.mentions) == (MentionReason.IN_BURST, ())


def test_severity_may_have_a_channel_of_its_own() -> None:
    audience = Audience(channel_by_severity={Severity.WARNING: "C2"})
    assert route(WARNING, NotifyReason.FIRST, None, now=NOW, limits=LIMITS, audience=audience).channel == "C2"
    assert route(alert(), NotifyReason.FIRST, None, now=NOW, limits=LIMITS, audience=audience).channel is None


@pytest.mark.parametrize(
    ("changes", "hint"),
    [
        ({"hint": "/train stop now"}, "/train stop now of digits"),
        ({"hint": "/train epoch 4 progress"}, "/train epoch 4 progress of digits"),
        ({"hint": "/train resume", "title": "my run: stopped"}, '/train resume of "my run"'),
        ({"hint": "/train stop now", "title": "a: b: stalled"}, "/train stop now"),
        ({"hint": "/train alerts"}, "/train alerts"),
        ({"hint": "free some space"}, "free some space"),
        ({"hint": "/train status", "title": f"{'n' * 200}: stalled"}, "/train status"),
        ({"run": HOST_RUN, "title": "lab-7: disk low"}, "/train status"),
    ],
)
def test_a_command_that_an_alert_names_is_about_its_run_wherever_it_is_typed(
    changes: dict[str, object], hint: str
) -> None:
    """Of ten runs at work the newest is any but the one that has stalled."""
    one = alert(finding=finding(**{"title": "digits: stalled", **changes}))  # type: ignore[arg-type]
    assert compose_alert(one, silence_s=7200).context[-1].endswith(f" · {hint}")
