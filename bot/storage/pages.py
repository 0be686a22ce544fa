"""Calls beyond Slack: decided before they are sent, so that a restart forgets none."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from trainmaster.bot.core.alerts.page import Page, PageKind
from trainmaster.bot.storage.codec import sql_text
from trainmaster.bot.storage.database import Database

_WAITING = "sent_ts IS NULL AND dropped = 0"
_KEY = "fingerprint = ? AND times_fired = ? AND target = ? AND kind = ?"


class PageStore:
    """The one that implements :class:`trainmaster.bot.paging.pager.Pages`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, pages: Sequence[Page]) -> None:
        """Each is to be sent; one that is there already stays as it is."""
        with self._database.transaction():
            for page in pages:
                self._database.execute(
                    "INSERT INTO pages (fingerprint, times_fired, target, kind, title, body, made_ts, next_try_ts)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                    (*_key(page), sql_text(page.title), sql_text(page.body), page.made_ts, page.next_try_ts),
                )

    def of(self, fingerprint: str, times_fired: int) -> tuple[Page, ...]:
        """What was decided for one firing of an alert."""
        rows = self._database.rows(
            "SELECT * FROM pages WHERE fingerprint = ? AND times_fired = ? AND dropped = 0",
            (sql_text(fingerprint), times_fired),
        )
        return tuple(_page(row) for row in rows)

    def waiting(self) -> tuple[Page, ...]:
        """What is not sent yet, oldest first."""
        rows = self._database.rows(f"SELECT * FROM pages WHERE {_WAITING} ORDER BY made_ts")  # noqa: S608 - a constant
        return tuple(_page(row) for row in rows)

    def unresolved(self) -> tuple[Page, ...]:
        """Pages that say of an alert that it fires, whose target was not told yet that it ended."""
        rows = self._database.rows(
            "SELECT * FROM pages AS fired WHERE kind = 'fired' AND dropped = 0 AND NOT EXISTS"
            " (SELECT 1 FROM pages AS after WHERE after.fingerprint = fired.fingerprint AND after.kind = 'resolved'"
            " AND after.times_fired = fired.times_fired AND after.target = fired.target)"
        )
        return tuple(_page(row) for row in rows)

    def sent_since(self, since_ts: float) -> dict[str, int]:
        """How many calls each target took since then."""
        rows = self._database.rows(
            "SELECT target, COUNT(*) AS sent FROM pages WHERE kind = 'fired' AND sent_ts >= ? GROUP BY target",
            (since_ts,),
        )
        return {row["target"]: int(row["sent"]) for row in rows}

    def mark_sent(self, page: Page, now: float) -> None:
        """The target took it."""
        self._database.execute(f"UPDATE pages SET sent_ts = ? WHERE {_KEY}", (now, *_key(page)))  # noqa: S608

    def mark_failed(self, page: Page, next_try_ts: float) -> None:
        """It did not; the next try is due then."""
        self._database.execute(
            f"UPDATE pages SET tries = tries + 1, next_try_ts = ? WHERE {_KEY}",  # noqa: S608
            (next_try_ts, *_key(page)),
        )

    def mark_unsure(self, page: Page, next_try_ts: float) -> None:
        """It was called and did not answer; the next try is due then."""
        self._database.execute(
            f"UPDATE pages SET tries = tries + 1, unsure = unsure + 1, next_try_ts = ? WHERE {_KEY}",  # noqa: S608
            (next_try_ts, *_key(page)),
        )

    def drop(self, page: Page) -> None:
        """It is not sent any more: what it says is over."""
        self._database.execute(f"UPDATE pages SET dropped = 1 WHERE {_KEY} AND sent_ts IS NULL", _key(page))  # noqa: S608

    def forget(self, before_ts: float) -> None:
        """What was decided before then and waits for nothing is gone."""
        self._database.execute(f"DELETE FROM pages WHERE made_ts < ? AND NOT ({_WAITING})", (before_ts,))  # noqa: S608


def _key(page: Page) -> tuple[str, int, str, str]:
    return (sql_text(page.fingerprint), page.times_fired, page.target, page.kind.value)


def _page(row: sqlite3.Row) -> Page:
    return Page(
        fingerprint=row["fingerprint"],
        times_fired=row["times_fired"],
        target=row["target"],
        kind=PageKind(row["kind"]),
        title=row["title"],
        body=row["body"],
        made_ts=row["made_ts"],
        next_try_ts=row["next_try_ts"],
        tries=row["tries"],
        unsure=row["unsure"],
        sent_ts=row["sent_ts"],
    )
