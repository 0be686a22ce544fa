"""What status is told of plans: a stop after the epoch, an open question, an operation under way."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.bot.operations.paper import ALICE, BOB, PaperWorld
from tests.unit.bot.operations.paper_run import RUN
from trainmaster.bot.core.decisions.order import ContinueRun, Decide, StopAfterEpoch


async def test_nothing_is_planned_of_a_run_that_only_trains(world: PaperWorld) -> None:
    assert world.operations.planned(RUN) == ()


async def test_a_stop_after_the_epoch_is_told_until_it_is_taken_back(world: PaperWorld) -> None:
    await world.operations.perform(StopAfterEpoch(run=RUN, user=BOB))
    (told,) = world.operations.planned(RUN)
    assert told.startswith("Planned: it will be stopped after epoch 5")
    assert BOB in told
    await world.operations.perform(ContinueRun(run=RUN, user=BOB))
    assert world.operations.planned(RUN) == ()


@pytest.mark.parametrize("why", [{"watched_only": "owned by uid 4242"}, {"process_fault": "process 7 is no trainer"}])
async def test_what_nobody_may_do_now_is_told_as_held_back(world: PaperWorld, why: dict[str, str]) -> None:
    await world.operations.perform(StopAfterEpoch(run=RUN, user=BOB))
    view = world.operations.world.runs.find(RUN)
    assert view is not None
    (told,) = world.operations.planned(RUN, replace(view, **why))
    assert told.startswith("Planned, but held back while nothing may be done to it: it will be stopped")


async def test_an_open_question_is_told_with_who_asked_and_until_when(world: PaperWorld) -> None:
    await world.ask(ALICE)
    (told,) = world.operations.planned(RUN)
    assert told.startswith("Open question: a rollback to epoch 3")
    assert ALICE in told
    assert "until" in told


async def test_an_operation_under_way_is_told_first_with_its_step(world: PaperWorld) -> None:
    approval = await world.ask()
    await world.operations.perform(Decide(approval_id=approval, user=BOB, approve=True))
    first, *_ = world.operations.planned(RUN)
    assert first.startswith("Under way since")
    assert "rollback, in step" in first
    assert "in step “Hold: nothing has changed since the approval”" in first  # as on its card
    await world.operations.settle()
    assert world.operations.planned(RUN) == ()
