"""The outbox: what the channel shall say, what it says, and what is on its way."""

from __future__ import annotations

import itertools
import sqlite3
import time
from collections.abc import Callable, Collection
from dataclasses import replace

from trainmaster.bot.core.alerts.delivery import Delivery, Urgency
from trainmaster.bot.core.conversation.message import ActionId, Message, Tone
from trainmaster.bot.ports import Posted
from trainmaster.bot.storage.codec import content_hash, decode_message, encode_message, sql_text
from trainmaster.bot.storage.database import Database
from trainmaster.bot.storage.pictures import pictures_of

_URGENCIES = {int(member): member for member in Urgency}

MAX_WAIT_S = 3600.0
"""A next try further ahead than this was set before the clock was put back: it is due."""

_DUE = """
    SELECT m.key, m.desired, m.pictures, m.desired_version, m.attempts, m.posted_channel, m.ts, m.thread_key,
           COALESCE(root.channel, m.channel, '') AS lane, root.posted_channel AS thread_channel, root.ts AS thread_ts,
           m.maybe_ts, m.seq,
           CASE WHEN m.thread_key IS NULL AND m.ts IS NULL AND EXISTS (
               SELECT 1 FROM messages AS child WHERE child.thread_key = m.key AND child.urgent = 2 AND child.ts IS NULL
           ) THEN 2 ELSE m.urgent END AS rank
    FROM messages AS m LEFT JOIN messages AS root ON root.key = m.thread_key
    WHERE m.desired_version > m.sent_version
      AND (m.next_try_ts <= ? OR m.next_try_ts > ?)
      AND (m.ts IS NOT NULL OR m.thread_key IS NULL
           OR (root.ts IS NOT NULL
               AND (m.urgent = 2 OR NOT EXISTS (SELECT 1 FROM messages AS earlier
                               WHERE earlier.thread_key = m.thread_key AND earlier.created_seq < m.created_seq
                                 AND earlier.ts IS NULL AND earlier.refused = 0))))
"""


_RELEASE = (
    "UPDATE messages SET next_try_ts = 0 WHERE desired_version > sent_version AND"
    " COALESCE((SELECT root.channel FROM messages AS root WHERE root.key = messages.thread_key), channel, '') = ?"
)


class MessageStore:
    """Implements :class:`bot.ports.Outbox`, and the queue that :mod:`alerting.deliver` empties.

    A message is one row for good. What it shall read replaces what it should have read before, so nothing superseded
    is ever sent. Nothing is dropped: a row is pending until Slack has taken its newest version.
    """

    def __init__(self, database: Database, now: Callable[[], float] = time.time) -> None:
        self._database = database
        self._now = now
        newest = database.rows("SELECT COALESCE(MAX(MAX(seq, created_seq)), 0) FROM messages")[0][0]
        self._seq = itertools.count(int(newest) + 1)

    def put(
        self,
        key: str,
        message: Message,
        *,
        channel: str | None = None,
        thread_of: str | None = None,
        later: bool = False,
    ) -> None:
        """See :class:`bot.ports.Outbox`. Slack knows no threads in threads: an answer to an answer joins its thread.
        ``later``: it gives way to everything else, whatever its tone.

        Raises:
            StoreError: it was not stored.
        """
        key, desired = sql_text(key), encode_message(message)
        digest, now = content_hash(desired), self._now()
        with self._database.transaction():
            known = self._database.rows(
                "SELECT desired_hash, desired_version, sent_version, ts FROM messages WHERE key = ?", (key,)
            )
            if not known:
                seq = next(self._seq)
                self._database.execute(
                    "INSERT INTO messages (key, channel, thread_key, desired, desired_hash, desired_version,"
                    " desired_ts, urgent, seq, created_ts, created_seq) VALUES (?, ?, ?, ?, ?, 1, ?, ?, ?, ?, ?)",
                    (
                        key,
                        channel,
                        self._root(thread_of),
                        desired,
                        digest,
                        now,
                        _urgency(message, None, later=later),
                        seq,
                        now,
                        seq,
                    ),
                )
                return
            row = known[0]
            if row["desired_hash"] == digest:
                return
            # A queued row keeps its place, so that one edited all the time is not always the last.
            queued = row["desired_version"] > row["sent_version"]
            self._database.execute(
                "UPDATE messages SET desired = ?, desired_hash = ?, desired_version = desired_version + 1, urgent = ?,"
                " desired_ts = CASE WHEN ? THEN desired_ts ELSE ? END, seq = CASE WHEN ? THEN seq ELSE ? END,"
                " attempts = CASE WHEN refused THEN 0 ELSE attempts END,"
                " next_try_ts = CASE WHEN refused THEN 0 ELSE next_try_ts END, refused = 0 WHERE key = ?",
                (desired, digest, _urgency(message, row["ts"], later=later), queued, now, queued, next(self._seq), key),
            )

    def _root(self, thread_of: str | None) -> str | None:
        if thread_of is None:
            return None
        root = sql_text(thread_of)
        found = self._database.rows("SELECT thread_key FROM messages WHERE key = ?", (root,))
        return (found[0]["thread_key"] if found else None) or root

    def posted(self, key: str) -> Posted | None:
        """As :class:`trainmaster.bot.ports.Outbox` says of it."""
        rows = self._database.rows("SELECT posted_channel, ts FROM messages WHERE key = ?", (sql_text(key),))
        if not rows or rows[0]["ts"] is None:
            return None
        return Posted(channel=rows[0]["posted_channel"], ts=rows[0]["ts"])

    def read(self, key: str) -> Message | None:
        """As :class:`trainmaster.bot.ports.Outbox` says of it."""
        rows = self._database.rows("SELECT key, desired FROM messages WHERE key = ?", (sql_text(key),))
        return _decoded(rows[0]) if rows else None

    def may_stand_twice(self, key: str) -> bool:
        """Whether it was posted again although the answer to an earlier post had been lost."""
        rows = self._database.rows("SELECT doubtful FROM messages WHERE key = ?", (sql_text(key),))
        return bool(rows and rows[0]["doubtful"])

    def sent_ts(self, key: str) -> float | None:
        """When the message first stood in the channel; None while it never did."""
        rows = self._database.rows("SELECT sent_ts FROM messages WHERE key = ?", (sql_text(key),))
        return rows[0]["sent_ts"] if rows else None

    def known(self, key: str) -> bool:
        """Whether the key was ever put."""
        return bool(self._database.rows("SELECT 1 FROM messages WHERE key = ?", (sql_text(key),)))

    def withdraw(self, key: str) -> bool:
        """Whether the message is forgotten: it was never sent, may not be about to stand in its channel, and nothing is
        to be said in its thread."""
        name = sql_text(key)
        cursor = self._database.execute(
            "DELETE FROM messages WHERE key = ? AND ts IS NULL AND maybe_ts IS NULL"
            " AND NOT EXISTS (SELECT 1 FROM messages AS answer WHERE answer.thread_key = ?)",
            (name, name),
        )
        return cursor.rowcount > 0

    def hush(self, prefix: str) -> None:
        """What was put under a key that begins so and does not stand in the channel yet mentions nobody any more."""
        start = sql_text(prefix)
        rows = self._database.rows(
            "SELECT key, desired FROM messages WHERE ts IS NULL AND desired_version > sent_version"
            " AND SUBSTR(key, 1, ?) = ?",
            (len(start), start),
        )
        for row in rows:
            message = _decoded(row)
            if message.mentions:
                self.put(row["key"], replace(message, mentions=()))

    def key_at(self, channel: str, ts: str) -> str | None:
        """As :class:`trainmaster.bot.ports.Outbox` says of it."""
        rows = self._database.rows("SELECT key FROM messages WHERE posted_channel = ? AND ts = ?", (channel, ts))
        return rows[0]["key"] if rows else None

    def pending(self, now: float, *, lane: str | None = None, limit: int = -1) -> tuple[Delivery, ...]:
        """What can be sent now, in the order in which it is to be sent: by urgency, then oldest first. The first post
        of a thread's later message waits for its earlier ones unless it is critical, and every answer for its root,
        which is as urgent as a critical answer that waits for it."""
        sql, parameters = _DUE, [now, now + MAX_WAIT_S]
        values: tuple[object, ...] = (*parameters, limit)
        if lane is not None:
            sql, values = sql + " AND COALESCE(root.channel, m.channel, '') = ?", (*parameters, lane, limit)
        return tuple(_delivery(row) for row in self._database.rows(sql + " ORDER BY rank DESC, m.seq LIMIT ?", values))

    def lanes(self, now: float) -> tuple[str, ...]:
        """Channels that something can be sent to now; the empty name is the alert channel."""
        rows = self._database.rows(f"SELECT DISTINCT lane FROM ({_DUE})", (now, now + MAX_WAIT_S))  # noqa: S608 - a constant
        return tuple(row["lane"] for row in rows)

    def next_try_ts(self, now: float) -> float | None:
        """When the next message that now has to wait is due; None when none waits."""
        rows = self._database.rows(
            "SELECT MIN(next_try_ts) AS ts FROM messages WHERE desired_version > sent_version AND next_try_ts > ?",
            (now,),
        )
        return None if rows[0]["ts"] is None else min(float(rows[0]["ts"]), now + MAX_WAIT_S)

    def num_pending(self) -> int:
        """Messages whose newest version Slack has not taken yet."""
        return int(self._database.rows("SELECT COUNT(*) FROM messages WHERE desired_version > sent_version")[0][0])

    def oldest_pending_ts(self) -> float | None:
        """Since when the longest-waiting message waits; None when nothing does."""
        rows = self._database.rows("SELECT MIN(desired_ts) AS ts FROM messages WHERE desired_version > sent_version")
        return None if rows[0]["ts"] is None else float(rows[0]["ts"])

    def mark_sent(self, key: str, version: int, posted: Posted) -> None:
        """Slack shows ``version`` there. A newer one that was put meanwhile stays pending."""
        now = self._now()
        self._database.execute(
            "UPDATE messages SET sent_hash = CASE WHEN desired_version = ? THEN desired_hash END, sent_version = ?,"
            " sent_ts = COALESCE(sent_ts, ?), ts = ?, posted_channel = ?, attempts = 0, next_try_ts = 0, refused = 0,"
            " maybe_ts = NULL, last_error = NULL, urgent = 0,"
            " desired_ts = CASE WHEN desired_version > ? THEN ? ELSE desired_ts END"
            " WHERE key = ?",
            (version, version, now, posted.ts, posted.channel, version, now, sql_text(key)),
        )

    def mark_failed(self, key: str, error: str, next_try_ts: float, *, refused: bool = False) -> None:
        """It stays pending, not tried before ``next_try_ts``. For a refused one its thread waits no longer."""
        self._database.execute(
            "UPDATE messages SET attempts = attempts + 1, next_try_ts = ?, refused = ?, last_error = ? WHERE key = ?",
            (next_try_ts, refused, sql_text(error), sql_text(key)),
        )

    def mark_posting(self, key: str, now: float) -> None:
        """From now on it may stand in its channel, whatever becomes of the answer or of this process."""
        self._database.execute(
            "UPDATE messages SET doubtful = doubtful OR maybe_ts IS NOT NULL, maybe_ts = COALESCE(maybe_ts, ?)"
            " WHERE key = ? AND ts IS NULL",
            (now, sql_text(key)),
        )

    def mark_not_posted(self, key: str) -> None:
        """Slack said that it does not stand there."""
        self._database.execute("UPDATE messages SET maybe_ts = NULL WHERE key = ?", (sql_text(key),))

    def release_failed(self, lane: str, but: Collection[str]) -> None:
        """What failed in this lane is due now, except the messages ``but`` and what was refused."""
        kept = tuple(sql_text(key) for key in but)
        marks = ", ".join("?" * len(kept))
        self._database.execute(
            f"{_RELEASE} AND next_try_ts > 0 AND NOT refused AND key NOT IN ({marks})", (lane, *kept)
        )

    def release_refused(self, lane: str) -> None:
        """What Slack refused to take in this lane is due now."""
        self._database.execute(f"{_RELEASE} AND refused", (lane,))

    def mark_gone(self, key: str) -> None:
        """Somebody deleted it: it is to be posted anew."""
        self._database.execute(
            "UPDATE messages SET ts = NULL, posted_channel = NULL, sent_version = 0, sent_hash = NULL, next_try_ts = 0,"
            " maybe_ts = NULL,"
            " desired_ts = CASE WHEN desired_version > sent_version THEN desired_ts ELSE ? END WHERE key = ?",
            (self._now(), sql_text(key)),
        )


def _urgency(message: Message, ts: str | None, *, later: bool) -> Urgency:
    if later or ts is not None:
        return Urgency.LATER
    if message.tone is Tone.CRITICAL:
        return Urgency.NOW
    asks = any(button.action is not ActionId.DETAILS for button in message.buttons)
    return Urgency.SOON if message.tone is Tone.WARNING or asks else Urgency.LATER


def _decoded(row: sqlite3.Row) -> Message:
    try:
        return decode_message(row["desired"])
    except ValueError as error:
        return Message(title=row["key"], tone=Tone.WARNING, body=(f"Its text was damaged in the database: {error}.",))


def _delivery(row: sqlite3.Row) -> Delivery:
    return Delivery(
        key=row["key"],
        version=row["desired_version"],
        message=replace(_decoded(row), pictures=pictures_of(row["pictures"])),
        lane=row["lane"],
        urgency=_URGENCIES.get(row["rank"], Urgency.NOW),
        maybe_ts=row["maybe_ts"],
        attempts=row["attempts"],
        posted_channel=row["posted_channel"],
        ts=row["ts"],
        thread_key=row["thread_key"],
        thread_channel=row["thread_channel"],
        thread_ts=row["thread_ts"],
    )
