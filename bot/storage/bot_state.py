"""What the bot knows of itself after a restart: when it was last at work, which digest it sent."""

from __future__ import annotations

from trainmaster.bot.storage.database import Database


class BotState:
    """Small values by name; each commits with the transaction that is open, or at once."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, name: str) -> str | None:
        """The value; None when it was never put."""
        rows = self._database.rows("SELECT value FROM bot_state WHERE name = ?", (name,))
        return str(rows[0]["value"]) if rows else None

    def put(self, name: str, value: str) -> None:
        """The value is ``value``."""
        self._database.execute("INSERT OR REPLACE INTO bot_state (name, value) VALUES (?, ?)", (name, value))
