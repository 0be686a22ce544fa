"""A console log that is still written: facts of what is new at each look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trainmaster.bot.reading.console.facts import ConsoleFact
from trainmaster.bot.reading.console.reader import ConsoleReader
from trainmaster.bot.reading.tail import DEFAULT_MAX_BYTES, Cursor, TailNote, read_new


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsoleLook:
    """What one look at a log found. Lines count from where the reader began."""

    facts: Sequence[ConsoleFact]
    note: TailNote
    more: bool
    error: str


class ConsoleFollower:
    """Follows one log over truncation, rotation and replacement; an unchanged log costs one stat."""

    def __init__(self, path: Path, *, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        self.path = path
        self.cursor: Cursor | None = None
        self._reader = ConsoleReader()
        self._max_bytes = max_bytes

    @property
    def read_to(self) -> int:
        """Up to which byte the log has been read."""
        return self.cursor.offset if self.cursor else 0

    def look(self, max_bytes: int | None = None) -> ConsoleLook:
        """The facts of the bytes since the last look, of ``max_bytes`` at most. Never raises."""
        limit = self._max_bytes if max_bytes is None else min(max_bytes, self._max_bytes)
        read = read_new(self.path, self.cursor, max_bytes=limit)
        self.cursor = read.cursor
        if read.note.restarts:
            self._reader = ConsoleReader()
        facts = self._reader.feed(read.data) if read.data else []
        return ConsoleLook(facts=facts, note=read.note, more=read.more, error=read.error)
