"""Runs that something else started: stopped and rolled back by the launch command that a person told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.bot.operations.paper import ALICE, BOB, PaperWorld
from tests.unit.bot.operations.paper_run import NAME, RUN
from tests.unit.bot.operations.rollback.test_planning import BAD, fact
from trainmaster.bot.core.decisions.operation import OperationState
from trainmaster.bot.core.decisions.order import StopNow
from trainmaster.bot.core.run.facts import CheckpointFact, Relaunch
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.drivers.trainer_levels import TrainerLevels
from trainmaster.bot.errors import CommandError, DriverError
from trainmaster.bot.operations.rollback.planning import make_plan
from trainmaster.bot.operations.rollback.target import choose_target

COMMAND = ("yolo", "detect", "train", "resume=True", "model=weights/last.pt")


@pytest.fixture
def unguarded(world: PaperWorld) -> PaperWorld:
    world.runs.relaunch = Relaunch(argv=COMMAND, cwd=str(world.folder), log=str(world.folder / "nohup.attempt2.out"))
    return world


def overwritten(file: str, epoch: int, **changes: object) -> CheckpointFact:
    return fact(epoch, file=f"weights/{file}.pt", **changes)


@pytest.mark.parametrize(
    ("catalog", "epoch", "file"),
    [
        pytest.param([overwritten("last", 5), overwritten("best", 3)], 5, "weights/last.pt", id="last is newer"),
        pytest.param(
            [overwritten("last", 5, verdict=BAD), overwritten("best", 3)], 3, "weights/best.pt", id="last is spoilt"
        ),
        pytest.param([overwritten("last", 5), overwritten("best", 5)], 5, "weights/best.pt", id="the same epoch"),
        pytest.param(
            [overwritten("last", 5), fact(5, file="weights/epoch4.pt")], 5, "weights/epoch4.pt", id="numbered one stays"
        ),
    ],
)
def test_target_of_an_unguarded_run_may_be_best_or_last(
    unguarded: PaperWorld, catalog: list[CheckpointFact], epoch: int, file: str
) -> None:
    catalog = [replace(one, resumable=one.verdict is not BAD) for one in catalog]
    target = choose_target(unguarded.runs.all()[0], catalog, None)
    assert (target.epoch, target.file) == (epoch, file)


def plan_of(view: RunView, level: str | None = None) -> object:
    return make_plan(view, [overwritten("last", 3)], TrainerLevels(), 10.0, level=level)


def test_plan_says_that_nothing_guards_the_run_and_how_it_is_started(unguarded: PaperWorld) -> None:
    plan = make_plan(unguarded.runs.all()[0], [overwritten("last", 3)], TrainerLevels(), 10.0)
    assert plan.settings == ()
    assert plan.level_after == "none (unguarded)"
    assert any("yolo detect train resume=True" in risk for risk in plan.risks)


def test_level_is_refused_since_there_is_none(unguarded: PaperWorld) -> None:
    with pytest.raises(CommandError, match="has no levels"):
        plan_of(unguarded.runs.all()[0], level="strict")


def test_run_whose_process_is_not_known_is_refused(unguarded: PaperWorld) -> None:
    view = unguarded.runs.all()[0]
    assert view.record is not None
    with pytest.raises(CommandError, match="not known which process"):
        plan_of(replace(view, record=replace(view.record, pid=None)))


async def test_unguarded_run_is_rolled_back_by_its_launch_command(unguarded: PaperWorld) -> None:
    approval = await unguarded.ask()
    await unguarded.approve(approval)
    operation = unguarded.log.get(approval)
    assert operation is not None
    assert operation.state is OperationState.DONE, operation.problem
    (launch,) = unguarded.launches()
    assert launch.endswith(" ".join(COMMAND[3:]))
    assert unguarded.run.record()["from_epoch"] == 4
    assert unguarded.attempts.ended == [NAME]
    assert not (unguarded.run.layout.guard / "pinned").exists()


async def test_unguarded_run_that_cannot_be_archived_is_started_again_as_it_was(unguarded: PaperWorld) -> None:
    unguarded.forensics.faults.next["archive"] = DriverError("disk", "no space left on device.")
    approval = await unguarded.ask()
    await unguarded.approve(approval)
    operation = unguarded.log.get(approval)
    assert operation is not None
    assert operation.state is OperationState.UNDONE, operation.problem
    (launch,) = unguarded.launches()
    assert launch.endswith(" ".join(COMMAND[3:]))
    assert unguarded.run.record()["from_epoch"] is None


async def test_stop_of_an_unguarded_run_says_what_is_lost(unguarded: PaperWorld) -> None:
    await unguarded.operations.perform(StopNow(run=RUN, user=BOB))
    await unguarded.operations.settle()
    (operation,) = unguarded.log.history(RUN)
    assert "its last epoch only" in unguarded.outbox.last(operation.card).items[0].detail
    assert unguarded.attempts.ended == [NAME]


async def test_person_is_given_the_launch_command_when_it_fails(unguarded: PaperWorld) -> None:
    unguarded.driver.faults.lasting["launch"] = DriverError("launch-failed", "no such program.")
    approval = await unguarded.ask(ALICE)
    await unguarded.approve(approval)
    message = unguarded.outbox.last(f"operation/{approval}")
    assert message.details is not None
    assert "nohup yolo detect train resume=True model=weights/last.pt >> " in message.details.excerpt
