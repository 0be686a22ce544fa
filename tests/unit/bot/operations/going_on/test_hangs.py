"""A run that hangs is stopped and resumed by itself where that is wanted, and a healthy one never."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.bot.drivers.slurm import recorded
from tests.unit.bot.operations.going_on.test_continuation import AUTO, a_world, crashes, notice, starts
from tests.unit.bot.operations.paper import ALICE, PaperWorld
from tests.unit.bot.operations.paper_run import RUN
from trainmaster.bot.core.decisions.operation import Operation, OperationKind, OperationState
from trainmaster.bot.core.decisions.order import StopAfterEpoch, StopNow
from trainmaster.bot.drivers.slurm.rows import parse_queue
from trainmaster.bot.drivers.slurm.states import fact_of
from trainmaster.bot.operations.going_on.hangs import _alive
from trainmaster.trainer.contract import replace_json

HANGS = replace(AUTO, stop_hangs=True)


class Hours:
    """A clock that nobody sets, but this test."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def hours() -> Hours:
    return Hours()


def hanging(folder: Path, hours: Hours, *, wanted: bool = True) -> PaperWorld:
    """Its last heartbeat is of 1970, which every check calls a stall; by ``hours`` it has just been seen."""
    world = a_world(folder, HANGS if wanted else AUTO)
    world.runs.stuck = True
    world.operations.steady = hours
    world.operations.__post_init__()
    return world


async def look(world: PaperWorld) -> None:
    await world.runs.refresh(RUN)
    await notice(world)
    await world.operations.settle()


async def test_hang_is_stopped_and_resumed_once(tmp_path: Path, hours: Hours) -> None:
    world = hanging(tmp_path, hours)
    await look(world)
    assert world.signals() == []
    hours.now_s += 3 * 3600
    await look(world)
    stopped = world.log.history(RUN)[0]
    assert (stopped.kind, stopped.state) == (OperationKind.STOP, OperationState.DONE)
    assert "It hangs: no progress for" in world.outbox.last(stopped.card).body[0]
    world.runs.stuck = False
    await look(world)
    assert len(world.launches()) == 1
    assert starts(world)[0].note("cause") == "hang"


async def test_hang_is_only_told_unless_stopping_is_wanted(tmp_path: Path, hours: Hours) -> None:
    world = hanging(tmp_path, hours, wanted=False)
    for _ in range(3):
        hours.now_s += 3 * 3600
        await look(world)
    assert world.signals() == []


async def test_clock_that_jumps_stops_no_healthy_run(tmp_path: Path, hours: Hours) -> None:
    """By the wall clock the run has stalled for years; by the steady one its heartbeat was new a minute ago."""
    world = hanging(tmp_path, hours)
    for _ in range(5):
        world.clock.ts += 400 * 86_400.0
        hours.now_s += 10.0
        await look(world)
    assert world.signals() == []


async def test_run_that_makes_progress_is_never_stopped(tmp_path: Path, hours: Hours) -> None:
    world = hanging(tmp_path, hours)
    world.runs.stuck = False
    replace_json(world.run.layout.run_json, {**world.run.record(), "batches": 0})
    for _ in range(15):
        hours.now_s += 3 * 3600
        await look(world)
    assert world.signals() == []


async def test_hang_of_a_run_that_was_to_be_stopped_is_a_persons(tmp_path: Path, hours: Hours) -> None:
    world = hanging(tmp_path, hours)
    await world.operations.perform(StopAfterEpoch(run=RUN, user=ALICE))
    for _ in range(3):
        hours.now_s += 3 * 3600
        await look(world)
    assert world.signals() == []


async def hung_and_left(folder: Path, hours: Hours) -> PaperWorld:
    """A stop of what hangs is on record, and the bot died before it asked anybody to end."""
    world = hanging(folder, hours)
    replace_json(world.run.layout.run_json, {**world.run.record(), "batches": 7})
    await look(world)
    hours.now_s += 3 * 3600
    world.hands_off = "this bot is no more"
    await look(world)
    assert world.signals() == []
    assert world.log.open(RUN)
    world.hands_off = ""
    return world


async def goes_on_with_what_is_open(world: PaperWorld) -> Operation:
    await world.operations.recover()
    await world.operations.settle()
    return world.log.history(RUN)[0]


async def test_hang_that_ended_before_it_was_stopped_is_left_alone(tmp_path: Path, hours: Hours) -> None:
    world = await hung_and_left(tmp_path, hours)
    world.runs.stuck = False
    stop = await goes_on_with_what_is_open(world)
    assert (stop.state, world.signals()) == (OperationState.VOIDED, [])
    assert "gave a sign of life" in " ".join(world.outbox.last(stop.card).body)
    assert "It hung" in world.outbox.last(stop.card).body[0]
    world.runs.stuck = True
    for _ in range(2):
        hours.now_s += 3 * 3600
        await look(world)
    assert len(world.signals()) == 1, "it hangs again"


async def test_hang_that_lasts_is_stopped_by_the_next_bot(tmp_path: Path, hours: Hours) -> None:
    world = await hung_and_left(tmp_path, hours)
    assert (await goes_on_with_what_is_open(world)).state is OperationState.DONE
    assert len(world.signals()) == 1


async def test_process_that_has_the_number_of_what_hung_is_not_touched(tmp_path: Path, hours: Hours) -> None:
    world = await hung_and_left(tmp_path, hours)
    pid = str(world.run.record()["pid"])
    table = world.driver.processes
    replace_json(world.folder / "processes.json", {**table, pid: {**table[pid], "create_time": 7.0}})
    await goes_on_with_what_is_open(world)
    assert world.signals() == []


async def test_run_that_hung_and_then_died_of_its_code_is_not_resumed(tmp_path: Path, hours: Hours) -> None:
    world = await hung_and_left(tmp_path, hours)
    crashes(world, "KeyError: 'nc'")
    assert (await goes_on_with_what_is_open(world)).state is OperationState.DONE
    await look(world)
    assert (world.signals(), world.launches()) == ([], [])


async def test_run_that_hung_and_gave_up_as_it_was_stopped_is_a_persons(tmp_path: Path, hours: Hours) -> None:
    world = await hung_and_left(tmp_path, hours)
    await goes_on_with_what_is_open(world)
    replace_json(world.run.layout.run_json, {**world.run.record(), "state": "gave_up", "exit_code": 4})
    await look(world)
    assert (len(world.signals()), world.launches()) == (1, [])


@pytest.mark.parametrize(
    "order", [StopNow(run=RUN, user=ALICE), StopAfterEpoch(run=RUN, user=ALICE)], ids=["now", "epoch"]
)
@pytest.mark.parametrize("awake", [False, True])
async def test_stop_that_a_person_wants_of_what_hangs_is_theirs(
    tmp_path: Path, hours: Hours, order: StopNow | StopAfterEpoch, awake: bool
) -> None:
    """What hung is being stopped by itself already, and would be resumed."""
    world = await hung_and_left(tmp_path, hours)
    reply = await world.operations.perform(order)
    assert "not resumed by itself" in reply.message.body[0]
    world.runs.stuck = not awake
    stop = await goes_on_with_what_is_open(world)
    assert (stop.state, stop.halted_by) == (OperationState.DONE, ALICE)
    assert "resumed by itself" not in world.outbox.last(stop.card).body[0]
    for _ in range(3):
        await look(world)
    assert (len(world.signals()), world.launches()) == (1, [])
    assert ("stop.halted") in [action for _, action in world.audit.entries]


async def test_run_that_hangs_again_and_again_is_stopped_three_times(tmp_path: Path, hours: Hours) -> None:
    world = hanging(tmp_path, hours)
    for _ in range(20):
        hours.now_s += 3 * 3600
        await look(world)
        world.runs.stuck = False
        await look(world)
        world.runs.stuck = True
    assert len(starts(world)) == 3
    assert len(world.signals()) == 3, "the fourth hang is left to a person, as it stands"


@pytest.mark.parametrize(
    ("row", "stopped"),
    [
        pytest.param(recorded.RUNNING, True, id="runs"),
        pytest.param(recorded.RUNNING.replace("RUNNING", "COMPLETING"), False, id="is being ended"),
        pytest.param(recorded.SUSPENDED, False, id="halted by its cluster"),
    ],
)
def test_job_of_a_cluster_that_hangs_is_stopped_as_a_process_is(row: str, stopped: bool) -> None:
    (one,) = parse_queue(recorded.queue_text(row))
    assert _alive(fact_of(one, 1.0)) is stopped
