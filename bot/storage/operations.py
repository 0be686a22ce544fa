"""Approvals, operations and their journal in SQLite. Races are decided by conditional updates and unique indexes."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from trainmaster.bot.core.decisions.approval import Approval, ApprovalState, Vote
from trainmaster.bot.core.decisions.operation import EntryKind, Intent, IntentKind, JournalEntry, Operation, Step
from trainmaster.bot.core.run.facts import ProcessIdentity
from trainmaster.bot.errors import StoreError
from trainmaster.bot.ports import FencedError
from trainmaster.bot.storage.database import Database, Durable

T = TypeVar("T")

_APPROVAL = TypeAdapter(Approval)
_OPERATION = TypeAdapter(Operation)


class SqliteApprovals:
    """The one that implements :class:`trainmaster.bot.operations.ports.ApprovalStore`."""

    def __init__(self, database: Database | Durable) -> None:
        self._database = database

    def create(self, approval: Approval) -> bool:
        """The question is pending; False when another one is pending on its run."""
        try:
            self._database.execute(
                "INSERT INTO approvals (id, run, state, created_ts, body) VALUES (?, ?, ?, ?, ?)",
                (approval.id, approval.run, approval.state, approval.created_ts, _dump(_APPROVAL, approval)),
            )
        except sqlite3.IntegrityError:
            return False
        return True

    def get(self, approval_id: str) -> Approval | None:
        """The question with its votes; None when there is none of that id."""
        rows = self._database.rows("SELECT state, body FROM approvals WHERE id = ?", (approval_id,))
        return self._approval(rows[0]) if rows else None

    def pending(self, run: str | None = None) -> tuple[Approval, ...]:
        """Questions that wait for an answer, of one run or of all."""
        rows = self._database.rows(
            "SELECT state, body FROM approvals WHERE state = 'pending' AND (? IS NULL OR run = ?) ORDER BY created_ts",
            (run, run),
        )
        return tuple(self._approval(row) for row in rows)

    def vote(self, approval_id: str, vote: Vote) -> int:
        """The yes is counted, once a person; the number of people who said yes."""
        with self._database.transaction():
            self._database.execute(
                "INSERT OR IGNORE INTO votes (approval, user, ts) VALUES (?, ?, ?)", (approval_id, vote.user, vote.ts)
            )
            count = self._database.rows("SELECT count(*) FROM votes WHERE approval = ?", (approval_id,))
        return int(count[0][0])

    def update(self, approval: Approval, *, expected: ApprovalState) -> bool:
        """The question reads ``approval``; False, and nothing is written, when it is not in state ``expected``."""
        cursor = self._database.execute(
            "UPDATE approvals SET state = ?, body = ? WHERE id = ? AND state = ?",
            (approval.state, _dump(_APPROVAL, approval), approval.id, expected),
        )
        return cursor.rowcount == 1

    def _approval(self, row: sqlite3.Row) -> Approval:
        approval = _load(_APPROVAL, row["body"])
        votes = self._database.rows("SELECT user, ts FROM votes WHERE approval = ? ORDER BY ts, user", (approval.id,))
        return replace(
            approval,
            state=ApprovalState(row["state"]),
            votes=tuple(Vote(user=vote["user"], ts=vote["ts"]) for vote in votes),
        )


class SqliteOperations:
    """Implements :class:`trainmaster.bot.operations.ports.OperationLog`: the store and the journal."""

    def __init__(self, database: Database | Durable) -> None:
        self._database = database

    def create(self, operation: Operation) -> bool:
        """The operation is open; False when its run has an open one, or its id was used before."""
        with self._database.transaction():
            try:
                self._database.execute(
                    "INSERT INTO operations (id, run, state, fence, halted_by, created_ts, updated_ts, body) "
                    "VALUES (?, ?, ?, ?, NULL, ?, ?, ?)",
                    (
                        *(operation.id, operation.run, operation.state, operation.fence),
                        *(operation.created_ts, operation.updated_ts, _dump(_OPERATION, operation)),
                    ),
                )
            except sqlite3.IntegrityError:
                return False
            self._append(operation, JournalEntry(ts=operation.created_ts, step=operation.step, kind=EntryKind.OPENED))
        return True

    def open(self, run: str | None = None) -> tuple[Operation, ...]:
        """Open operations, of one run (at most one) or of all."""
        rows = self._database.rows(
            "SELECT halted_by, body FROM operations "
            "WHERE state = 'open' AND (? IS NULL OR run = ?) ORDER BY created_ts",
            (run, run),
        )
        return tuple(_operation(row) for row in rows)

    def get(self, operation_id: str) -> Operation | None:
        """The operation of that id."""
        rows = self._database.rows("SELECT halted_by, body FROM operations WHERE id = ?", (operation_id,))
        return _operation(rows[0]) if rows else None

    def history(self, run: str | None = None, *, limit: int = 20) -> tuple[Operation, ...]:
        """Operations of a run or of all, the one that was begun last first, whatever the clock said then."""
        rows = self._database.rows(
            "SELECT halted_by, body FROM operations WHERE (? IS NULL OR run = ?) ORDER BY rowid DESC LIMIT ?",
            (run, run, limit),
        )
        return tuple(_operation(row) for row in rows)

    def entries(self, operation_id: str) -> tuple[JournalEntry, ...]:
        """The journal of an operation, oldest first."""
        rows = self._database.rows(
            "SELECT ts, step, kind, detail FROM journal WHERE operation = ? ORDER BY seq", (operation_id,)
        )
        return tuple(
            JournalEntry(ts=row["ts"], step=Step(row["step"]), kind=EntryKind(row["kind"]), detail=row["detail"])
            for row in rows
        )

    def claim(self, operation: Operation, owner: ProcessIdentity, now: float) -> Operation | None:
        """``owner`` may act from now on and nobody else; None when somebody else was faster."""
        claimed = replace(operation, owner=owner, fence=operation.fence + 1, updated_ts=now)
        with self._database.transaction():
            if not self._store(claimed, fence=operation.fence):
                return None
            self._append(
                claimed, JournalEntry(ts=now, step=claimed.step, kind=EntryKind.CLAIMED, detail=str(owner.pid))
            )
        return claimed

    def record(self, operation: Operation, entry: JournalEntry) -> None:
        """The journal ends with ``entry`` and the operation reads ``operation``; commits with an open transaction.

        Raises:
            FencedError: another bot owns the operation, or it is closed; nothing was written.
            StoreError: nothing was written.
        """
        with self._database.transaction():
            if not self._store(operation, fence=operation.fence):
                raise FencedError(
                    "operation-fenced", f"operation {operation.id} is closed or belongs to another bot process."
                )
            self._append(operation, entry)

    def halt(self, operation_id: str, user: str) -> bool:
        """The owner is told to end in a stopped run; False when the operation is not open. The first one is kept."""
        cursor = self._database.execute(
            "UPDATE operations SET halted_by = coalesce(halted_by, ?) WHERE id = ? AND state = 'open'",
            (user, operation_id),
        )
        return cursor.rowcount == 1

    def halted_by(self, operation_id: str) -> str | None:
        """Who asked for an emergency stop meanwhile."""
        rows = self._database.rows("SELECT halted_by FROM operations WHERE id = ?", (operation_id,))
        return rows[0]["halted_by"] if rows else None

    def _store(self, operation: Operation, *, fence: int) -> bool:
        cursor = self._database.execute(
            "UPDATE operations SET state = ?, fence = ?, updated_ts = ?, body = ? "
            "WHERE id = ? AND fence = ? AND state = 'open'",
            (
                operation.state,
                operation.fence,
                operation.updated_ts,
                _dump(_OPERATION, operation),
                operation.id,
                fence,
            ),
        )
        return cursor.rowcount == 1

    def _append(self, operation: Operation, entry: JournalEntry) -> None:
        self._database.execute(
            "INSERT INTO journal (operation, ts, step, kind, detail, fence) VALUES (?, ?, ?, ?, ?, ?)",
            (operation.id, entry.ts, entry.step, entry.kind, entry.detail, operation.fence),
        )


class SqliteIntents:
    """The one that implements :class:`trainmaster.bot.operations.ports.IntentStore`."""

    def __init__(self, database: Database | Durable) -> None:
        self._database = database

    def put(self, intent: Intent) -> None:
        """The run's intent of this kind is ``intent``, replacing an older one."""
        self._database.execute(
            "INSERT OR REPLACE INTO intents (run, kind, attempt, epoch, user, why, channel, thread_of, ts) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(intent.run, intent.kind, intent.attempt, intent.epoch, intent.user),
                *(intent.why, intent.channel, intent.thread_of, intent.ts),
            ),
        )

    def get(self, run: str, kind: IntentKind) -> Intent | None:
        """The run's intent of this kind."""
        return next((intent for intent in self.all(kind) if intent.run == run), None)

    def all(self, kind: IntentKind) -> tuple[Intent, ...]:
        """Every run's intent of this kind."""
        rows = self._database.rows("SELECT * FROM intents WHERE kind = ? ORDER BY ts", (kind,))
        return tuple(
            Intent(
                run=row["run"],
                kind=IntentKind(row["kind"]),
                attempt=row["attempt"],
                epoch=row["epoch"],
                user=row["user"],
                why=row["why"],
                channel=row["channel"],
                thread_of=row["thread_of"],
                ts=row["ts"],
            )
            for row in rows
        )

    def drop(self, run: str, kind: IntentKind) -> bool:
        """It is gone; False when there was none."""
        return self._database.execute("DELETE FROM intents WHERE run = ? AND kind = ?", (run, kind)).rowcount == 1


def _operation(row: sqlite3.Row) -> Operation:
    return replace(_load(_OPERATION, row["body"]), halted_by=row["halted_by"])


def _dump(adapter: TypeAdapter[T], value: T) -> str:
    return adapter.dump_json(value).decode()


def _load(adapter: TypeAdapter[T], text: str) -> T:
    try:
        return adapter.validate_json(text)
    except ValidationError as error:
        raise StoreError(
            "state-record",
            f"a stored record cannot be read by this version: {error.errors()[0]['msg']}.",
            "start the Trainmaster version that wrote it, or move the state database aside after checking the run",
        ) from error
