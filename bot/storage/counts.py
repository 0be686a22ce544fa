"""What the database holds, in numbers: for a monitoring system, so it reads only and decodes nothing."""

from __future__ import annotations

from trainmaster.bot.core.metrics import DecisionCounts, DeliveryCounts
from trainmaster.bot.storage.database import Database

_WAITING = """
    SELECT COUNT(*) AS waiting, MIN(desired_ts) AS oldest, COALESCE(SUM(attempts > 0), 0) AS failing,
           COALESCE(SUM(refused), 0) AS refused
    FROM messages WHERE desired_version > sent_version
"""


class Counts:
    """Counts of one database, read anew at each call."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def delivery(self) -> DeliveryCounts:
        """Of the outbox.

        Raises:
            StoreError: it can't be read.
        """
        row = self._database.rows(_WAITING)[0]
        return DeliveryCounts(
            num_waiting=int(row["waiting"]),
            oldest_ts=None if row["oldest"] is None else float(row["oldest"]),
            num_failing=int(row["failing"]),
            num_refused=int(row["refused"]),
        )

    def decisions(self) -> DecisionCounts:
        """Of approvals and operations.

        Raises:
            StoreError: they can't be read.
        """
        approvals = self._database.rows("SELECT state, COUNT(*) AS number FROM approvals GROUP BY state")
        operations = self._database.rows("SELECT state, COUNT(*) AS number FROM operations GROUP BY state")
        return DecisionCounts(
            approvals={row["state"]: int(row["number"]) for row in approvals},
            operations={row["state"]: int(row["number"]) for row in operations},
        )
