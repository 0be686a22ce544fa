"""Which runs operations concern, asked once for all of them, and which they leave alone."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.bot.operations.paper import ALICE, FAST, PaperWorld
from tests.unit.bot.operations.paper_run import RUN
from trainmaster.bot.core.decisions.going_on import AutoResume
from trainmaster.bot.core.decisions.operation import BOT, Intent, IntentKind
from trainmaster.bot.core.decisions.order import ProposeRollback, StopNow
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.operations.limits import GoingOnLimits


def a_world(folder: Path, mode: AutoResume = AutoResume.ASK) -> PaperWorld:
    going_on = GoingOnLimits(auto_resume=mode, pause_s=0.001, max_age_s=1e12)
    world = PaperWorld(folder, limits=replace(FAST, going_on=going_on))
    world.start_run()
    world.looks.notice(world.runs.all()[0])
    return world


def intent(kind: IntentKind) -> Intent:
    return Intent(run=RUN, kind=kind, attempt=1, epoch=2, user=BOT, why="1", channel=None, thread_of=None, ts=1.0)


def test_a_run_about_which_nothing_is_asked_or_planned_concerns_nobody(tmp_path: Path) -> None:
    assert a_world(tmp_path).looks.concerned() == frozenset()


@pytest.mark.parametrize(
    "kind",
    [IntentKind.STOP_AFTER_EPOCH, IntentKind.CHANGE, IntentKind.RESUME_AT, IntentKind.ROLL_BACK_AFTER_EPOCH],
)
def test_a_run_with_something_planned_is_concerned_until_that_is_dropped(tmp_path: Path, kind: IntentKind) -> None:
    world = a_world(tmp_path)
    world.looks.books.intents.put(intent(kind))
    assert world.looks.concerned() == {RUN}
    world.looks.books.intents.drop(RUN, kind)
    assert world.looks.concerned() == frozenset()


@pytest.mark.parametrize("kind", [IntentKind.CONTINUE, IntentKind.STORM_TOLD, IntentKind.SEEN_AT_WORK])
def test_what_is_only_remembered_concerns_nobody(tmp_path: Path, kind: IntentKind) -> None:
    world = a_world(tmp_path)
    world.looks.books.intents.put(intent(kind))
    assert world.looks.concerned() == frozenset()


async def test_a_run_is_concerned_while_people_are_asked_about_it(tmp_path: Path) -> None:
    world = a_world(tmp_path)
    await world.operations.perform(ProposeRollback(run=RUN, user=ALICE, channel=None))
    assert world.looks.concerned() == {RUN}


async def test_a_run_is_concerned_while_an_operation_is_under_way(tmp_path: Path) -> None:
    world = a_world(tmp_path)
    world.with_limits(stop_grace_s=60.0, stop_grace_max_s=60.0)
    trainer = int(str(world.run.record()["pid"]))
    world.driver.deaf.add(trainer)
    await world.operations.perform(StopNow(run=RUN, user=ALICE, channel=None))
    assert world.looks.concerned() == {RUN}
    world.driver.kill(trainer, signum=signal.SIGKILL)
    await world.operations.settle()
    assert world.looks.concerned() == frozenset()


async def dead(world: PaperWorld) -> RunView:
    world.driver.kill(int(str(world.run.record()["pid"])), signum=signal.SIGKILL)
    view = await world.runs.refresh(RUN)
    assert view is not None
    return view


async def test_a_run_that_is_about_to_be_started_again_by_itself_is_not_left_alone(tmp_path: Path) -> None:
    world = a_world(tmp_path, AutoResume.AUTO)
    assert not world.looks.leaves_alone(await dead(world))


async def test_a_run_that_people_were_asked_to_resume_is_left_alone(tmp_path: Path) -> None:
    world = a_world(tmp_path)
    assert world.looks.leaves_alone(await dead(world))
