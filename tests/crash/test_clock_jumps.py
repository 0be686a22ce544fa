"""Wall clocks that jump while a rollback is under way: on past every time limit, and back before its beginning."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.unit.bot.operations.paper import PaperWorld
from tests.unit.bot.operations.paper_run import RUN
from trainmaster.bot.core.decisions.operation import JournalEntry, Operation, OperationState
from trainmaster.bot.storage.operations import SqliteOperations

DAY_S = 86_400.0


class _JumpyOperations(SqliteOperations):
    """Each line of the journal finds another time of day."""

    world: PaperWorld
    jumps: list[float]

    def record(self, operation: Operation, entry: JournalEntry) -> None:
        super().record(operation, entry)
        if self.jumps:
            self.world.clock.ts += self.jumps.pop()


@pytest.mark.parametrize(
    "jumps",
    [
        pytest.param([DAY_S] * 40, id="forwards"),
        pytest.param([-DAY_S] * 40, id="back"),
        pytest.param([random.Random(3).uniform(-DAY_S, DAY_S) for _ in range(40)], id="to and fro"),
    ],
)
async def test_rollback_ends_well_whatever_the_clock_does(tmp_path: Path, jumps: list[float]) -> None:
    world = PaperWorld(tmp_path)
    world.start_run()
    world.log = _JumpyOperations(world.database)
    world.log.world, world.log.jumps = world, list(jumps)
    world.operations = world.new_operations()
    approval = await world.ask()
    await world.approve(approval)
    await world.operations.tick(world.clock.now())
    await world.operations.settle()
    (operation,) = world.log.history(RUN)
    assert operation.state is OperationState.DONE
    assert (len(world.launches()), len(world.signals())) == (1, 1)
    assert len(world.log.jumps) < len(jumps) - 10
    world.database.close()


@pytest.mark.parametrize("jump_s", [-DAY_S, -60.0, 60.0], ids=["a day back", "a minute back", "a minute on"])
async def test_question_stays_answerable_until_the_moment_on_its_card(tmp_path: Path, jump_s: float) -> None:
    world = PaperWorld(tmp_path)
    world.start_run()
    approval = await world.ask()
    world.clock.ts += jump_s
    await world.operations.tick(world.clock.now())
    assert await world.approve(approval) == "Approved. The rollback has begun."
    world.database.close()


async def test_question_that_a_jump_has_made_too_old_expires_and_does_nothing(tmp_path: Path) -> None:
    world = PaperWorld(tmp_path)
    world.start_run()
    approval = await world.ask()
    world.clock.ts += DAY_S
    assert "expired" in await world.approve(approval)
    world.clock.ts -= DAY_S
    assert "expired" in await world.approve(approval)
    assert not [*world.log.history(RUN), *world.launches(), *world.signals()]
    world.database.close()
