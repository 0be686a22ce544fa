"""What comes out between a death and the start that follows it by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.bot.operations.going_on.test_continuation import (
    AUTO,
    a_world,
    crashes,
    dies,
    look,
    notice,
    starts,
    starts_once_there_is_space,
    told,
)
from tests.unit.bot.operations.paper import FAST, PaperWorld
from tests.unit.bot.operations.paper_run import RUN
from trainmaster.bot.core.decisions.gate import GateCheck
from trainmaster.bot.core.decisions.going_on import CAUSE, ROOT, AutoResume, SecondThought
from trainmaster.bot.core.decisions.operation import WAITS, OperationState, Step
from trainmaster.bot.core.run.death import DeathCause, death_of
from trainmaster.bot.core.run.facts import ProcessFact, ProcessStatus, RunRecord
from trainmaster.trainer.contract import RunLayout, replace_json


def _gave_up(world: PaperWorld) -> None:
    replace_json(world.run.layout.run_json, {**world.run.record(), "state": "gave_up"})


def _finished(world: PaperWorld) -> None:
    replace_json(world.run.layout.run_json, {**world.run.record(), "state": "finished"})


def _silenced(world: PaperWorld) -> None:
    world.looks.deaths.silenced = lambda run, _: run == RUN


def _odd(world: PaperWorld) -> None:
    crashes(world, "RuntimeError: odd")


def _code(world: PaperWorld) -> None:
    crashes(world, "KeyError: 'nc'")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        (_gave_up, "its guard gave up"),
        (_code, "comes again"),
        (_odd, "nobody can tell from its last error"),
        (_finished, "has finished"),
        (_silenced, "silenced"),
    ],
)
async def test_what_comes_out_during_the_pause_prevents_the_start(
    tmp_path: Path, changes: Callable[[PaperWorld], None], why: str
) -> None:
    """A record on a network disk may come seconds after the death that it explains."""
    world = a_world(tmp_path, replace(AUTO, pause_s=0.1))
    dies(world)
    await notice(world)
    changes(world)
    await world.operations.settle()
    assert world.launches() == []
    (operation,) = starts(world)
    assert operation.state is OperationState.VOIDED
    assert why in operation.problem
    await look(world)
    assert world.launches() == [], "nor at the next look"


@pytest.mark.parametrize(("mode", "buttons"), [(AutoResume.ASK, 1), (AutoResume.OFF, 0)])
async def test_start_that_waits_is_not_made_by_a_bot_that_starts_nothing_by_itself(
    tmp_path: Path, mode: AutoResume, buttons: int
) -> None:
    """Somebody has changed AUTO_RESUME and restarted the bot meanwhile."""
    world = a_world(tmp_path, replace(AUTO, pause_s=0.1))
    dies(world)
    world.operations.instance = owner = world.driver.spawn()
    world.operations.__post_init__()
    await notice(world)
    await world.operations.close()
    world.driver.kill(owner.pid)
    world.with_limits(going_on=replace(AUTO, auto_resume=mode))
    await world.operations.recover()
    await look(world)
    assert world.launches() == []
    assert starts(world)[0].state is OperationState.VOIDED
    assert starts(world)[0].problem == f"run digits is not started by itself after all: AUTO_RESUME is {mode} now."
    assert len(told(world).buttons) == buttons


async def test_run_that_is_moved_during_the_pause_is_started_where_it_lies(tmp_path: Path) -> None:
    world = a_world(tmp_path, replace(AUTO, pause_s=0.05))
    dies(world)
    await notice(world)
    world.run.directory.rename(moved := world.run.directory.with_name("moved"))
    world.run.directory, world.run.layout = moved, RunLayout(moved)
    await world.operations.settle()
    assert world.launches() == []
    await look(world)
    (launch,) = world.launches()
    assert f"resume {moved}" in launch


async def test_transient_cause_that_turns_out_to_be_another_one_is_one_start(tmp_path: Path) -> None:
    world = a_world(tmp_path, replace(AUTO, pause_s=0.1))
    dies(world)
    await notice(world)
    crashes(world, "RuntimeError: CUDA error: an illegal memory access was encountered")
    await world.operations.settle()
    await look(world)
    assert len(world.launches()) == 1


async def late(world: PaperWorld, error: str) -> None:
    """It dies, and only during the pause that follows does its record show of what."""
    dies(world)
    await notice(world)
    crashes(world, error)
    await world.operations.settle()
    await world.runs.refresh(RUN)


ILLEGAL = "RuntimeError: CUDA error: an illegal memory access was encountered"


async def test_cause_that_comes_out_during_the_pause_is_the_one_that_counts(tmp_path: Path) -> None:
    world = a_world(tmp_path, replace(AUTO, pause_s=0.1))
    await late(world, ILLEGAL)
    (start,) = starts(world)
    assert (start.note(CAUSE), start.note(ROOT)) == ("device", "device")
    await late(world, ILLEGAL)
    assert len(world.launches()) == 1
    assert "very same fault in the very same place" in starts(world)[-1].problem


async def test_no_root_is_started_more_than_three_times_however_late_it_comes_out(tmp_path: Path) -> None:
    world = a_world(tmp_path, replace(AUTO, pause_s=0.05))
    for number in range(4):
        await late(world, f"RuntimeError: CUDA error: fault {'abcd'[number]}")
    for number in range(4):
        crashes(world, f"RuntimeError: CUDA error: fault {'efgh'[number]}")
        await look(world)
    assert len(world.launches()) == 3


async def test_disk_that_turns_out_to_have_been_full_is_waited_for(tmp_path: Path) -> None:
    world = a_world(tmp_path, replace(AUTO, pause_s=0.1))
    world.gate.close(GateCheck.DISK, "the disk has 0.1 GiB free, the next states want 3.0 GiB")
    dies(world)
    await notice(world)
    crashes(world, "OSError: [Errno 28] No space left on device")
    await starts_once_there_is_space(world)


async def test_job_that_its_cluster_forgets_during_the_pause_is_no_other_cause(tmp_path: Path) -> None:
    world = a_world(tmp_path, replace(AUTO, pause_s=0.1))
    dies(world)
    await notice(world)
    start, view = world.operations.open(RUN), world.runs.all()[0]
    assert start is not None
    record = RunRecord.parse({**world.run.record(), "job": {"id": "3"}})
    forgotten = replace(view, record=record, process=ProcessFact(status=ProcessStatus.GONE, ts=0.0))
    death = death_of(forgotten)
    assert death is not None
    assert death.cause is DeathCause.UNKNOWN
    assert world.looks.deaths.think_again(forgotten, start) == SecondThought()
    await world.operations.settle()


async def test_what_a_step_waited_for_is_not_said_once_that_is_there(tmp_path: Path) -> None:
    world = a_world(tmp_path, AUTO, replace(FAST, first_batch_timeout_s=60.0))
    world.runs.stuck = True  # no batch comes, so that it is seen to
    dies(world)
    await notice(world)
    said: list[str] = []
    while "" not in said[1:]:
        await asyncio.sleep(0.002)
        operation = world.operations.open(RUN)
        assert operation is not None
        waits = operation.note(WAITS) or ""
        if operation.step is Step.CONFIRM and said[-1:] != [waits]:
            said.append(waits)
        world.driver.mute = said == [""]
    assert said == ["", "no answer", ""]
    world.runs.stuck = False
    await world.operations.settle()
