"""Pictures that messages shall have, until they have them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict

from trainmaster.bot.core.conversation.picture import Picture, Sketch
from trainmaster.bot.ports import WantedPictures
from trainmaster.bot.storage.codec import sql_text
from trainmaster.bot.storage.database import Database


class PictureStore:
    """One row a message that waits for pictures; what it has stands in its own row. Implements
    :class:`trainmaster.bot.ports.PictureBook`."""

    def __init__(self, database: Database, woken: Callable[[], None] = lambda: None) -> None:
        """``woken`` is called when something new is wanted."""
        self._database = database
        self._woken = woken

    def want(self, key: str, sketch: Sketch, now: float) -> None:
        """As :class:`trainmaster.bot.ports.PictureBook` says of it."""
        self._database.execute(
            "INSERT INTO sketches (key, wanted, asked_ts) VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE SET"
            " wanted = excluded.wanted, asked_ts = excluded.asked_ts, tries = 0, next_try_ts = 0",
            (sql_text(key), json.dumps(asdict(sketch)), now),
        )
        self._woken()

    def due(self, now: float) -> tuple[WantedPictures, ...]:
        """As :class:`trainmaster.bot.ports.PictureBook` says of it."""
        rows = self._database.rows("SELECT * FROM sketches WHERE next_try_ts <= ? ORDER BY asked_ts", (now,))
        wanted = []
        for row in rows:
            sketch = _sketch(row["wanted"])
            if sketch is None:
                self.drop(row["key"])
                continue
            wanted.append(
                WantedPictures(key=row["key"], sketch=sketch, asked_ts=row["asked_ts"], num_tries=row["tries"])
            )
        return tuple(wanted)

    def put_off(self, key: str, next_try_ts: float) -> None:
        """As :class:`trainmaster.bot.ports.PictureBook` says of it."""
        self._database.execute(
            "UPDATE sketches SET tries = tries + 1, next_try_ts = ? WHERE key = ?", (next_try_ts, sql_text(key))
        )

    def drop(self, key: str) -> None:
        """As :class:`trainmaster.bot.ports.PictureBook` says of it."""
        self._database.execute("DELETE FROM sketches WHERE key = ?", (sql_text(key),))

    def attach(self, key: str, pictures: tuple[Picture, ...]) -> None:
        """As :class:`trainmaster.bot.ports.PictureBook` says of it."""
        text = json.dumps([asdict(one) for one in pictures])
        with self._database.transaction():
            self._database.execute(
                "UPDATE messages SET pictures = ?, desired_version = desired_version + 1 WHERE key = ?",
                (text, sql_text(key)),
            )
            self.drop(key)


def _sketch(text: str) -> Sketch | None:
    try:
        record = json.loads(text)
        return Sketch(
            run=str(record["run"]),
            curves=record.get("curves") is True,
            epoch=None if record.get("epoch") is None else int(record["epoch"]),
            incident=None if record.get("incident") is None else str(record["incident"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def pictures_of(text: str | None) -> tuple[Picture, ...]:
    """What :meth:`PictureStore.attach` wrote; what can't be read is no picture."""
    try:
        return tuple(Picture(file=str(one["file"]), alt=str(one["alt"])) for one in json.loads(text or "[]"))
    except (ValueError, KeyError, TypeError):
        return ()
