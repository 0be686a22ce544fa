"""What one press on the message about many runs means for each of them."""

from __future__ import annotations

from tests.unit.bot.alerting.fakes import Desk
from tests.unit.bot.alerting.test_together import died, look, only, strike
from trainmaster.bot.core.alerts.finding import Finding, Nature
from trainmaster.bot.core.check_name import CheckName
from trainmaster.bot.core.conversation.message import ActionId, Button
from trainmaster.bot.core.decisions.start_word import StartWord, leader_of, start_words

ENDS = (CheckName.PROCESS_DIED, CheckName.RUN_CRASHED)


def test_silence_of_the_message_is_a_wish_for_quiet_about_each_of_its_runs_and_no_other() -> None:
    """What is wished for quiet is not started by itself either."""
    desk = Desk()
    strike(desk, range(3))
    look(desk, died(9), after_s=desk.limits.together_s + 1)
    quiet = [f"run{number:03d}" for number in range(3)]
    asked = [run for run in (*quiet, "run009") if desk.pipeline.asked_for_quiet(run, ENDS, desk.clock.ts)]
    assert asked == []
    desk.pipeline.silence(died(0).fingerprint, "U9", desk.clock.ts + 3600, desk.clock.ts)
    asked = [run for run in (*quiet, "run009") if desk.pipeline.asked_for_quiet(run, ENDS, desk.clock.ts)]
    assert asked == quiet
    assert not desk.pipeline.asked_for_quiet("run000", [CheckName.STALLED], desk.clock.ts)
    assert not desk.pipeline.asked_for_quiet("run000", ENDS, desk.clock.ts + 3601)


def test_silence_of_a_crash_is_a_wish_for_quiet_about_the_end_of_its_run() -> None:
    desk = Desk()
    crash = died(0, CheckName.RUN_CRASHED, nature=Nature.OCCURRENCE)
    look(desk, crash)
    desk.pipeline.silence(crash.fingerprint, "U9", desk.clock.ts + 3600, desk.clock.ts)
    assert desk.pipeline.asked_for_quiet("run000", ENDS, desk.clock.ts)


def with_resume(number: int) -> Finding:
    run = f"run{number:03d}"
    word = StartWord(run=run, attempt=1).text
    return died(number, buttons=(Button(action=ActionId.RESUME_RUN, label="Resume", value=word),))


def test_message_of_runs_that_wait_to_be_resumed_has_one_button_for_them() -> None:
    desk = Desk()
    for number in range(3):
        look(desk, with_resume(number))
    look(desk, died(3))
    desk.pipeline.settle(desk.clock.ts)
    button = only(desk).buttons[0]
    assert (button.action, button.label) == (ActionId.RESUME_RUN, "Resume 3 runs")
    assert button.confirm == "Start 3 runs again, each where it stood?"
    leader = leader_of(button.value)
    assert leader == died(0).fingerprint
    assert [word.run for word in start_words(desk.pipeline.told_together(leader))] == ["run000", "run001", "run002"]
    for _ in range(2):
        look(desk, run="run001", after_s=30.0)
    desk.pipeline.settle(desk.clock.ts)
    assert only(desk).buttons[0].label == "Resume 2 runs"
