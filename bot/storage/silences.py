"""Silences, kept after their end."""

from __future__ import annotations

import sqlite3

from trainmaster.bot.core.alerts.finding import Severity
from trainmaster.bot.core.alerts.silence import Silence
from trainmaster.bot.storage.codec import sql_text
from trainmaster.bot.storage.database import Database


class SilenceStore:
    """What makes no sound, until when, and by whom."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self,
        *,
        until_ts: float,
        by: str,
        now: float,
        fingerprint: str | None = None,
        run: str | None = None,
        check: str | None = None,
        max_severity: Severity = Severity.CRITICAL,
    ) -> Silence:
        """The silence holds from now on."""
        parts = [None if part is None else sql_text(part) for part in (fingerprint, run, check)]
        cursor = self._database.execute(
            "INSERT INTO silences (fingerprint, run, check_pattern, max_severity, until_ts, made_by, created_ts)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (*parts, max_severity.value, until_ts, by, now),
        )
        assert cursor.lastrowid is not None
        return Silence(
            id=cursor.lastrowid,
            until_ts=until_ts,
            by=by,
            created_ts=now,
            fingerprint=fingerprint,
            run=run,
            check=check,
            max_severity=max_severity,
        )

    def active(self, now: float) -> tuple[Silence, ...]:
        """Silences that hold at ``now``, the longest first."""
        rows = self._database.rows("SELECT * FROM silences WHERE until_ts > ? ORDER BY until_ts DESC", (now,))
        return tuple(_silence(row) for row in rows)

    def ended(self, since_ts: float, now: float) -> tuple[Silence, ...]:
        """Silences whose time ran out after ``since_ts`` and by ``now``."""
        rows = self._database.rows("SELECT * FROM silences WHERE until_ts > ? AND until_ts <= ?", (since_ts, now))
        return tuple(_silence(row) for row in rows)

    def end(self, silence_id: int, user: str, now: float) -> bool:
        """It holds no more; False when it had ended by itself."""
        cursor = self._database.execute(
            "UPDATE silences SET until_ts = ?, ended_by = ? WHERE id = ? AND until_ts > ?", (now, user, silence_id, now)
        )
        return cursor.rowcount == 1


def _silence(row: sqlite3.Row) -> Silence:
    severities = {member.value: member for member in Severity}
    return Silence(
        id=row["id"],
        until_ts=row["until_ts"],
        by=row["made_by"],
        created_ts=row["created_ts"],
        fingerprint=row["fingerprint"],
        run=row["run"],
        check=row["check_pattern"],
        max_severity=severities.get(row["max_severity"], Severity.CRITICAL),
    )
