"""Which run each channel talks about."""

from __future__ import annotations

from trainmaster.bot.storage.database import Database


class SelectionStore:
    """Survives a restart: ``use`` said once holds until it is said again."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def chosen(self, channel: str) -> str | None:
        """The run id chosen there; None when none was."""
        rows = self._database.rows("SELECT run FROM selections WHERE channel = ?", (channel,))
        return str(rows[0]["run"]) if rows else None

    def choose(self, channel: str, run: str) -> None:
        """Commands in ``channel`` are about ``run`` from now on."""
        self._database.execute(
            "INSERT INTO selections (channel, run) VALUES (?, ?)"
            " ON CONFLICT (channel) DO UPDATE SET run = excluded.run",
            (channel, run),
        )
