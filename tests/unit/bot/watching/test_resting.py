"""A run that is over and all told costs a stat a file a tick, and is noticed at once when anything happens to it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from tests.support.clocks import SetClock
from tests.support.run_dirs import START_TS, WrittenRun
from trainmaster.bot.checks import CheckLimits
from trainmaster.bot.core.alerts.finding import Finding
from trainmaster.bot.core.run.facts import Identity, ProcessFact, ProcessStatus
from trainmaster.bot.core.run.job import JobFact
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.errors import StoreError
from trainmaster.bot.reading.run_files import RunReader, find_runs
from trainmaster.bot.watching.look import Looker
from trainmaster.bot.watching.resting import BRIEF_S, CLOSER_S, RestingRuns
from trainmaster.bot.watching.supervisor import Supervisor
from trainmaster.trainer.contract import EventKind, RunRecordState

NOW = START_TS + 30 * 86_400


@dataclass
class Alerts:
    """As the pipeline is: what is handed on rests unless it has something open."""

    looks: list[RunView] = field(default_factory=list)
    checks: list[str] = field(default_factory=list)
    open: set[str] = field(default_factory=set)
    broken: bool = False

    def process(self, view: RunView, findings: Sequence[Finding], unjudged: frozenset[str], now: float) -> None:
        if self.broken:
            raise StoreError("state-database", "it is locked.")
        self.looks.append(view)
        self.checks += [one.check for one in findings]

    def at_rest(self, run: str) -> bool:
        return run not in self.open

    def take(self) -> list[str]:
        """The names of what was looked at in full since this was last asked."""
        taken, self.looks = self.looks, []
        return [view.name for view in taken]


@dataclass
class Operations:
    concerns: set[str] = field(default_factory=set)
    wanted: set[str] = field(default_factory=set)
    broken: bool = False

    def concerned(self) -> frozenset[str]:
        if self.broken:
            raise StoreError("state-database", "it is locked.")
        return frozenset(self.concerns)

    def leaves_alone(self, view: RunView) -> bool:
        return view.run not in self.wanted


@dataclass
class Inspector:
    fact: ProcessFact = field(default_factory=lambda: ProcessFact(status=ProcessStatus.GONE, ts=START_TS))

    def inspect(self, identity: Identity) -> ProcessFact:
        return replace(self.fact, ts=self.fact.ts + 1)


@dataclass
class World:
    root: Path
    alerts: Alerts = field(default_factory=Alerts)
    operations: Operations = field(default_factory=Operations)
    inspector: Inspector = field(default_factory=Inspector)
    clock: SetClock = field(default_factory=lambda: SetClock(NOW))
    hands_off: str = ""

    def __post_init__(self) -> None:
        self.supervisor = Supervisor(
            find_runs=lambda: find_runs(self.root),
            open_reader=lambda path: RunReader(path, first_seen_ts=START_TS),
            looker=Looker(
                inspector=self.inspector,
                limits=CheckLimits(),
                clock=self.clock,
                hands_off=lambda _: self.hands_off,
            ),
            sink=self.alerts,
            resting=RestingRuns(self.alerts, self.operations),
            read_timeout_s=1.0,
        )

    async def ticks(self, count: int = 1, every_s: float = 15.0) -> list[str]:
        """The names of what was looked at in full meanwhile."""
        for _ in range(count):
            self.clock.pass_s(every_s)
            await self.supervisor.tick()
        return self.alerts.take()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def ended(root: Path, name: str = "ended", *, ago_s: float = 86_400.0, **record: object) -> WrittenRun:
    """A run of two epochs that is over."""
    run = WrittenRun(root, name)
    for epoch in (1, 2):
        run.start_epoch(epoch, 100.0 * epoch)
        for batch in range(0, 100, 10):
            run.series(epoch=epoch, batch=batch, loss=5.0, after_s=100.0 * epoch + batch)
        run.finish_epoch(epoch, 100.0 * epoch + 99)
    run.event(EventKind.RUN_FINISHED, 400)
    run.beat(400, epoch=2, batch=100)
    run.layout.train_log.write_text("Results saved\n")
    run.record(**{"state": RunRecordState.FINISHED, "updated_ts": NOW - ago_s, **record})
    return run


@dataclass
class Opened:
    """How many files were opened, and folders listed."""

    count: int = 0


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Opened:
    seen = Opened()

    def counting(real: Callable[..., object]) -> Callable[..., object]:
        def call(path: object, *rest: object, **more: object) -> object:
            seen.count += str(path).startswith(f"{tmp_path}/")  # RUNS_DIR itself is listed by every tick
            return real(path, *rest, **more)

        return call

    monkeypatch.setattr(os, "open", counting(os.open))
    monkeypatch.setattr(os, "scandir", counting(os.scandir))
    return seen


async def test_a_run_that_is_over_and_unchanged_is_not_looked_at_in_full_again(world: World, tmp_path: Path) -> None:
    ended(tmp_path)
    assert await world.ticks() == ["ended"]
    assert await world.ticks(5) == []
    assert world.supervisor.find("ended") is not None


async def test_a_look_at_a_run_at_rest_opens_no_file_and_lists_no_folder(
    world: World, tmp_path: Path, opened: Opened
) -> None:
    ended(tmp_path)
    await world.ticks(2)
    opened.count = 0
    await world.ticks(3)
    assert opened.count == 0


async def test_a_run_at_work_is_looked_at_in_full_at_every_tick(world: World, tmp_path: Path) -> None:
    world.inspector.fact = ProcessFact(status=ProcessStatus.ALIVE, ts=NOW)
    WrittenRun(tmp_path, "working").beat(30 * 86_400, epoch=1, batch=1)
    assert await world.ticks(3) == ["working"] * 3


async def test_a_run_that_died_without_a_word_is_looked_at_in_full_at_every_tick(world: World, tmp_path: Path) -> None:
    WrittenRun(tmp_path, "dead")
    assert await world.ticks(3) == ["dead"] * 3
    assert "process_died" in world.alerts.checks


def _starts_again(run: WrittenRun) -> None:
    run.attempt = 2
    run.record()


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(_starts_again, id="it starts again"),
        pytest.param(lambda run: run.record(state=RunRecordState.CRASHED), id="its record"),
        pytest.param(lambda run: run.beat(500, epoch=2, batch=100), id="a heartbeat"),
        pytest.param(lambda run: run.bad_batch(2, 7, 500), id="an event"),
        pytest.param(lambda run: run.series(epoch=2, batch=100, loss=5.0), id="a row of the series"),
        pytest.param(lambda run: run.layout.train_log.write_text("Results saved, and more\n"), id="its log"),
        pytest.param(lambda run: run.layout.events.unlink(), id="its events are gone"),
        pytest.param(lambda run: run.layout.guard.chmod(0o777), id="rights of its folder"),
        pytest.param(lambda run: run.layout.run_json.chmod(0o666), id="rights of its record"),
        pytest.param(lambda run: (run.layout.guard / "new").touch(), id="something new in its folder"),
    ],
)
async def test_whatever_is_written_there_is_noticed_within_one_tick(
    world: World, tmp_path: Path, change: Callable[[WrittenRun], object]
) -> None:
    run = ended(tmp_path)
    await world.ticks(2)
    change(run)
    assert await world.ticks() == ["ended"]


async def test_a_run_that_starts_again_has_all_its_curves(world: World, tmp_path: Path) -> None:
    run = ended(tmp_path)
    await world.ticks(2)
    run.attempt = 2
    run.record()
    run.series(epoch=3, batch=10, loss=4.0)
    await world.ticks()
    view = world.supervisor.find("ended")
    assert view is not None
    assert not view.brief
    assert [len(one.series) for one in view.epochs.values()] == [10, 10, 1]
    assert len(view.stretches) == 21


@pytest.mark.parametrize("ago_s", [pytest.param(60.0, id="just now"), pytest.param(86_400.0, id="a day ago")])
async def test_the_first_look_reads_the_series_only_of_what_ended_lately(
    world: World, tmp_path: Path, ago_s: float
) -> None:
    ended(tmp_path, ago_s=ago_s)
    await world.ticks()
    view = world.supervisor.find("ended")
    assert view is not None
    assert view.brief == (ago_s > 3600)
    assert ("epoch_finished" in world.alerts.checks) == (not view.brief)


async def test_what_was_told_lately_is_read_in_full_at_once_however_old_the_record(
    world: World, tmp_path: Path
) -> None:
    ended(tmp_path).finish_epoch(3, NOW - START_TS - 60)
    await world.ticks()
    assert world.alerts.checks.count("epoch_finished") == 3


async def test_the_curves_that_the_first_look_left_out_are_read_and_judged_within_minutes(
    world: World, tmp_path: Path
) -> None:
    ended(tmp_path)
    await world.ticks(2)
    assert "epoch_finished" not in world.alerts.checks
    assert await world.ticks(2, every_s=BRIEF_S / 2) == ["ended"]
    assert world.alerts.checks.count("epoch_finished") == 2


async def test_a_person_who_asks_sees_the_curves_of_a_run_at_rest_which_then_are_held_no_longer(
    world: World, tmp_path: Path
) -> None:
    run = ended(tmp_path)
    await world.ticks(2)
    for _ in range(2):
        view = await world.supervisor.refresh(run.run)
        assert view is not None
        assert [len(one.series) for one in view.epochs.values()] == [10, 10]
        world.alerts.take()
        assert await world.ticks(2) == []
        kept = world.supervisor.find("ended")
        assert kept is not None
        assert (kept.brief, kept.stretches, [one.series for one in kept.epochs.values()]) == (True, (), [(), ()])
        assert [one.losses for one in kept.epochs.values()] == [one.losses for one in view.epochs.values()]


async def test_at_the_latest_after_an_hour_a_run_at_rest_is_looked_at_in_full(world: World, tmp_path: Path) -> None:
    run = ended(tmp_path)
    await world.ticks()
    await world.supervisor.refresh(run.run)
    world.alerts.take()
    assert await world.ticks(2, every_s=CLOSER_S / 2) == ["ended"]


async def test_a_clock_that_is_set_back_does_not_prolong_the_rest(world: World, tmp_path: Path) -> None:
    ended(tmp_path)
    await world.ticks(2)
    assert await world.ticks(every_s=-86_400) == ["ended"]


async def test_what_has_something_to_tell_does_not_rest(world: World, tmp_path: Path) -> None:
    run = ended(tmp_path)
    world.alerts.open.add(run.run)
    assert await world.ticks(2) == ["ended", "ended"]
    world.alerts.open.clear()
    assert await world.ticks(2) == ["ended"]
    world.alerts.open.add(run.run)  # somebody acknowledged an alert of it, or a silence ended
    assert await world.ticks() == ["ended"]


async def test_what_somebody_is_asked_about_does_not_rest(world: World, tmp_path: Path) -> None:
    run = ended(tmp_path)
    await world.ticks(2)
    world.operations.concerns.add(run.run)
    assert await world.ticks(2) == ["ended", "ended"]
    world.operations.concerns.clear()
    assert await world.ticks(2) == ["ended"]


async def test_what_operations_will_not_leave_alone_does_not_rest(world: World, tmp_path: Path) -> None:
    world.operations.wanted.add(ended(tmp_path).run)
    assert await world.ticks(2) == ["ended", "ended"]


async def test_nothing_rests_while_the_database_does_not_say_whom_it_concerns(world: World, tmp_path: Path) -> None:
    ended(tmp_path)
    await world.ticks(2)
    world.operations.broken = True
    assert await world.ticks(2) == ["ended", "ended"]


async def test_what_could_not_be_stored_does_not_rest(world: World, tmp_path: Path) -> None:
    ended(tmp_path)
    world.alerts.broken = True
    assert await world.ticks(2) == []
    world.alerts.broken = False
    assert await world.ticks(2) == ["ended"]


async def test_a_bot_that_begins_to_act_looks_at_what_rested_while_it_only_watched(
    world: World, tmp_path: Path
) -> None:
    world.hands_off = "another Trainmaster acts on them"
    ended(tmp_path)
    assert await world.ticks(2) == ["ended"]
    world.hands_off = ""
    assert await world.ticks(2) == ["ended"]
    view = world.supervisor.find("ended")
    assert view is not None
    assert view.watched_only == ""


async def test_a_trainer_that_ends_after_its_last_word_is_looked_at_once_more(world: World, tmp_path: Path) -> None:
    world.inspector.fact = ProcessFact(status=ProcessStatus.ALIVE, ts=NOW)
    ended(tmp_path)
    assert await world.ticks(3) == ["ended"]
    world.inspector.fact = ProcessFact(status=ProcessStatus.GONE, ts=NOW, orphans=(7,))
    assert await world.ticks(2) == ["ended", "ended"]
    assert "orphans" in world.alerts.checks


async def test_a_job_that_is_queued_again_without_a_word_in_its_files_is_noticed(world: World, tmp_path: Path) -> None:
    job = JobFact(id="7", cluster="c", submit_ts=START_TS)
    world.inspector.fact = ProcessFact(status=ProcessStatus.GONE, ts=NOW, job=job)
    ended(tmp_path, job={"cluster": "c", "id": "7", "restart": 0, "node": "n1"}, state=RunRecordState.STOPPED)
    assert await world.ticks(3) == ["ended"]
    world.inspector.fact = ProcessFact(status=ProcessStatus.PENDING, ts=NOW, job=replace(job, restarts=1))
    assert await world.ticks() == ["ended"]
    assert "job_queued_again" in world.alerts.checks


@pytest.fixture
def dead_mount(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Until it is cleared, a look at what rests gets no answer once this is set."""
    answers, hangs = threading.Event(), threading.Event()
    unchanged = RunReader.unchanged

    def hang(self: RunReader) -> bool:
        if hangs.is_set():
            answers.wait(20)
        return unchanged(self)

    monkeypatch.setattr(RunReader, "unchanged", hang)
    yield hangs
    answers.set()


async def test_a_run_at_rest_whose_mount_died_is_told_as_any_other(
    world: World, tmp_path: Path, dead_mount: threading.Event
) -> None:
    ended(tmp_path)
    await world.ticks(2)
    dead_mount.set()
    assert await world.ticks() == ["ended"]
    assert "unreadable" in world.alerts.checks
