"""Emergency stops, stops at an epoch's end, and resumes."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.bot.operations.paper import ALICE, BOB, FAST, MALLORY, PaperWorld
from tests.unit.bot.operations.paper_run import RUN
from trainmaster.bot.core.conversation.message import ActionId, Tone
from trainmaster.bot.core.conversation.tokens import person
from trainmaster.bot.core.decisions.operation import IntentKind, OperationState
from trainmaster.bot.core.decisions.order import (
    ContinueRun,
    Decide,
    ProposeRollback,
    ResumeRun,
    StopAfterEpoch,
    StopNow,
)
from trainmaster.bot.errors import CommandError, StoreError
from trainmaster.trainer.contract import replace_json


def only_operation(world: PaperWorld) -> str:
    (operation,) = world.log.history(RUN)
    return operation.id


async def test_stop_now_needs_no_approval_and_offers_the_resume_before_the_rollback(world: PaperWorld) -> None:
    await world.operations.perform(StopNow(run=RUN, user=BOB))
    await world.operations.settle()
    message = world.outbox.last(f"operation/{only_operation(world)}")
    assert message.title == "digits is stopped"
    assert "can be resumed" in message.items[0].detail
    assert [(button.action, button.value) for button in message.buttons] == [
        (ActionId.RESUME_RUN, f"1:{RUN}"),
        (ActionId.PROPOSE_ROLLBACK, RUN),
        (ActionId.DETAILS, only_operation(world)),
    ]
    assert message.details is not None
    assert message.details.context == ("trainer before: process 4000",)
    assert world.signals() == ["signal SIGTERM 4000"]
    assert ("U0BOB", "stop.begin") in world.audit.entries


async def test_stop_now_is_for_people_on_call_only(world: PaperWorld) -> None:
    with pytest.raises(CommandError, match="only people on call may stop"):
        await world.operations.perform(StopNow(run=RUN, user=MALLORY))
    assert world.signals() == []


async def test_trainer_that_ignores_sigterm_is_killed_and_that_is_said(world: PaperWorld) -> None:
    world.driver.deaf = {4000}
    await world.operations.perform(StopNow(run=RUN, user=BOB))
    await world.operations.settle()
    assert [line.split()[1] for line in world.signals()] == ["SIGTERM", "SIGTERM", "SIGKILL"]
    detail = world.outbox.last(f"operation/{only_operation(world)}").items[0].detail
    assert "was killed" in detail
    assert "nothing newer" in detail or "no clean checkpoint" in detail


async def test_silence_at_the_end_of_a_stop_is_waited_out_and_calls_nobody(tmp_path: Path) -> None:
    world = PaperWorld(tmp_path, limits=replace(FAST, stop_grace_max_s=60.0))
    world.start_run()
    world.driver.silent = True
    await world.operations.perform(StopNow(run=RUN, user=BOB))
    await world.waits("no answer; it is asked until it answers")  # whatever else a stop waits for is over by then
    world.driver.silent = False
    await world.operations.settle()
    assert world.outbox.last(f"operation/{only_operation(world)}").title == "digits is stopped"


async def test_workers_that_outlive_their_trainer_are_ended(world: PaperWorld) -> None:
    worker = world.driver.spawn(parent=4000)
    world.driver.deaf = {worker.pid}
    await world.operations.perform(StopNow(run=RUN, user=BOB))
    await world.operations.settle()
    assert not any(entry["alive"] for entry in world.driver.processes.values())
    assert world.signals()[-1] == f"signal SIGKILL {worker.pid}"


async def test_what_survives_sigkill_is_told_with_its_pid(world: PaperWorld) -> None:
    world.driver.immortal = {4000}
    await world.operations.perform(StopNow(run=RUN, user=BOB))
    await world.operations.settle()
    message = world.outbox.last(f"operation/{only_operation(world)}")
    assert message.tone is Tone.CRITICAL
    assert message.body[0].startswith("the process survives SIGKILL")
    assert message.details is not None
    assert "-p 4000" in message.details.excerpt


async def test_process_that_cannot_be_seen_is_never_called_stopped(world: PaperWorld) -> None:
    world.driver.unknown = {4000}
    await world.operations.perform(StopNow(run=RUN, user=BOB))
    await world.operations.settle()
    message = world.outbox.last(f"operation/{only_operation(world)}")
    assert "cannot be told" in message.body[0]
    assert world.signals() == []


async def test_run_on_another_host_is_refused_by_its_name(world: PaperWorld) -> None:
    replace_json(world.run.layout.run_json, {**world.run.record(), "host": "gpu-7"})
    with pytest.raises(CommandError, match="gpu-7"):
        await world.operations.perform(StopNow(run=RUN, user=BOB))
    with pytest.raises(CommandError, match="gpu-7"):
        await world.operations.perform(ProposeRollback(run=RUN, user=ALICE))


async def test_stop_goes_ahead_without_an_audit_log_and_says_so(world: PaperWorld) -> None:
    world.audit.full = True
    reply = await world.operations.perform(StopNow(run=RUN, user=BOB))
    await world.operations.settle()
    assert any("not in the audit log yet" in line for line in reply.message.body)
    assert world.audit.due == [(BOB, "stop.begin")]
    assert world.signals() == ["signal SIGTERM 4000"]


async def test_stop_goes_ahead_without_a_database_and_says_so(
    world: PaperWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_operation: object) -> bool:
        raise StoreError("state-database", "/var/lib/trainmaster/state.db refused: database or disk is full.")

    monkeypatch.setattr(world.log, "create", full)
    reply = await world.operations.perform(StopNow(run=RUN, user=BOB))
    assert "Nothing of this is on record: state.db refused: database or disk is full." in reply.message.body
    assert world.signals() == ["signal SIGTERM 4000"]


async def test_second_stop_finds_the_first(world: PaperWorld) -> None:
    await world.operations.perform(StopNow(run=RUN, user=BOB))
    reply = await world.operations.perform(StopNow(run=RUN, user=ALICE))
    assert "already" in reply.message.title
    await world.operations.settle()
    assert world.signals() == ["signal SIGTERM 4000"]


async def test_what_is_said_of_a_run_that_is_stopped_or_being_stopped_is_true(world: PaperWorld) -> None:
    reply = await world.operations.perform(StopNow(run=RUN, user=BOB))
    assert "was asked to end its batch" in reply.message.body[0]
    with pytest.raises(CommandError, match="a stop of digits is under way"):
        await world.operations.perform(ContinueRun(run=RUN, user=ALICE))
    await world.operations.settle()
    reply = await world.operations.perform(StopNow(run=RUN, user=BOB))
    assert "It had ended already" in reply.message.body[0]


@pytest.mark.parametrize("step", ["verify", "restart", "confirm"])
async def test_stop_now_ends_a_rollback_in_a_stopped_run(world: PaperWorld, step: str) -> None:
    waiting = asyncio.Event()
    if step == "verify":

        async def slow(view: object, file: object) -> None:
            waiting.set()
            await asyncio.Event().wait()

        world.forensics.verify = slow  # type: ignore[method-assign,assignment]
    world.runs.silent = step == "restart"
    world.runs.stuck = step == "confirm"
    world.with_limits(first_batch_timeout_s=60.0, restart_timeout_s=60.0)
    approval = await world.ask()
    await world.operations.perform(Decide(approval_id=approval, user=BOB, approve=True))
    if step == "verify":
        await waiting.wait()
    else:
        await world.launched()
    reply = await world.operations.perform(StopNow(run=RUN, user=BOB))
    await world.operations.settle()
    assert "the rollback ends now" in reply.message.title
    operation = world.log.get(approval)
    assert operation is not None
    assert operation.state is OperationState.ABORTED
    assert not any(entry["alive"] for entry in world.driver.processes.values())
    assert f"Emergency stop by {person('U0BOB')}." in world.outbox.last(f"operation/{approval}").body


async def test_stop_after_epoch_waits_for_the_epoch_s_end(world: PaperWorld) -> None:
    reply = await world.operations.perform(StopAfterEpoch(run=RUN, user=BOB))
    assert "when epoch 5 has ended" in reply.message.title
    await world.operations.tick(world.clock.now())
    assert world.signals() == []
    world.runs.epoch = 6
    await world.operations.tick(world.clock.now())
    await world.operations.settle()
    assert world.signals() == ["signal SIGTERM 4000"]
    assert world.intents.all(IntentKind.STOP_AFTER_EPOCH) == ()


async def test_stop_after_epoch_is_taken_back_by_continue(world: PaperWorld) -> None:
    await world.operations.perform(StopAfterEpoch(run=RUN, user=BOB))
    await world.operations.perform(ContinueRun(run=RUN, user=BOB))
    world.runs.epoch = 6
    await world.operations.tick(world.clock.now())
    await world.operations.settle()
    assert world.signals() == []


async def test_stop_after_epoch_means_this_attempt_only(world: PaperWorld) -> None:
    await world.operations.perform(StopAfterEpoch(run=RUN, user=BOB))
    world.run.write_record(world.driver.spawn(), attempt=2, level="strict", state="running")
    await world.operations.tick(world.clock.now())
    await world.operations.settle()
    assert world.intents.all(IntentKind.STOP_AFTER_EPOCH) == ()
    assert world.signals() == []


async def test_stop_after_epoch_of_a_stopped_run_is_refused(world: PaperWorld) -> None:
    world.run.stopped()
    with pytest.raises(CommandError, match="no epoch will end"):
        await world.operations.perform(StopAfterEpoch(run=RUN, user=BOB))


async def test_stopped_run_is_resumed_where_it_stopped(world: PaperWorld) -> None:
    await world.operations.perform(StopNow(run=RUN, user=BOB))
    await world.operations.settle()
    await world.operations.perform(ResumeRun(run=RUN, user=BOB))
    await world.operations.settle()
    (launch,) = world.launches()
    assert launch.endswith(f"resume {world.run.directory}")
    assert world.log.history(RUN)[0].state is OperationState.DONE


async def test_resume_at_another_level_says_so_to_the_trainer(world: PaperWorld) -> None:
    await world.operations.perform(StopNow(run=RUN, user=BOB))
    await world.operations.settle()
    await world.operations.perform(ResumeRun(run=RUN, user=BOB, level="STRICT"))
    await world.operations.settle()
    assert world.launches()[0].endswith("level=strict")


@pytest.mark.parametrize(
    ("level", "user", "fault"),
    [
        pytest.param(None, BOB, "still runs", id="still running"),
        pytest.param("iron", BOB, "unknown level", id="no such level"),
        pytest.param(None, MALLORY, "only people on call", id="not on call"),
    ],
)
async def test_resume_that_cannot_be_is_refused(world: PaperWorld, level: str | None, user: str, fault: str) -> None:
    with pytest.raises(CommandError, match=fault):
        await world.operations.perform(ResumeRun(run=RUN, user=user, level=level))
    assert world.launches() == []
