"""One trouble that stops many runs is one message; a run that is ill for its own reason still has its own."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.facts import said_twice
from tests.unit.bot.alerting.fakes import NOW, Desk, finding
from trainmaster.bot.alerting.limits import AlertLimits
from trainmaster.bot.alerting.together import EXPLAINS, SHARED
from trainmaster.bot.core.alerts.delivery import Delivery
from trainmaster.bot.core.alerts.finding import Finding, Nature, Severity
from trainmaster.bot.core.check_name import CheckName
from trainmaster.bot.core.conversation.message import ActionId, Message, Tone
from trainmaster.bot.core.health.no_run import BOT_RUN, HOST_RUN


def died(number: int, check: CheckName = CheckName.PROCESS_DIED, **changes: object) -> Finding:
    run = f"run{number:03d}"
    return finding(check, **{"run": run, "title": f"{run}: the training process died", **changes})  # type: ignore[arg-type]


GPU_LOST = finding(CheckName.GPU_ERRORS, run=HOST_RUN, key="gpu0", title="host1: GPU 0 (H200) is lost")


def look(desk: Desk, *findings: Finding, run: str = "", after_s: float = 0.0) -> None:
    """One look at the run that the findings are about."""
    desk.clock.ts += after_s
    name = run or findings[0].run
    desk.pipeline.process(desk.view(name=name), findings, desk.clock.ts)


def strike(desk: Desk, runs: Sequence[int], check: CheckName = CheckName.PROCESS_DIED, **changes: object) -> None:
    for number in runs:
        look(desk, died(number, check, **changes))
    desk.pipeline.settle(desk.clock.ts)


def roots(desk: Desk) -> list[Delivery]:
    """What is to stand in the channel itself."""
    return [one for one in desk.messages.pending(desk.clock.ts) if one.thread_key is None]


def send(desk: Desk) -> list[tuple[str, Message]]:
    """What was sent, in order; a thread's messages have the sign of it."""
    return desk.send_all()


def only(desk: Desk) -> Message:
    (one,) = roots(desk)
    return one.message


def test_sixty_runs_that_die_together_are_one_message_that_names_them_and_calls_once() -> None:
    desk = Desk()
    strike(desk, range(60))
    message = only(desk)
    assert message.title == "60 runs died at about the same time"
    assert message.body == ("What they have in common is not known: look at host, disk, mount and driver first.",)
    ((_, names),) = message.fields  # below the buttons
    assert all(f"run{number:03d}" in names for number in range(60))
    assert message.mentions == ("U1",)
    assert [one.action for one in message.buttons] == [ActionId.ACK, ActionId.SILENCE]
    called = [key for key, one in send(desk) if one.mentions]
    assert called == [died(0).fingerprint]


def test_each_runs_own_story_stands_in_the_thread_and_in_the_list_of_alerts() -> None:
    desk = Desk()
    for number in range(60):
        look(desk, died(number, body=(f"It was ended by signal {number}.",)))
    desk.pipeline.settle(desk.clock.ts)
    sent = send(desk)
    lines = [item.detail for key, one in sent if "#runs" in key for item in one.items]
    assert lines == [f"It was ended by signal {number}." for number in range(60)]
    assert len(sent) == 1 + 4
    assert {one.finding.run for one in desk.pipeline.firing()} == {f"run{number:03d}" for number in range(60)}


def test_a_run_that_is_ill_for_its_own_reason_has_its_own_message() -> None:
    desk = Desk()
    strike(desk, range(3))
    look(desk, died(9, CheckName.NONFINITE, title="run009: loss is not finite"))
    assert sorted(one.message.title for one in roots(desk)) == [
        "3 runs died at about the same time",
        "run009: loss is not finite",
    ]


def test_crashes_belong_together_when_they_say_the_same_apart_from_figures() -> None:
    desk = Desk()
    for number, why in enumerate(["CUDA error 700 at 0x1", "CUDA error 701 at 0x2", "KeyError: 'lr1'"]):
        look(desk, died(number, CheckName.RUN_CRASHED, nature=Nature.OCCURRENCE, body=(why,)))
    assert [one.message.body[0] for one in roots(desk)] == ["run000, run001", "KeyError: 'lr1'"]


def test_a_message_that_stands_already_becomes_the_message_of_all() -> None:
    desk = Desk()
    look(desk, died(0))
    send(desk)
    strike(desk, range(1, 60))
    (edit,) = roots(desk)
    assert (edit.key, edit.ts is not None) == (died(0).fingerprint, True)
    assert edit.message.title.startswith("60 runs died")


def test_what_comes_later_or_was_taken_by_somebody_is_told_anew() -> None:
    desk = Desk()
    strike(desk, range(2))
    look(desk, died(7), after_s=desk.limits.together_s + 1)
    assert len(roots(desk)) == 2
    other = Desk()
    strike(other, range(2))
    other.pipeline.ack(died(0).fingerprint, "U1", NOW)
    strike(other, [8])
    assert len(roots(other)) == 2


def test_a_trouble_that_goes_on_and_on_is_told_anew_after_half_an_hour() -> None:
    desk = Desk()
    for number in range(40):
        look(desk, died(number), after_s=60.0)
    assert len(roots(desk)) == 2


def test_what_happened_on_several_days_does_not_become_one_when_a_bot_that_was_away_finds_it() -> None:
    desk = Desk()
    desk.first_seen_ts = 0.0
    for number in range(3):
        look(
            desk,
            died(number, CheckName.RUN_STOPPED, nature=Nature.OCCURRENCE, ts=NOW - 86_400 * number),
        )
    assert len(roots(desk)) == 3


def test_zero_seconds_tells_each_run_by_itself() -> None:
    desk = Desk(AlertLimits(together_s=0.0))
    strike(desk, range(3))
    assert len(roots(desk)) == 3


def test_a_worse_alert_never_hides_in_the_message_of_a_lesser_one() -> None:
    desk = Desk(AlertLimits(hold_warning_s=0.0))
    look(desk, died(0, CheckName.STALLED, severity=Severity.WARNING))
    look(desk, died(1, CheckName.STALLED))
    assert len(roots(desk)) == 2


def test_one_press_takes_the_trouble_for_all_runs_and_nobody_else_is_called() -> None:
    desk = Desk()
    strike(desk, range(60))
    send(desk)
    acked = desk.pipeline.ack(died(0).fingerprint, "U9", desk.clock.ts)
    assert acked is not None
    assert (acked.finding.title, acked.acked_by) == ("60 runs died at about the same time", "U9")
    assert {one.acked_by for one in desk.pipeline.firing()} == {"U9"}
    desk.pipeline.settle(desk.clock.ts)
    assert only(desk).buttons[0].action is ActionId.SILENCE
    send(desk)
    for number in range(60):
        look(desk, died(number), after_s=60.0)
    assert not [one for _, one in send(desk) if one.mentions]


def test_one_run_of_many_can_be_taken_alone() -> None:
    desk = Desk()
    strike(desk, range(3))
    desk.pipeline.ack(died(1).fingerprint, "U9", desk.clock.ts)
    assert [one.acked_by for one in desk.pipeline.firing()].count("U9") == 1
    assert ActionId.ACK in [one.action for one in only(desk).buttons]


def test_the_trouble_escalates_once_a_tier_however_many_runs_it_stops() -> None:
    desk = Desk()
    strike(desk, range(60))
    send(desk)
    words = []
    for _ in range(40):
        desk.clock.ts += 60.0
        strike(desk, range(60))
        words += [(key, one) for key, one in send(desk) if one.mentions]
    assert [one.mentions for _, one in words] == [("U2",), ("U3",)]
    assert all("60 runs died" in one.title for _, one in words)


def test_another_run_speaks_for_the_trouble_when_the_first_has_recovered() -> None:
    desk = Desk()
    strike(desk, range(3))
    send(desk)
    for _ in range(2):
        look(desk, run="run000", after_s=30.0)
    assert desk.pipeline.trouble(died(0).fingerprint).state == "firing"  # type: ignore[union-attr]
    words = []
    for _ in range(40):
        desk.clock.ts += 60.0
        strike(desk, [1, 2])
        words += [one.mentions for key, one in send(desk) if one.mentions and "#" in key]
    assert words == [("U2",), ("U3",)]


def test_silence_covers_all_runs_of_the_trouble_and_no_other() -> None:
    desk = Desk()
    strike(desk, range(60))
    send(desk)
    desk.pipeline.silence(died(0).fingerprint, "U9", desk.clock.ts + 3600, desk.clock.ts)
    desk.pipeline.settle(desk.clock.ts)
    assert only(desk).buttons[-1].action is ActionId.UNSILENCE
    assert all(desk.pipeline.silenced(one) for one in desk.pipeline.firing())
    assert len(desk.pipeline.silences(desk.clock.ts)) == 1
    send(desk)
    strike(desk, [99])
    assert only(desk).title.startswith("run099")
    assert desk.pipeline.unsilence(died(0).fingerprint, "U9", desk.clock.ts) is not None
    assert not any(desk.pipeline.silenced(one) for one in desk.pipeline.firing())


def test_the_end_of_the_trouble_is_said_once() -> None:
    desk = Desk()
    strike(desk, range(60))
    send(desk)
    for after_s in (30.0, 60.0):
        desk.clock.ts += after_s
        for number in range(60):
            look(desk, run=f"run{number:03d}")
    desk.pipeline.settle(desk.clock.ts)
    sent = send(desk)
    assert [key.partition("#")[2] for key, one in sent if one.tone is Tone.GOOD] == ["", "over1"]
    assert desk.pipeline.firing() == ()
    desk.pipeline.settle(desk.clock.ts)
    assert send(desk) == []


def test_one_run_that_recovers_is_counted_and_not_told_by_itself() -> None:
    desk = Desk()
    strike(desk, range(3))
    send(desk)
    for _ in range(2):
        look(desk, run="run001", after_s=30.0)
    desk.pipeline.settle(desk.clock.ts)
    assert only(desk).title == "3 runs died at about the same time; 1 over"
    assert not [key for key, _ in send(desk) if "#resolved" in key]


def test_a_run_that_dies_once_more_after_the_trouble_has_a_message_of_its_own() -> None:
    desk = Desk()
    strike(desk, range(3))
    send(desk)
    for _ in range(2):
        for number in range(3):
            look(desk, run=f"run{number:03d}", after_s=30.0)
    send(desk)
    look(desk, died(1), after_s=3600.0)
    (one,) = roots(desk)
    assert (one.key, one.ts, one.message.mentions) == (died(1).fingerprint, None, ("U1",))


@pytest.mark.parametrize("early", range(1, 6), ids=lambda n: f"after {n}")
def test_a_restart_in_the_middle_doubles_nothing(tmp_path: Path, early: int) -> None:
    path = tmp_path / "state.sqlite3"
    desk = Desk(path=path)
    strike(desk, range(early))
    before = send(desk)
    desk.database.close()
    again = Desk(path=path)
    for _ in range(2):
        strike(again, range(60))
        again.pipeline.tend(again.clock.ts)
    after = send(again)
    called = [key for key, one in [*before, *after] if one.mentions]
    assert set(called) == {died(0).fingerprint}
    in_channel = [key for key, _ in [*before, *after] if "#" not in key]
    assert set(in_channel) == {died(0).fingerprint}


def test_a_bot_that_was_killed_before_it_named_all_runs_does_so_at_its_next_start(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite3"
    desk = Desk(path=path)
    for number in range(60):
        look(desk, died(number))
    desk.database.close()  # settle never came
    again = Desk(path=path)
    again.pipeline.tend(again.clock.ts)
    assert only(again).title.startswith("60 runs died")


def test_a_known_cause_takes_in_what_it_did_to_several_runs() -> None:
    desk = Desk()
    look(desk, GPU_LOST)
    strike(desk, range(60), CheckName.STALLED)
    message = only(desk)
    assert message.title == "host1: GPU 0 (H200) is lost; 60 runs stand still at about the same time"
    assert message.body[0] == "The first is most likely the cause of the second."
    assert said_twice(message) == []
    assert [key for key, one in send(desk) if one.mentions] == [GPU_LOST.fingerprint]


def test_a_cause_that_is_found_after_its_effects_joins_their_message() -> None:
    desk = Desk()
    strike(desk, range(60), CheckName.STALLED)
    look(desk, GPU_LOST)
    desk.pipeline.settle(desk.clock.ts)
    assert only(desk).title.startswith("host1: GPU 0 (H200) is lost; 60 runs stand still")


def test_one_run_under_a_cause_keeps_its_own_message() -> None:
    desk = Desk()
    look(desk, GPU_LOST)
    look(desk, died(1))
    assert len(roots(desk)) == 2


def test_a_cause_that_is_clearing_still_takes_in_its_effects_until_it_is_resolved() -> None:
    desk = Desk()
    look(desk, GPU_LOST)
    look(desk, run=HOST_RUN, after_s=5.0)
    strike(desk, range(3), CheckName.STALLED)
    assert len(roots(desk)) == 1
    for _ in range(2):
        look(desk, run=HOST_RUN, after_s=61.0)
    strike(desk, range(10, 13))
    assert len(roots(desk)) == 2


def test_jobs_of_the_bot_that_go_wrong_together_are_one_message() -> None:
    desk = Desk(AlertLimits(hold_warning_s=0.0))
    jobs = [
        finding(CheckName.DUTY_FAILED, run=BOT_RUN, key=f"look at run{number}", severity=Severity.WARNING)
        for number in range(60)
    ]
    look(desk, *jobs)
    desk.pipeline.settle(desk.clock.ts)
    assert only(desk).title == "60 jobs of Trainmaster itself go wrong"


def test_a_pager_is_given_one_alert_for_the_trouble() -> None:
    desk = Desk()
    strike(desk, range(60))
    (trouble,) = desk.pipeline.troubles()
    assert (trouble.fingerprint, trouble.finding.severity) == (died(0).fingerprint, Severity.CRITICAL)
    assert trouble.acked_by is None
    desk.pipeline.ack(died(0).fingerprint, "U9", desk.clock.ts)
    assert [one.acked_by for one in desk.pipeline.troubles()] == ["U9"]


@pytest.mark.parametrize("runs", [60, 1000])
def test_the_message_of_very_many_runs_with_long_names_stays_small(runs: int) -> None:
    desk = Desk()
    for number in range(runs):
        name = f"{number:04d}" + "x" * 196
        look(desk, died(number, title=f"{name}: died", run=name))
    desk.pipeline.settle(desk.clock.ts)
    message = only(desk)
    ((_, names),) = message.fields
    assert len(names) < 1600
    assert names.endswith("more")
    assert sum("#runs" in key for key, _ in send(desk)) <= 8


def test_runs_whose_long_names_differ_at_the_end_only_are_each_named() -> None:
    desk = Desk()
    sweep = "yolo11x_visdrone_imgsz1280_cosine_warmup10_mosaic0.5_lr0.0005"
    for seed in (1, 2):
        look(desk, died(seed, title=f"{sweep}_seed{seed}: the training process died"))
    desk.pipeline.settle(desk.clock.ts)
    (names,) = (line for line in only(desk).body if line.startswith("yolo11x"))
    assert "_seed1, " in names
    assert names.endswith("_seed2")


def test_every_order_of_looks_tells_one_message() -> None:
    news = [GPU_LOST, died(1, CheckName.STALLED), died(2, CheckName.STALLED)]
    for order in itertools.permutations(news):
        desk = Desk()
        for one in order:
            look(desk, one)
        desk.pipeline.settle(desk.clock.ts)
        assert len(roots(desk)) == 1, [one.check for one in order]


def test_causes_are_no_effects_of_runs() -> None:
    for effects in EXPLAINS.values():
        assert effects <= SHARED
    assert EXPLAINS.keys() & SHARED == {CheckName.DUTY_FAILED}


def test_information_is_never_put_together() -> None:
    desk = Desk()
    for number in range(3):
        one = died(number, CheckName.RUN_STOPPED, nature=Nature.OCCURRENCE)
        look(desk, replace(one, severity=Severity.INFO))
    assert len(roots(desk)) == 3
