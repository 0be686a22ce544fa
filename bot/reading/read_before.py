"""How much of an adopted run's log was read before the bot was started again, so that it is history and not news."""

from __future__ import annotations

import json
import math
import os
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from trainmaster.bot.core.run.parsing import member_of
from trainmaster.bot.core.run.view import EpochView
from trainmaster.bot.reading.console.facts import TrainFrame
from trainmaster.bot.reading.epoch_rows import NO_CHECKSUM
from trainmaster.bot.reading.tail import HEAD_BYTES, Cursor, is_copy
from trainmaster.trainer.contract import EventKind, Phase, read_json, replace_json

BadEpochs = dict[tuple[int, int], dict[str, Any]]
"""By attempt and epoch, the first bad batch that was seen there, as its event says it."""

BeforeLog = tuple[int, TrainFrame | None, int | None]
"""Of the attempt that a log begins with, as known before: how much of what happened in it was counted, its last frame
without the losses, and the first epoch if its beginning was seen."""

_WRITE_EVERY_S: Final = 10.0
_MAX_BAD_KEPT: Final = 500
"""Epochs, the newest: where more are bad, all are."""
_ENDS: Final = frozenset({EventKind.RUN_CRASHED, EventKind.RUN_FINISHED, EventKind.RUN_STOPPED})
SUFFIX: Final = ".heard"


class ReadBefore:
    """Kept beside the record of the adoption. A look is written down once what it found is stored, or when the next one
    begins, so that it has been told by then; what is lost with a crash is told again."""

    def __init__(self, record: Path | None) -> None:
        self._path = record.with_suffix(SUFFIX) if record is not None else None
        self._known: dict[str, Any] = {}
        self._is_history = True
        self._is_awaited = False
        """Whether the log of before was missing when it was to be read."""
        self._next: dict[str, Any] = {}
        self._tells = False
        self._written_ts = -_WRITE_EVERY_S
        if self._path is not None:
            with suppress(OSError, ValueError):
                known = read_json(self._path) or {}
                json.dumps(known, allow_nan=False)  # a number that could not be written down again is damage
                self._known = known
        self.earliest_ts = self._ts("earliest_ts", math.inf)
        """Of all looks, by a clock that may have been put back: what was told was told then or later."""
        self.grew_ts = self._ts("grew_ts", 0.0)
        """When the log was last seen to grow."""
        self.told = dict(_epochs_in(self._known.get("epochs"), self.last_number))
        """The checksums of the rows that were told, by attempt and epoch. An older bot noted none, and one before
        that no attempt: it knew of the newest."""
        self._told_before = frozenset(self.told)
        noted = self._known.get("finished")
        whole = isinstance(noted, dict) and type(noted.get("attempt")) is int and type(noted.get("epoch")) is int
        self.last_end: dict[str, Any] | None = noted if whole else None
        """The end of an epoch that was told last, as its event said it, with its attempt."""
        noted = self._known.get("spans")
        self.spans: list[Any] = noted if isinstance(noted, list) else []
        """What the console had shown of each attempt, as it was noted."""
        noted = self._known.get("begun_by_rows")
        self._begun = [one for one in noted if _is_begun(one)] if isinstance(noted, list) else []
        self._written: dict[str, Any] = {}
        self._rows = _mark_of(self._known.get("rows_ns"))
        """The mark of ``results.csv`` at the last look at the end of the log, be it of the bot before this. It is only
        ever compared with itself: a file system's clock may be ahead of the bot's, or behind."""
        start = self._known.get("start")
        whole = isinstance(start, list) and len(start) == 2 and type(start[0]) is int
        self._start: list[Any] = start if isinstance(start, list) and whole else [0, None]
        """An attempt whose beginning was seen, and the ``results.csv`` that holds nothing of it, nor of later ones."""
        self._has_just_begun = False

    def left(self, attempt: int, log: Path, offset: int) -> int | None:
        """How many bytes behind ``offset`` are history; None once all that follows is news."""
        left = self._left(attempt, log, offset) if self._is_history else None
        self._is_history = left is not None
        return left

    def _left(self, attempt: int, log: Path, offset: int) -> int | None:
        known_attempt, known_offset = self._known.get("attempt"), self._known.get("offset")
        if not isinstance(known_attempt, int) or not isinstance(known_offset, int) or attempt > known_attempt:
            return None
        begins = self._beginning_of(log)
        if begins is None:
            return 1  # it may come back, and is history still
        if attempt < known_attempt:
            return max(1, begins[0].st_size - offset)
        if self._differs(*begins):
            return None  # another file, or begun anew
        stops = [stop for _, _, stop in self._begun if offset < stop < known_offset]
        return min([known_offset, *stops]) - offset if known_offset > offset else None

    def knows_epoch(self, attempt: int, epoch: int) -> bool:
        """Whether the end of the epoch was told before."""
        return (attempt, epoch) in self._told_before

    def end_unknown_to(self, epochs: Mapping[tuple[int, int], EpochView]) -> dict[str, Any] | None:
        """The end that was told last, unless ``epochs`` has it."""
        one = self.last_end
        known = epochs.get((one["attempt"], one["epoch"])) if one is not None else None
        return None if known is not None and known.finished else one

    def begun_at(self, attempt: int, read_to: int) -> list[Any] | None:
        """``attempt``, what it began with and ``read_to``, if the log does not show it and had been read to there."""
        return next((one for one in self._begun if (one[0], one[2]) == (attempt, read_to)), None)

    def begun_unseen(self, attempt: int, epoch: int | None, read_to: int) -> None:
        """``results.csv`` alone shows that ``attempt`` began, with ``epoch``, or an adoption, which knows none; so far
        the log had been read."""
        self._begun = [*self._begun, [attempt, epoch, read_to]]
        if epoch is not None:
            self._start, self._has_just_begun = [attempt, None], False

    def begins(self, attempt: int) -> None:
        """The log shows that ``attempt`` has begun since the last look."""
        if not self._is_history:
            self._begins_behind(attempt, self._rows)
            self._has_just_begun = True

    def _begins_behind(self, attempt: int, rows: list[int] | None) -> None:
        if rows is None or rows != self._start[1]:  # else nothing was written since an earlier one began
            self._start = [attempt, rows]

    def caught_up(self, rows: list[int] | None) -> None:
        """A look has come to the end of the log: what begins from here on is not in the file of that mark."""
        self._rows = rows

    def rows_before(self, attempt: int, rows: list[int] | None, *, done: bool) -> tuple[int, list[int]] | None:
        """Since which attempt there is nothing in the ``results.csv`` of which mark, up to ``attempt``, which may have
        ``done`` an epoch by now; None where that is not known."""
        if self._start[0] > attempt:
            return None
        if self._has_just_begun and not done:
            self._begins_behind(attempt, rows)
        self._has_just_begun = False
        mark = _mark_of(self._start[1])
        return None if mark is None else (self._start[0], mark)

    def done_up_to(self, number: int) -> dict[int, list[int]]:
        """The epochs that were told of each attempt up to ``number``, with which the log begins: it may have been cut
        since, and shows no beginning of it then."""
        done: dict[int, list[int]] = {}
        for attempt, epoch in self.told:
            if 0 < attempt <= number:
                done.setdefault(attempt, []).append(epoch)
        return done

    def bad_epochs(self) -> BadEpochs:
        """What was told of the epochs that had a bad batch: the log that showed it may be gone."""
        noted = self._known.get("bad")
        known: BadEpochs = {}
        for one in noted if isinstance(noted, list) else ():
            if isinstance(one, dict) and type(one.get("attempt")) is int and type(one.get("epoch")) is int:
                known[one["attempt"], one["epoch"]] = {key: value for key, value in one.items() if key != "attempt"}
        return known

    def ends(self) -> list[tuple[int, EventKind, dict[str, Any]]]:
        """What had ended the newest attempt that was seen, each with its number and as its event said it."""
        noted = self._known.get("ends")
        known: list[tuple[int, EventKind, dict[str, Any]]] = []
        for one in noted if isinstance(noted, list) else ():
            seq, kind, data = one if isinstance(one, list) and len(one) == 3 else (None, None, None)
            kind = member_of(EventKind, kind)
            if type(seq) is int and kind in _ENDS and isinstance(data, dict):
                known.append((seq, kind, data))
        return known

    def first_number(self, log: Path) -> int | None:
        """The number of the attempt that ``log``, that of the adoption, begins with; None if that is not known, since
        it was begun anew, is another file by now, or is not there: what it shows tells whether the attempt goes on."""
        begins = self._beginning_of(log)
        self._is_awaited = begins is None and self._was_the_only_one
        if self._is_awaited or self._is_another(begins) or self._known.get("first_number", 1) is None:
            return None
        return self._count("first_number", 1)

    def before_log(self, first_number: int | None) -> BeforeLog:
        """What was known of the attempt that the log begins with (see :meth:`first_number`)."""
        noted = self._known.get("before_log")
        if first_number is None:
            noted = [self._known.get(name) for name in ("num", "frame", "first")]
        num, frame, first = noted if isinstance(noted, list) and len(noted) == 3 else (0, None, None)
        num = num if type(num) is int and num > 0 else 0
        return num, _frame_of(frame), first if type(first) is int else None

    def has_come_back(self, log: Path) -> bool:
        """Whether the log of before, which was not there, can be read again. Another one by its name ends the wait."""
        begins = self._beginning_of(log) if self._is_awaited else None
        if begins is None:
            return False
        self._is_awaited = False
        return not self._is_another(begins)

    @property
    def _was_the_only_one(self) -> bool:
        return self._known.get("attempt") == 1 and isinstance(self._known.get("offset"), int)

    @property
    def last_number(self) -> int:
        """The number of the newest attempt that was seen."""
        return self._count("number", self._count("attempt", 1))

    def last_phase(self, now: float) -> tuple[Phase, float]:
        """What the newest attempt was at, and since when."""
        phase = member_of(Phase, self._known.get("phase"))
        return (phase, self._ts("phase_since_ts", now)) if phase else (Phase.STARTUP, now)

    @property
    def is_unannounced(self) -> bool:
        """Whether the log has not shown yet with what the newest attempt begins."""
        return self._known.get("unannounced") is True

    def process_attempt(self, adopted_ts: float) -> int | None:
        """The attempt that the process of the adoption is of; None when that was never found out."""
        number = self._known.get("process_attempt")
        same = self._known.get("adopted_ts") == adopted_ts
        return number if same and isinstance(number, int) else None

    def _beginning_of(self, log: Path) -> tuple[os.stat_result, bytes] | None:
        try:
            with log.open("rb") as stream:
                return os.fstat(stream.fileno()), stream.read(min(self._count("head_bytes", 0), HEAD_BYTES))
        except (OSError, ValueError):  # ValueError: a NUL in the name
            return None

    def _is_another(self, begins: tuple[os.stat_result, bytes] | None) -> bool:
        """Whether a log, the only one so far, is another file than what was read, or was begun anew."""
        return begins is not None and self._was_the_only_one and self._differs(*begins)

    def _differs(self, status: os.stat_result, head: bytes) -> bool:
        crc, offset = self._known.get("head_crc"), self._count("offset", 0)
        if offset > status.st_size or (isinstance(crc, int) and zlib.crc32(head) != crc):
            return True
        return status.st_ino != self._known.get("inode") and not is_copy(head, offset, status)

    def _count(self, name: str, otherwise: int) -> int:
        value = self._known.get(name)
        return value if isinstance(value, int) and value >= 0 else otherwise

    def _ts(self, name: str, otherwise: float) -> float:
        value = self._known.get(name)
        return value if isinstance(value, float) else otherwise

    def epoch_since_ts(self, attempt: int, epoch: int) -> float | None:
        """When the epoch began, if it was the one that ran."""
        match self._known.get("running"):
            case [number, at, float(since_ts)] if (number, at) == (attempt, epoch):
                return since_ts
        return None

    def note(
        self,
        now: float,
        cursor: Cursor,
        frame: TrainFrame | None,
        bad: BadEpochs,
        *,
        tells: bool,
        before_log: BeforeLog,
        **state: Any,
    ) -> None:
        """What the look that has just ended had read; the one before it is written down, unless one was lately.
        ``tells``: it found something."""
        self.earliest_ts = min(self.earliest_ts, now)
        if self._is_history:
            return  # a long log is caught up with over several looks
        read = {name: getattr(cursor, name) for name in ("offset", "inode", "head_bytes", "head_crc")}
        state |= read | {"frame": _noted(frame), "before_log": [before_log[0], _noted(before_log[1]), before_log[2]]}
        state["bad"] = [{"attempt": attempt, **data} for (attempt, _), data in sorted(bad.items())[-_MAX_BAD_KEPT:]]
        state["epochs"] = [[*key, checksum] for key, checksum in sorted(self.told.items())]
        state |= {"begun_by_rows": self._begun, "start": self._start, "rows_ns": self._rows}
        state |= {"earliest_ts": self.earliest_ts, "grew_ts": self.grew_ts, "finished": self.last_end}
        before, self._next = self._next, state
        self._tells = tells or before.get("phase") != state["phase"]
        if now - self._written_ts >= _WRITE_EVERY_S:
            self._write(before)
            self._written_ts = now

    def stored(self) -> None:
        """What the newest look found is told, whatever becomes of this process."""
        if self._tells:
            self._write(self._next)

    def _write(self, state: dict[str, Any]) -> None:
        if self._path is None or not state or state == self._written:
            return
        self._written = self._known = state
        with suppress(OSError):  # a full disk: told again after a restart, which is better than not at all
            replace_json(self._path, self._known)


def _epochs_in(noted: object, newest: int) -> Iterator[tuple[tuple[int, int], int]]:
    for one in noted if isinstance(noted, list) else ():
        match one:
            case int(epoch):
                yield (newest, epoch), NO_CHECKSUM
            case [int(attempt), int(epoch), *rest] if len(rest) < 2 and all(type(part) is int for part in rest):
                yield (attempt, epoch), next(iter(rest), NO_CHECKSUM)


def _noted(frame: TrainFrame | None) -> list[int | None] | None:
    return [frame.epoch, frame.epochs, frame.batch, frame.batches] if frame else None


def _frame_of(noted: object) -> TrainFrame | None:
    if not isinstance(noted, list) or len(noted) != 4 or not all(type(one) is int for one in noted[:2]):
        return None
    epoch, epochs, *counted = noted
    batch, batches = (one if type(one) is int else None for one in counted)
    return TrainFrame(line=0, epoch=epoch, epochs=epochs, batch=batch, batches=batches, losses=())


def _mark_of(noted: object) -> list[int] | None:
    """An older bot noted the time alone."""
    mark = [noted, NO_CHECKSUM] if type(noted) is int else noted
    whole = isinstance(mark, list) and len(mark) == 2 and all(type(one) is int for one in mark)
    return mark if isinstance(mark, list) and whole else None


def _is_begun(noted: object) -> bool:
    match noted:
        case [int(_), int(_) | None, int(_)]:
            return True
    return False
