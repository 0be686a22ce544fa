from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.bot.alerting.fakes import RUN, TIERS, Desk, finding
from trainmaster.bot.alerting.limits import Audience
from trainmaster.bot.core.alerts.finding import Nature, Severity
from trainmaster.bot.core.conversation.message import ActionId, Message, Tone
from trainmaster.bot.errors import StoreError

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


def test_alert_raised_before_it_was_sent_mentions_on_call_itself() -> None:
    desk = Desk()
    desk.look(NAN)
    desk.look(replace(NAN, severity=Severity.CRITICAL), after_s=30)
    ((key, message),) = desk.send_all()
    assert (key, message.mentions) == (NAN.fingerprint, ("U1",))


def test_unacknowledged_critical_alert_calls_one_group_after_the_other() -> None:
    desk = Desk()
    desk.look(CRASHED)
    desk.send_all()
    called = []
    for _ in range(6):
        desk.look(CRASHED, after_s=TIERS[0].after_s)
        called += [message.mentions for _, message in desk.send_all()]
    assert called == [("U2",), ("U3",)]


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
