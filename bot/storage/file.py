"""The database's file: opened with its schema, told apart when it is damaged, and set aside, never deleted."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Final
from urllib.parse import quote

_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_PRIMARY: Final = 0xFF
"""Of an extended result code (sqlite.org, result codes)."""
_COMPANIONS: Final = ("-wal", "-shm")


class NewerSchemaError(sqlite3.DatabaseError):
    """A newer Trainmaster wrote it: nothing of it may be changed here."""


class DamagedError(sqlite3.DatabaseError):
    """It opens, and its pages contradict each other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAside:
    """A damaged file and where it was put. ``operations``: those it shows as open; None when that is unreadable."""

    place: Path
    operations: tuple[str, ...] | None


def open_file(path: Path, *, timeout_s: float) -> sqlite3.Connection:
    """A connection to the file, made and migrated when needed, its pages checked.

    Raises:
        sqlite3.Error: see :func:`is_damaged`.
        OSError: its directory cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with contextlib.suppress(OSError):  # SQLite would make it readable to everybody; its helper files take its mode
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    connection = sqlite3.connect(path, timeout=timeout_s, isolation_level=None)
    try:
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        _migrate(connection)
        verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if verdict != "ok":
            raise DamagedError(str(verdict))
        # Reading alone does not tell that a file, or its directory, may not be written.
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(f"PRAGMA user_version={_version(connection)}")
        connection.execute("COMMIT")
    except BaseException:
        connection.close()
        raise
    return connection


def open_memory() -> sqlite3.Connection:
    """An empty database in memory."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA foreign_keys=ON")
    _migrate(connection)
    return connection


def is_damaged(error: Exception) -> bool:
    """Whether the file itself is at fault, so that waiting mends nothing."""
    if isinstance(error, DamagedError):
        return True
    return (getattr(error, "sqlite_errorcode", 0) & _PRIMARY) in _DAMAGED


def set_aside(path: Path) -> SetAside:
    """The file and its companions have another name and are otherwise untouched.

    Raises:
        OSError: they could not be renamed.
    """
    operations = _open_operations(path)
    place = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}")
    number = 1
    while place.exists():
        number += 1
        place = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}-{number}")
    path.rename(place)
    for ending in _COMPANIONS:
        companion = path.with_name(path.name + ending)
        if companion.exists():
            companion.rename(place.with_name(place.name + ending))
    return SetAside(place=place, operations=operations)


def _open_operations(path: Path) -> tuple[str, ...] | None:
    try:
        connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)
        try:
            found = connection.execute("SELECT id, run FROM operations WHERE state = 'open'").fetchall()
        finally:
            connection.close()
    except sqlite3.Error:
        return None
    return tuple(f"{identity} on {run}" for identity, run in found)


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _migrate(connection: sqlite3.Connection) -> None:
    version = _version(connection)
    scripts = sorted(
        (p for p in resources.files("trainmaster.bot.storage").iterdir() if p.name.endswith(".sql")),
        key=lambda p: p.name,
    )
    known = int(scripts[-1].name[:3]) if scripts else 0
    if version > known:
        raise NewerSchemaError(f"it was written by a newer Trainmaster (schema {version}, this one knows {known})")
    for script in scripts:
        number = int(script.name[:3])
        if number > version:
            sql = script.read_text(encoding="utf-8")
            connection.executescript(f"BEGIN IMMEDIATE;\n{sql}\nPRAGMA user_version={number};\nCOMMIT;")
