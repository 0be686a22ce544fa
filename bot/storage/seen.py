"""What Slack delivered lately, so that nothing is carried out twice: across restarts, for an hour."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from trainmaster.bot.errors import StoreError
from trainmaster.bot.storage.codec import sql_text
from trainmaster.bot.storage.database import Database

REMEMBERED_S: Final = 3600.0
"""Slack retries for 5 minutes, and its events have come 8 minutes late (python-slack-sdk, issue 1280)."""


class SeenStore:
    """Implements :class:`trainmaster.bot.slack.seen_events.SeenBefore` on SQLite."""

    def __init__(self, database: Database, now: Callable[[], float] = time.time) -> None:
        self._database = database
        self._now = now

    def first(self, key: str) -> bool:
        """Whether ``key`` was not seen in the last hour; it now was. Committed before this returns.

        Raises:
            StoreError: nobody can tell.
        """
        now = self._now()
        try:
            with self._database.transaction():
                # What lies ahead was seen before the clock was put back.
                self._database.execute("DELETE FROM seen WHERE ts < ? OR ts > ?", (now - REMEMBERED_S, now + 60.0))
                cursor = self._database.execute(
                    "INSERT INTO seen (id, ts) VALUES (?, ?) ON CONFLICT (id) DO NOTHING", (sql_text(key), now)
                )
                return cursor.rowcount == 1
        except StoreError as error:
            if not self._database.take_refuge(error):
                raise
            return self.first(key)

    def known(self, key: str) -> bool:
        """Whether ``key`` was seen in the last hour; that is no sight of it.

        Raises:
            StoreError: nobody can tell.
        """
        since_ts = self._now() - REMEMBERED_S
        return bool(self._database.rows("SELECT 1 FROM seen WHERE id = ? AND ts >= ?", (sql_text(key), since_ts)))
