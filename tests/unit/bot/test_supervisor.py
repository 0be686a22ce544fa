"""One tick: every run is looked at, whatever the others do."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bot.checks import CheckLimits
from bot.core.facts import ProcessFact, ProcessIdentity, ProcessStatus
from bot.core.finding import Finding
from bot.core.view import RunView
from bot.errors import StoreError
from bot.reading.run_files import RunReader, find_runs
from bot.supervisor import Supervisor
from tests.fakes import FakeClock
from tests.run_dirs import START_TS, WrittenRun


@dataclass
class Sink:
    looks: list[tuple[str, tuple[str, ...], frozenset[str]]] = field(default_factory=list)
    faults: int = 0

    def process(self, view: RunView, findings: Sequence[Finding], unjudged: frozenset[str], now: float) -> None:
        if self.faults:
            self.faults -= 1
            raise StoreError("state-database", "it is locked.")
        self.looks.append((view.name, tuple(one.check for one in findings), unjudged))


class Inspector:
    def __init__(self, status: ProcessStatus = ProcessStatus.ALIVE) -> None:
        self.status = status

    def inspect(self, process: ProcessIdentity) -> ProcessFact:
        return ProcessFact(status=self.status, ts=START_TS)


class Operations:
    def __init__(self) -> None:
        self.held_runs: set[str] = set()
        self.noticed: list[str] = []

    def held(self, run: str) -> bool:
        return run in self.held_runs

    def findings(self, run: str) -> tuple[Finding, ...]:
        return ()

    def notice(self, view: RunView) -> None:
        self.noticed.append(view.name)


@dataclass
class World:
    supervisor: Supervisor
    sink: Sink
    inspector: Inspector
    operations: Operations
    clock: FakeClock


@pytest.fixture
def world(tmp_path: Path) -> World:
    sink, inspector, operations, clock = Sink(), Inspector(), Operations(), FakeClock(START_TS + 10)
    supervisor = Supervisor(
        find_runs=lambda: find_runs(tmp_path),
        open_reader=lambda path: RunReader(path, first_seen_ts=START_TS),
        inspector=inspector,
        sink=sink,
        operations=operations,
        limits=CheckLimits(),
        clock=clock,
    )
    return World(supervisor, sink, inspector, operations, clock)


async def test_every_run_is_looked_at_once_a_tick(world: World, tmp_path: Path) -> None:
    WrittenRun(tmp_path, "one")
    WrittenRun(tmp_path, "two")
    await world.supervisor.tick()
    assert sorted(name for name, _, _ in world.sink.looks) == ["one", "two"]
    assert world.supervisor.last_tick_ts == START_TS + 10


async def test_a_run_that_hangs_does_not_keep_the_others_waiting(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    WrittenRun(tmp_path, "healthy")
    WrittenRun(tmp_path, "hanging")
    release = threading.Event()
    read = RunReader.read

    def hang(self: RunReader, now: float) -> RunView:
        if self.layout.name == "hanging":
            release.wait(10)
        return read(self, now)

    monkeypatch.setattr(RunReader, "read", hang)
    monkeypatch.setattr("bot.supervisor.READ_TIMEOUT_S", 0.2)
    try:
        await asyncio.wait_for(world.supervisor.tick(), 5)
        assert [name for name, _, _ in world.sink.looks] == ["healthy"]
    finally:
        release.set()


async def test_a_check_that_raises_is_told_and_leaves_its_conditions_unjudged(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bot import checks, supervisor

    def broken(view: RunView, limits: CheckLimits, now: float) -> tuple[Finding, ...]:
        raise ZeroDivisionError

    replaced = (checks.Check(conditions=("nonfinite",), look=broken), *checks.CHECKS[2:])
    monkeypatch.setattr(supervisor, "CHECKS", replaced)
    WrittenRun(tmp_path, "one")
    await world.supervisor.tick()
    ((_, found, unjudged),) = world.sink.looks
    assert "check_failed" in found
    assert unjudged == {"nonfinite"}


async def test_findings_that_could_not_be_stored_are_found_again(world: World, tmp_path: Path) -> None:
    written = WrittenRun(tmp_path, "one")
    written.bad_batch(1, 3, 5)
    world.sink.faults = 1
    await world.supervisor.tick()
    assert world.sink.looks == []
    await world.supervisor.tick()
    assert "nonfinite" in world.sink.looks[0][1]


async def test_a_death_on_purpose_is_not_alarmed(world: World, tmp_path: Path) -> None:
    written = WrittenRun(tmp_path, "one")
    world.inspector.status = ProcessStatus.GONE
    world.operations.held_runs.add(written.run)
    await world.supervisor.tick()
    assert "process_died" not in world.sink.looks[-1][1]
    assert "process_died" in world.sink.looks[-1][2]
    world.operations.held_runs.clear()
    await world.supervisor.tick()
    assert "process_died" in world.sink.looks[-1][1]


async def test_runs_at_work_come_first_then_the_newest(world: World, tmp_path: Path) -> None:
    from trainer.contract import RunRecordState

    WrittenRun(tmp_path, "ended").record(state=RunRecordState.FINISHED, updated_ts=START_TS + 999)
    WrittenRun(tmp_path, "older").beat(10, epoch=1, batch=1)
    WrittenRun(tmp_path, "newer").beat(20, epoch=1, batch=1)
    await world.supervisor.tick()
    assert [view.name for view in world.supervisor.all()] == ["newer", "older", "ended"]


async def test_a_run_directory_that_was_deleted_is_unreadable_not_dead(world: World, tmp_path: Path) -> None:
    import shutil

    written = WrittenRun(tmp_path, "one")
    await world.supervisor.tick()
    shutil.rmtree(written.layout.root)
    await world.supervisor.tick()
    assert world.supervisor.find("one") is not None
    assert "process_died" not in world.sink.looks[-1][1]


async def test_refresh_reads_anew(world: World, tmp_path: Path) -> None:
    written = WrittenRun(tmp_path, "one")
    await world.supervisor.tick()
    written.beat(15, epoch=2, batch=7)
    view = await world.supervisor.refresh(written.run)
    assert view is not None
    assert view.beat is not None
    assert view.beat.batch == 7


async def test_operations_notice_every_look_even_when_nothing_could_be_stored(world: World, tmp_path: Path) -> None:
    WrittenRun(tmp_path, "one")
    world.sink.faults = 1
    await world.supervisor.tick()
    await world.supervisor.tick()
    assert world.operations.noticed == ["one", "one"]
