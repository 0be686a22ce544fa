"""Operations of a bot in whose place another one acts on the runs: they wait where they are, and go on afterwards."""

from __future__ import annotations

import pytest

from tests.unit.bot.operations.paper import BOB, PaperWorld
from trainmaster.bot.core.decisions.operation import EntryKind, JournalEntry, Operation, OperationState, Step
from trainmaster.bot.core.decisions.order import Decide
from trainmaster.bot.errors import CommandError, OperationError

OTHER = "another Trainmaster acts on them (pid 7 on gpu03)"


async def test_a_yes_is_not_counted_by_a_bot_that_only_watches(world: PaperWorld) -> None:
    approval = await world.ask()
    world.hands_off = OTHER
    with pytest.raises(CommandError, match="pid 7 on gpu03"):
        await world.operations.perform(Decide(approval_id=approval, user=BOB, approve=True))
    question = world.questions.get(approval)
    assert question is not None
    assert question.votes == ()
    assert world.log.open() == ()


@pytest.mark.parametrize("step", [Step.HOLD, Step.STOP, Step.ARCHIVE, Step.RESTART], ids=str)
async def test_an_operation_waits_where_it_is_and_goes_on_when_the_other_bot_is_gone(
    world: PaperWorld, step: Step
) -> None:
    approval = await world.ask()
    committed = world.log.record

    def record(operation: Operation, entry: JournalEntry) -> None:
        committed(operation, entry)
        before = list(Step)[list(Step).index(step) - 1] if step is not Step.HOLD else None
        if entry.kind is EntryKind.DONE and operation.step is before:
            world.hands_off = OTHER

    world.log.record = record  # type: ignore[method-assign]
    await world.operations.perform(Decide(approval_id=approval, user=BOB, approve=True))
    if step is Step.HOLD:
        world.hands_off = OTHER
    await world.operations.settle()
    done_before = (world.launches(), world.signals(), world.run.files())
    for _ in range(3):
        await world.operations.tick(world.clock.now())
        await world.operations.settle()
    operation = world.log.get(approval)
    assert operation is not None
    assert operation.state is OperationState.OPEN
    assert (world.launches(), world.signals(), world.run.files()) == done_before

    world.log.record = committed  # type: ignore[method-assign]
    world.hands_off = ""
    await world.operations.tick(world.clock.now())
    await world.operations.settle()
    operation = world.log.get(approval)
    assert operation is not None
    assert operation.state is OperationState.DONE
    assert len(world.launches()) == len(world.signals()) == 1


async def test_a_step_that_fails_under_another_bot_is_not_undone(world: PaperWorld) -> None:
    approval = await world.ask()
    world.forensics.faults.lasting["archive"] = OperationError("broken", "the mount is gone.")
    committed = world.log.record

    def record(operation: Operation, entry: JournalEntry) -> None:
        committed(operation, entry)
        if entry.kind is EntryKind.BEGUN and operation.step is Step.ARCHIVE:
            world.hands_off = OTHER

    world.log.record = record  # type: ignore[method-assign]
    await world.operations.perform(Decide(approval_id=approval, user=BOB, approve=True))
    await world.operations.settle()
    operation = world.log.get(approval)
    assert operation is not None
    assert operation.state is OperationState.OPEN
    assert world.launches() == []
