"""Approvals and operations in the database: races are decided there, records come back as they were."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.bot.operations.paper import ALICE, BOB, PaperWorld
from tests.unit.bot.operations.paper_run import RUN
from trainmaster.bot.core.decisions.approval import ApprovalState, Vote
from trainmaster.bot.core.decisions.operation import (
    EntryKind,
    Intent,
    IntentKind,
    JournalEntry,
    Operation,
    OperationKind,
    OperationState,
    Step,
)
from trainmaster.bot.errors import StoreError
from trainmaster.bot.ports import FencedError
from trainmaster.bot.storage.database import Database
from trainmaster.bot.storage.operations import SqliteApprovals, SqliteIntents, SqliteOperations


@pytest.fixture
async def world(tmp_path: Path) -> PaperWorld:
    """A world with one pending question."""
    world = PaperWorld(tmp_path)
    world.start_run()
    await world.ask()
    return world


def stop_of(world: PaperWorld, operation_id: str) -> Operation:
    approval = world.operations.pending(RUN)
    assert approval is not None
    return Operation(
        id=operation_id,
        kind=OperationKind.STOP,
        run=RUN,
        name="digits",
        directory=world.run.directory,
        requester=BOB,
        decided_by=(),
        channel=None,
        thread_of=None,
        created_ts=1.0,
        updated_ts=1.0,
        owner=world.operations.instance,
        fence=1,
        step=Step.STOP,
        process=approval.plan.process,
        attempt=1,
        was_active=True,
        launch=approval.plan.launch,
        plan=approval.plan,
        notes=(("asked", "4000"),),
    )


def test_approval_comes_back_as_it_was_also_in_another_process(world: PaperWorld) -> None:
    approval = world.operations.pending(RUN)
    assert approval is not None
    reopened = SqliteApprovals(Database(world.database.path))
    assert reopened.get(approval.id) == approval
    assert reopened.get(approval.id).plan.digest == approval.plan.digest  # type: ignore[union-attr]


def test_run_has_one_pending_question_at_most(world: PaperWorld) -> None:
    approval = world.operations.pending(RUN)
    assert approval is not None
    assert not world.questions.create(replace(approval, id="another"))


def test_question_changes_from_the_expected_state_only(world: PaperWorld) -> None:
    approval = world.operations.pending(RUN)
    assert approval is not None
    approved = replace(approval, state=ApprovalState.APPROVED)
    assert world.questions.update(approved, expected=ApprovalState.PENDING)
    assert not world.questions.update(replace(approval, state=ApprovalState.REJECTED), expected=ApprovalState.PENDING)
    found = world.questions.get(approval.id)
    assert found is not None
    assert found.state is ApprovalState.APPROVED


def test_person_votes_once(world: PaperWorld) -> None:
    approval = world.operations.pending(RUN)
    assert approval is not None
    assert world.questions.vote(approval.id, Vote(user=BOB, ts=1.0)) == 1
    assert world.questions.vote(approval.id, Vote(user=BOB, ts=2.0)) == 1
    assert world.questions.vote(approval.id, Vote(user=ALICE, ts=3.0)) == 2
    found = world.questions.get(approval.id)
    assert found is not None
    assert found.votes == (Vote(user=BOB, ts=1.0), Vote(user=ALICE, ts=3.0))


def test_operation_comes_back_as_it_was(world: PaperWorld) -> None:
    operation = stop_of(world, "op-1")
    assert world.log.create(operation)
    assert SqliteOperations(Database(world.database.path)).open(RUN) == (operation,)


@pytest.mark.parametrize("operation_id", ["op-1", "op-2"], ids=["same id", "same run"])
def test_second_open_operation_is_refused_and_the_transaction_goes_on(world: PaperWorld, operation_id: str) -> None:
    assert world.log.create(stop_of(world, "op-1"))
    with world.database.transaction():
        assert not world.log.create(stop_of(world, operation_id))
        world.database.execute("UPDATE operations SET updated_ts = 2.0")
    assert world.database.rows("SELECT updated_ts FROM operations")[0][0] == 2.0


def test_closed_operation_makes_room_for_the_next_but_its_id_is_used_up(world: PaperWorld) -> None:
    operation = stop_of(world, "op-1")
    world.log.create(operation)
    closed = replace(operation, state=OperationState.DONE)
    world.log.record(closed, JournalEntry(ts=2.0, step=Step.STOP, kind=EntryKind.CLOSED))
    assert not world.log.create(operation)
    assert world.log.create(stop_of(world, "op-2"))
    with pytest.raises(FencedError):
        world.log.record(operation, JournalEntry(ts=3.0, step=Step.STOP, kind=EntryKind.BEGUN))


def test_emergency_stop_is_seen_by_whoever_owns_the_operation(world: PaperWorld) -> None:
    operation = stop_of(world, "op-1")
    world.log.create(operation)
    assert world.log.halted_by("op-1") is None
    assert world.log.halt("op-1", BOB)
    assert world.log.halt("op-1", ALICE)
    world.log.record(operation, JournalEntry(ts=2.0, step=Step.STOP, kind=EntryKind.BEGUN))
    assert world.log.halted_by("op-1") == BOB
    assert not world.log.halt("op-9", BOB)


@pytest.mark.parametrize("statement", ["UPDATE journal SET detail = 'x'", "DELETE FROM journal"])
def test_journal_is_append_only(world: PaperWorld, statement: str) -> None:
    world.log.create(stop_of(world, "op-1"))
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        world.database.execute(statement)


def test_record_of_another_version_is_told_and_not_guessed(world: PaperWorld) -> None:
    world.log.create(stop_of(world, "op-1"))
    world.database.execute("""UPDATE operations SET body = '{"id": "op-1"}'""")
    with pytest.raises(StoreError, match="cannot be read by this version"):
        world.log.open(RUN)


def test_intent_of_a_kind_replaces_the_older_one(world: PaperWorld) -> None:
    store = SqliteIntents(world.database)
    intent = Intent(
        run=RUN, kind=IntentKind.CONTINUE, attempt=1, epoch=5, user=BOB, why="", channel=None, thread_of=None, ts=1.0
    )
    store.put(intent)
    store.put(replace(intent, why="one bad image"))
    assert store.get(RUN, IntentKind.CONTINUE) == replace(intent, why="one bad image")
    assert store.get(RUN, IntentKind.STOP_AFTER_EPOCH) is None
    assert store.drop(RUN, IntentKind.CONTINUE)
    assert not store.drop(RUN, IntentKind.CONTINUE)
