"""A rollback from the question to healthy batches, and what happens when a step fails."""

from __future__ import annotations

import os
import shlex
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from tests.unit.bot.operations.paper import ALICE, BOB, PaperWorld
from tests.unit.bot.operations.paper_run import NAME, RUN
from trainmaster.bot.core.conversation.message import ActionId, Mark, Tone
from trainmaster.bot.core.decisions.approval import ApprovalState
from trainmaster.bot.core.decisions.operation import OperationState, Step
from trainmaster.bot.core.decisions.order import Decide, ProposeRollback
from trainmaster.bot.errors import CommandError, DriverError, OperationError
from trainmaster.bot.operations.operation_context import OperationContext
from trainmaster.bot.operations.steps import instructions
from trainmaster.trainer.contract import MODULE_ARGV

FAULT = OperationError("broken", "the disk answers with errors.")


async def state_of(world: PaperWorld, operation: str) -> OperationState:
    await world.operations.settle()
    found = world.log.get(operation)
    assert found is not None
    return found.state


async def test_approved_rollback_restores_the_last_clean_epoch_and_trains_on(world: PaperWorld) -> None:
    approval = await world.ask()
    await world.approve(approval)
    operation = world.log.get(approval)
    assert operation is not None
    assert operation.state is OperationState.DONE
    assert [step for step, _ in operation.done] == [step for step in Step if step is not Step.GATE]
    assert world.launches() == [f"launch {approval} resume {world.run.directory} from=3 level=strict"]
    assert world.signals() == ["signal SIGTERM 4000"]
    assert world.run.files()["weights of epoch 4"] == "runs/archive/digits/after3/epoch0004.ultralytics.pt"


async def test_progress_is_one_message_edited_step_by_step(world: PaperWorld) -> None:
    approval = await world.ask()
    await world.approve(approval)
    versions = world.outbox.versions[f"operation/{approval}"]
    assert [item.mark for item in versions[0].items] == [Mark.RUNNING, *[Mark.WAITING] * 6]
    assert versions[-1].title == f"{NAME} rolled back to epoch 3"
    assert {item.mark for item in versions[-1].items} == {Mark.DONE}
    assert versions[-1].tone is Tone.GOOD


async def test_everything_is_in_the_audit_log_before_and_after(world: PaperWorld) -> None:
    approval = await world.ask()
    await world.approve(approval)
    actions = [action for _, action in world.audit.entries]
    assert actions == ["approval.asked", "approval.yes", "rollback.begin", "rollback.end"]


async def test_run_is_held_while_the_rollback_is_under_way_and_not_after(world: PaperWorld) -> None:
    approval = await world.ask()
    assert not world.looks.held(RUN)
    await world.operations.perform(Decide(approval_id=approval, user=BOB, approve=True))
    assert world.looks.held(RUN)
    await world.operations.settle()
    assert not world.looks.held(RUN)


async def test_silence_about_the_process_is_waited_out_and_voids_no_decision(world: PaperWorld) -> None:
    approval = await world.ask()
    world.driver.mute = True
    await world.operations.perform(Decide(approval_id=approval, user=BOB, approve=True))
    await world.waits("no answer; it is asked until it answers")
    world.driver.mute = False
    assert await state_of(world, approval) is OperationState.DONE
    assert len(world.launches()) == 1


async def test_second_rollback_waits_for_the_first(world: PaperWorld) -> None:
    await world.operations.perform(Decide(approval_id=await world.ask(), user=BOB, approve=True))
    with pytest.raises(CommandError, match="under way"):
        await world.operations.perform(ProposeRollback(run=RUN, user=ALICE))
    await world.operations.settle()


@pytest.mark.parametrize("step", ["verify", "archive"])
async def test_failure_before_the_point_of_no_return_leaves_the_run_as_it_was(world: PaperWorld, step: str) -> None:
    before = world.run.files()
    world.forensics.faults.lasting[step] = FAULT
    approval = await world.ask()
    await world.approve(approval)
    assert await state_of(world, approval) is OperationState.UNDONE
    assert world.run.files() == before
    training = [pid for pid, entry in world.driver.processes.items() if entry["alive"]]
    assert len(training) == 1
    assert "from=" not in " ".join(world.launches())


async def test_archive_that_was_cut_off_halfway_is_brought_back(world: PaperWorld) -> None:
    before = world.run.files()
    world.forensics.contaminated = {3, 4}

    def full_disk(point: str) -> None:
        if point == "after archiving":
            world.forensics._point = lambda _name: None
            raise FAULT

    world.forensics._point = full_disk
    approval = await world.ask()
    await world.approve(approval)
    assert await state_of(world, approval) is OperationState.UNDONE
    assert world.run.files() == before


async def test_archive_of_an_earlier_rollback_is_not_brought_back_by_an_undo(world: PaperWorld) -> None:
    old = world.run.layout.archive / "after3"
    old.mkdir(parents=True)
    (old / "epoch0005.ultralytics.pt").write_text("weights of an earlier rollback")
    world.forensics.faults.next["archive"] = FAULT  # and when the undo asks again, it is told of the old one
    world.run.checkpoint_path(4).unlink()
    approval = await world.ask()
    await world.approve(approval)
    assert await state_of(world, approval) is OperationState.UNDONE
    assert (old / "epoch0005.ultralytics.pt").exists()


@pytest.mark.parametrize(("where", "name"), [("forensics", "restore"), ("driver", "launch")])
async def test_failure_after_the_point_of_no_return_calls_a_person_with_exact_commands(
    world: PaperWorld, where: str, name: str
) -> None:
    fault = FAULT if where == "forensics" else DriverError("launch-failed", "no such Python.")
    getattr(world, where).faults.lasting[name] = fault
    approval = await world.ask()
    await world.approve(approval)
    assert await state_of(world, approval) is OperationState.NEEDS_HUMAN
    message = world.outbox.last(f"operation/{approval}/human")
    assert message.tone is Tone.CRITICAL
    assert message.mentions == (ALICE, BOB)
    assert message.excerpt == ""
    assert message.details is not None
    assert "from=3 level=strict" in message.details.excerpt
    assert (" restore " in message.details.excerpt) == (name == "restore")
    (finding,) = world.findings()
    assert "needs a person" in finding.title


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        pytest.param(FAULT, FAULT.message, id="as told"),
        pytest.param(PermissionError(13, "Permission denied"), "PermissionError", id="that nobody thought of"),
    ],
)
async def test_way_back_that_fails_calls_a_person(world: PaperWorld, fault: Exception, told: str) -> None:
    world.forensics.faults.next["archive"] = FAULT
    world.forensics.faults.lasting["unarchive"] = fault
    approval = await world.ask()
    await world.approve(approval)
    assert await state_of(world, approval) is OperationState.NEEDS_HUMAN
    said = " ".join(world.outbox.last(f"operation/{approval}/human").body)
    assert f"Undoing “{Step.ARCHIVE.words}” failed too" in said
    assert told in said


@pytest.mark.parametrize(("where", "name"), [("forensics", "restore"), ("driver", "launch")])
async def test_passing_fault_after_the_point_of_no_return_is_tried_again(
    world: PaperWorld, where: str, name: str
) -> None:
    fault = FAULT if where == "forensics" else DriverError("launch-failed", "the host is busy.")
    getattr(world, where).faults.next[name] = fault
    approval = await world.ask()
    await world.approve(approval)
    assert await state_of(world, approval) is OperationState.DONE
    assert len(world.launches()) == 1
    assert world.findings() == ()


async def test_trainer_that_dies_at_once_is_told_with_its_last_lines(world: PaperWorld) -> None:
    world.runs.dies_after_sign_in = True
    world.run.layout.train_log.write_text("RuntimeError: CUDA out of memory\n")
    approval = await world.ask()
    await world.approve(approval)
    assert await state_of(world, approval) is OperationState.NEEDS_HUMAN
    assert "CUDA out of memory" in " ".join(world.outbox.last(f"operation/{approval}").body)


async def test_bad_batches_at_the_start_are_not_called_healthy(world: PaperWorld) -> None:
    world.runs.streak = 2
    approval = await world.ask()
    await world.approve(approval)
    assert await state_of(world, approval) is OperationState.NEEDS_HUMAN


async def test_trainer_that_hangs_before_its_first_batch_is_told(world: PaperWorld) -> None:
    world.runs.stuck = True
    approval = await world.ask()
    await world.approve(approval)
    assert await state_of(world, approval) is OperationState.NEEDS_HUMAN
    assert "no progress" in " ".join(world.outbox.last(f"operation/{approval}").body)


async def test_rollback_is_refused_when_the_audit_log_cannot_be_written(world: PaperWorld) -> None:
    approval = await world.ask()
    append = world.audit.append

    def fills_up(actor: str, action: str, *rest: object) -> None:
        world.audit.full = action == "rollback.begin"
        append(actor, action, *rest)  # type: ignore[arg-type]

    world.audit.append = fills_up  # type: ignore[method-assign,assignment]
    await world.approve(approval)
    assert await state_of(world, approval) is OperationState.UNDONE
    assert world.signals() == []
    assert world.launches() == []


async def test_rollback_is_refused_when_the_disk_is_too_full(
    world: PaperWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=10))
    approval = await world.ask()
    await world.approve(approval)
    assert await state_of(world, approval) is OperationState.UNDONE
    assert world.driver.log() == []
    assert "a rollback wants" in " ".join(world.outbox.last(f"operation/{approval}").body)


async def test_checkpoint_replaced_after_the_approval_is_refused(world: PaperWorld) -> None:
    approval = await world.ask()
    verify = world.forensics.verify

    async def replaced(view: object, file: object) -> object:
        world.run.checkpoint_path(3).write_text("something else")
        return await verify(view, file)  # type: ignore[arg-type]

    world.forensics.verify = replaced  # type: ignore[method-assign,assignment]
    await world.approve(approval)
    assert await state_of(world, approval) is OperationState.UNDONE
    assert "somebody replaced it after the approval" in " ".join(world.outbox.last(f"operation/{approval}").body)
    assert world.signals() == []


@pytest.mark.parametrize(
    ("change", "word"),
    [
        pytest.param(
            lambda world: world.run.checkpoint_path(3).write_text("x"), "digest of the checkpoint", id="digest"
        ),
        pytest.param(lambda world: setattr(world.runs, "epoch", 6), "epoch in training", id="epoch"),
        pytest.param(lambda world: world.forensics.contaminated.add(3), "epoch of the checkpoint", id="verdict"),
        pytest.param(
            lambda world: world.run.write_record(world.driver.spawn(), attempt=2, level="standard", state="running"),
            "attempt",
            id="attempt",
        ),
        pytest.param(
            lambda world: world.run.write_record(world.driver.spawn(), attempt=1, level="standard", state="running"),
            "process id",
            id="process",
        ),
    ],
)
async def test_changed_world_voids_the_approval_and_asks_again_with_the_difference(
    world: PaperWorld, change: object, word: str
) -> None:
    approval = await world.ask()
    change(world)  # type: ignore[operator]
    await world.approve(approval)
    assert await state_of(world, approval) is OperationState.VOIDED
    assert world.driver.log() == []
    old = world.questions.get(approval)
    assert old is not None
    assert old.state is ApprovalState.VOID
    again = world.operations.pending(RUN)
    assert again is not None
    card = world.outbox.last(again.card)
    assert any(line.startswith("Changed since it was asked") and word in line for line in card.body)
    assert {ActionId.APPROVE, ActionId.REJECT} <= {button.action for button in card.buttons}


async def test_world_with_nothing_left_to_go_back_to_voids_the_approval_without_a_new_question(
    world: PaperWorld,
) -> None:
    approval = await world.ask()
    world.forensics.contaminated = {1, 2, 3, 4}
    await world.approve(approval)
    assert await state_of(world, approval) is OperationState.VOIDED
    assert world.operations.pending(RUN) is None


async def test_trainer_that_died_meanwhile_is_rolled_back_all_the_same(world: PaperWorld) -> None:
    approval = await world.ask()
    world.driver.kill(4000)
    await world.approve(approval)
    assert await state_of(world, approval) is OperationState.DONE
    assert world.signals() == []


async def test_attempt_that_somebody_else_started_meanwhile_stops_the_rollback(world: PaperWorld) -> None:
    world.runs.silent = True
    approval = await world.ask()
    await world.operations.perform(Decide(approval_id=approval, user=BOB, approve=True))
    await world.launched()
    stranger = world.driver.spawn()
    world.driver.kill(int(next(pid for pid, entry in world.driver.processes.items() if entry["key"] == approval)))
    world.run.write_record(stranger, attempt=2, level="standard", state="running")
    assert await state_of(world, approval) is OperationState.NEEDS_HUMAN
    assert "somebody else" in " ".join(world.outbox.last(f"operation/{approval}").body)


async def test_checkpoint_that_the_trainer_prunes_before_it_is_stopped_is_kept(world: PaperWorld) -> None:
    verify = world.forensics.verify

    async def then_pruned(view: object, file: object) -> object:
        fact = await verify(view, file)  # type: ignore[arg-type]
        world.run.checkpoint_path(3).unlink(missing_ok=True)
        return fact

    world.forensics.verify = then_pruned  # type: ignore[method-assign,assignment]
    approval = await world.ask()
    await world.approve(approval)
    assert await state_of(world, approval) is OperationState.DONE
    assert world.run.checkpoint_path(3).read_text() == "weights of epoch 3"
    assert not (world.run.layout.guard / "pinned").exists()


async def test_checkpoint_that_vanishes_where_links_are_unknown_is_noticed_while_there_is_a_way_back(
    world: PaperWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(_source: object, _target: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", unsupported)
    verify, num_looks = world.forensics.verify, 0

    async def replaced_after_the_first_look(view: object, file: object) -> object:
        nonlocal num_looks
        num_looks += 1
        if num_looks > 1:
            world.run.checkpoint_path(3).write_text("another")
        return await verify(view, file)  # type: ignore[arg-type]

    world.forensics.verify = replaced_after_the_first_look  # type: ignore[method-assign,assignment]
    approval = await world.ask()
    await world.approve(approval)
    assert await state_of(world, approval) is OperationState.UNDONE
    assert not world.run.layout.archive.exists()


async def test_checkpoint_replaced_while_the_trainer_was_stopping_is_noticed(world: PaperWorld) -> None:
    def replace_it(point: str) -> None:
        if point.startswith("after signal"):
            world.run.checkpoint_path(3).unlink()
            world.run.checkpoint_path(3).write_text("another")

    world.driver._point = replace_it
    approval = await world.ask()
    await world.approve(approval)
    assert await state_of(world, approval) is OperationState.UNDONE
    assert "is another file than the one that was approved" in " ".join(world.outbox.last(f"operation/{approval}").body)


@pytest.mark.parametrize("options", [None, ("--partition=gpu",)], ids=["process", "job"])
async def test_commands_by_hand_take_any_folder_and_start_a_job_as_one(
    world: PaperWorld, options: tuple[str, ...] | None
) -> None:
    world.driver.faults.lasting["launch"] = DriverError("launch-failed", "no such Python.")
    approval = await world.ask()
    await world.approve(approval)
    operation = world.log.get(approval)
    assert operation is not None
    assert operation.launch is not None
    launch = replace(operation.launch, cwd=Path("/data/o'night"), options=options)
    operation = replace(operation, directory=Path("/data/my runs/a;b"), launch=launch)
    lines = instructions(cast("OperationContext", SimpleNamespace(operation=operation))).splitlines()
    words = [shlex.split(line.removeprefix("nohup ").partition(" >> ")[0]) for line in lines]
    assert words[0] == ["cd", "/data/o'night"]
    trainer = [operation.launch.python, *MODULE_ARGV]
    assert all(one[: len(trainer)] == trainer for one in words[1:])
    start = ["resume", "/data/my runs/a;b", *(["again=auto"] if options else []), "from=3", "level=strict"]
    assert words[-1][len(trainer) :] == [*(["sbatch", "--partition=gpu", "--"] if options else []), *start]
    assert lines[-1].startswith("nohup ") is (options is None)
