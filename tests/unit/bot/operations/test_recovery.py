"""A bot that comes back, two bots at once, and a journal that cannot be written."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.bot.operations.paper import BOB, PaperWorld
from tests.unit.bot.operations.paper_run import HOST, RUN
from trainmaster.bot.core.decisions.operation import EntryKind, JournalEntry, OperationState, Step
from trainmaster.bot.core.decisions.order import Decide
from trainmaster.bot.core.run.facts import Event, ProcessIdentity
from trainmaster.bot.errors import OperationError, StoreError
from trainmaster.bot.ports import FencedError


def bot(world: PaperWorld, pid: int) -> ProcessIdentity:
    return ProcessIdentity(pid=pid, create_time=1000.0 + pid, host=HOST, boot_id="boot")


async def interrupted(world: PaperWorld, *, owner: ProcessIdentity) -> str:
    """A rollback that ``owner`` was doing when its process ended, right after the approval."""
    world.operations.instance = owner
    approval = await world.ask()
    await world.operations.perform(Decide(approval_id=approval, user=BOB, approve=True))
    await world.operations.close()
    world.operations = world.new_operations()
    return approval


async def test_operation_of_a_dead_bot_is_taken_over_and_finished(world: PaperWorld) -> None:
    owner = world.driver.spawn()
    approval = await interrupted(world, owner=owner)
    world.driver.kill(owner.pid)
    await world.operations.recover()
    await world.operations.settle()
    operation = world.log.get(approval)
    assert operation is not None
    assert operation.state is OperationState.DONE
    assert operation.fence == 2
    assert len(world.launches()) == 1


async def test_operation_of_a_living_bot_is_left_alone(world: PaperWorld) -> None:
    approval = await interrupted(world, owner=world.driver.spawn())
    await world.operations.recover()
    await world.operations.settle()
    operation = world.log.get(approval)
    assert operation is not None
    assert operation.state is OperationState.OPEN
    assert world.driver.log() == []


async def test_operation_of_a_bot_on_another_host_is_left_alone(world: PaperWorld) -> None:
    owner = ProcessIdentity(pid=1, create_time=1.0, host="gpu-7", boot_id="boot")
    approval = await interrupted(world, owner=owner)
    await world.operations.recover()
    operation = world.log.get(approval)
    assert operation is not None
    assert operation.owner == owner


async def test_only_one_of_two_bots_takes_an_operation_over(world: PaperWorld, tmp_path: Path) -> None:
    owner = world.driver.spawn()
    approval = await interrupted(world, owner=owner)
    world.driver.kill(owner.pid)
    operation = world.log.get(approval)
    assert operation is not None
    first = world.log.claim(operation, bot(world, 1), 0.0)
    assert first is not None
    assert world.log.claim(operation, bot(world, 2), 0.0) is None


async def test_bot_that_was_taken_over_can_write_nothing_more(world: PaperWorld) -> None:
    owner = world.driver.spawn()
    approval = await interrupted(world, owner=owner)
    stale = world.log.get(approval)
    assert stale is not None
    world.log.claim(stale, bot(world, 1), 0.0)
    with pytest.raises(FencedError):
        world.log.record(stale, JournalEntry(ts=0.0, step=Step.STOP, kind=EntryKind.BEGUN))
    assert EntryKind.BEGUN not in {entry.kind for entry in world.log.entries(approval)}


async def test_stale_bot_that_wakes_up_does_nothing(world: PaperWorld) -> None:
    owner = world.driver.spawn()
    approval = await interrupted(world, owner=owner)
    stale = world.log.get(approval)
    assert stale is not None
    world.log.claim(stale, bot(world, 4999), 0.0)
    await world.operations._runner._engine.run(stale)
    assert world.driver.log() == []


async def test_world_that_changed_while_no_bot_ran_voids_the_approval(world: PaperWorld) -> None:
    owner = world.driver.spawn()
    approval = await interrupted(world, owner=owner)
    world.driver.kill(owner.pid)
    world.runs.epoch = 6
    await world.operations.recover()
    await world.operations.settle()
    operation = world.log.get(approval)
    assert operation is not None
    assert operation.state is OperationState.VOIDED
    assert world.driver.log() == []


@pytest.mark.parametrize("at", range(1, 21))
async def test_full_database_stops_everything_where_it_is_and_the_next_tick_goes_on(
    world: PaperWorld, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    record, count = world.log.record, 0

    def full(*words: object) -> None:
        nonlocal count
        count += 1
        if count == at:
            raise StoreError("state-database", "database or disk is full.")
        record(*words)  # type: ignore[arg-type]

    monkeypatch.setattr(world.log, "record", full)
    approval = await world.ask()
    await world.approve(approval)
    open_one = world.operations.open(RUN)
    assert open_one is not None
    await world.operations.tick(world.clock.now())
    await world.operations.settle()
    operation = world.log.get(approval)
    assert operation is not None
    assert operation.state is OperationState.DONE
    assert len(world.launches()) == 1
    assert len(world.signals()) == 1
    assert set(world.run.files()) == {f"weights of epoch {epoch}" for epoch in range(1, 5)}


async def test_what_was_approved_is_checked_again_when_a_bot_died_before_it_touched_the_run(world: PaperWorld) -> None:
    owner = world.driver.spawn()
    world.operations.instance = owner
    verify, reached = world.forensics.verify, asyncio.Event()

    async def endless(view: object, file: object) -> None:
        reached.set()
        await asyncio.Event().wait()

    world.forensics.verify = endless  # type: ignore[method-assign,assignment]
    approval = await world.ask()
    await world.operations.perform(Decide(approval_id=approval, user=BOB, approve=True))
    await reached.wait()
    await world.operations.close()
    world.driver.kill(owner.pid)
    world.forensics.verify = verify  # type: ignore[method-assign]
    world.operations = world.new_operations()
    world.runs.epoch = 6
    await world.operations.recover()
    await world.operations.settle()
    operation = world.log.get(approval)
    assert operation is not None
    assert operation.state is OperationState.VOIDED
    assert world.driver.log() == []


@pytest.mark.parametrize("heard", [True, False], ids=["heard", "not heard"])
async def test_sigterm_that_a_dead_bot_sent_is_repeated_only_if_the_trainer_did_not_hear_it(
    world: PaperWorld, heard: bool
) -> None:
    """A second SIGTERM makes a trainer leave without saving."""
    owner = world.driver.spawn()
    approval = await interrupted(world, owner=owner)
    world.driver.kill(owner.pid)
    operation = world.log.get(approval)
    assert operation is not None
    asked = replace(operation, step=Step.STOP, notes=(("members", "[]"), ("asked", "4000")))
    world.log.record(asked, JournalEntry(ts=0.0, step=Step.STOP, kind=EntryKind.NOTED))
    if heard:
        world.runs.events = [Event(ts=0.0, run=RUN, attempt=1, seq=1, kind="stop_requested", data={})]
        world.with_limits(stop_grace_s=30.0, stop_grace_max_s=30.0)
    await world.operations.recover()
    if heard:
        await asyncio.sleep(0.05)
        assert world.signals() == []
        world.driver.kill(4000)
    await world.operations.settle()
    assert world.signals() == ([] if heard else ["signal SIGTERM 4000"])


async def test_needs_human_ends_when_a_later_attempt_trains(world: PaperWorld) -> None:
    world.forensics.faults.lasting["restore"] = OperationError("broken", "the disk answers with errors.")
    await world.approve(await world.ask())
    assert len(world.findings()) == 1
    world.run.write_record(world.driver.spawn(), attempt=2, level="strict", state="running")
    assert world.findings() == ()
