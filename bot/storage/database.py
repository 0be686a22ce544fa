"""The database file: opened, checked, migrated; transactions that nest; a refuge in memory while it can't be used."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from trainmaster.bot.errors import StoreError
from trainmaster.bot.storage import refuge
from trainmaster.bot.storage.file import NewerSchemaError, SetAside, is_damaged, open_file, open_memory, set_aside

_RETURN_EVERY_S = 5.0
"""From a refuge, the file is tried this often."""
_BUSY_TIMEOUT_S = 1.0
"""Nobody else writes to the file, so a lock is a fault; the event loop stands still as long as it is waited for."""
_PROBE_TIMEOUT_S = 0.2


@dataclass(slots=True, kw_only=True)
class Refuge:
    """Why the working copy is in memory. ``seeded``: it holds all that the file held."""

    fault: StoreError
    seeded: bool
    next_try_s: float


class Database:
    """One connection in WAL mode with full sync: what a committed transaction wrote survives kill -9 and a power cut.

    Used from the event loop's thread only. Migrations are ``NNN_name.sql`` beside this module, applied in order, each
    in one transaction; the version stands in ``user_version``.

    When the file can't be used, :meth:`take_refuge` lets the same stores go on with a copy in memory, and
    :meth:`try_return` writes it home. What must survive a crash (see :class:`Durable`) is refused meanwhile.
    """

    def __init__(self, path: Path, *, patient: bool = False, monotonic: Callable[[], float] = time.monotonic) -> None:
        """``patient``: a file that can't be used is no error but begins in a refuge, and a damaged one is set aside.

        Raises:
            StoreError: the file can't be used; if patient, only when a newer Trainmaster wrote it.
        """
        self.path = path
        self.open = True
        self.refuge: Refuge | None = None
        self.set_aside: SetAside | None = None
        """What became of a damaged file, for somebody to tell."""
        self._depth = 0
        self._after_commit: list[Callable[[], None]] = []
        self._monotonic = monotonic
        self._inode: int | None = None
        try:
            self._connection = self._open_home(_BUSY_TIMEOUT_S, mend=patient)
        except (sqlite3.Error, OSError) as error:
            hint = "check STATE_DIR, its permissions and free space; a corrupt file can be moved aside and starts anew"
            if isinstance(error, NewerSchemaError):
                hint = (
                    "run the newer one, which knows its alerts and approvals, or give this one a STATE_DIR of its own"
                )
            fault = StoreError("state-database", f"{path} cannot be opened: {error}.", hint)
            if not patient or isinstance(error, NewerSchemaError):
                raise fault from error
            self._connection, seeded = refuge.copy_of(None, path)
            self.refuge = Refuge(fault=fault, seeded=seeded, next_try_s=0.0)

    def _open_home(self, timeout_s: float, *, mend: bool) -> sqlite3.Connection:
        if str(self.path) == ":memory:":
            return open_memory()
        try:
            connection = open_file(self.path, timeout_s=timeout_s)
        except sqlite3.Error as error:
            if not mend or not is_damaged(error):
                raise
            saved = refuge.salvage(self.path)
            self.set_aside = set_aside(self.path)
            connection = open_file(self.path, timeout_s=timeout_s)
            refuge.write_home(saved, connection, seeded=True)
        self._inode = self.path.stat().st_ino
        return connection

    def lost(self) -> bool:
        """Whether somebody deleted or replaced the file: what is written now would be gone with the process."""
        if self._inode is None or self.refuge is not None:
            return False
        try:
            return self.path.stat().st_ino != self._inode
        except OSError:
            return True

    def take_refuge(self, fault: StoreError) -> bool:
        """Whether the stores go on in memory from now on, with all that can still be read. False when they do already.

        Call it outside of transactions.
        """
        if self.refuge is not None or self._depth:
            return False
        old = self._connection
        self._connection, seeded = refuge.copy_of(old, self.path)
        self.refuge = Refuge(fault=fault, seeded=seeded, next_try_s=self._monotonic() + _RETURN_EVERY_S)
        old.close()
        return True

    def try_return(self) -> bool:
        """Whether the file holds everything again, what came meanwhile included. A damaged one was set aside for it.
        May be called often: the file is tried every few seconds."""
        if self.refuge is None or self._depth or self._monotonic() < self.refuge.next_try_s:
            return False
        self.refuge.next_try_s = self._monotonic() + _RETURN_EVERY_S
        try:
            home = self._open_home(_PROBE_TIMEOUT_S, mend=True)
            try:
                refuge.write_home(self._connection, home, seeded=self.refuge.seeded)
                home.execute(f"PRAGMA busy_timeout={int(_BUSY_TIMEOUT_S * 1000)}")
            except BaseException:
                home.close()
                raise
        except (sqlite3.Error, OSError):
            return False
        self._connection.close()
        self._connection, self.refuge = home, None
        return True

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
            self._roll_back()
            if isinstance(error, sqlite3.Error):
                raise self._fault(error) from error
            raise
        finally:
            self._depth = 0
        for act in self._after_commit:
            act()

    @property
    def in_transaction(self) -> bool:
        """Whether what is written now commits with something else."""
        return self._depth > 0

    def after_commit(self, act: Callable[[], None]) -> None:
        """``act``, which must not raise, is called after each transaction that was committed."""
        self._after_commit.append(act)

    def _roll_back(self) -> None:
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error:
            pass  # a damaged file rolls back when it is opened next

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
        """All rows of a query.

        Raises:
            StoreError: they cannot be read.
        """
        cursor = self.execute(sql, parameters)
        try:
            return cursor.fetchall()
        except sqlite3.Error as error:
            raise self._fault(error) from error

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


class Durable:
    """The database for what must survive a crash: approvals and operations. Refuses to write while the working copy is
    in memory, and to read when that copy is not whole."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def transaction(self) -> AbstractContextManager[None]:
        """As :meth:`Database.transaction` says of it."""
        self._refuse(self._database.refuge is not None)
        return self._database.transaction()

    def execute(self, sql: str, parameters: tuple[object, ...] = ()) -> sqlite3.Cursor:
        """As :meth:`Database.execute` says of it."""
        self._refuse(self._database.refuge is not None)
        return self._database.execute(sql, parameters)

    def rows(self, sql: str, parameters: tuple[object, ...] = ()) -> list[sqlite3.Row]:
        """As :meth:`Database.rows` says of it."""
        self._refuse(self._database.refuge is not None and not self._database.refuge.seeded)
        return self._database.rows(sql, parameters)

    def _refuse(self, refused: bool) -> None:
        if refused and self._database.refuge is not None:
            raise self._database.refuge.fault
