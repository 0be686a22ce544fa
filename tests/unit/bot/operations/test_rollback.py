"""A rollback from the question to healthy batches, and what happens when a step fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.core.approval import ApprovalState
from bot.core.message import ActionId, Mark, Tone
from bot.core.operation import OperationState, Step
from bot.errors import OperationError
from tests.unit.bot.operations.paper import ALICE, BOB, NAME, RUN, PaperWorld


@pytest.fixture
def world(tmp_path: Path) -> PaperWorld:
    world = PaperWorld(tmp_path)
    world.start_run()
    return world


async def test_approved_rollback_restores_the_last_clean_epoch_and_trains_on(world: PaperWorld) -> None:
    approval = await world.ask()
    await world.approve(approval)
    operation = world.log.get(approval)
    assert operation is not None
    assert operation.state is OperationState.DONE
    assert [step for step, _ in operation.done] == list(Step)
    assert world.launches() == [f"launch {approval} resume {world.run.directory} from=3 level=strict"]
    assert world.signals() == ["signal SIGTERM 4000"]
    assert world.run.files()["weights of epoch 4"] == "runs/archive/digits/after3/epoch0004.ultralytics.pt"
    message = world.outbox.last(f"operation/{approval}")
    assert message.title == f"{NAME} rolled back to epoch 3"
    assert {item.mark for item in message.items} == {Mark.DONE}
