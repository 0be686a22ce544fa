"""Tables (CSV) with a line or a record of a log in one column. Loaded only for a file that begins as one."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO, Final, Self

from trainmaster.bot.reading.console.records import key_rank
from trainmaster.bot.reading.console.stamps import stamp_before_landmark
from trainmaster.bot.reading.scan.newest_first import falls, moment_of
from trainmaster.record import Fixed

_MAX_CELL_CHARACTERS: Final = 64 * 1024 * 1024
_SEPARATORS: Final = (",", ";", "\t")
_HEADING: Final = r"[\w@.$#/()\[\] -]{1,64}"
_TIMES: Final = r"(?i)time|date|\bts|@timestamp"


class CsvTable(Fixed):
    """How a table is written, and which column has the lines."""

    separator: str
    column: int
    encoding: str
    newest_first: bool

    @classmethod
    def of(cls, text: str, first: str, *, encoding: str, cut: bool) -> Self | None:
        """What ``text``, whose ``first`` line may be headings, is the beginning of; None when it is no such table.
        ``cut``: the file goes on."""
        separator = max(_SEPARATORS, key=first.count)
        headings = next(iter(csv.reader([first], delimiter=separator)), [])
        if not headings or not all(re.fullmatch(_HEADING, one.strip()) for one in headings):
            return None
        rows = _head_rows(text, separator, cut=cut)
        quoted = re.search(r'^"', text[len(first) :], re.MULTILINE) is not None
        column = _column_of_text(headings, rows, quoted=quoted)
        if column is None:
            return None
        newest_first = any(falls(moment_of(row[place]) for row in rows) for place in _times(headings))
        return cls(separator=separator, column=column, encoding=encoding, newest_first=newest_first)


def cells_of(stream: BinaryIO, table: CsvTable) -> Iterator[tuple[int, bytes]]:
    """The lines that ``table`` has in ``stream``, with their numbers, in the order of time."""
    cells = ((number, row[table.column].encode("utf-8", "replace")) for number, row in _rows(stream, table))
    if not table.newest_first:
        return cells
    newest = [cell for _, cell in cells]
    return _numbered(reversed(newest))


def records_of(stream: BinaryIO, table: CsvTable) -> list[dict[str, str]]:
    """The rows that ``table`` has in ``stream``, in the order of time: what the log says as a message."""
    records = [
        {"message" if place == table.column else f"column {place}": cell for place, cell in enumerate(row)}
        for _, row in _rows(stream, table)
    ]
    return records[::-1] if table.newest_first else records


def _head_rows(text: str, separator: str, *, cut: bool) -> list[list[str]]:
    """The rows behind the headings, without one that may be cut."""
    csv.field_size_limit(_MAX_CELL_CHARACTERS)
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator) if row]
    except csv.Error:
        return []
    return rows[1:-1] if cut else rows[1:]


def _column_of_text(headings: Sequence[str], rows: Sequence[Sequence[str]], *, quoted: bool) -> int | None:
    """Which column has the log's lines: by one that is a line of Ultralytics, else by its name."""
    if not rows or any(len(row) != len(headings) for row in rows) or (len(headings) == 1 and not quoted):
        return None
    for row in rows:
        for place, cell in enumerate(row):
            if any(
                (before := stamp_before_landmark(line)) is not None and not before.strip() for line in cell.split("\n")
            ):
                return place
    ranked = [(rank, place) for place, name in enumerate(headings) if (rank := key_rank(name)) is not None]
    return min(ranked)[1] if ranked else None


def _times(headings: Sequence[str]) -> list[int]:
    return [place for place, name in enumerate(headings) if re.search(_TIMES, name)]


def _rows(stream: BinaryIO, table: CsvTable) -> Iterator[tuple[int, list[str]]]:
    stream.seek(0)
    lines = io.TextIOWrapper(io.BytesIO(stream.read()), table.encoding, "replace", newline="\n")
    rows = csv.reader(lines, delimiter=table.separator)
    number = 1
    try:
        for place, row in enumerate(rows):
            if place and len(row) > table.column:
                yield number, row
            number = rows.line_num + 1
    except csv.Error:
        return


def _numbered(cells: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    number = 1
    for cell in cells:
        yield number, cell
        number += cell.count(b"\n") + 1
