"""What stands against a start is said before it, and a person may go on anyway."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.bot.operations.going_on.test_continuation import (
    AUTO,
    a_world,
    crashes,
    dies,
    look,
    notice,
    starts,
    starts_once_there_is_space,
)
from tests.unit.bot.operations.paper import ALICE, BOB, PaperWorld
from tests.unit.bot.operations.paper_run import RUN
from trainmaster.bot.core.conversation.message import ActionId
from trainmaster.bot.core.decisions.gate import GateCheck, GateOutcome
from trainmaster.bot.core.decisions.operation import OperationState
from trainmaster.bot.core.decisions.order import Decide, ResumeRun
from trainmaster.bot.core.decisions.start_word import StartWord
from trainmaster.bot.core.run.facts import ProcessFact, ProcessIdentity

TEXT = "GPU 0 asks for a reset"


@pytest.mark.parametrize("outcome", [GateOutcome.FAIL, GateOutcome.UNKNOWN])
async def test_resume_is_kept_back_and_a_person_may_go_on_anyway(world: PaperWorld, outcome: GateOutcome) -> None:
    dies(world)
    world.gate.close(GateCheck.GPU, TEXT, outcome)
    reply = await world.operations.perform(ResumeRun(run=RUN, user=ALICE))
    assert TEXT in reply.message.title
    assert world.log.history(RUN) == ()
    told = world.outbox.last("gate/run-1/1")
    assert [item.text for item in told.items] == [TEXT]
    (button,) = told.buttons
    assert button.action is ActionId.RESUME_RUN
    word = StartWord.parse(button.value)
    assert word.anyway
    await world.operations.perform(ResumeRun(run=word.run, user=BOB, attempt=word.attempt, anyway=word.anyway))
    await world.operations.settle()
    assert len(world.launches()) == 1
    assert world.outbox.last("gate/run-1/1").buttons == ()
    (operation,) = world.log.history(RUN)
    assert operation.note("gate") == f"anyway: {TEXT}"


def pressed(world: PaperWorld, key: str) -> ResumeRun:
    """What its button asks for."""
    button = next(one for one in world.outbox.last(key).buttons if one.action is ActionId.RESUME_RUN)
    word = StartWord.parse(button.value)
    return ResumeRun(
        run=word.run, user=BOB, attempt=word.attempt, anyway=word.anyway, told=word.told, batch=word.batch,
        level=word.level,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("first", "then", "begun"),
    [
        ((GateCheck.DATA, GateOutcome.FAIL), (GateCheck.GPU, GateOutcome.FAIL), 0),
        ((GateCheck.GPU, GateOutcome.UNKNOWN), (GateCheck.GPU, GateOutcome.FAIL), 0),
        ((GateCheck.GPU, GateOutcome.FAIL), (GateCheck.GPU, GateOutcome.UNKNOWN), 1),
        ((GateCheck.GPU, GateOutcome.FAIL), (GateCheck.GPU, GateOutcome.FAIL), 1),
    ],
    ids=["another", "unknown, then bad", "bad, then unknown", "as it was"],
)
async def test_anyway_is_about_what_the_message_told_of(
    world: PaperWorld, first: tuple[GateCheck, GateOutcome], then: tuple[GateCheck, GateOutcome], begun: int
) -> None:
    dies(world)
    world.gate.close(first[0], "one thing", first[1])
    await world.operations.perform(ResumeRun(run=RUN, user=ALICE))
    order = pressed(world, "gate/run-1/1")
    world.gate.facts = ()
    world.gate.close(then[0], "another thing", then[1])
    await world.operations.perform(order)
    await world.operations.settle()
    assert len(world.launches()) == begun
    if not begun:
        assert [item.text for item in world.outbox.last("gate/run-1/1").items] == ["another thing"]
        await world.operations.perform(pressed(world, "gate/run-1/1"))
        await world.operations.settle()
        assert len(world.launches()) == 1


async def test_anyway_keeps_the_batch_and_the_level_that_were_asked_for(world: PaperWorld) -> None:
    dies(world)
    world.gate.close(GateCheck.DATA, TEXT)
    await world.operations.perform(ResumeRun(run=RUN, user=ALICE, batch=8, level="STRICT"))
    assert world.outbox.last("gate/run-1/1").context == ("/train resume level strict anyway",)
    order = pressed(world, "gate/run-1/1")
    assert (order.batch, order.level, order.anyway) == (8, "strict", True)
    await world.operations.perform(order)
    await world.operations.settle()
    (launch,) = world.launches()
    assert {"batch=8", "level=strict"} <= set(launch.split())


async def test_what_came_up_after_a_start_by_itself_was_kept_back_is_told_before_anyway(tmp_path: Path) -> None:
    world = a_world(tmp_path, AUTO)
    dies(world)
    world.gate.close(GateCheck.GPU, TEXT)
    await look(world)
    order = pressed(world, f"{starts(world)[0].card}/human")
    world.gate.close(GateCheck.DISK, "the disk has 0.1 GiB free")
    reply = await world.operations.perform(order)
    assert "0.1 GiB" in reply.message.title
    assert world.launches() == []


async def test_resume_against_which_nothing_stands_says_nothing_of_a_gate(world: PaperWorld) -> None:
    dies(world)
    await world.operations.perform(ResumeRun(run=RUN, user=ALICE))
    await world.operations.settle()
    assert len(world.launches()) == 1
    assert not [key for key in world.outbox.versions if key.startswith("gate/")]


@pytest.mark.parametrize("outcome", [GateOutcome.FAIL, GateOutcome.UNKNOWN])
async def test_what_goes_on_by_itself_asks_when_the_gate_is_closed(tmp_path: Path, outcome: GateOutcome) -> None:
    world = a_world(tmp_path, AUTO)
    dies(world)
    world.gate.close(GateCheck.GPU, TEXT, outcome)
    await look(world)
    await look(world)
    assert world.launches() == []
    (operation,) = starts(world)
    assert operation.state is OperationState.NEEDS_HUMAN
    told = world.outbox.last(f"{operation.card}/human")
    assert TEXT in told.body[-1]
    assert set(told.mentions) == {ALICE, BOB}
    word = StartWord.parse(told.buttons[0].value)
    assert (word.anyway, word.attempt) == (True, 1)
    await world.operations.perform(ResumeRun(run=word.run, user=ALICE, attempt=word.attempt, anyway=True))
    await world.operations.settle()
    assert len(world.launches()) == 1


async def test_what_goes_by_itself_within_a_moment_is_waited_for_and_wakes_nobody(tmp_path: Path) -> None:
    """As a driver that still counts the trainer that was just killed as a user of its card."""
    world = a_world(tmp_path, replace(AUTO, settle_s=30.0))
    dies(world)
    world.gate.close(GateCheck.GPU_USERS, "GPU 0 is held by somebody else (process 4000)")
    await notice(world)
    await world.waits("for what may end by itself")
    assert world.launches() == []
    world.gate.facts = ()
    await world.operations.settle()
    assert len(world.launches()) == 1
    assert starts(world)[0].state is OperationState.DONE
    assert not [key for key in world.outbox.versions if key.endswith("/human")]


async def test_disk_that_was_full_is_waited_for(tmp_path: Path) -> None:
    world = a_world(tmp_path, AUTO)
    crashes(world, "OSError: [Errno 28] No space left on device")
    world.gate.close(GateCheck.DISK, "the disk has 0.1 GiB free, the next states want 3.0 GiB")
    await notice(world)
    await starts_once_there_is_space(world)


@pytest.mark.parametrize("check", [GateCheck.DIRECTORY, GateCheck.DATA, GateCheck.GPU])
async def test_what_a_restarted_host_does_not_have_yet_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, check: GateCheck
) -> None:
    """After a power cut a file server takes minutes longer than its clients."""
    world = a_world(tmp_path, AUTO)
    inspect = world.driver.inspect

    def restarted(process: ProcessIdentity) -> ProcessFact:
        fact = inspect(process)
        return replace(fact, rebooted=True) if fact.over else fact

    monkeypatch.setattr(world.driver, "inspect", restarted)
    dies(world, signum=None)
    world.gate.close(check, "the data set /nas/data.yaml is not there any more")
    await notice(world)
    await world.waits("until its host has all of it again")
    world.gate.facts = ()
    await world.operations.settle()
    assert len(world.launches()) == 1


async def test_disk_that_stays_full_is_asked_about(tmp_path: Path) -> None:
    world = a_world(tmp_path, replace(AUTO, disk_wait_s=0.05))
    crashes(world, "OSError: [Errno 28] No space left on device")
    world.gate.close(GateCheck.DISK, "the disk has 0.1 GiB free, the next states want 3.0 GiB")
    await look(world)
    assert world.launches() == []
    assert starts(world)[0].state is OperationState.NEEDS_HUMAN


async def test_card_of_a_rollback_names_what_stands_against_it_and_approving_goes_on(world: PaperWorld) -> None:
    world.gate.close(GateCheck.DATA, "the data set's /d is not there any more")
    approval = await world.ask()
    card = world.outbox.last(f"approval/{approval}")
    assert "Stands against a start: The data set's /d is not there any more." in card.body
    assert await world.approve(approval) == "Approved. The rollback has begun."
    operation = world.log.get(approval)
    assert operation is not None
    assert operation.state is OperationState.DONE


async def test_what_came_up_since_the_card_keeps_the_rollback_from_touching_anything(world: PaperWorld) -> None:
    approval = await world.ask()
    world.gate.close(GateCheck.GPU, TEXT)
    await world.operations.perform(Decide(approval_id=approval, user=BOB, approve=True))
    await world.operations.settle()
    operation = world.log.get(approval)
    assert operation is not None
    assert operation.state is OperationState.UNDONE
    assert TEXT in operation.problem
    assert world.signals() == world.launches() == []


async def test_trainer_at_work_holds_its_own_gpu_and_memory(world: PaperWorld) -> None:
    world.gate.close(GateCheck.GPU_USERS, "GPU 0 is held by process 4000, somebody else's")
    world.gate.close(GateCheck.MEMORY, "the host has 1.0 GiB of memory free, the run used 8.0 GiB")
    approval = await world.ask()
    assert not [line for line in world.outbox.last(f"approval/{approval}").body if "GPU 0" in line]
