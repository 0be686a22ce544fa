"""Alerts by fingerprint, what was told of them, and the runs that were ever seen."""

from __future__ import annotations

import itertools
import sqlite3
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from trainmaster.bot.core.alerts.alert import Alert, AlertState
from trainmaster.bot.core.alerts.alert_record import AlertRecord, Leader, Said, Told
from trainmaster.bot.core.alerts.finding import Finding, Nature, Severity
from trainmaster.bot.storage.codec import decode_finding, encode_finding, sql_text
from trainmaster.bot.storage.database import Database

_MAX_PARAMETERS = 500
_COLUMNS = (
    *("fingerprint", "run", "check_name", "state", "severity", "finding", "since_ts", "updated_ts", "resolved_ts"),
    *("acked_by", "acked_ts", "told", "times_fired", "told_ts", "told_fired_ts", "told_times_fired", "told_severity"),
    *("num_repeats", "num_escalations", "called", "is_open", "told_with"),
)
# An upsert and no REPLACE: the rowid stays, and with it the order in which alerts were first seen.
_SAVE = (
    f"INSERT INTO alerts ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"  # noqa: S608 - constants
    f" ON CONFLICT (fingerprint) DO UPDATE SET {', '.join(f'{one} = excluded.{one}' for one in _COLUMNS[1:])}"
)
_FIRING = (
    "SELECT * FROM alerts WHERE state = 'firing'"
    " AND (is_open = 1 OR (since_ts >= ? AND severity <> 'info' AND acked_by IS NULL))"
)
_LEADERS = (
    "SELECT *, (SELECT MAX(told_fired_ts) FROM alerts AS one WHERE one.told_with = alerts.fingerprint) AS joined_ts"
    " FROM alerts WHERE told_with IS NULL AND told_fired_ts >= ? AND state = 'firing'"
)
_SEVERITIES = {member.value: member for member in Severity}
_NEVER_SAVED: Final = 0
"""The revision of a run without a row: no alert of it was ever saved, or none is left."""


@dataclass(slots=True)
class _RememberedRun:
    """What is known of a run without asking the database; true while its ``revision`` is the committed one."""

    revision: int
    open: dict[str, AlertRecord] = field(default_factory=dict)
    retired: dict[str, int] = field(default_factory=dict)
    """Fingerprint -> hash of an occurrence about which nothing remains to be done."""


class AlertStore:
    """Writes go through to the database, inside whatever transaction the caller opened. A look at a run of which
    nothing changed reads one small row: what was rolled back is noticed by its revision and read anew."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._memory: dict[str, _RememberedRun] = {}
        # Never repeats, in this process or after it: a revision that was rolled back can't come again.
        self._revisions = itertools.count(time.time_ns())

    def first_seen(self, run_key: str, now: float) -> float:
        """When the run was first seen: ``now`` at the first call, the same answer ever after."""
        key = sql_text(run_key)
        rows = self._database.rows("SELECT first_seen_ts FROM runs_seen WHERE run_key = ?", (key,))
        if rows:
            return float(rows[0]["first_seen_ts"])
        self._database.execute("INSERT INTO runs_seen (run_key, first_seen_ts) VALUES (?, ?)", (key, now))
        return now

    def look(self, run: str, findings: Sequence[Finding]) -> tuple[dict[str, AlertRecord], tuple[Finding, ...]]:
        """What this look at the run can change: every open record and those of ``findings`` by fingerprint, and
        ``findings`` without the occurrences that are retired."""
        memory = self._remembered(run)
        live = tuple(
            one
            for one in findings
            if one.nature is not Nature.OCCURRENCE or memory.retired.get(one.fingerprint) != hash(one)
        )
        if memory.revision == _NEVER_SAVED:
            return {}, live
        unknown = [one.fingerprint for one in live if one.fingerprint not in memory.open]
        return {**memory.open, **self._load(unknown)}, live

    def get(self, fingerprint: str) -> AlertRecord | None:
        """The record of one alert."""
        return self._load([fingerprint]).get(fingerprint)

    def save(self, record: AlertRecord) -> None:
        """The record is stored."""
        alert, told = record.alert, record.told
        run, fingerprint = alert.finding.run, alert.fingerprint
        memory = self._remembered(run)
        self._database.execute(
            _SAVE,
            (
                *(sql_text(fingerprint), sql_text(run), sql_text(alert.finding.check), alert.state.value),
                *(alert.finding.severity.value, encode_finding(alert.finding), alert.since_ts, alert.updated_ts),
                *(alert.resolved_ts, alert.acked_by, alert.acked_ts, alert.told, alert.times_fired),
                *((told.ts, told.fired_ts, told.times_fired, told.severity.value) if told else (None,) * 4),
                *((told.num_repeats, told.num_escalations, told.called) if told else (0, 0, 0)),
                record.is_open,
                None if alert.told_with is None else sql_text(alert.told_with),
            ),
        )
        memory.revision = next(self._revisions)
        self._database.execute(
            "INSERT OR REPLACE INTO alert_revisions (run, revision) VALUES (?, ?)", (sql_text(run), memory.revision)
        )
        memory.retired.pop(fingerprint, None)
        if record.is_open:
            memory.open[fingerprint] = record
        else:
            memory.open.pop(fingerprint, None)

    def retire(self, run: str, findings: Sequence[Finding]) -> None:
        """Nothing remains to be done about these occurrences of the run while they stay as they are."""
        memory = self._remembered(run)
        for one in findings:
            if one.nature is Nature.OCCURRENCE and one.fingerprint not in memory.open:
                memory.retired[one.fingerprint] = hash(one)

    def firing(self, run: str | None, happened_since_ts: float) -> tuple[AlertRecord, ...]:
        """Alerts in state firing, of one run or of all, newest first: every condition, and of the occurrences, which
        never end, those since then that are more than information and that nobody acknowledged."""
        where, values = ("AND run = ?", (sql_text(run),)) if run is not None else ("", ())
        rows = self._database.rows(f"{_FIRING} {where} ORDER BY since_ts DESC", (happened_since_ts, *values))
        return tuple(_records(rows))

    def told_since(self, run: str, check: str, since_ts: float) -> tuple[AlertRecord, ...]:
        """The alerts of one check on one run whose firing was told since then, oldest first."""
        rows = self._database.rows(
            "SELECT * FROM alerts WHERE run = ? AND check_name = ? AND told_fired_ts >= ?"
            " ORDER BY told_fired_ts, rowid",
            (sql_text(run), sql_text(check), since_ts),
        )
        return tuple(_records(rows))

    def leaders(self, checks: Collection[str], since_ts: float) -> tuple[Leader, ...]:
        """The alerts of these checks with a message of their own that was told since then, oldest first."""
        marks = ", ".join("?" * len(checks))
        rows = self._database.rows(
            f"{_LEADERS} AND check_name IN ({marks}) ORDER BY told_fired_ts, rowid",
            (since_ts, *(sql_text(one) for one in checks)),
        )
        return tuple(Leader(record=record, joined_ts=row["joined_ts"]) for row in rows for record in _records([row]))

    def members(self, leader: str, since_ts: float) -> tuple[AlertRecord, ...]:
        """The alerts that are told in the message of ``leader`` and fire, or were told since then, oldest first."""
        rows = self._database.rows(
            "SELECT * FROM alerts WHERE told_with = ? AND (state = 'firing' OR told_fired_ts >= ?)"
            " ORDER BY told_fired_ts, rowid",
            (sql_text(leader), since_ts),
        )
        return tuple(_records(rows))

    def num_members(self, leader: str) -> int:
        """How many alerts were ever told in the message of ``leader``."""
        return int(self._database.rows("SELECT COUNT(*) FROM alerts WHERE told_with = ?", (sql_text(leader),))[0][0])

    def speaker(self, leader: str) -> str | None:
        """The first alert of the group that fires and that nobody has; the leader before all others."""
        free = "state = 'firing' AND resolved_ts IS NULL AND acked_by IS NULL"
        rows = self._database.rows(
            f"SELECT fingerprint FROM alerts WHERE fingerprint = ? AND {free}",  # noqa: S608 - a constant
            (sql_text(leader),),
        ) or self._database.rows(
            f"SELECT fingerprint FROM alerts WHERE told_with = ? AND {free}"  # noqa: S608 - a constant
            " ORDER BY told_fired_ts, rowid LIMIT 1",
            (sql_text(leader),),
        )
        return rows[0]["fingerprint"] if rows else None

    def said(self, leader: str) -> Said:
        """What was said of the group so far."""
        row = self._database.rows(
            "SELECT MAX(told_ts) AS ts, MAX(num_escalations) AS escalations, MAX(num_repeats) AS repeats"
            " FROM alerts WHERE fingerprint = ? OR told_with = ?",
            (sql_text(leader), sql_text(leader)),
        )[0]
        return Said(ts=row["ts"] or 0.0, num_escalations=row["escalations"] or 0, num_repeats=row["repeats"] or 0)

    def groups(self, since_ts: float) -> tuple[str, ...]:
        """The leaders of everything that fires and was told in another alert's message since then."""
        rows = self._database.rows(
            "SELECT DISTINCT told_with FROM alerts WHERE told_with IS NOT NULL AND state = 'firing'"
            " AND (is_open = 1 OR told_fired_ts >= ?)",
            (since_ts,),
        )
        return tuple(row["told_with"] for row in rows)

    def told_counts(self, since_ts: float) -> dict[str, tuple[int, int]]:
        """By run, how many alerts (beyond information) were told since then, and how many of those have an owner."""
        rows = self._database.rows(
            "SELECT run, COUNT(*) AS told, COUNT(acked_by) AS acked FROM alerts"
            " WHERE told_fired_ts >= ? AND severity <> 'info' GROUP BY run",
            (since_ts,),
        )
        return {row["run"]: (int(row["told"]), int(row["acked"])) for row in rows}

    def _remembered(self, run: str) -> _RememberedRun:
        rows = self._database.rows("SELECT revision FROM alert_revisions WHERE run = ?", (sql_text(run),))
        committed = rows[0]["revision"] if rows else _NEVER_SAVED
        memory = self._memory.get(run)
        if memory is None or memory.revision != committed:
            rows = self._open_rows(run) if committed != _NEVER_SAVED else []
            memory = _RememberedRun(revision=committed, open={one.alert.fingerprint: one for one in _records(rows)})
            self._memory[run] = memory
        return memory

    def _open_rows(self, run: str) -> list[sqlite3.Row]:
        return self._database.rows("SELECT * FROM alerts WHERE is_open = 1 AND run = ?", (sql_text(run),))

    def _load(self, fingerprints: Sequence[str]) -> dict[str, AlertRecord]:
        found: dict[str, AlertRecord] = {}
        for start in range(0, len(fingerprints), _MAX_PARAMETERS):
            some = tuple(sql_text(one) for one in fingerprints[start : start + _MAX_PARAMETERS])
            marks = ", ".join("?" * len(some))
            rows = self._database.rows(f"SELECT * FROM alerts WHERE fingerprint IN ({marks})", some)  # noqa: S608 - marks only
            found |= {one.alert.fingerprint: one for one in _records(rows)}
        return found


def _records(rows: Sequence[sqlite3.Row]) -> Iterator[AlertRecord]:
    for row in rows:
        try:
            yield _standing(row)
        except ValueError:
            # A damaged row says nothing that could be told; the alert is found anew if it still holds.
            continue


def _standing(row: sqlite3.Row) -> AlertRecord:
    told = None
    if row["told_ts"] is not None:
        told = Told(
            ts=row["told_ts"],
            fired_ts=row["told_fired_ts"],
            times_fired=row["told_times_fired"],
            severity=_SEVERITIES.get(row["told_severity"], Severity.CRITICAL),
            num_repeats=row["num_repeats"],
            num_escalations=row["num_escalations"],
            called=bool(row["called"]),
        )
    return AlertRecord(
        alert=Alert(
            finding=decode_finding(row["finding"]),
            state=AlertState(row["state"]),
            since_ts=row["since_ts"],
            updated_ts=row["updated_ts"],
            resolved_ts=row["resolved_ts"],
            acked_by=row["acked_by"],
            acked_ts=row["acked_ts"],
            told=bool(row["told"]),
            told_with=row["told_with"],
            times_fired=row["times_fired"],
        ),
        told=told,
        is_open=bool(row["is_open"]),
    )
