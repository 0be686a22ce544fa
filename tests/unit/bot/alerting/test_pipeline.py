from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.alerting.limits import Audience
from bot.core.alert import AlertState
from bot.core.finding import Finding, Nature, Severity
from bot.core.message import ActionId, Message, Tone
from bot.errors import StoreError
from tests.unit.bot.alerting.fakes import RUN, Desk, finding

NAN = finding("nonfinite", severity=Severity.WARNING)
EPOCH = finding("epoch_finished", severity=Severity.INFO, nature=Nature.OCCURRENCE)
CRASHED = finding("run_crashed", nature=Nature.OCCURRENCE)


def actions(message: Message) -> list[ActionId]:
    return [one.action for one in message.buttons]


def test_critical_alert_is_told_at_once_and_mentions_on_call() -> None:
    desk = Desk()
    assert desk.look(finding()).told
    (message,) = desk.wanted().values()
    assert (message.title, message.tone, message.mentions) == ("digits-1: stalled", Tone.CRITICAL, ("U1",))
    assert actions(message) == [ActionId.ACK, ActionId.SILENCE]
    assert {one.value for one in message.buttons} == {finding().fingerprint}


def test_second_look_with_the_same_findings_tells_nothing() -> None:
    desk = Desk()
    desk.look(finding(), EPOCH)
    desk.send_all()
    assert not desk.look(finding(), EPOCH, after_s=30).told
    assert desk.wanted() == {}


def test_information_has_no_buttons_and_no_mentions() -> None:
    desk = Desk()
    desk.look(EPOCH)
    (message,) = desk.wanted().values()
    assert (message.buttons, message.mentions) == ((), ())


def test_one_message_shows_fired_acknowledged_and_resolved() -> None:
    desk = Desk()
    desk.look(finding())
    desk.send_all()
    desk.clock.ts += 60
    assert desk.pipeline.ack(finding().fingerprint, "U7", desk.clock.ts)
    ((_, acked),) = desk.send_all()
    assert "Acknowledged by <u:U7>" in [item.text for item in acked.items]
    assert actions(acked) == [ActionId.SILENCE]
    desk.look(after_s=60)
    desk.look(after_s=60)
    sent = dict(desk.send_all())
    root = sent[finding().fingerprint]
    assert (root.title, root.tone, root.buttons, root.mentions) == ("digits-1: stalled is over", Tone.GOOD, (), ())
    assert [item.text for item in root.items] == ["Fired", "Acknowledged by <u:U7>", "Resolved"]
    assert "after 2 min" in root.items[-1].detail


def test_resolution_is_also_said_in_the_thread_which_keeps_the_excerpt() -> None:
    desk = Desk()
    desk.look(finding(excerpt="last lines"))
    desk.send_all()
    desk.look(after_s=1)
    desk.look(after_s=60)
    (word,) = [one for one in desk.messages.pending(desk.clock.ts) if "#resolved" in one.key]
    assert (word.thread_key, word.message.excerpt) == (finding().fingerprint, "last lines")


def test_what_was_never_told_is_not_resolved_in_the_channel() -> None:
    desk = Desk()
    warning = finding("clip_rate", severity=Severity.WARNING)
    desk.look(warning)
    desk.look(after_s=10)
    desk.look(after_s=1000)
    assert desk.wanted() == {}


def test_alert_that_ended_before_it_was_sent_is_one_message() -> None:
    desk = Desk()
    desk.look(finding())
    desk.look(after_s=10)
    desk.look(after_s=100)
    ((key, message),) = desk.send_all()
    assert (key, message.tone) == (finding().fingerprint, Tone.GOOD)


def test_refired_alert_edits_its_message_and_says_so_in_its_thread() -> None:
    desk = Desk()
    desk.look(finding())
    desk.look(after_s=10)
    desk.look(after_s=100)
    desk.send_all()
    desk.look(finding(), after_s=3600)
    sent = dict(desk.send_all())
    assert list(sent) == [f"{finding().fingerprint}#refire2", finding().fingerprint]
    assert sent[f"{finding().fingerprint}#refire2"].mentions == ("U1",)
    assert sent[finding().fingerprint].tone is Tone.CRITICAL


def test_dead_process_mutes_the_stall_and_the_stall_is_told_when_it_stays() -> None:
    desk = Desk()
    desk.look(finding("process_died"), finding("stalled"))
    assert list(desk.wanted()) == [finding("process_died").fingerprint]
    desk.look(finding("stalled"), after_s=10)
    desk.look(finding("stalled"), after_s=60)
    assert finding("stalled").fingerprint in desk.wanted()


def test_bad_batches_that_made_the_guard_give_up_are_not_told_besides() -> None:
    desk = Desk()
    gave_up = finding("run_gave_up", nature=Nature.OCCURRENCE)
    before = finding("nonfinite", nature=Nature.OCCURRENCE, ts=gave_up.ts - 30)
    desk.look(gave_up, before)
    desk.look(gave_up, before, after_s=10_000)
    assert list(desk.wanted()) == [gave_up.fingerprint]


def test_nan_of_the_attempt_after_giving_up_is_told() -> None:
    desk = Desk()
    gave_up = finding("run_gave_up", nature=Nature.OCCURRENCE)
    desk.look(gave_up)
    later = replace(NAN, key="attempt2", ts=gave_up.ts + 60)
    desk.look(gave_up, later, after_s=60)
    assert later.fingerprint in desk.wanted()


def test_silenced_alert_makes_no_sound_and_is_told_when_the_silence_ends() -> None:
    desk = Desk()
    desk.pipeline.silence_where("U7", desk.clock.ts + 100, desk.clock.ts, run=RUN)
    assert not desk.look(finding(), CRASHED, EPOCH).told
    assert desk.wanted() == {}
    desk.look(finding(), CRASHED, EPOCH, after_s=101)
    assert set(desk.wanted()) == {finding().fingerprint, CRASHED.fingerprint}


def test_silence_button_quiets_words_and_shows_on_the_message() -> None:
    desk = Desk()
    desk.look(finding())
    desk.send_all()
    until_ts = desk.clock.ts + 7200
    assert desk.pipeline.silence(finding().fingerprint, "U7", until_ts, desk.clock.ts)
    ((_, message),) = desk.send_all()
    assert f"silenced until <t:{until_ts:.0f}> by <u:U7>" in message.context[0]
    assert ActionId.SILENCE not in actions(message)
    assert not desk.look(finding(), after_s=3600).told
    assert desk.look(finding(), after_s=3600).told


def test_silence_of_a_warning_does_not_cover_the_critical_alert_that_follows() -> None:
    desk = Desk()
    desk.look(NAN)
    desk.send_all()
    desk.pipeline.silence(NAN.fingerprint, "U7", desk.clock.ts + 7200, desk.clock.ts)
    desk.send_all()
    desk.look(replace(NAN, severity=Severity.CRITICAL), after_s=30)
    raised = desk.wanted()[f"{NAN.fingerprint}#raised1"]
    assert raised.mentions == ("U1",)


def test_unsilence_ends_every_silence_over_the_alert() -> None:
    desk = Desk()
    desk.pipeline.silence_where("U7", desk.clock.ts + 9000, desk.clock.ts, check="stal*")
    desk.look(finding())
    assert desk.pipeline.unsilence(finding().fingerprint, "U7", desk.clock.ts + 1)
    assert desk.pipeline.unsilence(finding().fingerprint, "U7", desk.clock.ts + 1) is None
    assert desk.look(finding(), after_s=1).told
    assert desk.pipeline.silences(desk.clock.ts) == ()


@pytest.mark.parametrize("act", ["ack", "silence", "unsilence"])
def test_unknown_alert_is_answered_with_none(act: str) -> None:
    desk = Desk()
    more = (desk.clock.ts + 60,) if act == "silence" else ()
    assert getattr(desk.pipeline, act)("run/none/x", "U7", *more, desk.clock.ts) is None


def test_second_acknowledgement_keeps_the_first() -> None:
    desk = Desk()
    desk.look(finding())
    desk.pipeline.ack(finding().fingerprint, "U7", desk.clock.ts)
    alert = desk.pipeline.ack(finding().fingerprint, "U8", desk.clock.ts + 5)
    assert alert is not None
    assert (alert.acked_by, alert.acked_ts) == ("U7", desk.clock.ts)


def test_resolved_alert_cannot_be_acknowledged() -> None:
    desk = Desk()
    desk.look(finding())
    desk.look(after_s=1)
    desk.look(after_s=100)
    assert desk.pipeline.ack(finding().fingerprint, "U7", desk.clock.ts) is None


def test_unacknowledged_critical_alert_calls_one_group_after_the_other() -> None:
    desk = Desk()
    desk.look(CRASHED)
    desk.send_all()
    called = []
    for _ in range(6):
        desk.look(CRASHED, after_s=desk.limits.escalate_after_s)
        called += [message.mentions for _, message in desk.send_all()]
    assert called == [("U2",), ("U3",)]


def test_acknowledged_alert_calls_nobody() -> None:
    desk = Desk()
    desk.look(finding())
    desk.send_all()
    desk.pipeline.ack(finding().fingerprint, "U7", desk.clock.ts)
    desk.send_all()
    desk.look(finding(), after_s=100_000)
    assert desk.send_all() == []


def test_alert_that_slack_has_not_taken_is_not_escalated() -> None:
    desk = Desk()
    desk.look(finding())
    desk.look(finding(), after_s=10_000)
    assert [key for key, _ in desk.send_all()] == [finding().fingerprint]


def test_critical_alert_is_repeated_after_its_interval() -> None:
    desk = Desk(audience=Audience(on_call=("U1",)))
    desk.look(finding())
    desk.send_all()
    desk.look(finding(), after_s=desk.limits.repeat_critical_s)
    ((key, message),) = desk.send_all()
    assert key == f"{finding().fingerprint}#repeat1.1"
    assert "4 h" in message.title
    desk.look(finding(), after_s=60)
    assert desk.send_all() == []


def test_unreadable_run_resolves_nothing_but_what_judges_the_look() -> None:
    desk = Desk()
    unreadable = finding("unreadable", severity=Severity.CRITICAL)
    desk.look(finding(), unreadable)
    desk.send_all()
    dead_mount = desk.view(read_errors=("no answer",))
    for _ in range(5):
        desk.clock.ts += 100
        desk.pipeline.process(dead_mount, [], desk.clock.ts)
    assert [one.finding.check for one in desk.pipeline.firing()] == ["stalled"]


def test_failed_check_resolves_nothing() -> None:
    desk = Desk()
    desk.look(finding())
    failed = finding("check_failed", key="check_progress")
    for _ in range(3):
        desk.look(failed, after_s=100)
    assert len(desk.pipeline.firing()) == 2


def test_checks_held_by_an_operation_stay_as_they_are() -> None:
    desk = Desk()
    desk.look(finding("process_died"))
    desk.send_all()
    for _ in range(3):
        desk.look(after_s=100, unjudged=frozenset({"process_died"}))
    assert desk.send_all() == []


def test_history_is_not_told() -> None:
    desk = Desk()
    assert not desk.look(replace(CRASHED, ts=desk.clock.ts - 3600)).told
    assert desk.pipeline.firing() == ()


def test_burst_stands_in_the_thread_of_its_first_alert() -> None:
    desk = Desk()
    desk.look(*(replace(CRASHED, key=f"{i:02d}", ts=CRASHED.ts + i) for i in range(20)))
    sent = desk.send_all()
    assert len(sent) == 20
    roots = [
        key
        for key, _ in sent
        if desk.database.rows("SELECT 1 FROM messages WHERE key=? AND thread_key IS NULL", (key,))
    ]
    assert roots == [f"{RUN}/run_crashed/{i:02d}" for i in range(3)]
    assert sum(bool(message.mentions) for _, message in sent) == 3


def test_edit_before_the_first_send_still_mentions_on_call() -> None:
    desk = Desk()
    desk.look(finding(title="1 min"))
    desk.look(finding(title="2 min"), after_s=60)
    ((_, message),) = desk.send_all()
    assert (message.title, message.mentions) == ("2 min", ("U1",))


def test_firing_lists_conditions_and_fresh_unacknowledged_occurrences() -> None:
    desk = Desk()
    desk.look(finding(), CRASHED, EPOCH)
    assert {one.finding.check for one in desk.pipeline.firing(RUN)} == {"stalled", "run_crashed"}
    desk.pipeline.ack(CRASHED.fingerprint, "U7", desk.clock.ts)
    assert [one.finding.check for one in desk.pipeline.firing()] == ["stalled"]
    assert desk.pipeline.firing("other") == ()


def test_rolled_back_look_is_told_by_the_next_one() -> None:
    desk = Desk()

    def failing_look() -> None:
        with desk.database.transaction():
            assert desk.look(finding(), CRASHED).told
            raise StoreError("state-database", "disk full")

    with pytest.raises(StoreError):
        failing_look()
    assert desk.wanted() == {}
    assert desk.look(finding(), CRASHED, after_s=5).told
    assert set(desk.wanted()) == {finding().fingerprint, CRASHED.fingerprint}


def test_restarted_pipeline_tells_nothing_twice_and_still_resolves(tmp_path: Path) -> None:
    first = Desk(path=tmp_path / "state.db")
    first.look(finding(), CRASHED, EPOCH)
    first.send_all()
    first.database.close()
    second = Desk(path=tmp_path / "state.db")
    assert not second.look(CRASHED, EPOCH, after_s=10).told
    second.look(CRASHED, EPOCH, after_s=60)
    assert second.wanted()[finding().fingerprint].tone is Tone.GOOD
    second.database.close()


def test_unchanged_look_writes_nothing() -> None:
    desk = Desk()
    many = [replace(EPOCH, key=f"{i}") for i in range(300)]
    desk.look(finding(), *many)
    before = desk.database._connection.total_changes
    desk.look(finding(), *many, after_s=5)
    assert desk.database._connection.total_changes == before


FINDINGS = st.builds(
    finding,
    check=st.sampled_from(["stalled", "process_died", "nonfinite", "run_gave_up", "clip_rate"]),
    key=st.sampled_from(["a", "b"]),
    severity=st.sampled_from(Severity),
    nature=st.sampled_from(Nature),
    ts=st.floats(1_700_000_000.0 - 500, 1_700_000_000.0 + 3000),
    title=st.sampled_from(["x", "y"]),
)
STEPS = st.lists(
    st.tuples(st.lists(FINDINGS, max_size=4), st.floats(0, 900), st.sampled_from(["", "send", "ack", "silence"])),
    max_size=10,
)


@settings(max_examples=120, deadline=None)
@given(STEPS)
def test_no_critical_alert_is_lost_and_no_resolution_comes_untold(
    steps: list[tuple[list[Finding], float, str]],
) -> None:
    desk = Desk()
    posted: set[str] = set()
    for findings, after_s, act in steps:
        desk.look(*findings, after_s=after_s)
        wanted = {row["key"] for row in desk.database.rows("SELECT key FROM messages")}
        silenced = bool(desk.pipeline.silences(desk.clock.ts))
        for alert in desk.pipeline.firing():
            if alert.finding.severity is Severity.CRITICAL and alert.finding.check == "process_died" and not silenced:
                assert alert.fingerprint in wanted or alert.resolved_ts is not None
        for key in wanted:
            stored = desk.standings.get(key.partition("#")[0])
            assert stored is not None
            assert stored.alert.told
            if stored.alert.state is AlertState.RESOLVED and "#resolved" in key:
                assert key.partition("#")[0] in posted
        if act == "send":
            posted |= {key for key, _ in desk.send_all()}
        elif act and desk.pipeline.firing():
            target = desk.pipeline.firing()[0].fingerprint
            if act == "ack":
                desk.pipeline.ack(target, "U7", desk.clock.ts)
            else:
                desk.pipeline.silence(target, "U7", desk.clock.ts + 600, desk.clock.ts)
