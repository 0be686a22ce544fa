from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.bot.alerting.fakes import finding
from trainmaster.bot.alerting.limits import AlertLimits
from trainmaster.bot.alerting.track import TrackReason, track
from trainmaster.bot.core.alerts.alert import Alert, AlertState
from trainmaster.bot.core.alerts.finding import Finding, Nature, Severity
from trainmaster.bot.core.run.view import HISTORY_S

NOW = 1_700_000_000.0
LIMITS = AlertLimits()
WARNING = finding("clip_rate", severity=Severity.WARNING)
HAPPENED = finding("run_crashed", nature=Nature.OCCURRENCE)


class Life:
    """Applies what `track` returns, as the pipeline does."""

    def __init__(self, news_from_ts: float = NOW - 1000) -> None:
        self.alerts: dict[str, Alert] = {}
        self.now = NOW
        self.news_from_ts = news_from_ts
        self.log: list[TrackReason] = []

    def look(
        self, *findings: Finding, after_s: float = 0.0, unjudged: frozenset[str] = frozenset()
    ) -> list[TrackReason]:
        self.now += after_s
        changed = track(self.alerts, findings, self.now, LIMITS, news_from_ts=self.news_from_ts, unjudged=unjudged)
        for one in changed:
            self.alerts[one.alert.fingerprint] = one.alert
        self.log += [one.reason for one in changed]
        return [one.reason for one in changed]

    def tell(self) -> None:
        self.alerts = {key: replace(one, told=True) for key, one in self.alerts.items()}

    @property
    def only(self) -> Alert:
        (alert,) = self.alerts.values()
        return alert


def test_critical_condition_fires_at_first_sight() -> None:
    life = Life()
    assert life.look(finding()) == [TrackReason.FIRED]
    assert life.only.state is AlertState.FIRING


def test_warning_fires_after_its_hold_and_not_before() -> None:
    life = Life()
    assert life.look(WARNING) == [TrackReason.HELD]
    assert life.look(WARNING, after_s=LIMITS.hold_warning_s - 1) == []
    assert life.look(WARNING, after_s=1) == [TrackReason.FIRED]
    assert life.only.since_ts == NOW


def test_hold_of_a_check_outranks_its_severity() -> None:
    assert Life().look(finding("nonfinite", severity=Severity.WARNING)) == [TrackReason.FIRED]


def test_warning_that_vanishes_within_its_hold_never_fires() -> None:
    life = Life()
    life.look(WARNING)
    assert life.look(after_s=5) == [TrackReason.DROPPED]
    assert life.look(WARNING, after_s=1) == [TrackReason.HELD]
    assert life.look(WARNING, after_s=LIMITS.hold_warning_s - 1) == []


def test_condition_resolves_after_its_hold_with_the_time_it_was_first_missed() -> None:
    life = Life()
    life.look(finding())
    assert life.look(after_s=100) == [TrackReason.CLEARING]
    assert life.only.state is AlertState.FIRING
    assert life.look(after_s=LIMITS.resolve_hold_s - 1) == []
    assert life.look(after_s=1) == [TrackReason.RESOLVED]
    assert (life.only.state, life.only.resolved_ts) == (AlertState.RESOLVED, NOW + 100)


def test_flapping_condition_stays_one_firing_alert() -> None:
    life = Life()
    life.look(finding())
    for _ in range(5):
        assert life.look(after_s=20) == [TrackReason.CLEARING]
        assert life.look(finding(), after_s=20) == [TrackReason.BACK]
    assert life.only.times_fired == 1


def test_resolved_alert_that_was_told_fires_again_with_a_count() -> None:
    life = Life()
    life.look(finding())
    life.tell()
    life.look(after_s=1)
    life.look(after_s=100)
    assert life.look(finding(), after_s=100) == [TrackReason.REFIRED]
    assert (life.only.times_fired, life.only.acked_by, life.only.resolved_ts) == (2, None, None)


def test_occurrence_fires_once_and_never_resolves() -> None:
    life = Life()
    assert life.look(HAPPENED) == [TrackReason.FIRED]
    assert life.look(HAPPENED, after_s=10) == []
    assert life.look(after_s=100_000) == []
    assert life.only.state is AlertState.FIRING


@pytest.mark.parametrize(
    ("age_s", "reason"), [(61.0, TrackReason.OLD), (59.0, TrackReason.FIRED)], ids=["before-first-sight", "just-before"]
)
def test_history_is_recorded_and_not_fired(age_s: float, reason: TrackReason) -> None:
    life = Life(news_from_ts=NOW - HISTORY_S)
    assert life.look(replace(HAPPENED, ts=NOW - age_s)) == [reason]
    assert life.look(replace(HAPPENED, ts=NOW - age_s)) == []


def test_history_that_happens_again_now_fires() -> None:
    life = Life(news_from_ts=NOW - HISTORY_S)
    life.look(replace(HAPPENED, ts=NOW - 5000))
    assert life.look(replace(HAPPENED, ts=NOW + 10), after_s=10) == [TrackReason.FIRED]


def test_occurrence_that_happens_again_much_later_fires_again() -> None:
    life = Life()
    life.look(HAPPENED)
    life.tell()
    assert life.look(replace(HAPPENED, ts=NOW + 30, title="more"), after_s=30) == [TrackReason.CHANGED]
    again = replace(HAPPENED, ts=NOW + LIMITS.again_s + 1, title="still more")
    assert life.look(again, after_s=LIMITS.again_s) == [TrackReason.REFIRED]


def test_condition_that_has_become_an_occurrence_resolves_and_stays_resolved() -> None:
    life = Life()
    condition = finding("nonfinite", severity=Severity.WARNING)
    life.look(condition)
    life.tell()
    over = replace(condition, nature=Nature.OCCURRENCE)
    assert life.look(over, after_s=5) == [TrackReason.CLEARING]
    assert life.look(over, after_s=10) == [TrackReason.RESOLVED]
    assert life.look(over, after_s=1000) == []


def test_condition_missed_while_away_is_told_as_what_happened() -> None:
    assert Life().look(finding("nonfinite", nature=Nature.OCCURRENCE)) == [TrackReason.FIRED]


def test_severity_that_rises_is_raised_and_loses_its_acknowledgement() -> None:
    life = Life()
    life.look(finding("nonfinite", severity=Severity.WARNING))
    life.alerts = {key: replace(one, acked_by="U1", acked_ts=NOW) for key, one in life.alerts.items()}
    assert life.look(finding("nonfinite"), after_s=1) == [TrackReason.RAISED]
    assert (life.only.finding.severity, life.only.acked_by) == (Severity.CRITICAL, None)


def test_changed_figures_are_taken_at_most_once_an_interval() -> None:
    life = Life()
    life.look(finding(title="no progress for 1 min"))
    assert life.look(finding(title="no progress for 2 min"), after_s=5) == [TrackReason.TOO_SOON]
    assert life.only.finding.title == "no progress for 1 min"
    assert life.look(finding(title="no progress for 3 min"), after_s=10) == [TrackReason.CHANGED]
    assert life.only.finding.title == "no progress for 3 min"


def test_old_alert_is_edited_ever_more_rarely() -> None:
    life = Life()
    life.look(finding(title="0"))
    edits = 0
    for minute in range(1, 601):
        edits += TrackReason.CHANGED in life.look(finding(title=f"{minute}"), after_s=60)
    assert 20 <= edits <= 80


def test_same_content_at_another_time_changes_nothing() -> None:
    life = Life()
    life.look(finding())
    assert life.look(finding(ts=NOW + 500), after_s=500) == []


def test_check_without_an_answer_resolves_nothing() -> None:
    life = Life()
    life.look(finding())
    assert life.look(after_s=500, unjudged=frozenset({"stalled"})) == []
    assert life.look(after_s=1) == [TrackReason.CLEARING]


def test_worst_of_two_findings_with_one_fingerprint_counts() -> None:
    life = Life()
    life.look(finding(severity=Severity.INFO), finding(), finding(severity=Severity.WARNING))
    assert life.only.finding.severity is Severity.CRITICAL


@pytest.mark.parametrize("severity", [Severity.WARNING, Severity.CRITICAL])
def test_clock_put_back_delays_firing_by_its_hold_at_most(severity: Severity) -> None:
    life = Life()
    one = finding("clip_rate", severity=severity)
    life.look(one)
    life.look(one, after_s=-86_400)
    life.look(one, after_s=LIMITS.hold_warning_s)
    assert life.only.state is AlertState.FIRING


def test_clock_put_back_delays_resolving_by_its_hold_at_most() -> None:
    life = Life()
    life.look(finding())
    life.look(after_s=1)
    life.look(after_s=-86_400)
    assert life.look(after_s=LIMITS.resolve_hold_s) == [TrackReason.RESOLVED]


FINDINGS = st.builds(
    finding,
    check=st.sampled_from(["stalled", "nonfinite", "run_crashed", "clip_rate"]),
    key=st.sampled_from(["a", "b"]),
    severity=st.sampled_from(Severity),
    nature=st.sampled_from(Nature),
    ts=st.floats(NOW - 500, NOW + 5000),
    title=st.sampled_from(["x", "y"]),
)
LOOKS = st.lists(st.tuples(st.lists(FINDINGS, max_size=5), st.floats(0, 200)), max_size=12)


@settings(max_examples=150, deadline=None)
@given(LOOKS)
def test_looking_again_at_the_same_time_changes_nothing(looks: list[tuple[list[Finding], float]]) -> None:
    life = Life()
    for findings, after_s in looks:
        life.look(*findings, after_s=after_s)
        again = track(life.alerts, findings, life.now, LIMITS, news_from_ts=life.news_from_ts)
        assert [one for one in again if one.reason is not TrackReason.TOO_SOON] == []


@settings(max_examples=150, deadline=None)
@given(LOOKS)
def test_every_critical_condition_found_is_firing(looks: list[tuple[list[Finding], float]]) -> None:
    life = Life()
    for findings, after_s in looks:
        life.look(*findings, after_s=after_s)
        life.tell()
        last = {}
        for one in findings:
            known = last.get(one.fingerprint)
            if known is None or [*Severity].index(one.severity) > [*Severity].index(known.severity):
                last[one.fingerprint] = one
        for one in last.values():
            if one.severity is Severity.CRITICAL and one.nature is Nature.CONDITION:
                assert life.alerts[one.fingerprint].state is AlertState.FIRING


@settings(max_examples=150, deadline=None)
@given(LOOKS)
def test_resolution_follows_only_a_firing_alert(looks: list[tuple[list[Finding], float]]) -> None:
    life = Life()
    for findings, after_s in looks:
        before = dict(life.alerts)
        for one in track(life.alerts, findings, life.now + after_s, LIMITS, news_from_ts=life.news_from_ts):
            if one.reason is TrackReason.RESOLVED:
                assert before[one.alert.fingerprint].state is AlertState.FIRING
            if one.reason is TrackReason.DROPPED:
                assert before[one.alert.fingerprint].state is AlertState.PENDING
        life.look(*findings, after_s=after_s)


def test_what_happened_is_resolved_once_the_run_recovered() -> None:
    life = Life()
    assert life.look(HAPPENED) == [TrackReason.FIRED]
    life.tell()
    assert life.look(replace(HAPPENED, over=True), after_s=60) == [TrackReason.RESOLVED]
    assert life.only.state is AlertState.RESOLVED
    assert life.look(replace(HAPPENED, over=True), after_s=60) == []


def test_emergency_that_was_over_before_anybody_looked_is_told_and_a_stop_is_not() -> None:
    emergency, stop = Life(), Life()
    assert emergency.look(replace(HAPPENED, over=True)) == [TrackReason.FIRED]
    assert emergency.look(replace(HAPPENED, over=True), after_s=1) == [TrackReason.RESOLVED]
    stopped = finding("run_stopped", nature=Nature.OCCURRENCE, severity=Severity.WARNING)
    assert stop.look(replace(stopped, over=True)) == []
