"""A run that died goes on by itself, once a death and three times a cause; or people are asked, with a button."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.bot.operations.paper import ALICE, BOB, FAST, MALLORY, PaperWorld
from tests.unit.bot.operations.paper_run import RUN
from trainmaster.bot.core.alerts.finding import Finding, Nature, Severity
from trainmaster.bot.core.check_name import CheckName
from trainmaster.bot.core.conversation.message import ActionId
from trainmaster.bot.core.decisions.going_on import AutoResume
from trainmaster.bot.core.decisions.operation import BOT, Intent, IntentKind, Operation, OperationState
from trainmaster.bot.core.decisions.order import ResumeLater, ResumeRun, StopAfterEpoch, StopNow
from trainmaster.bot.core.decisions.start_word import StartWord
from trainmaster.bot.core.run.facts import Event
from trainmaster.bot.errors import CommandError
from trainmaster.bot.operations.limits import GoingOnLimits, OperationLimits
from trainmaster.trainer.contract import replace_json

AUTO = GoingOnLimits(auto_resume=AutoResume.AUTO, pause_s=0.001, settle_s=0.0, max_age_s=1e12)
"""On paper the last sign of life is of 1970."""


@pytest.fixture
def world(tmp_path: Path) -> PaperWorld:
    """A run at work under AUTO_RESUME=auto, which the bot has seen."""
    return a_world(tmp_path, AUTO)


def a_world(folder: Path, going_on: GoingOnLimits, limits: OperationLimits = FAST) -> PaperWorld:
    world = PaperWorld(folder, limits=replace(limits, going_on=going_on))
    world.start_run()
    world.looks.notice(world.runs.all()[0])
    return world


def dies(world: PaperWorld, *, signum: int | None = signal.SIGKILL) -> None:
    world.driver.kill(int(str(world.run.record()["pid"])), signum=signum)


def crashes(world: PaperWorld, error: str) -> None:
    dies(world, signum=None)
    record = world.run.record()
    replace_json(world.run.layout.run_json, {**record, "state": "crashed", "exit_code": 1, "batches": 12})
    attempt = int(str(record["attempt"]))
    world.runs.events.append(
        Event(ts=1.0, run=RUN, attempt=attempt, seq=len(world.runs.events), kind="run_crashed", data={"error": error})
    )


async def notice(world: PaperWorld) -> None:
    """The run as it is now is noticed, and what may go on has begun to."""
    world.looks.notice(world.runs.all()[0])
    await world.operations.go_on()


async def look(world: PaperWorld) -> None:
    """The supervisor looks at the run, and what that sets off is over."""
    await world.runs.refresh(RUN)
    await notice(world)
    await world.operations.settle()
    await notice(world)


async def starts_once_there_is_space(world: PaperWorld) -> None:
    """A start that waits for a full disk says so, and is the only one once the gate finds nothing any more."""
    await world.waits("until there is space")
    assert world.launches() == []
    world.gate.facts = ()
    await world.operations.settle()
    assert len(world.launches()) == 1


def starts(world: PaperWorld) -> list[Operation]:
    """What the bot started by itself, oldest first."""
    return [one for one in reversed(world.log.history(RUN, limit=100)) if one.automatic]


def told(world: PaperWorld, check: CheckName = CheckName.PROCESS_DIED) -> Finding:
    """What the alert of the death says."""
    view = world.runs.all()[0]
    finding = Finding(
        run=RUN,
        check=check,
        key=f"attempt{view.attempt}",
        severity=Severity.CRITICAL,
        nature=Nature.CONDITION,
        ts=0.0,
        title="digits: the training process died",
    )
    (found,) = world.looks.told(view, [finding])
    return found


async def test_killed_trainer_is_resumed_once_with_the_settings_it_had(world: PaperWorld) -> None:
    dies(world)
    assert "resumed by itself, since it was killed" in told(world).body[0]
    assert told(world).severity is Severity.WARNING, "nobody is woken for what puts itself right"
    await look(world)
    await look(world)
    (launch,) = world.launches()
    assert "level=" not in launch
    (operation,) = starts(world)
    assert operation.state is OperationState.DONE
    assert operation.requester == BOT
    assert (BOT, "resume.begin") in world.audit.entries
    assert (BOT, "resume.end") in world.audit.entries
    card = world.outbox.versions[operation.card]
    assert card[0].title == "digits: resuming by itself"
    assert any("killed from outside" in line for line in card[0].body)
    assert any("/train stop now" in line for line in card[0].body)
    assert any("undo it: /train stop now of digits." in line for line in card[0].body)
    assert card[-1].title == "digits goes on by itself"


@pytest.mark.parametrize("mode", [AutoResume.ASK, AutoResume.OFF])
async def test_nothing_starts_by_itself_unless_auto(tmp_path: Path, mode: AutoResume) -> None:
    world = a_world(tmp_path, replace(AUTO, auto_resume=mode))
    dies(world)
    await look(world)
    assert world.launches() == []
    actions = [button.action for button in told(world).buttons]
    assert actions == ([ActionId.RESUME_RUN] if mode is AutoResume.ASK else [])


async def test_ask_is_answered_by_people_on_call_once(tmp_path: Path) -> None:
    world = a_world(tmp_path, replace(AUTO, auto_resume=AutoResume.ASK))
    dies(world)
    word = StartWord.parse(told(world).buttons[0].value)
    assert (word.run, word.attempt) == (RUN, 1)
    with pytest.raises(CommandError, match="not-on-call"):
        await world.operations.perform(ResumeRun(run=word.run, user=MALLORY, attempt=word.attempt))
    await world.operations.perform(ResumeRun(run=word.run, user=ALICE, attempt=word.attempt))
    with pytest.raises(CommandError, match="busy"):
        await world.operations.perform(ResumeRun(run=word.run, user=BOB, attempt=word.attempt))
    await world.operations.settle()
    assert len(world.launches()) == 1
    dies(world)
    with pytest.raises(CommandError, match="said-before"):
        await world.operations.perform(ResumeRun(run=word.run, user=BOB, attempt=word.attempt))
    assert len(world.launches()) == 1


async def test_resume_pressed_while_auto_does_it_is_one_start(world: PaperWorld) -> None:
    dies(world)
    await notice(world)
    with pytest.raises(CommandError, match="busy"):
        await world.operations.perform(ResumeRun(run=RUN, user=ALICE))
    await world.operations.settle()
    assert len(world.launches()) == 1


async def test_auto_leaves_alone_what_a_person_resumes(world: PaperWorld) -> None:
    dies(world)
    await world.operations.perform(ResumeRun(run=RUN, user=ALICE))
    await notice(world)
    await world.operations.settle()
    assert len(world.launches()) == 1
    assert starts(world) == []


async def test_stop_now_during_the_pause_prevents_the_start(tmp_path: Path) -> None:
    world = a_world(tmp_path, replace(AUTO, pause_s=30.0))
    dies(world)
    await notice(world)
    await world.operations.perform(StopNow(run=RUN, user=ALICE))
    await world.operations.settle()
    assert world.launches() == []
    assert starts(world)[0].state is OperationState.ABORTED
    await look(world)
    assert world.launches() == [], "nor at the next look"


async def test_start_by_hand_during_the_pause_is_left_alone(tmp_path: Path) -> None:
    world = a_world(tmp_path, replace(AUTO, pause_s=0.1))
    dies(world)
    await notice(world)
    world.run.write_record(world.driver.spawn(), attempt=2, level="standard", state="running")
    await world.operations.settle()
    assert world.launches() == []
    assert starts(world)[0].state is OperationState.VOIDED


async def test_three_starts_for_one_cause_then_people_are_asked(world: PaperWorld) -> None:
    for _ in range(8):
        dies(world)
        await look(world)
    assert len(starts(world)) == 3
    assert [one.note("pause_s") for one in starts(world)] == ["0.001", "0.006", "0.036"]
    found = told(world)
    assert found.severity is Severity.CRITICAL
    assert found.buttons[0].action is ActionId.RESUME_RUN
    assert "resumed 3 times for the same cause" in found.body[0]


async def test_start_that_dies_before_it_is_confirmed_counts_and_calls_nobody(world: PaperWorld) -> None:
    world.runs.dies_after_sign_in = True
    dies(world)
    for _ in range(8):
        await look(world)
    assert len(world.launches()) == 3
    assert {one.state for one in starts(world)} == {OperationState.UNDONE}
    assert not [key for key in world.outbox.versions if key.endswith("/human")]
    assert told(world).severity is Severity.CRITICAL


async def test_causes_that_take_turns_are_one_fault_that_is_not_known(world: PaperWorld) -> None:
    for turn in range(20):
        if turn % 2:
            crashes(world, f"RuntimeError: CUDA error: {turn}")
        else:
            dies(world)
        await look(world)
    assert len(starts(world)) == 6


async def test_finished_epoch_between_begins_the_count_anew(world: PaperWorld) -> None:
    for turn in range(5):
        dies(world)
        await look(world)
        world.runs.epochs_done[turn + 2] = 5 + turn
    assert len(starts(world)) == 5


async def test_the_same_epoch_finished_again_is_no_progress(world: PaperWorld) -> None:
    for turn in range(6):
        dies(world)
        await look(world)
        world.runs.epochs_done[turn + 2] = 4
    assert len(starts(world)) == 3


async def test_the_very_same_fault_a_second_time_is_asked(world: PaperWorld) -> None:
    for _ in range(3):
        crashes(world, "RuntimeError: CUDA error: an illegal memory access was encountered")
        await look(world)
    assert len(starts(world)) == 1
    assert "very same fault" in told(world).body[0]


@pytest.mark.parametrize("error", ["TypeError: x", "RuntimeError: odd", "OutOfMemoryError: CUDA out of memory"])
async def test_what_comes_again_or_is_not_known_starts_nothing(world: PaperWorld, error: str) -> None:
    crashes(world, error)
    await look(world)
    assert world.launches() == []


@pytest.mark.parametrize(
    ("record", "asked"), [("stopped", False), ("gave_up", False), ("refused", False), ("finished", False)]
)
async def test_the_trainers_own_word_is_a_persons_to_answer(world: PaperWorld, record: str, asked: bool) -> None:
    dies(world, signum=None)
    replace_json(world.run.layout.run_json, {**world.run.record(), "state": record})
    await look(world)
    assert world.launches() == []
    assert bool(told(world).buttons) is asked


async def test_run_that_this_bot_never_saw_at_work_is_asked_about(tmp_path: Path) -> None:
    world = PaperWorld(tmp_path, limits=replace(FAST, going_on=AUTO))
    world.start_run()
    dies(world)
    await look(world)
    assert world.launches() == []
    assert "did not see" in told(world).body[0]


async def test_run_that_died_long_ago_is_left_alone(tmp_path: Path) -> None:
    world = PaperWorld(tmp_path, limits=replace(FAST, going_on=replace(AUTO, max_age_s=86_400.0)))
    world.start_run()
    dies(world)
    assert told(world).buttons == ()


async def test_next_bot_knows_what_the_one_before_saw(tmp_path: Path) -> None:
    world = a_world(tmp_path, AUTO)
    world.operations = world.new_operations()
    dies(world)
    await look(world)
    assert len(world.launches()) == 1


async def test_next_bot_whose_clock_is_far_behind_waits_until_it_is_right(tmp_path: Path) -> None:
    """As after a power cut, of a host that has forgotten the year: how old the death is can't be told."""
    world = a_world(tmp_path, replace(AUTO, max_age_s=86_400.0))
    world.operations = world.new_operations()
    dies(world)
    world.clock.ts = -40 * 86_400.0
    await look(world)
    assert world.launches() == []
    world.clock.ts = 60.0
    await look(world)
    assert len(world.launches()) == 1


async def test_clock_that_jumps_neither_stops_nor_doubles_a_start(tmp_path: Path) -> None:
    world = a_world(tmp_path, replace(AUTO, max_age_s=86_400.0))
    for jump_s in (400 * 86_400.0, -800 * 86_400.0):
        world.clock.ts += jump_s
        dies(world)
        await look(world)
    assert len(world.launches()) == 2


async def test_silenced_run_is_left_alone(world: PaperWorld) -> None:
    world.looks.deaths.silenced = lambda run, _: run == RUN
    await notice(world)
    dies(world)
    await look(world)
    assert world.launches() == []
    assert told(world).buttons == ()


async def test_run_that_was_to_be_stopped_is_left_alone(world: PaperWorld) -> None:
    await world.operations.perform(StopAfterEpoch(run=RUN, user=ALICE))
    dies(world)
    await world.operations.tick(world.clock.now())
    await look(world)
    assert world.launches() == []


async def test_run_that_a_person_resumes_later_is_left_alone(world: PaperWorld) -> None:
    dies(world)
    await world.operations.perform(ResumeLater(run=RUN, user=ALICE, due_ts=world.clock.now() + 3600))
    await look(world)
    assert world.launches() == []


async def test_run_with_an_open_question_is_left_alone(world: PaperWorld) -> None:
    await world.ask()
    dies(world)
    await look(world)
    assert world.launches() == []


async def test_run_that_a_person_stopped_is_left_alone(world: PaperWorld) -> None:
    world.driver.deaf.add(4000)
    await world.operations.perform(StopNow(run=RUN, user=ALICE))
    await world.operations.settle()
    await look(world)
    assert world.launches() == []


async def test_run_under_another_bots_lease_is_left_alone(world: PaperWorld) -> None:
    dies(world)
    world.runs.watched_only = "another bot acts on it"
    await notice(world)
    await world.operations.settle()
    assert world.launches() == []


async def test_start_of_a_dead_bot_is_finished_by_the_next_one(world: PaperWorld) -> None:
    owner = world.driver.spawn()
    world.operations.instance = owner
    world.operations.__post_init__()
    await notice(world)
    dies(world)
    await notice(world)
    await world.operations.close()
    world.driver.kill(owner.pid)
    world.operations = world.new_operations()
    await world.operations.recover()
    await world.operations.settle()
    assert len(world.launches()) == 1
    assert starts(world)[0].state is OperationState.DONE


def _intent(world: PaperWorld) -> Intent | None:
    return world.intents.get(RUN, IntentKind.SEEN_AT_WORK)


async def test_only_auto_remembers_what_it_saw(tmp_path: Path) -> None:
    asking = a_world(tmp_path / "ask", replace(AUTO, auto_resume=AutoResume.ASK))
    assert _intent(asking) is None
    assert _intent(a_world(tmp_path / "auto", AUTO)) is not None
