"""The audit log in one order with the database: what is committed is told, what is told was committed."""

from __future__ import annotations

import json
import logging
import secrets
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from trainmaster.bot.core.decisions.audit import AuditEntry, AuditReport
from trainmaster.bot.errors import StoreError
from trainmaster.bot.storage.audit import AuditLog
from trainmaster.bot.storage.database import Database

_LOG = logging.getLogger(__name__)

MARK = "mark"
"""In the detail of an entry that was committed with its act."""


class Ledger:
    """The one that implements :class:`trainmaster.bot.operations.ports.AuditBook`.

    An entry that belongs to a transaction commits with it and is written to the file right after; a kill in between
    leaves it in the database, from where :meth:`settle` writes it, once. An entry outside of any transaction is written
    before :meth:`append` returns. So the file never tells of an act that was rolled back, and misses none that was
    committed. ``name_of`` turns a run's id into the name that people know.
    """

    def __init__(self, log: AuditLog, database: Database, *, name_of: Callable[[str], str]) -> None:
        self._log = log
        self._database = database
        self._name_of = name_of
        self._written: set[str] | None = None
        """Marks that stand in the file; read once, as nobody else writes them."""
        self._due = True
        """Whether something may wait in the database; an earlier process may have left it there."""
        self._fault = ""
        database.after_commit(self._settle_quietly)

    def append(self, actor: str, action: str, subject: str, detail: Mapping[str, Any], now: float) -> None:
        """It stands in the file before this returns; inside a transaction, it will when that commits, or never.

        Raises:
            StoreError: it could not be written, or the file can't be at this moment; the caller must not act (an
                emergency stop may, and says so).
        """
        self._append(actor, action, subject, detail, now, mark=secrets.token_hex(8), checked=True)

    def append_once(self, actor: str, action: str, subject: str, detail: Mapping[str, Any], now: float) -> None:
        """As :class:`trainmaster.bot.operations.ports.AuditBook` says of it. Inside a transaction it is an outcome,
        which is committed whether or not the file can be written yet.

        Raises:
            StoreError: it could not be written.
        """
        if not self._tells(action, detail["operation"]):
            mark = f"{action}/{detail['operation']}"
            self._append(actor, action, subject, detail, now, mark=mark, checked=False)

    def append_later(self, actor: str, action: str, subject: str, detail: Mapping[str, Any], now: float) -> None:
        """As :class:`trainmaster.bot.operations.ports.AuditBook` says of it.

        Raises:
            StoreError: the database does not take it either.
        """
        with self._database.transaction():
            self._append(actor, action, subject, detail, now, mark=secrets.token_hex(8), checked=False)

    def _tells(self, action: str, operation: object) -> bool:
        try:
            return self._log.tells(action, operation)
        except StoreError:
            if self._database.in_transaction:
                return False  # its mark tells, once the file can be read
            raise

    def entries(self, limit: int = 20) -> Sequence[AuditEntry]:
        """As :meth:`trainmaster.bot.storage.audit.AuditLog.entries` says of it; what is due is written first."""
        self._settle_quietly()
        return self._log.entries(limit)

    def verify(self) -> AuditReport:
        """As :meth:`trainmaster.bot.storage.audit.AuditLog.verify` says of it."""
        return self._log.verify()

    def settle(self) -> None:
        """Every committed entry stands in the file, once.

        Raises:
            StoreError: the file or the database can't be used now; nothing is lost, and it may be called again.
        """
        if not self._due or self._database.in_transaction:
            return
        due = self._database.rows("SELECT id, mark, actor, action, subject, detail, ts FROM audit_due ORDER BY id")
        if self._written is None:
            self._written = self._log.details(MARK)
        for row in due:
            if row["mark"] not in self._written:
                detail = {**json.loads(row["detail"]), MARK: row["mark"]}
                self._log.append(row["actor"], row["action"], row["subject"], detail, row["ts"])
                self._written.add(row["mark"])
        if due:
            self._database.execute("DELETE FROM audit_due WHERE id <= ?", (due[-1]["id"],))
        self._due = False

    def _append(
        self,
        actor: str,
        action: str,
        subject: str,
        detail: Mapping[str, Any],
        now: float,
        *,
        mark: str,
        checked: bool,
    ) -> None:
        name = self._name_of(subject)
        detail = {**detail, "run": subject} if name != subject else detail
        if not self._database.in_transaction or self._database.refuge is not None:
            self._settle_quietly()  # what was committed before stands before it
            self._log.append(actor, action, name, detail, now)
            return
        if checked:
            self._log.check()
        self._due = True
        try:
            self._database.execute(
                "INSERT INTO audit_due (mark, actor, action, subject, detail, ts) VALUES (?, ?, ?, ?, ?, ?)",
                (mark, actor, action, name, json.dumps(detail, allow_nan=False), now),
            )
        except sqlite3.IntegrityError:
            return  # told already: only a mark of append_once comes twice
        except (ValueError, TypeError) as error:
            raise StoreError("audit-log", f"{action} can't be put on record: {error}.") from error

    def _settle_quietly(self) -> None:
        try:
            self.settle()
            self._fault = ""
        except StoreError as error:
            if self._fault != str(error):
                _LOG.error("audit-due: what was committed is not in the audit log yet: %s", error)
            self._fault = str(error)
