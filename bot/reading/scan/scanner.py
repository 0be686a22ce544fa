"""A whole log -> :class:`ScanReport`: where the run stood, whether its losses were finite, how it ended."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from enum import StrEnum
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from trainmaster.bot.reading.console.errors import is_user_stop
from trainmaster.bot.reading.console.facts import ConsoleFact, CrashKind
from trainmaster.bot.reading.console.reader import ConsoleReader
from trainmaster.bot.reading.scan.entries import SummaryEntry
from trainmaster.bot.reading.scan.exports import Piece, exported
from trainmaster.bot.reading.scan.services import Services, services_of, summaries_of
from trainmaster.bot.reading.scan.skim import NotSkimmableError, skim
from trainmaster.bot.reading.scan.summary import LogSummary
from trainmaster.record import Fixed, replaced

_BLOCK_BYTES = 1024 * 1024
_PACKED = {
    b"\x1f\x8b\x08": "gzip",
    b"\xfd7zXZ\0": "xz",
    b"\x5d\0\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
    b"\x1f\x9d": "compress",
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"PK\3\4": "zip",
    **{b"BZh%d1AY" % level: "bzip2" for level in range(1, 10)},
}
"""How compressed files begin, and by what they were written."""
_SKIM_BYTES = 1024 * 1024
"""Below this, reading every byte takes no noticeable time."""


class ScanVerdict(StrEnum):
    """How the run ended, in one word."""

    STOPPED_BY_USER = "stopped_by_user"
    """Ctrl-C. It ended early and holds what it had saved; ``crashed`` is true as for any end by an exception."""
    CRASHED = "crashed"
    STOPPED_ON_REQUEST = "stopped_on_request"
    """A signal asked the guard, which ended the run in good order."""
    GAVE_UP = "gave_up"
    """The guard ended the run, since going on would have wasted time."""
    COMPLETED = "completed"
    STOPPED_EARLY = "stopped_early"
    """Patience ended it."""
    NOT_FINISHED = "not_finished"
    NO_TRAINING = "no_training"
    """The log holds no frame of a training."""


class ScanReport(Fixed):
    """What a log says; None where it does not say. Epochs and batches as printed, of the last training frame."""

    last_epoch: int | None
    total_epochs: int | None
    last_batch: int | None
    total_batches: int | None
    losses: dict[str, float] | None
    nan_loss_lines: int
    nan_loss_frames: int
    crashed: bool
    crash_kind: CrashKind
    crash_detail: str | None
    completed: bool
    early_stopped: bool
    map50: float | None
    map50_95: float | None
    incidents: tuple[SummaryEntry, ...]
    notices: tuple[SummaryEntry, ...]
    stopped_by: str | None = None
    """The signal on which the guard ended the run in an orderly way."""
    gave_up: str | None = None
    """What the guard said when it ended the run because going on would waste time."""
    undrawn_since: int | None = None
    """The line at which a training was started that has drawn no frame. All else is then of the one before it."""
    mixed_since: int | None = None
    """The line from which on several trainings write to the log: none of them is known to be complete."""
    earlier_nan_loss_lines: int = 0
    earlier_nan_loss_frames: int = 0
    """Of ``nan_loss_lines`` and ``nan_loss_frames``, those of attempts before the last."""
    attempt_since: int | None = None
    """The line at which the last attempt was started, where the figures of one before it were not finite."""
    ended_later: SummaryEntry | None = None
    """What ended the process from outside after its training was complete."""
    service: str = ""
    """Where several services train in one log, the one that fared worst: all else is of it."""
    others: tuple[tuple[str, ScanReport], ...] = ()
    """What the log says of the other services, by name."""

    @property
    def num_nonfinite_frames(self) -> int:
        """Of the last attempt alone."""
        return self.nan_loss_frames - self.earlier_nan_loss_frames

    def is_earlier(self, entry: SummaryEntry) -> bool:
        """Whether ``entry`` is of an attempt before the last, as far as their figures make it worth knowing."""
        return self.attempt_since is not None and entry.line < self.attempt_since

    @property
    def verdict(self) -> ScanVerdict:
        """How the run ended; of a training begun anew that has drawn no frame, :attr:`ScanVerdict.NOT_FINISHED`."""
        if self.crashed:
            return ScanVerdict.STOPPED_BY_USER if is_user_stop(self.crash_detail or "") else ScanVerdict.CRASHED
        if self.stopped_by is not None:
            return ScanVerdict.STOPPED_ON_REQUEST
        if self.gave_up is not None:
            return ScanVerdict.GAVE_UP
        if self.completed and self.undrawn_since is None:
            return ScanVerdict.STOPPED_EARLY if self.early_stopped else ScanVerdict.COMPLETED
        drawn = self.last_epoch is not None or self.last_batch is not None
        return ScanVerdict.NOT_FINISHED if drawn else ScanVerdict.NO_TRAINING

    def to_json(self) -> dict[str, object]:
        """As JSON can carry it: non-finite numbers become ``"nan"``, ``"inf"``, ``"-inf"``."""
        losses = self.losses
        return {
            "last_epoch": self.last_epoch,
            "total_epochs": self.total_epochs,
            "last_batch": self.last_batch,
            "total_batches": self.total_batches,
            "losses": None if losses is None else {name: _encoded(value) for name, value in losses.items()},
            "nan_loss_lines": self.nan_loss_lines,
            "nan_loss_frames": self.nan_loss_frames,
            "crashed": self.crashed,
            "crash_kind": self.crash_kind.value,
            "crash_detail": self.crash_detail,
            "completed": self.completed,
            "early_stopped": self.early_stopped,
            "map50": _encoded(self.map50),
            "map50_95": _encoded(self.map50_95),
            "incidents": [_entry_json(entry) for entry in self.incidents],
            "notices": [_entry_json(entry) for entry in self.notices],
            "verdict": self.verdict.value,
            "stopped_by": self.stopped_by,
            "gave_up": self.gave_up,
            "undrawn_since": self.undrawn_since,
            "mixed_since": self.mixed_since,
        }


def scan_file(path: Path) -> ScanReport:
    """The report on ``path``, from the bytes that it has now.

    Raises:
        OSError: it is missing, a folder, or cannot be read.
        ValueError: it is compressed, and cannot be unpacked here.
    """
    with path.open("rb") as stream:
        head = stream.read(8)
        kind = next((kind for mark, kind in _PACKED.items() if head.startswith(mark)), None)
        if kind is not None:
            from trainmaster.bot.reading.scan.packed import unpacked  # noqa: PLC0415 - a scan starts in milliseconds

            stream.seek(0)
            with unpacked(stream, kind) as plain:
                return _scan_plain(plain)
    return _scan_plain(path)


def _scan_plain(path: Path) -> ScanReport:
    with path.open("rb") as stream:
        if (found := exported(stream)) is not None:
            return _of_export(found)
        if services := services_of(stream):
            return _worst_of(stream, services)
        if os.fstat(stream.fileno()).st_size >= _SKIM_BYTES:
            try:
                return report_of(skim(path))
            except NotSkimmableError:
                pass
        return _of_lines(stream)


def scan_stream(stream: BinaryIO) -> ScanReport:
    """The report on all bytes of ``stream``, parsed one by one."""
    if (found := exported(stream)) is not None:
        return _of_export(found)
    if services := services_of(stream):
        return _worst_of(stream, services)
    return _of_lines(stream)


def _of_lines(stream: BinaryIO) -> ScanReport:
    reader = ConsoleReader(brief=True)
    summary = LogSummary()
    while block := stream.read(_BLOCK_BYTES):
        _add_all(summary, reader.feed(block))
    _add_all(summary, reader.finish())
    return report_of(summary)


def _of_export(found: BytesIO | Iterable[Piece]) -> ScanReport:
    if isinstance(found, BytesIO):
        return scan_stream(found)
    reader = ConsoleReader(brief=True)
    summary = LogSummary()
    for number, piece in found:
        reader.line = number
        _add_all(summary, reader.feed(piece + b"\n"))
    _add_all(summary, reader.finish())
    return report_of(summary)


_WORST_FIRST = (
    ScanVerdict.CRASHED,
    ScanVerdict.GAVE_UP,
    ScanVerdict.STOPPED_BY_USER,
    ScanVerdict.STOPPED_ON_REQUEST,
    ScanVerdict.NOT_FINISHED,
    ScanVerdict.NO_TRAINING,
    ScanVerdict.STOPPED_EARLY,
    ScanVerdict.COMPLETED,
)


def _worst_of(stream: BinaryIO, services: Services) -> ScanReport:
    reports = [(name, report_of(summary)) for name, summary in summaries_of(stream, services).items()]
    reports.sort(key=lambda named: (_WORST_FIRST.index(named[1].verdict), -named[1].num_nonfinite_frames))
    (service, worst), *others = reports
    return replaced(worst, service=service, others=tuple(others))


def report_of(summary: LogSummary) -> ScanReport:
    """What ``summary`` comes to."""
    frame, bar = summary.frame, summary.plain_bar
    place = frame or bar
    crash, ended = summary.crash, summary.ended_early
    return ScanReport(
        last_epoch=place.epoch if place else None,
        total_epochs=place.epochs if place else None,
        last_batch=place.batch if place else None,
        total_batches=place.batches if place else None,
        losses=dict(frame.losses) if frame else None,
        nan_loss_lines=summary.nonfinite_lines,
        nan_loss_frames=summary.nonfinite_frames,
        crashed=crash is not None,
        crash_kind=crash.kind if crash else CrashKind.NONE,
        crash_detail=crash.detail if crash else None,
        completed=summary.completed,
        early_stopped=summary.early_stopped,
        map50=summary.row.map50 if summary.row else None,
        map50_95=summary.row.map50_95 if summary.row else None,
        incidents=tuple(summary.incidents),
        notices=tuple(summary.notices),
        stopped_by=ended.signal if ended else None,
        gave_up=ended.text if ended and ended.signal is None else None,
        undrawn_since=summary.undrawn_since,
        mixed_since=summary.mixed_since,
        earlier_nan_loss_lines=summary.earlier_nonfinite_lines,
        earlier_nan_loss_frames=summary.earlier_nonfinite_frames,
        attempt_since=summary.attempt_since,
        ended_later=next(iter(summary.later_ends), None),
    )


def _encoded(value: float | None) -> float | int | str | None:
    """As the contract writes numbers, which nearly all logs do without: it loads slower than a log is read."""
    if value is None or math.isfinite(value):
        return value
    from trainmaster.trainer import contract  # noqa: PLC0415 - see above

    return contract.encode_number(value)


def _add_all(summary: LogSummary, facts: Iterable[ConsoleFact]) -> None:
    for fact in facts:
        summary.add(fact)


def _entry_json(entry: SummaryEntry) -> dict[str, object]:
    return {
        "line": entry.line,
        "epoch": entry.epoch,
        "batch": entry.batch,
        "text": entry.text,
        "kind": entry.kind,
        "count": entry.count,
    }
