"""One tick: every run is looked at, whatever the others do."""

from __future__ import annotations

import asyncio
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.clocks import SetClock
from tests.support.run_dirs import START_TS, WrittenRun
from trainmaster.bot.checks import CheckLimits
from trainmaster.bot.core.alerts.finding import Finding
from trainmaster.bot.core.run.facts import ProcessFact, ProcessIdentity, ProcessStatus
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.errors import StoreError
from trainmaster.bot.reading.run_files import RunReader, find_runs
from trainmaster.bot.watching.look import Looker
from trainmaster.bot.watching.supervisor import Supervisor


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

    def findings(self, view: RunView) -> tuple[Finding, ...]:
        return ()

    def told(self, view: RunView, findings: Sequence[Finding]) -> list[Finding]:
        return list(findings)

    def notice(self, view: RunView) -> None:
        self.noticed.append(view.name)


@dataclass
class World:
    supervisor: Supervisor
    sink: Sink
    inspector: Inspector
    operations: Operations
    clock: SetClock


def supervisor_of(root: Path, sink: Sink, inspector: Inspector, operations: Operations, clock: SetClock, s: float):
    return Supervisor(
        find_runs=lambda: find_runs(root),
        open_reader=lambda path: RunReader(path, first_seen_ts=START_TS),
        looker=Looker(inspector=inspector, limits=CheckLimits(), clock=clock),
        sink=sink,
        operations=operations,
        read_timeout_s=s,
    )


@pytest.fixture
def world(tmp_path: Path) -> World:
    sink, inspector, operations, clock = Sink(), Inspector(), Operations(), SetClock(START_TS + 10)
    supervisor = supervisor_of(tmp_path, sink, inspector, operations, clock, 60)
    return World(supervisor, sink, inspector, operations, clock)


def replace_timeout(world: World, root: Path, timeout_s: float) -> Supervisor:
    return supervisor_of(root, world.sink, world.inspector, world.operations, world.clock, timeout_s)


async def test_every_run_is_looked_at_once_a_tick(world: World, tmp_path: Path) -> None:
    WrittenRun(tmp_path, "one")
    WrittenRun(tmp_path, "two")
    await world.supervisor.tick()
    assert sorted(name for name, _, _ in world.sink.looks) == ["one", "two"]
    assert world.supervisor.last_tick_ts == START_TS + 10


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Runs called "hanging" lie on a dead mount until this is set."""
    release = threading.Event()
    read = RunReader.read

    def hang(self: RunReader, now: float) -> RunView:
        if self.layout.name.startswith("hanging"):
            release.wait(20)
        return read(self, now)

    monkeypatch.setattr(RunReader, "read", hang)
    yield release
    release.set()


async def test_a_run_that_hangs_does_not_keep_the_others_waiting(
    world: World, tmp_path: Path, hanging: threading.Event
) -> None:
    supervisor = replace_timeout(world, tmp_path, 1)
    for name in ("hanging", "hanging too", "healthy"):
        WrittenRun(tmp_path, name)
    for _ in range(3):
        await asyncio.wait_for(supervisor.tick(), 20)
    assert [name for name, _, _ in world.sink.looks] == ["healthy"] * 3


async def test_a_run_whose_mount_died_is_told_and_comes_back(
    world: World, tmp_path: Path, hanging: threading.Event
) -> None:
    supervisor = replace_timeout(world, tmp_path, 1)
    written = WrittenRun(tmp_path, "hanging")
    hanging.set()
    await supervisor.tick()
    hanging.clear()
    await asyncio.wait_for(supervisor.tick(), 10)
    view = supervisor.find("hanging")
    assert view is not None
    assert "is its mount dead?" in view.read_errors[0]
    assert "unreadable" in world.sink.looks[-1][1]
    hanging.set()
    written.beat(15, epoch=2, batch=7)
    async with asyncio.timeout(10):
        while (view := await supervisor.refresh(written.run)) and view.read_errors:  # noqa: ASYNC110
            await asyncio.sleep(0.01)  # until its thread has seen the release
    assert view is not None
    assert view.beat is not None


async def test_a_run_is_refreshed_while_another_hangs(world: World, tmp_path: Path, hanging: threading.Event) -> None:
    WrittenRun(tmp_path, "hanging")
    healthy = WrittenRun(tmp_path, "healthy")
    ticking = asyncio.create_task(world.supervisor.tick())
    async with asyncio.timeout(10):
        while world.supervisor.find("healthy") is None:  # noqa: ASYNC110 - another task sees it
            await asyncio.sleep(0.01)
    healthy.beat(15, epoch=2, batch=7)
    view = await asyncio.wait_for(world.supervisor.refresh(healthy.run), 5)
    assert view is not None
    assert not ticking.done()
    hanging.set()
    await asyncio.wait_for(ticking, 10)


async def test_a_stall_is_found_though_no_file_changes(world: World, tmp_path: Path) -> None:
    WrittenRun(tmp_path, "one").beat(10, epoch=1, batch=5)
    await world.supervisor.tick()
    assert "stalled" not in world.sink.looks[-1][1]
    world.clock.pass_s(24 * 3600)
    await world.supervisor.tick()
    assert "stalled" in world.sink.looks[-1][1]


async def test_a_check_that_raises_is_told_and_leaves_its_conditions_unjudged(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trainmaster.bot import checks
    from trainmaster.bot.watching import supervisor

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


async def test_a_reader_is_told_of_what_was_stored_and_of_nothing_else(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[float] = []
    monkeypatch.setattr(RunReader, "stored", lambda self: told.append(self.view.ts), raising=False)
    WrittenRun(tmp_path, "one")
    world.sink.faults = 1
    await world.supervisor.tick()
    assert told == []
    await world.supervisor.tick()
    assert told == [START_TS + 10]


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
    from trainmaster.trainer.contract import RunRecordState

    WrittenRun(tmp_path, "ended").record(state=RunRecordState.FINISHED, updated_ts=START_TS + 999)
    WrittenRun(tmp_path, "older").beat(10, epoch=1, batch=1)
    WrittenRun(tmp_path, "newer").beat(20, epoch=1, batch=1)
    await world.supervisor.tick()
    assert [view.name for view in world.supervisor.all()] == ["newer", "older", "ended"]


async def test_a_run_directory_that_was_deleted_is_unreadable_not_dead(world: World, tmp_path: Path) -> None:
    written = WrittenRun(tmp_path, "one")
    await world.supervisor.tick()
    shutil.rmtree(written.layout.root)
    await world.supervisor.tick()
    assert world.supervisor.find("one") is not None
    assert "process_died" not in world.sink.looks[-1][1]


async def test_a_runs_directory_that_cannot_be_listed_is_a_fault_until_it_can(world: World, tmp_path: Path) -> None:
    WrittenRun(tmp_path, "one")
    await world.supervisor.tick()
    assert world.supervisor.find_fault is None
    away = tmp_path.with_name("away")
    shutil.move(tmp_path, away)
    await world.supervisor.tick()
    assert "RUNS_DIR" in (world.supervisor.find_fault or "")
    shutil.move(away, tmp_path)
    await world.supervisor.tick()
    assert world.supervisor.find_fault is None


async def test_a_runs_directory_that_was_never_there_is_no_fault(world: World, tmp_path: Path) -> None:
    supervisor = replace_timeout(world, tmp_path / "not yet", 60)
    await supervisor.tick()
    assert supervisor.find_fault is None


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


async def test_how_long_a_run_has_waited_for_its_turn_is_known(world: World, tmp_path: Path) -> None:
    assert world.supervisor.oldest_check_ts() is None
    WrittenRun(tmp_path, "one")
    await world.supervisor.tick()
    assert world.supervisor.oldest_check_ts() == START_TS + 10
    world.clock.pass_s(30)
    await world.supervisor.tick()
    assert world.supervisor.oldest_check_ts() == START_TS + 40


async def test_new_runs_that_take_long_to_read_keep_the_known_ones_waiting_for_nothing(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight of them compute for 0.3 s each; a run that is known is looked at meanwhile, as often as anybody asks."""
    read = RunReader.read

    def slow(self: RunReader, now: float) -> RunView:
        ends_s = time.monotonic() + (0.3 if self.layout.name.startswith("bomb") else 0.0)
        while time.monotonic() < ends_s:
            pass
        return read(self, now)

    monkeypatch.setattr(RunReader, "read", slow)
    WrittenRun(tmp_path, "zz known")
    await world.supervisor.tick()
    threads = threading.active_count()
    for number in range(8):
        WrittenRun(tmp_path, f"bomb{number}")
    world.sink.looks.clear()
    tick = asyncio.create_task(world.supervisor.tick())
    while not any(name == "zz known" for name, _, _ in world.sink.looks):  # noqa: ASYNC110 - of a thread
        await asyncio.sleep(0.01)
    assert len(world.sink.looks) <= 5, "it waits for no more of the others"
    assert threading.active_count() <= threads + 2
    await tick
    assert {name for name, _, _ in world.sink.looks} >= {f"bomb{number}" for number in range(8)}


async def test_news_of_runs_that_are_looked_at_already_are_not_as_many_threads(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred new runs are looked at while the file watcher learns of them, and tells of each."""
    read, most, num_before = RunReader.read, [0], threading.active_count()

    def slow(self: RunReader, now: float) -> RunView:
        most[0] = max(most[0], threading.active_count() - num_before)
        time.sleep(0.02)
        return read(self, now)

    monkeypatch.setattr(RunReader, "read", slow)
    places = [WrittenRun(tmp_path, f"run{number}").layout.root for number in range(40)]
    tick = asyncio.create_task(world.supervisor.tick())
    while len(world.sink.looks) < 2:  # noqa: ASYNC110 - of a thread
        await asyncio.sleep(0.005)
    await world.supervisor.check_all(places)
    await tick
    looks = Counter(name for name, _, _ in world.sink.looks)
    assert set(looks.values()) <= {1, 2}
    assert sum(looks.values()) >= 40 + 38, "those that were not free then are looked at once more"
    assert 1 <= most[0] <= 8
