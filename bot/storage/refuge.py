"""What of the database can be read goes into memory, and home again when the file can be written."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import quote

from trainmaster.bot.storage.file import open_memory

_TABLES: Final = (
    "alerts",
    "alert_revisions",
    "messages",
    "runs_seen",
    "selections",
    "silences",
    "bot_state",
    "seen",
    "pages",
    "sketches",
    "pins",
)
"""What memory may change. Approvals and operations are not among them: they are refused without the file; what happens
then stands in the audit log at once, and is not due to it."""


def copy_of(connection: sqlite3.Connection | None, path: Path) -> tuple[sqlite3.Connection, bool]:
    """The database in memory, from ``connection`` or else from the file; and whether that is all of it."""
    for source, whole in _sources(connection, path):
        memory = sqlite3.connect(":memory:", isolation_level=None)
        memory.row_factory = sqlite3.Row
        try:
            # The read lock is taken first: sqlite3's backup would wait for one without an end.
            source.execute("BEGIN")
            source.execute("SELECT count(*) FROM messages").fetchone()
            source.backup(memory)
            memory.execute("PRAGMA foreign_keys=ON")
            if memory.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok":
                return memory, whole
        except sqlite3.Error:
            pass
        finally:
            with contextlib.suppress(sqlite3.Error):
                source.execute("ROLLBACK")
        memory.close()
    return salvage(path), False


def _sources(connection: sqlite3.Connection | None, path: Path) -> Iterator[tuple[sqlite3.Connection, bool]]:
    """What to copy from, best first, and whether it shows everything that was committed."""
    if connection is not None:
        yield connection, True
    wal = path.with_name(path.name + "-wal")
    # On a file system that is read-only, SQLite can't make the shared memory of a WAL file, and reads past it.
    for immutable, whole in ((False, True), (True, not wal.exists())):
        with contextlib.suppress(sqlite3.Error):
            opened = _read_only(path, immutable=immutable)
            try:
                yield opened, whole
            finally:
                opened.close()


def _read_only(path: Path, *, immutable: bool = False) -> sqlite3.Connection:
    options = "mode=ro&immutable=1" if immutable else "mode=ro"
    uri = f"file:{quote(str(path))}?{options}"
    connection = sqlite3.connect(uri, uri=True, timeout=0.2, isolation_level=None)
    connection.row_factory = sqlite3.Row
    return connection


def salvage(path: Path) -> sqlite3.Connection:
    """Each row that can still be read of a damaged file, in memory."""
    memory = open_memory()
    with contextlib.suppress(sqlite3.Error):
        damaged = _read_only(path)
        try:
            for table in _TABLES:
                with contextlib.suppress(sqlite3.Error):
                    _copy_rows(damaged, memory, table, with_id=True, replacing=True)
        finally:
            damaged.close()
    # A run without a revision counts as one without alerts, whichever of the two tables can't be read.
    memory.execute("INSERT OR IGNORE INTO alert_revisions (run, revision) SELECT DISTINCT run, 1 FROM alerts")
    return memory


def write_home(memory: sqlite3.Connection, home: sqlite3.Connection, *, seeded: bool) -> None:
    """The file holds what memory holds; what only the file knows stays. Unless memory began as a copy of the file
    (``seeded``), its silences are other ones, and it can't know since when a run has been watched.

    Raises:
        sqlite3.Error: nothing was written.
    """
    home.execute("BEGIN IMMEDIATE")
    try:
        for table in _TABLES:
            with_id = seeded or table != "silences"
            _copy_rows(memory, home, table, with_id=with_id, replacing=seeded or table != "runs_seen", strict=True)
        home.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            home.execute("ROLLBACK")
        raise


def _copy_rows(
    source: sqlite3.Connection,
    target: sqlite3.Connection,
    table: str,
    *,
    with_id: bool,
    replacing: bool,
    strict: bool = False,
) -> None:
    known = [row["name"] for row in target.execute(f"PRAGMA table_info({table})")]
    verb = "REPLACE" if replacing else "IGNORE"
    rows = source.execute(f"SELECT * FROM {table}")  # noqa: S608 - a constant
    while True:
        try:
            row = rows.fetchone()
        except sqlite3.Error:
            if strict:
                raise
            return  # what comes after an unreadable page can't be reached
        if row is None:
            return
        columns = [name for name in row.keys() if name in known and (with_id or name != "id")]  # noqa: SIM118 - a Row
        sql = f"INSERT OR {verb} INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"  # noqa: S608
        try:
            target.execute(sql, tuple(row[name] for name in columns))
        except sqlite3.Error:
            if strict:
                raise
