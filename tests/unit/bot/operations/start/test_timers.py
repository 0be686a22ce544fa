"""A resume for later survives restarts, happens once, and gives way to what people do meanwhile."""

from __future__ import annotations

import pytest

from tests.unit.bot.operations.paper import BOB, MALLORY, PaperWorld
from tests.unit.bot.operations.paper_run import RUN
from trainmaster.bot.core.conversation.message import Tone
from trainmaster.bot.core.conversation.tokens import moment, person
from trainmaster.bot.core.decisions.operation import BOT, IntentKind
from trainmaster.bot.core.decisions.order import PauseRun, ResumeLater, ResumeRun, StopNow
from trainmaster.bot.errors import CommandError
from trainmaster.bot.operations.start.timers import SETTLES_S
from trainmaster.trainer.contract import replace_json

HOUR_S = 3600.0


async def pause(world: PaperWorld, seconds: float | None = HOUR_S) -> str:
    until = None if seconds is None else world.clock.now() + seconds
    reply = await world.operations.perform(PauseRun(run=RUN, user=BOB, until_ts=until))
    await world.operations.settle()
    assert not reply.private
    return " ".join(reply.message.body)


async def pass_s(world: PaperWorld, seconds: float) -> None:
    world.clock.ts += seconds
    await world.operations.tick(world.clock.now())
    await world.operations.settle()


async def test_a_paused_run_is_stopped_and_goes_on_at_its_time_once(world: PaperWorld) -> None:
    due_ts = world.clock.now() + HOUR_S
    assert f"It will be resumed {moment(due_ts)}." in await pause(world)
    assert len(world.signals()) == 1
    await pass_s(world, HOUR_S - 1)
    assert world.launches() == []
    assert any("it will be resumed" in line for line in world.operations.planned(RUN))
    await pass_s(world, 2)
    assert len(world.launches()) == 1
    await pass_s(world, HOUR_S)
    assert len(world.launches()) == 1
    assert world.operations.planned(RUN) == ()


async def test_a_pause_without_an_end_waits_for_somebody(world: PaperWorld) -> None:
    assert "/train resume goes on." in await pause(world, None)
    await pass_s(world, 30 * HOUR_S)
    assert world.launches() == []


async def test_a_resume_for_later_survives_the_bot(world: PaperWorld) -> None:
    await pause(world)
    world.instance_pid = 2
    world.operations = world.new_operations()
    await pass_s(world, HOUR_S + 1)
    assert len(world.launches()) == 1


async def test_stop_now_takes_it_back(world: PaperWorld) -> None:
    await pause(world)
    reply = await world.operations.perform(StopNow(run=RUN, user=BOB))
    await world.operations.settle()
    assert "The resume that was planned for it is taken back." in reply.message.body
    await pass_s(world, 2 * HOUR_S)
    assert world.launches() == []


async def test_a_resume_before_its_time_takes_the_planned_one_back_which_is_told_and_on_record(
    world: PaperWorld,
) -> None:
    await pause(world)
    reply = await world.operations.perform(ResumeRun(run=RUN, user=BOB))
    assert "is taken back" in reply.message.body[0]
    await world.operations.settle()
    assert world.intents.all(IntentKind.RESUME_AT) == ()
    assert world.operations.planned(RUN) == ()
    (key,) = [key for key in world.outbox.versions if "/resume_at/" in key]
    assert "is taken back" in world.outbox.last(key).title
    assert world.outbox.last(key).body[0] == f"{person(BOB)} resumed it before."
    assert (BOB, "resume.plan_dropped") in world.audit.entries
    await pass_s(world, HOUR_S + 1)
    assert len(world.launches()) == 1


@pytest.mark.parametrize("how", ["went on by hand", "does not stop"])
async def test_a_run_that_is_at_work_before_its_time_is_not_said_to_be_resumed(world: PaperWorld, how: str) -> None:
    await pause(world)
    attempt = 2 if how == "went on by hand" else 1
    world.run.write_record(world.driver.spawn(), attempt=attempt, level="standard", state="running")
    assert not any("will be resumed" in line for line in world.operations.planned(RUN))
    await pass_s(world, SETTLES_S)
    assert world.intents.all(IntentKind.RESUME_AT) == ()
    (key,) = [key for key in world.outbox.versions if "/resume_at/" in key]
    assert "is taken back" in world.outbox.last(key).title
    assert (BOT, "resume.plan_dropped") in world.audit.entries
    await pass_s(world, HOUR_S + 1)
    assert world.launches() == []


async def test_what_is_answered_to_a_pause_stays_true_when_it_is_over(world: PaperWorld) -> None:
    until_ts = world.clock.now() + HOUR_S
    reply = await world.operations.perform(PauseRun(run=RUN, user=BOB, until_ts=until_ts))
    assert reply.message.title == f"digits: a pause until {moment(until_ts)} was asked for"
    assert reply.message.tone is Tone.NEUTRAL


async def test_a_stopped_run_is_resumed_later_and_a_newer_time_replaces_an_older(world: PaperWorld) -> None:
    await pause(world, None)
    for hours in (1, 3):
        due_ts = world.clock.now() + hours * HOUR_S
        reply = await world.operations.perform(ResumeLater(run=RUN, user=BOB, due_ts=due_ts))
        assert reply.message.title == f"digits will be resumed {moment(due_ts)}"
    await pass_s(world, 2 * HOUR_S)
    assert world.launches() == []
    await pass_s(world, HOUR_S + 1)
    assert len(world.launches()) == 1


@pytest.mark.parametrize(
    ("user", "ahead_s", "words"),
    [
        (MALLORY, HOUR_S, "only people on call"),
        (BOB, HOUR_S, "/train pause until|run digits is"),
    ],
)
async def test_a_resume_for_later_of_a_run_at_work_or_by_others_is_refused(
    world: PaperWorld, user: str, ahead_s: float, words: str
) -> None:
    due_ts = world.clock.now() + ahead_s
    with pytest.raises(CommandError, match=words):
        await world.operations.perform(ResumeLater(run=RUN, user=user, due_ts=due_ts))
    assert world.intents.all(IntentKind.RESUME_AT) == ()


async def test_a_run_that_has_finished_is_not_promised_to_be_resumed(world: PaperWorld) -> None:
    await pause(world, None)
    replace_json(world.run.layout.run_json, {**world.run.record(), "state": "finished"})
    with pytest.raises(CommandError, match="run digits has finished"):
        await world.operations.perform(ResumeLater(run=RUN, user=BOB, due_ts=world.clock.now() + HOUR_S))
    assert world.intents.all(IntentKind.RESUME_AT) == ()


@pytest.mark.parametrize("ahead_s", [-1.0, 0.0, 31 * 86_400.0])
async def test_a_time_in_the_past_or_far_away_is_refused_and_nothing_is_stopped(
    world: PaperWorld, ahead_s: float
) -> None:
    with pytest.raises(CommandError, match="not within the next 30 days"):
        await pause(world, ahead_s)
    assert world.signals() == []
