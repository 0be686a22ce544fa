"""Logs that were exported into another kind of file: a table (CSV), a notebook or a JSON document in one line.

CloudWatch, Datadog, Grafana, Kibana and their like hand out a table with a line or a record of the log in one column,
often with the newest first. What is read from such a file counts its lines as the log had them, in the order of time,
but for a table in that order, where a line's number is that of the file.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, BinaryIO, Final

from trainmaster.bot.reading.console.encodings import utf16_of
from trainmaster.bot.reading.console.records import LogRecords, is_notebook, key_rank
from trainmaster.bot.reading.console.stamps import stamp_before_landmark

HEAD_BYTES: Final = 64 * 1024
MAX_BYTES: Final = 64 * 1024 * 1024
"""Services hand out some megabytes at most. What is larger is read line by line, as any log."""
_MAX_CELL_CHARACTERS: Final = 64 * 1024 * 1024
_SEPARATORS: Final = (",", ";", "\t")
_HEADING: Final = r"[\w@.$#/()\[\] -]{1,64}"
_HEADINGS: Final = r"[\w@.$#/()\[\] ,;\t\"-]{1,4000}"
_TIMES: Final = r"(?i)time|date|\bts|@timestamp"
_KIBANA: Final = "%b %d, %Y @ %H:%M:%S.%f"

Piece = tuple[int, bytes]
"""A line of the log, which may hold further ones, and its number."""


def exported(stream: BinaryIO) -> Iterator[Piece] | None:
    """The log that ``stream`` has within it; None when it is a log itself. ``stream`` is at its beginning; so it is
    afterwards unless something was found."""
    head = stream.read(HEAD_BYTES)
    stream.seek(0)
    if head.lstrip()[:1] in {b"{", b"["}:
        return _of_document(stream, head)
    return _of_table(stream, head)


def _of_document(stream: BinaryIO, head: bytes) -> Iterator[Piece] | None:
    one_line = b"\n" not in head.strip()
    if not one_line or not (is_notebook(head) or len(head) == HEAD_BYTES) or not _is_small(stream):
        return None
    data = stream.read()
    stream.seek(0)
    if b"\n" in data.strip():
        return None
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return None
    del data
    text = _printed(document) if is_notebook(head) else LogRecords().text_in(document, most=MAX_BYTES)
    return None if text is None else enumerate(text.encode("utf-8", "replace").split(b"\n"), 1)


def _printed(notebook: Any) -> str:
    """What the cells of ``notebook`` have printed and raised."""
    printed: list[str] = []
    sheets = [notebook, *_listed(notebook, "worksheets")]  # the format's third version
    for output in [
        output for sheet in sheets for cell in _listed(sheet, "cells") for output in _listed(cell, "outputs")
    ]:
        if not isinstance(output, dict):
            continue
        data = output.get("data")
        shown = data.get("text/plain") if isinstance(data, dict) else None
        raised = "\n".join(one for one in _listed(output, "traceback") if isinstance(one, str))
        if not raised and output.get("ename"):
            raised = f"{output['ename']}: {output.get('evalue', '')}"
        printed += [_whole(output.get("text")), _whole(shown), f"{raised}\n" if raised else ""]
    return "".join(printed)


def _listed(holder: Any, key: str) -> list[Any]:
    value = holder.get(key) if isinstance(holder, dict) else None
    return value if isinstance(value, list) else []


def _whole(text: Any) -> str:
    """A text that may be kept as a list of lines; it ends one."""
    whole = "".join(one for one in text if isinstance(one, str)) if isinstance(text, list) else text
    return f"{whole}\n" if isinstance(whole, str) and whole and not whole.endswith("\n") else whole or ""


def _of_table(stream: BinaryIO, head: bytes) -> Iterator[Piece] | None:
    encoding = utf16_of(head)
    text = head.decode(encoding or "utf-8-sig", "replace")
    first = text.lstrip("\r\n").partition("\n")[0].rstrip("\r")
    if not re.fullmatch(_HEADINGS, first):  # nearly all logs end here
        return None
    separator = max(_SEPARATORS, key=first.count)
    headings = next(iter(csv.reader([first], delimiter=separator)), [])
    if not headings or not all(re.fullmatch(_HEADING, one.strip()) for one in headings):
        return None
    rows = _head_rows(text, separator, cut=len(head) == HEAD_BYTES)
    column = _column_of_text(headings, rows, quoted=re.search(r'^"', text[len(first) :], re.MULTILINE) is not None)
    if column is None or not _is_small(stream):
        return None
    newest_first = any(_falls([row[place] for row in rows]) for place in _times(headings))
    stream.seek(0)
    lines = io.TextIOWrapper(io.BytesIO(stream.read()), encoding or "utf-8-sig", "replace", newline="\n")
    cells = _cells(lines, separator, column)
    if not newest_first:
        return cells
    newest = [cell for _, cell in cells]
    return _numbered(reversed(newest))


def _is_small(stream: BinaryIO) -> bool:
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    return size <= MAX_BYTES


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


def _falls(times: Sequence[str]) -> bool:
    """Whether ``times`` go from the newest to the oldest."""
    known = [time for text in (times[0], times[-1]) if (time := _time(text)) is not None]
    return len(known) == 2 and known[0] > known[1]


def _time(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text.strip()).timestamp()
    except (ValueError, OverflowError, OSError):
        pass
    try:
        return datetime.strptime(text.strip(), _KIBANA).timestamp()  # noqa: DTZ007 - both are of the same zone
    except (ValueError, OverflowError, OSError):
        return None


def _cells(lines: Iterable[str], separator: str, column: int) -> Iterator[Piece]:
    rows = csv.reader(lines, delimiter=separator)
    number = 1
    try:
        for place, row in enumerate(rows):
            if place and len(row) > column:
                yield number, row[column].encode("utf-8", "replace")
            number = rows.line_num + 1
    except csv.Error:
        return


def _numbered(cells: Iterable[bytes]) -> Iterator[Piece]:
    number = 1
    for cell in cells:
        yield number, cell
        number += cell.count(b"\n") + 1
