"""A run whose directory was copied or moved is one run, watched where it goes on."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.clocks import SetClock
from tests.support.run_dirs import START_TS, WrittenRun
from tests.unit.bot.watching.test_supervisor import Inspector, Operations, Sink, World, supervisor_of
from trainmaster.bot.checks import CheckLimits
from trainmaster.bot.core.run.facts import ProcessStatus
from trainmaster.bot.reading.run_files import RunReader, find_runs
from trainmaster.bot.watching.look import Looker
from trainmaster.bot.watching.supervisor import Supervisor
from trainmaster.trainer.contract import RunLayout, read_json, replace_json


@pytest.fixture
def world(tmp_path: Path) -> World:
    sink, inspector, operations, clock = Sink(), Inspector(), Operations(), SetClock(START_TS + 10)
    supervisor = supervisor_of(tmp_path, sink, inspector, operations, clock, 60)
    return World(supervisor, sink, inspector, operations, clock)


async def test_copy_of_a_run_is_not_the_run(world: World, tmp_path: Path) -> None:
    """People copy a directory before they try something: its heartbeat stands still for good."""
    written = WrittenRun(tmp_path, "night")
    written.beat(5, epoch=1, batch=3)
    await world.supervisor.tick()
    shutil.copytree(tmp_path / "night", tmp_path / "a copy")
    world.clock.ts += 3000
    written.beat(3005, epoch=1, batch=90)
    world.sink.looks.clear()
    for _ in range(2):
        await world.supervisor.tick()
    assert world.sink.looks == [("night", (), frozenset())] * 2
    assert [view.name for view in world.supervisor.all()] == ["night"]
    assert world.supervisor.oldest_check_ts() == world.clock.ts


@pytest.mark.parametrize("first", ["copy", "night"])
async def test_next_bot_watches_what_is_ahead_of_its_copy(world: World, tmp_path: Path, first: str) -> None:
    written = WrittenRun(tmp_path, "night")
    written.beat(5, epoch=1, batch=3)
    shutil.copytree(tmp_path / "night", tmp_path / "copy")
    written.beat(8, epoch=1, batch=9)
    world.inspector.status = ProcessStatus.GONE
    for name in (first, "copy", "night"):
        await world.supervisor.check(tmp_path / name)
    assert [view.name for view in world.supervisor.all()] == ["night"]


async def test_copy_that_went_on_is_the_run(world: World, tmp_path: Path) -> None:
    WrittenRun(tmp_path, "night").beat(5, epoch=1, batch=3)
    world.inspector.status = ProcessStatus.GONE
    await world.supervisor.tick()
    shutil.copytree(tmp_path / "night", tmp_path / "other")
    run_json = RunLayout(tmp_path / "other").run_json
    replace_json(run_json, {**(read_json(run_json) or {}), "attempt": 2})
    for _ in range(2):
        await world.supervisor.tick()
        assert [(view.name, view.attempt) for view in world.supervisor.all()] == [("other", 2)]


async def test_copy_that_trains_beside_its_run_is_told(world: World, tmp_path: Path) -> None:
    WrittenRun(tmp_path, "night").beat(5, epoch=1, batch=3)
    await world.supervisor.tick()
    shutil.copytree(tmp_path / "night", tmp_path / "copy")
    await world.supervisor.tick()  # nothing here tells whose the process is
    ((place, fault),) = world.supervisor.take_look_faults()
    assert place == str(tmp_path / "copy")
    assert fault is not None
    assert f"trains under the id of the run in {tmp_path / 'night'}" in fault
    assert [view.name for view in world.supervisor.all()] == ["night"]


async def test_place_of_a_stranger_never_is_the_run(world: World, tmp_path: Path) -> None:
    """Anybody may write another run's id, and a later attempt, into a folder of his own."""
    WrittenRun(tmp_path, "night").beat(5, epoch=1, batch=3)
    world.inspector.status = ProcessStatus.GONE
    shutil.copytree(tmp_path / "night", tmp_path / "a stranger's")
    run_json = RunLayout(tmp_path / "a stranger's").run_json
    replace_json(run_json, {**(read_json(run_json) or {}), "attempt": 99})
    supervisor = Supervisor(
        find_runs=lambda: find_runs(tmp_path),
        open_reader=lambda path: RunReader(path, first_seen_ts=START_TS),
        looker=Looker(
            inspector=world.inspector,
            limits=CheckLimits(),
            clock=world.clock,
            hands_off=lambda place: "owned by uid 1000" if "stranger" in place.name else "",
        ),
        sink=world.sink,
    )
    for _ in range(3):
        await supervisor.tick()
        assert [view.name for view in supervisor.all()] == ["night"]


async def test_run_that_was_moved_is_where_it_is_now(world: World, tmp_path: Path) -> None:
    written = WrittenRun(tmp_path, "night")
    written.beat(5, epoch=1, batch=3)
    world.inspector.status = ProcessStatus.GONE
    await world.supervisor.tick()
    (tmp_path / "night").rename(tmp_path / "renamed")
    await world.supervisor.tick()
    world.clock.ts += 3000
    await world.supervisor.tick()
    assert [view.name for view in world.supervisor.all()] == ["renamed"]
    assert world.sink.looks[-1] == ("renamed", ("process_died",), frozenset())
    view = await world.supervisor.refresh(written.run)
    assert view is not None
    assert view.directory == tmp_path / "renamed"
    assert world.supervisor.oldest_check_ts() == world.clock.ts, "nobody waits for the place that is gone"
