"""What was stopped stays so: a job, whatever its controller remembers of it; a start that was halted."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from tests.unit.bot.operations.going_on.test_continuation import AUTO, a_world, dies, look, notice
from tests.unit.bot.operations.paper import ALICE, BOB, FAST, PaperWorld
from tests.unit.bot.operations.paper_run import RUN
from trainmaster.bot.core.decisions.operation import EntryKind, JournalEntry, Operation, OperationState, Step
from trainmaster.bot.core.decisions.order import ResumeRun, StopNow
from trainmaster.bot.core.run.facts import ProcessFact, ProcessStatus
from trainmaster.bot.core.run.job import JobIdentity
from trainmaster.bot.core.run.launch_spec import Force
from trainmaster.bot.errors import OperationError
from trainmaster.bot.operations.operation_context import OperationContext
from trainmaster.bot.operations.steps import SPECS
from trainmaster.bot.operations.stop import ending

JOB = JobIdentity(id="7", name="tm-abc")


@dataclass
class ForgetfulCluster:
    """A job that ends when it is asked; ``forgets`` is for how many looks each end is then known, and what follows."""

    forgets: list[tuple[int, ProcessStatus]]
    status: ProcessStatus = ProcessStatus.ALIVE
    ends: bool = True
    stops: list[Force] = field(default_factory=list)
    _looks: int = 0

    def inspect(self, _job: JobIdentity) -> ProcessFact:
        if self.status is ProcessStatus.GONE:
            self._looks += 1
            if self.forgets and self._looks > self.forgets[0][0]:
                self.status = self.forgets.pop(0)[1]
        return ProcessFact(status=self.status, ts=0.0)

    def stop(self, _job: JobIdentity, force: Force) -> bool:
        self.stops.append(force)
        if self.ends or len(self.stops) == 1:
            self.status, self._looks = ProcessStatus.GONE, 0
        return True

    def survivors(self, _job: JobIdentity) -> tuple[JobIdentity, ...]:
        return ()


async def ended(world: PaperWorld, cluster: ForgetfulCluster) -> OperationContext:
    """The job was ended, as a step of an operation does it."""
    await world.operations.perform(StopNow(run=RUN, user=BOB))
    await world.operations.settle()
    operation = replace(world.log.history(RUN)[0], notes=())

    def commit(_operation: Operation, _entry: JournalEntry) -> None:
        entries.append(_entry)

    entries: list[JournalEntry] = []
    limits = replace(world.limits, stop_grace_max_s=0.05)
    context = OperationContext(
        replace(world.world, driver=cluster, limits=limits),  # type: ignore[arg-type]
        operation,
        commit=commit,
        halted_by=lambda: None,
    )
    await ending.end(context, JOB, note="members")
    assert any(one.kind is EntryKind.WAITING and "stays so" in one.detail for one in entries)
    return context


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "KEPT_S", 0.1)


@pytest.mark.parametrize(
    ("forgets", "stops"),
    [
        pytest.param([], [Force.ASK], id="it stays over"),
        pytest.param([(3, ProcessStatus.ALIVE)], [Force.ASK, Force.ALL], id="believed to run"),
        pytest.param([(3, ProcessStatus.PENDING)], [Force.ASK, Force.ALL], id="queued again"),
        pytest.param(
            [(3, ProcessStatus.PENDING), (3, ProcessStatus.ALIVE)],
            [Force.ASK, Force.ALL, Force.ALL],
            id="forgotten twice",
        ),
    ],
)
async def test_what_the_cluster_forgot_to_be_over_is_cancelled(
    world: PaperWorld, forgets: list[tuple[int, ProcessStatus]], stops: list[Force]
) -> None:
    cluster = ForgetfulCluster(forgets)
    await ended(world, cluster)
    assert cluster.stops == stops
    assert cluster.status is ProcessStatus.GONE
    assert cluster.forgets == []


async def test_it_is_looked_at_once_more_by_a_bot_that_was_killed_meanwhile(world: PaperWorld) -> None:
    context = await ended(world, ForgetfulCluster([]))
    context.operation = replace(context.operation, process=JOB)
    assert await ending.probe_stopped(context) is None


async def test_one_that_does_not_end_any_more_is_told(world: PaperWorld) -> None:
    cluster = ForgetfulCluster([(3, ProcessStatus.ALIVE)], ends=False)
    with pytest.raises(OperationError, match="job 7 is not over though it was cancelled"):
        await ended(world, cluster)


@pytest.mark.parametrize("by_itself", [True, False], ids=["by itself", "by a person"])
async def test_start_that_was_halted_when_its_trainer_was_there_is_not_made_again(
    tmp_path: Path, by_itself: bool
) -> None:
    """A trainer that still loads does not save when it is asked to end: it dies of that as if by nobody known."""
    world = a_world(tmp_path, AUTO, replace(FAST, first_batch_timeout_s=60.0))
    dies(world)
    world.runs.stuck = True  # it signs in, and gets no batch
    if by_itself:
        await notice(world)
    else:
        await world.operations.perform(ResumeRun(run=RUN, user=ALICE))
    while world.run.record()["attempt"] != 2:  # noqa: ASYNC110 - a file
        await asyncio.sleep(0.002)
    await world.operations.perform(StopNow(run=RUN, user=BOB))
    await world.operations.settle()
    assert world.log.history(RUN)[0].state is OperationState.ABORTED
    for _ in range(2):
        await look(world)
    assert len(world.launches()) == 1
    world.run.write_record(world.driver.spawn(), attempt=3, level="standard", state="running")
    await look(world)
    dies(world)
    world.runs.stuck = False
    await look(world)
    assert len(world.launches()) == 2, "that of a start by hand since is another death"


async def test_stop_asked_for_in_the_moment_a_start_is_confirmed_is_done(
    world: PaperWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the last look at whether somebody wants it stopped, and before its end is written down."""
    dies(world)
    confirm = SPECS[Step.CONFIRM].apply

    async def confirmed(context: OperationContext) -> str:
        found = await confirm(context)
        await world.operations.perform(StopNow(run=RUN, user=BOB))
        return found

    monkeypatch.setitem(SPECS, Step.CONFIRM, replace(SPECS[Step.CONFIRM], apply=confirmed))  # type: ignore[arg-type]
    await world.operations.perform(ResumeRun(run=RUN, user=ALICE))
    await world.operations.settle()
    assert world.log.history(RUN)[0].state is OperationState.ABORTED
    assert [line.split()[1] for line in world.signals()] == ["SIGTERM"]


async def test_stop_of_a_start_that_waits_ends_also_what_somebody_else_has_started_meanwhile(world: PaperWorld) -> None:
    """As a job that waits for its turn while another one of the run, submitted by hand, trains."""
    dies(world)
    world.runs.silent = True  # what the bot starts does not sign in
    await world.operations.perform(ResumeRun(run=RUN, user=ALICE))
    await world.launched()
    other = world.driver.spawn()
    world.run.write_record(other, attempt=2, level="standard", state="running")
    await world.operations.perform(StopNow(run=RUN, user=BOB))
    await world.operations.settle()
    assert world.log.history(RUN)[0].state is OperationState.ABORTED
    assert not [pid for pid, one in world.driver.processes.items() if one["alive"]]
