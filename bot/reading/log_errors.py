"""Fatal lines of a guarded run's console log, as they come. Its records tell everything else."""

from __future__ import annotations

import os
import re
import zlib
from pathlib import Path
from typing import Final

from trainmaster.bot.core.run.facts import LogError
from trainmaster.bot.reading.console.errors import is_user_stop
from trainmaster.bot.reading.console.facts import (
    ConsoleFact,
    ErrorOrigin,
    FatalError,
    Preparing,
    Resumed,
    Started,
    TrainFrame,
)
from trainmaster.bot.reading.console.frames import TELLING
from trainmaster.bot.reading.console.reader import ConsoleReader
from trainmaster.bot.reading.plain_files import Open, open_plain
from trainmaster.bot.reading.tail import Cursor, TailNote, read_new

_TELLING: Final = re.compile(rb"[" + re.escape(TELLING) + rb"]|[\xc3-\xd9][\x80-\xbf]|[\xe3-\xed][\x80-\xbf]")
"""A piece without any of it tells of no crash: healthy frames, which nearly all of a log is, and they are not read any
further. Words of other scripts are no bar."""
_PLAIN_WORDS: Final = (b"Aufgelegt", b"Zabit", b"Tapettu")
"""Words of shells for a signal that are spelt without any of it."""
_MAX_CARRIED_BYTES: Final = 8192
_WATCHED_LOOKS: Final = 3
"""A traceback may be written in parts: so many looks after a telling one are read in full as well."""
_FRAMES_BEHIND: Final = 3
"""So many frames behind an error show that training went on: one is drawn again as its bar is closed, and the first
rank may finish a batch after another one has failed."""


class LogErrorReader:
    """Begins at the end of the log as it first finds it: what was there before was told before, or is history."""

    def __init__(self, path: Path, open_file: Open = open_plain) -> None:
        self._path = path
        self._open_file = open_file
        self._cursor: Cursor | None = None
        self._begun = False
        self._carried = b""
        self._reader: ConsoleReader | None = None
        self._looks_left = 0
        self.more = False
        """Whether the last look left some of the log for the next."""
        self.num_open = 0
        """How many of the newest errors have nothing behind them that shows that training went on."""
        self._num_frames = 0
        """Behind the newest error."""

    def look(self, now: float) -> tuple[LogError, ...]:
        """Errors in what is new; Ctrl-C is none. Never raises; an unchanged log costs one stat."""
        if not self._begun:
            self._begun = True
            self._cursor = _end_of(self._path)
        read = read_new(self._path, self._cursor, open_file=self._open_file)
        self._cursor, self.more = read.cursor, read.more
        if read.note in {TailNote.TRUNCATED, TailNote.REPLACED}:
            self._carried, self._reader = b"", None
        if not read.data:
            return ()
        telling = _TELLING.search(read.data) is not None or any(word in read.data for word in _PLAIN_WORDS)
        if telling:
            self._looks_left = _WATCHED_LOOKS
        if self._reader is None and not telling:
            self._carried = _last_piece(self._carried + read.data)
            return ()
        data = read.data
        if self._reader is None:
            self._reader, data = ConsoleReader(), self._carried + data
        facts = self._reader.feed(data)
        errors = self._errors_in(facts, now)
        if not telling and not self.num_open:
            self._looks_left -= 1
            if self._looks_left <= 0:
                self._carried, self._reader = _last_piece(data), None
        return errors

    def _errors_in(self, facts: list[ConsoleFact], now: float) -> tuple[LogError, ...]:
        found = []
        for fact in facts:
            if isinstance(fact, Preparing | Started | Resumed):
                self.num_open = 0
            elif isinstance(fact, TrainFrame):
                self._num_frames += 1
                if self._num_frames >= _FRAMES_BEHIND:
                    self.num_open = 0
            elif isinstance(fact, FatalError) and _may_end_it(fact):
                found.append(self._error(fact, now))
                self.num_open, self._num_frames = self.num_open + 1, 0
        return tuple(found)

    def _error(self, fact: FatalError, now: float) -> LogError:
        return LogError(
            ts=now,
            kind=fact.kind.value,
            detail=fact.detail,
            text=fact.text,
            in_child=fact.origin is ErrorOrigin.CHILD,
            digest=f"{zlib.crc32(fact.detail.encode('utf-8', 'replace')):08x}",
            written_ts=self._cursor.modified_ns / 1e9 if self._cursor is not None else 0.0,
        )


def _may_end_it(fact: FatalError) -> bool:
    return fact.origin is not ErrorOrigin.WRAPPER and not is_user_stop(fact.detail)


def _end_of(path: Path) -> Cursor | None:
    """Where the file ends now; None when there is none yet, so that it is read from its beginning once it comes."""
    try:
        status = os.stat(path)  # noqa: PTH116 - a look at every run
    except OSError:
        return None
    return Cursor(
        device=status.st_dev,
        inode=status.st_ino,
        offset=status.st_size,
        modified_ns=status.st_mtime_ns,
        head_bytes=0,
        head_crc=0,
    )


def _last_piece(data: bytes) -> bytes:
    """What follows the last line end, or a part of it: the beginning of a line that may turn out to be an error."""
    start = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
    return data[start:][-_MAX_CARRIED_BYTES:]
