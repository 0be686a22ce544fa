"""When a new attempt counts as training again."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import MappingProxyType

import pytest

from tests.unit.bot.operations.paper import BOB, PaperWorld
from tests.unit.bot.operations.paper_run import RUN
from trainmaster.bot.core.decisions.operation import OperationState, Step
from trainmaster.bot.core.decisions.order import Decide, ResumeRun, StopNow
from trainmaster.bot.core.run.facts import ProcessFact, ProcessIdentity, ProcessStatus
from trainmaster.bot.core.run.job import JobFact
from trainmaster.bot.core.run.parsing import heartbeat_of
from trainmaster.bot.core.run.view import EpochView
from trainmaster.bot.operations.operation_context import OperationContext
from trainmaster.bot.operations.start import confirm as confirming
from trainmaster.bot.operations.start.confirm import _enough, _finished_well
from trainmaster.trainer.contract import replace_json

BEAT = heartbeat_of({"ts": 0.0, "batch": 3, "batches": 20, "losses": {"box_loss": 1.0}, "streak": 0, "epoch": 2})


@pytest.mark.parametrize(
    ("changes", "enough"),
    [
        pytest.param({}, True, id="as many as asked for"),
        pytest.param({"batch": 2}, False, id="one too few"),
        pytest.param({"batch": 2, "batches": 2}, True, id="an epoch of fewer"),
        pytest.param({"batch": None}, False, id="none yet"),
        pytest.param({"streak": 1}, False, id="the last one was bad"),
        pytest.param({"losses": {"box_loss": float("nan")}}, False, id="loss is NaN"),
        pytest.param({"batches": None}, True, id="length of the epoch not known"),
    ],
)
def test_batches_count_when_the_last_ones_are_good(changes: dict[str, object], enough: bool) -> None:
    assert BEAT is not None
    assert _enough(replace(BEAT, **changes), 3) is enough  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("epoch", "well"),
    [
        pytest.param({}, True, id="finished"),
        pytest.param({"finished_ts": None}, False, id="still running"),
        pytest.param({"attempt": 1}, False, id="of the old attempt"),
        pytest.param({"losses": {"box_loss": float("inf")}}, False, id="loss is infinite"),
        pytest.param({"losses": {}}, False, id="no loss told"),
        pytest.param({"num_skipped": 5}, False, id="every batch was skipped"),
        pytest.param({"num_skipped": 4}, True, id="one batch was good"),
    ],
)
def test_finished_epoch_counts_when_it_had_good_batches(
    world: PaperWorld, epoch: dict[str, object], well: bool
) -> None:
    done = EpochView(attempt=2, epoch=4, batches=5, finished_ts=1.0, losses={"box_loss": 1.0})
    changed = replace(done, **epoch)  # type: ignore[arg-type]
    view = world.runs.all()[0]
    assert view.record is not None
    later = replace(
        view,
        record=replace(view.record, attempt=2),
        epochs=MappingProxyType({(changed.attempt, changed.epoch): changed}),
    )
    assert (_finished_well(later) is not None) is well


@pytest.mark.parametrize("job", [None, JobFact(id="7", state="running")], ids=["process", "job"])
async def test_job_is_not_called_healthy_while_its_controller_may_forget_it(
    world: PaperWorld, monkeypatch: pytest.MonkeyPatch, job: JobFact | None
) -> None:
    monkeypatch.setattr(confirming, "KEPT_S", 3600.0)
    world.driver.job = job
    approval = await world.ask()
    await world.operations.perform(Decide(approval_id=approval, user=BOB, approve=True))
    done = asyncio.create_task(world.operations.settle())
    finished, _ = await asyncio.wait([done], timeout=3.0)
    operation = world.log.get(approval)
    assert operation is not None
    assert (operation.state is OperationState.DONE) is bool(finished) is (job is None)
    if job is not None:
        assert operation.step is Step.CONFIRM
        monkeypatch.setattr(confirming, "KEPT_S", 0.0)
        await world.operations.perform(StopNow(run=RUN, user=BOB))
        await done


@pytest.mark.parametrize("alive", [True, False], ids=["it trains on", "it is silent"])
async def test_job_that_its_cluster_has_forgotten_is_not_submitted_again_while_its_trainer_is_seen_to_live(
    world: PaperWorld, monkeypatch: pytest.MonkeyPatch, alive: bool
) -> None:
    """As while a controller without its state says that there are no jobs."""
    monkeypatch.setattr(confirming, "_SETTLE_S", 0.01)
    await world.operations.perform(StopNow(run=RUN, user=BOB))
    await world.operations.settle()
    await world.operations.perform(ResumeRun(run=RUN, user=BOB))
    await world.operations.settle()
    operation = world.log.history(RUN)[0]
    assert operation.launch is not None
    operation = replace(operation, launch=replace(operation.launch, options=()))
    context = OperationContext(world.world, operation, commit=lambda *_: None, halted_by=lambda: None)
    world.driver.kill(int(str(world.run.record()["pid"])))
    world.runs.stuck = not alive
    replace_json(world.run.layout.run_json, {**world.run.record(), "batches": 3})
    forgotten = ProcessFact(status=ProcessStatus.GONE, ts=0.0)
    monkeypatch.setattr(world.driver, "inspect", lambda _process: forgotten)
    before = len(world.launches())
    assert await confirming._submitted_again(context, world.runs.all()[0], forgotten)
    assert len(world.launches()) == before + (not alive)


@pytest.mark.parametrize(
    ("rollback", "from_epoch", "state"),
    [
        pytest.param(False, None, OperationState.VOIDED, id="a resume: the run trains"),
        pytest.param(True, 6, OperationState.NEEDS_HUMAN, id="a rollback: it trains from elsewhere"),
    ],
)
async def test_start_that_waits_in_a_queue_gives_way_to_one_of_somebody_else_s(
    world: PaperWorld, monkeypatch: pytest.MonkeyPatch, rollback: bool, from_epoch: int | None, state: OperationState
) -> None:
    """As to the next job of a chain, for as long as which nothing else could be done to the run."""
    inspect, waiting = world.driver.inspect, []

    def queued(process: ProcessIdentity) -> ProcessFact:
        fact = inspect(process)
        if process.pid not in waiting:
            return fact
        return replace(fact, status=ProcessStatus.PENDING, job=JobFact(id="12", reason="Dependency"))

    monkeypatch.setattr(world.driver, "inspect", queued)
    world.runs.silent = True
    waiting.append(4000 + len(world.driver.processes))  # what is launched next
    if rollback:
        approval = await world.ask()
        await world.operations.perform(Decide(approval_id=approval, user=BOB, approve=True))
    else:
        world.driver.kill(int(str(world.run.record()["pid"])))
        await world.operations.perform(ResumeRun(run=RUN, user=BOB))
    await world.launched()
    other = world.driver.spawn()
    world.run.write_record(other, attempt=2, level="standard", state="running", from_epoch=from_epoch)
    await world.operations.settle()
    operation = world.log.history(RUN)[0]
    assert operation.state is state
    assert "started by somebody else" in operation.problem
    assert inspect(other).status is ProcessStatus.ALIVE
