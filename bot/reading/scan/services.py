"""A log in which several services (``docker compose logs``, ``kubectl logs --prefix``, hosts, workers) train at once,
taken apart by the name before each line or in each record."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import BinaryIO, Final

from trainmaster.bot.reading.console.reader import ConsoleReader
from trainmaster.bot.reading.console.records import Path
from trainmaster.bot.reading.console.stamps import WITHIN_A_PROCESS
from trainmaster.bot.reading.scan.summary import LogSummary
from trainmaster.record import Fixed

_HEAD_BYTES: Final = 64 * 1024
"""Services that train at once have both begun by then."""
_FEW_LINES: Final = 2
_LINE_BYTES: Final = 1024 * 1024
_BEFORE: Final = rb"(?:\x1b\[[\d;]*m)*([\w.-]{1,80})(?:[ \t]|\x1b\[[\d;]*m)*\|"
_FIRST_WORD: Final = rb"[\w.-]+"
_STARTED: Final = b"Starting training for "
_TABLE: Final = b"GPU_mem "
_TIME: Final = rb"\d{4}[-/]\d\d[-/]\d\d|\d+(?:[:.,]\d+)+(?:Z|[+-]\d\d:?\d\d)?|\d{9,}"
_ANY_TIME: Final = rb"[\d:.,/Z+-]+"
_NO_NAME: Final = rb"\d{1,4}/\d\d?/\d{1,4}|\b%b\b|[^\w\x80-\xff]+" % WITHIN_A_PROCESS.encode()
"""Dates in another order, and what is no part of a name. Loggers may leave out a time that is the one before (Rich)."""
_NAME_BYTES: Final = 120
_MOST_SERVICES: Final = 64
"""Records of further ones are taken for the one's before them."""


class Services(Fixed):
    """``patterns``: what stands before the lines of each, where no bar follows a name. ``path``: where a record names
    its own."""

    names: tuple[bytes, ...]
    patterns: tuple[re.Pattern[bytes], ...] = ()
    path: Path | None = None

    def of_line(self, line: bytes) -> bytes | None:
        """The service that ``line`` names; None when it names none."""
        if self.path is not None:
            from trainmaster.bot.reading.scan.sources import source_of  # noqa: PLC0415 - see :func:`_of_records`

            return source_of(line, self.path)
        if self.patterns:
            found = (name for name, one in zip(self.names, self.patterns, strict=True) if one.match(line))
            return next(found, None)
        match = re.match(_BEFORE, line) or re.match(_FIRST_WORD, line)
        name = match[match.re.groups] if match else None
        return name if name in self.names else None


def services_of(stream: BinaryIO) -> Services | None:
    """The services that draw tables of a training, if there are several. ``stream`` is at its beginning, and stays
    there."""
    head = stream.read(_HEAD_BYTES)
    stream.seek(0)
    return _of_records(head) or _behind_bars(head) or _by_what_is_before(head)


def _of_records(head: bytes) -> Services | None:
    if head.lstrip()[:1] not in {b"{", b"["} or head.count(_STARTED) <= 1:
        return None
    from trainmaster.bot.reading.scan.sources import sources_of  # noqa: PLC0415 - most logs hold no records

    found = sources_of(head.split(b"\n"))
    return Services(names=found[1], path=found[0]) if found else None


def _behind_bars(head: bytes) -> Services | None:
    tables = [line for line in head.split(b"\n") if b"|" in line.partition(_TABLE)[0] and _TABLE in line]
    if len(tables) <= 1:  # nearly all logs; patterns are not even compiled
        return None
    found = dict.fromkeys(match[1] for table in tables if (match := re.match(_BEFORE, table)))
    lines = [match[1] for line in head.split(b"\n") if (match := re.match(_BEFORE, line))]
    # A number of the line or a time stands before one line alone.
    names = tuple(name for name in found if re.search(rb"[A-Za-z]", name) and lines.count(name) > _FEW_LINES)
    return Services(names=names) if len(names) > 1 else None


def _by_what_is_before(head: bytes) -> Services | None:
    """Each must have begun a training and drawn a table under its name, and one must have gone on after another began:
    the number of a process stands before each of several trainings, too, but of one behind the other."""
    num_begun = head.count(_STARTED)
    if num_begun <= 1:
        return None
    lines = head.split(b"\n")
    begun = list(dict.fromkeys(_names_before(lines, _STARTED)))
    drawn = set(_names_before(lines, _TABLE))
    if len(begun) < 2 or drawn != set(begun) or b"" in drawn:
        return None
    names = tuple(re.sub(_TIME, b"", before).strip() for before in begun)
    if len({re.sub(_NO_NAME, b"", name) for name in names}) < len(names):
        return None
    services = Services(names=names, patterns=tuple(map(_pattern_of, begun)))
    order = [name for line in lines if (name := services.of_line(line)) is not None]
    changes = [name for place, name in enumerate(order) if place == 0 or order[place - 1] != name]
    together = len(changes) > num_begun and all(order.count(name) > _FEW_LINES for name in names)
    return services if together else None


def _names_before(lines: list[bytes], landmark: bytes) -> Iterator[bytes]:
    """What stands before a landmark, with one time for all."""
    for line in lines:
        before, found, _ = line.partition(landmark)
        before = before.partition(b"Epoch")[0].rstrip()
        if found and len(before) <= _NAME_BYTES:
            yield re.sub(_TIME, b"0:0", before)


def _pattern_of(before: bytes) -> re.Pattern[bytes]:
    parts = (re.escape(part) for part in re.split(_TIME, before))
    return re.compile(_ANY_TIME.join(parts) + (rb"(?![\w-])" if before[-1:].isalnum() else b""))


def summaries_of(stream: BinaryIO, services: Services) -> dict[str, LogSummary]:
    """What the log says of each service. A line without a name is of the service that it begins with, or of the one
    before it."""
    readers: dict[bytes, tuple[ConsoleReader, LogSummary]] = defaultdict(
        lambda: (ConsoleReader(brief=True), LogSummary())
    )
    current, number, begins = services.names[0], 1, True
    while line := stream.readline(_LINE_BYTES):
        name = services.of_line(line) if begins else None
        if name is not None and (name in readers or len(readers) < _MOST_SERVICES):
            current = name
        reader, summary = readers[current]
        reader.line = number
        for fact in reader.feed(line):
            summary.add(fact)
        begins = line.endswith(b"\n")
        number += begins
    for reader, summary in readers.values():
        for fact in reader.finish():
            summary.add(fact)
    trained = {name: summary for name, (_, summary) in readers.items() if summary.frame or name in services.names}
    return {name.decode("utf-8", "replace"): summary for name, summary in trained.items()}
