from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.bot.alerting.fakes import RUN, TIERS, Desk, finding
from trainmaster.bot.core.alerts.finding import Nature, Severity
from trainmaster.bot.core.conversation.message import ActionId, Message, Tone
from trainmaster.bot.core.conversation.tokens import moment, person

NAN = finding("nonfinite", severity=Severity.WARNING)
EPOCH = finding("epoch_finished", severity=Severity.INFO, nature=Nature.OCCURRENCE)
CRASHED = finding("run_crashed", nature=Nature.OCCURRENCE)


def actions(message: Message) -> list[ActionId]:
    return [one.action for one in message.buttons]


def test_one_message_shows_fired_acknowledged_and_resolved() -> None:
    desk = Desk()
    desk.look(finding())
    desk.send_all()
    desk.clock.ts += 60
    assert desk.pipeline.ack(finding().fingerprint, "U7", desk.clock.ts)
    ((_, acked),) = desk.send_all()
    assert f"Acknowledged by {person('U7')}" in [item.text for item in acked.items]
    assert actions(acked) == [ActionId.SILENCE]
    desk.look(after_s=60)
    desk.look(after_s=60)
    sent = dict(desk.send_all())
    root = sent[finding().fingerprint]
    assert (root.title, root.tone, root.buttons, root.mentions) == ("digits-1: stalled is over", Tone.GOOD, (), ())
    assert [item.text for item in root.items] == ["Fired", f"Acknowledged by {person('U7')}", "Resolved"]
    assert "after 2 min" in root.items[-1].detail


@pytest.mark.parametrize("end", ["acknowledged", "resolved"])
def test_call_still_on_its_way_reaches_nobody_once_it_is_over(end: str) -> None:
    desk = Desk()
    desk.look(finding())
    desk.send_all()
    desk.look(finding(), after_s=TIERS[0].after_s)
    word = f"{finding().fingerprint}#escalated1.1"
    assert desk.wanted()[word].mentions == ("U2",)
    if end == "acknowledged":
        desk.pipeline.ack(finding().fingerprint, "U7", desk.clock.ts)
    else:
        desk.look(after_s=1)
        desk.look(after_s=desk.limits.resolve_hold_s)
    assert word in desk.wanted()
    assert {one.mentions for one in desk.wanted().values()} == {()}


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
    assert f"silenced until {moment(until_ts)} by {person('U7')}" in message.context[0]
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


def test_resolution_under_a_silence_edits_the_message_and_says_no_word() -> None:
    desk = Desk()
    desk.look(finding())
    desk.send_all()
    desk.pipeline.silence(finding().fingerprint, "U7", desk.clock.ts + 7200, desk.clock.ts)
    desk.send_all()
    desk.look(after_s=1)
    desk.look(after_s=100)
    ((key, message),) = desk.send_all()
    assert (key, message.tone) == (finding().fingerprint, Tone.GOOD)


def test_unsilence_ends_every_silence_over_the_alert() -> None:
    desk = Desk()
    desk.pipeline.silence_where("U7", desk.clock.ts + 9000, desk.clock.ts, check="stal*")
    desk.look(finding())
    assert desk.pipeline.unsilence(finding().fingerprint, "U7", desk.clock.ts + 1)
    assert desk.pipeline.unsilence(finding().fingerprint, "U7", desk.clock.ts + 1) is None
    assert desk.look(finding(), after_s=1).told
    assert desk.pipeline.silences(desk.clock.ts) == ()


def test_silence_of_a_run_shows_on_its_messages_until_it_is_ended() -> None:
    desk = Desk()
    desk.look(finding(), CRASHED)
    desk.send_all()
    silence = desk.pipeline.silence_where("U7", desk.clock.ts + 9000, desk.clock.ts, run=RUN)
    shown = dict(desk.send_all())
    assert set(shown) == {finding().fingerprint, CRASHED.fingerprint}
    assert all(f"by {person('U7')}" in one.context[0] and ActionId.UNSILENCE in actions(one) for one in shown.values())
    assert desk.pipeline.silences(desk.clock.ts) == (silence,)
    assert desk.pipeline.end_silence(silence.id, "U8", desk.clock.ts)
    shown = dict(desk.send_all())
    assert all("silenced" not in one.context[0] and ActionId.SILENCE in actions(one) for one in shown.values())
    assert desk.pipeline.silences(desk.clock.ts) == ()
    assert not desk.pipeline.end_silence(silence.id, "U8", desk.clock.ts)


def test_message_no_longer_says_that_it_is_silenced_once_the_silence_has_run_out() -> None:
    desk = Desk()
    desk.look(finding())
    desk.send_all()
    desk.pipeline.silence(finding().fingerprint, "U7", desk.clock.ts + 60, desk.clock.ts)
    desk.send_all()
    assert not desk.pipeline.tend(desk.clock.ts + 59)
    assert desk.send_all() == []
    assert desk.pipeline.tend(desk.clock.ts + 60)
    ((_, message),) = desk.send_all()
    assert "silenced" not in message.context[0]
    assert ActionId.SILENCE in actions(message)
    assert not desk.pipeline.tend(desk.clock.ts + 61)


def test_silence_of_another_run_changes_nothing() -> None:
    desk = Desk()
    desk.look(finding())
    desk.send_all()
    desk.pipeline.silence_where("U7", desk.clock.ts + 9000, desk.clock.ts, run="other")
    assert desk.send_all() == []


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


def test_acknowledged_alert_calls_nobody() -> None:
    desk = Desk()
    desk.look(finding())
    desk.send_all()
    desk.pipeline.ack(finding().fingerprint, "U7", desk.clock.ts)
    desk.send_all()
    desk.look(finding(), after_s=100_000)
    assert desk.send_all() == []


def test_firing_lists_conditions_and_fresh_unacknowledged_occurrences() -> None:
    desk = Desk()
    desk.look(finding(), CRASHED, EPOCH)
    assert {one.finding.check for one in desk.pipeline.firing(RUN)} == {"stalled", "run_crashed"}
    desk.pipeline.ack(CRASHED.fingerprint, "U7", desk.clock.ts)
    assert [one.finding.check for one in desk.pipeline.firing()] == ["stalled"]
    assert desk.pipeline.firing("other") == ()
