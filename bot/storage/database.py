"""The database file: opened, checked, migrated; transactions that nest."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

from bot.errors import StoreError

_BUSY_TIMEOUT_S = 5.0


class Database:
    """One connection in WAL mode with full sync: what a committed transaction wrote survives kill -9 and a power cut.

    Used from the event loop's thread only. Migrations are ``NNN_name.sql`` beside this module, applied in order, each
    in one transaction; the version stands in ``user_version``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None)
            self._connection.row_factory = sqlite3.Row
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=FULL")
            self._connection.execute("PRAGMA foreign_keys=ON")
            self._migrate()
        except (sqlite3.Error, OSError) as error:
            raise StoreError(
                "state-database",
                f"{path} cannot be opened: {error}.",
                "check STATE_DIR, its permissions and free space; a corrupt file can be moved aside and starts anew",
            ) from error
        self._depth = 0
        self.open = True

    def _migrate(self) -> None:
        version = int(self._connection.execute("PRAGMA user_version").fetchone()[0])
        scripts = sorted(
            (p for p in resources.files("bot.storage").iterdir() if p.name.endswith(".sql")), key=lambda p: p.name
        )
        known = int(scripts[-1].name[:3]) if scripts else 0
        if version > known:
            raise sqlite3.DatabaseError(
                f"it was written by a newer Trainmaster (schema {version}, this one knows {known})"
            )
        for script in scripts:
            number = int(script.name[:3])
            if number > version:
                sql = script.read_text(encoding="utf-8")
                self._connection.executescript(f"BEGIN IMMEDIATE;\n{sql}\nPRAGMA user_version={number};\nCOMMIT;")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, durable when the outermost block ends; inner blocks join it.

        Raises:
            StoreError: the database is locked, full or damaged; nothing of the block was written.
        """
        if self._depth:
            yield
            return
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            raise self._fault(error) from error
        self._depth = 1
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException as error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise self._fault(error) from error
            raise
        finally:
            self._depth = 0

    def execute(self, sql: str, parameters: tuple[object, ...] = ()) -> sqlite3.Cursor:
        """One statement; commits by itself outside :meth:`transaction`.

        Raises:
            StoreError: the database refused for a reason other than a constraint.
            sqlite3.IntegrityError: a constraint, which callers use to decide races.
        """
        try:
            return self._connection.execute(sql, parameters)
        except sqlite3.IntegrityError:
            raise
        except sqlite3.Error as error:
            raise self._fault(error) from error

    def rows(self, sql: str, parameters: tuple[object, ...] = ()) -> list[sqlite3.Row]:
        """All rows of a query."""
        return self.execute(sql, parameters).fetchall()

    def close(self) -> None:
        """The file is released. May be repeated."""
        self._connection.close()
        self.open = False

    def _fault(self, error: sqlite3.Error) -> StoreError:
        return StoreError(
            "state-database",
            f"{self.path} refused: {error}.",
            "check free space and permissions of STATE_DIR; watching goes on, rollbacks are refused until it is mended",
        )
