"""What has been over for long goes from the database into an archive beside it: written there and synced, then deleted
here, where it also stands how far the archive is known to be good. What a kill in between left in both is recognized by
the next purge, which appends it no second time."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sqlite3
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from trainmaster.bot.core.keeping import StorageLimits
from trainmaster.bot.errors import StoreError
from trainmaster.bot.ports import Clock
from trainmaster.bot.storage.bot_state import BotState
from trainmaster.bot.storage.codec import sql_text
from trainmaster.bot.storage.database import Database

ARCHIVE: Final = "archive.jsonl"
"""Its name in STATE_DIR: a line a row, with its table and when it was archived. Readable by its owner only."""

_GOOD_BYTES: Final = "archive_bytes"
"""Name of the state that commits with each move: the size of the archive after it."""
_TAIL_BYTES: Final = 8 * 2**20
"""So much of the archive's end is looked at for what a kill left there; a move is far smaller."""
_DAY_S: Final = 86_400.0
_APPEND: Final = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    """``where`` has one ``?``, the time before which a row is old. ``takes``: rows of other tables that belong to it,
    as table, their column, and the column of this table."""

    table: str
    where: str
    takes: tuple[tuple[str, str, str], ...] = ()


_RULES: Final = (
    _Rule(
        table="alerts",
        # An occurrence that nobody acknowledged stays open for ever, and is no news after a month.
        where="(is_open = 0 OR json_extract(finding, '$.nature') = 'occurrence')"
        " AND MAX(updated_ts, since_ts, COALESCE(told_ts, 0), COALESCE(acked_ts, 0)) < ?"
        " AND NOT EXISTS (SELECT 1 FROM alerts AS one WHERE one.told_with = alerts.fingerprint)",
    ),
    _Rule(
        table="messages",
        where="desired_version <= sent_version AND MAX(desired_ts, created_ts, COALESCE(sent_ts, 0)) < ?"
        " AND NOT EXISTS (SELECT 1 FROM messages AS answer WHERE answer.thread_key = messages.key)"
        " AND NOT EXISTS (SELECT 1 FROM alerts WHERE alerts.fingerprint = messages.key)",
    ),
    _Rule(
        table="operations",
        where="state <> 'open' AND MAX(created_ts, updated_ts) < ?",
        takes=(("journal", "operation", "id"),),
    ),
    _Rule(
        table="approvals",
        where="state <> 'pending' AND created_ts < ?",
        takes=(("votes", "approval", "id"),),
    ),
    _Rule(table="silences", where="until_ts < ?"),
    _Rule(table="pages", where="made_ts < ? AND (sent_ts IS NOT NULL OR dropped = 1)"),
    _Rule(table="seen", where="ts < ?"),
)


class Purge:
    """Keeps the database small. Only one process uses the state directory, so nobody else appends."""

    def __init__(
        self,
        *,
        database: Database,
        archive: Path,
        limits: StorageLimits,
        clock: Clock,
        watched: Callable[[], Collection[str]],
    ) -> None:
        """``watched``: the places that are watched, as ``runs_seen`` names them; what is known of others is forgotten
        in time."""
        self._database = database
        self._state = BotState(database)
        self._archive = archive
        self._limits = limits
        self._clock = clock
        self._watched = watched

    async def run(self) -> int:
        """Everything that is old enough was moved; how many rows that were. The loop is free between two moves.

        Raises:
            StoreError: the archive or the database can't be written; what was not moved stays.
        """
        old_ts = self._clock.now() - self._limits.keep_days * _DAY_S
        moved = 0
        for rule in _RULES:
            while count := self._move(rule, old_ts):
                moved += count
                await asyncio.sleep(0)
        return moved + self._forget(old_ts)

    def _move(self, rule: _Rule, old_ts: float) -> int:
        if self._database.refuge is not None:
            return 0  # the working copy is in memory: the file is left as it is
        rows = self._database.rows(
            f"SELECT rowid AS _rowid, * FROM {rule.table} WHERE {rule.where} LIMIT ?",  # noqa: S608 - constants
            (old_ts, self._limits.batch),
        )
        if not rows:
            return 0
        found: list[tuple[str, sqlite3.Row]] = [(rule.table, row) for row in rows]
        for table, column, own in rule.takes:
            for row in rows:
                more = self._database.rows(
                    f"SELECT rowid AS _rowid, * FROM {table} WHERE {column} = ?",  # noqa: S608 - constants
                    (row[own],),
                )
                found += [(table, one) for one in more]
        size = self._append(found)
        with self._database.transaction():
            # A journal goes after its operation, which its trigger asks for; the reference is checked at the commit.
            self._database.execute("PRAGMA defer_foreign_keys=ON")
            for run in {row["run"] for table, row in found if table == "alerts"}:  # who remembers it reads it anew
                self._database.execute("UPDATE alert_revisions SET revision = revision + 1 WHERE run = ?", (run,))
            for table, row in found:
                self._database.execute(f"DELETE FROM {table} WHERE rowid = ?", (row["_rowid"],))  # noqa: S608
            self._state.put(_GOOD_BYTES, str(size))
        return len(found)

    def _forget(self, old_ts: float) -> int:
        """What serves to watch a run goes when the run is no longer watched, without a line in the archive."""
        if self._database.refuge is not None:
            return 0
        watched = {sql_text(place) for place in self._watched()}
        rows = self._database.rows("SELECT run_key FROM runs_seen WHERE first_seen_ts < ?", (old_ts,))
        gone = [row["run_key"] for row in rows if row["run_key"] not in watched]
        with self._database.transaction():
            for key in gone:
                self._database.execute("DELETE FROM runs_seen WHERE run_key = ?", (key,))
            cursor = self._database.execute(
                "DELETE FROM alert_revisions"
                " WHERE NOT EXISTS (SELECT 1 FROM alerts WHERE alerts.run = alert_revisions.run)"
            )
        return len(gone) + max(0, cursor.rowcount)

    def _append(self, found: Sequence[tuple[str, sqlite3.Row]]) -> int:
        """The rows stand in the archive, once; its size then."""
        now = self._clock.now()
        good = int(self._state.get(_GOOD_BYTES) or 0)
        try:
            descriptor = os.open(self._archive, _APPEND, 0o600)
            try:
                os.fchmod(descriptor, 0o600)
                size, known = _end_of(descriptor, good)
                lines = [_line(table, row, now) for table, row in found]
                _write(descriptor, size, b"".join(line for line in lines if _row_of(line) not in known))
                os.fsync(descriptor)
                return os.fstat(descriptor).st_size
            finally:
                os.close(descriptor)
        except OSError as error:
            raise StoreError(
                "state-archive",
                f"{self._archive} cannot be written: {error.strerror}.",
                "check free space and permissions of STATE_DIR; nothing was removed from the database",
            ) from error


def _end_of(descriptor: int, good: int) -> tuple[int, frozenset[bytes]]:
    """The size of the archive without a line that was cut off, whose row is still in the database, and the rows behind
    its first ``good`` bytes: they may be in the database, too."""
    size = os.fstat(descriptor).st_size
    begin = max(good if good <= size else 0, size - _TAIL_BYTES)
    tail = b""
    while piece := os.pread(descriptor, size - begin - len(tail), begin + len(tail)):
        tail += piece
    whole, newline, torn = tail.rpartition(b"\n")
    if torn and (newline or begin == 0):
        size -= len(torn)
        os.ftruncate(descriptor, size)
    return size, frozenset(map(_row_of, whole.splitlines()))


def _write(descriptor: int, size: int, lines: bytes) -> None:
    """All of it stands behind the first ``size`` bytes, or nothing does: a full disk may take a part."""
    written = 0
    try:
        while written < len(lines):
            written += os.write(descriptor, lines[written:])
    except OSError:
        os.ftruncate(descriptor, size)
        raise


def _row_of(line: bytes) -> bytes:
    """A line of the archive without when it was written."""
    return line.rstrip().partition(b",")[2]


def _line(table: str, row: sqlite3.Row, now: float) -> bytes:
    kept = {name: _plain(row[name]) for name in row.keys() if name != "_rowid"}  # noqa: SIM118 - a Row
    record = {"archived_ts": round(now, 3), "table": table, "row": kept}
    return json.dumps(record, separators=(",", ":")).encode("ascii") + b"\n"


def _plain(value: Any) -> Any:
    return base64.b64encode(value).decode("ascii") if isinstance(value, bytes) else value
