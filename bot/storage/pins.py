"""Which messages are pinned in their channels, or may be."""

from __future__ import annotations

import json
from collections.abc import Collection

from trainmaster.bot.core.conversation.pin import Pin, PinState
from trainmaster.bot.core.run.parsing import member_of
from trainmaster.bot.storage.codec import sql_text
from trainmaster.bot.storage.database import Database


class PinStore:
    """One row a message that was to be pinned, until it is certainly pinned no more. Implements
    :class:`trainmaster.bot.alerting.pins.PinBook`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> tuple[Pin, ...]:
        """As :class:`trainmaster.bot.alerting.pins.PinBook` says of it."""
        rows = self._database.rows("SELECT key, channel, ts, state FROM pins ORDER BY ts")
        return tuple(
            Pin(
                key=row["key"],
                channel=row["channel"],
                ts=row["ts"],
                state=member_of(PinState, row["state"]) or PinState.WANTED,
            )
            for row in rows
        )

    def note(self, pin: Pin) -> None:
        """As :class:`trainmaster.bot.alerting.pins.PinBook` says of it."""
        self._database.execute(
            "INSERT INTO pins (key, channel, ts, state) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (channel, ts) DO UPDATE SET key = excluded.key, state = excluded.state",
            (sql_text(pin.key), sql_text(pin.channel), sql_text(pin.ts), pin.state.value),
        )

    def forget(self, pin: Pin) -> None:
        """As :class:`trainmaster.bot.alerting.pins.PinBook` says of it."""
        self._database.execute("DELETE FROM pins WHERE channel = ? AND ts = ?", tuple(map(sql_text, pin.place)))

    def standing(self, keys: Collection[str]) -> tuple[Pin, ...]:
        """As :class:`trainmaster.bot.alerting.pins.PinBook` says of it."""
        rows = self._database.rows(
            "SELECT m.key, m.posted_channel, m.ts FROM json_each(?) AS wanted"
            " JOIN messages AS m ON m.key = wanted.value WHERE m.ts IS NOT NULL",
            (json.dumps([sql_text(key) for key in keys]),),
        )
        return tuple(Pin(key=row["key"], channel=row["posted_channel"], ts=row["ts"]) for row in rows)
