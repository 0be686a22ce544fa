"""A log in which several services (``docker compose logs``) train at once, taken apart by the name before each line."""

from __future__ import annotations

import re
from typing import BinaryIO, Final

from trainmaster.bot.reading.console.reader import ConsoleReader
from trainmaster.bot.reading.scan.summary import LogSummary

_HEAD_BYTES: Final = 64 * 1024
"""Services that train at once have both begun by then."""
_FEW_LINES: Final = 2
_LINE_BYTES: Final = 1024 * 1024
_BEFORE: Final = rb"(?:\x1b\[[\d;]*m)*([\w.-]{1,80})(?:[ \t]|\x1b\[[\d;]*m)*\|"
_FIRST_WORD: Final = rb"[\w.-]+"


def services_of(stream: BinaryIO) -> tuple[bytes, ...]:
    """The names of the services that draw tables of a training, if there are several. ``stream`` is at its beginning,
    and stays there."""
    head = stream.read(_HEAD_BYTES)
    stream.seek(0)
    tables = [line for line in head.split(b"\n") if b"|" in line.partition(b"GPU_mem ")[0] and b"GPU_mem " in line]
    if len(tables) <= 1:  # nearly all logs; patterns are not even compiled
        return ()
    found = dict.fromkeys(match[1] for table in tables if (match := re.match(_BEFORE, table)))
    lines = [match[1] for line in head.split(b"\n") if (match := re.match(_BEFORE, line))]
    # A number of the line or a time stands before one line alone.
    names = tuple(name for name in found if re.search(rb"[A-Za-z]", name) and lines.count(name) > _FEW_LINES)
    return names if len(names) > 1 else ()


def summaries_of(stream: BinaryIO, names: tuple[bytes, ...]) -> dict[str, LogSummary]:
    """What the log says of each service. A line without a name is of the service that it begins with, or of the one
    before it."""
    readers = {name: (ConsoleReader(brief=True), LogSummary()) for name in names}
    current, number, begins = names[0], 1, True
    while line := stream.readline(_LINE_BYTES):
        if begins and (found := re.match(_BEFORE, line) or re.match(_FIRST_WORD, line)):
            name = found[found.re.groups]
            current = name if name in readers else current
        reader, summary = readers[current]
        reader.line = number
        for fact in reader.feed(line):
            summary.add(fact)
        begins = line.endswith(b"\n")
        number += begins
    for reader, summary in readers.values():
        for fact in reader.finish():
            summary.add(fact)
    return {name.decode("ascii", "replace"): summary for name, (_, summary) in readers.items()}
