"""How much of an adopted run's log was read before the bot was started again, so that it is history and not news."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from trainmaster.trainer.contract import read_json, replace_json

_WRITE_EVERY_S: Final = 10.0
SUFFIX: Final = ".heard"


class ReadBefore:
    """Kept beside the record of the adoption. A look is written down when the next one begins, so that what it found
    has been told by then; what is lost with a crash is told again."""

    def __init__(self, record: Path | None) -> None:
        self._path = record.with_suffix(SUFFIX) if record is not None else None
        self._known: dict[str, Any] = {}
        self._is_history = True
        self._next: dict[str, Any] = {}
        self._written_ts = -_WRITE_EVERY_S
        if self._path is not None:
            with suppress(OSError):
                self._known = read_json(self._path) or {}

    def left(self, attempt: int, log: Path, offset: int) -> int | None:
        """How many bytes behind ``offset`` are history; None once all that follows is news."""
        left = self._left(attempt, log, offset) if self._is_history else None
        self._is_history = left is not None
        return left

    def _left(self, attempt: int, log: Path, offset: int) -> int | None:
        known_attempt, known_offset = self._known.get("attempt"), self._known.get("offset")
        if not isinstance(known_attempt, int) or not isinstance(known_offset, int) or attempt > known_attempt:
            return None
        try:
            status = os.stat(log)  # noqa: PTH116 - only its figures
        except OSError:
            return None
        if attempt < known_attempt:
            return max(1, status.st_size - offset)
        if status.st_ino != self._known.get("inode") or status.st_size < known_offset:
            return None  # another file, or begun anew
        return known_offset - offset if known_offset > offset else None

    def knows_epoch(self, epoch: int) -> bool:
        """Whether the end of the epoch was told before."""
        epochs = self._known.get("epochs")
        return isinstance(epochs, list) and epoch in epochs

    def epoch_since_ts(self, attempt: int, epoch: int) -> float | None:
        """When the epoch began, if it was the one that ran."""
        since = self._known.get("running")
        if isinstance(since, list) and since[:2] == [attempt, epoch] and isinstance(since[2], float):
            return since[2]
        return None

    def note(self, now: float, **state: Any) -> None:
        """What the look that has just ended had read; the one before it is written down."""
        if self._is_history:
            return  # a long log is caught up with over several looks
        before, self._next = self._next, state
        if self._path is None or not before or before == self._known or now - self._written_ts < _WRITE_EVERY_S:
            return
        self._known, self._written_ts = before, now
        with suppress(OSError):  # a full disk: told again after a restart, which is better than not at all
            replace_json(self._path, before)
