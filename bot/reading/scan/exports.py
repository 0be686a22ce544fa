"""Logs that were exported into another kind of file: a table (CSV), a notebook, a JSON document in one line, or the
recording of a terminal.

CloudWatch, Datadog, Grafana, Kibana and their like hand out a table with a line or a record of the log in one column,
often with the newest first, as others do with plain lines. What is read from such a file counts its lines as the log
had them, in the order of time, but for a table in that order, where a line's number is that of the file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

from trainmaster.bot.reading.console.encodings import utf16_of
from trainmaster.bot.reading.console.records import LogRecords, are_over_lines, is_notebook

HEAD_BYTES: Final = 64 * 1024
MAX_BYTES: Final = 64 * 1024 * 1024
"""Services hand out some megabytes at most. What is larger is read line by line, as any log."""
_HEADINGS: Final = r"[\w@.$#/()\[\] ,;\t\"-]{1,4000}"

_TELLS_TIME: Final = rb"\d[-/]\d\d[-/]\d\d[T ]\d\d:|\d{10}|[A-Z][a-z]{2} [ \d]\d \d\d:"
_YAML_BEGINS: Final = (b"---\n", b"---\r\n")
_RECORDING: Final = rb'\{ *"version": *[23], [^\n]*\}\r?\n'
"""The head of asciinema's; each line behind it is a list of time, kind and text."""

Piece = tuple[int, bytes]
"""A line of the log, which may hold further ones, and its number."""


def exported(stream: BinaryIO) -> Iterator[Piece] | None:
    """The log that ``stream`` has within it; None when it is a log itself. ``stream`` is at its beginning; so it is
    afterwards unless something was found."""
    head = stream.read(HEAD_BYTES)
    stream.seek(0)
    if re.match(_RECORDING, head):
        return _of_recording(stream) if _is_small(stream) else None
    if head.lstrip()[:1] in {b"{", b"["} and (document := _of_document(stream, head)) is not None:
        return document
    if head.startswith(_YAML_BEGINS):
        return _of_yaml(stream)
    return _of_table(stream, head) or _of_lines_newest_first(stream, head)


def _of_document(stream: BinaryIO, head: bytes) -> Iterator[Piece] | None:
    one_line = b"\n" not in head.strip()
    begins_one = are_over_lines(head) or re.match(rb"\s*\[\s*\{", head) is not None
    if not (one_line or (begins_one and not is_notebook(head))) or not _is_small(stream):
        return None
    data = stream.read()
    stream.seek(0)
    if one_line and b"\n" in data.strip():
        return None
    import json  # noqa: PLC0415 - most logs are no document, and a scan starts in milliseconds

    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return None
    del data
    from trainmaster.bot.reading.scan.newest_first import put_in_order  # noqa: PLC0415 - see above

    if is_notebook(head):
        text: str | None = _printed(document)
    elif put_in_order(document) or one_line:
        text = LogRecords().text_in(document, most=MAX_BYTES)
    else:
        return None  # it is read line by line, as any log
    return None if text is None else _numbered(text)


def _of_yaml(stream: BinaryIO) -> Iterator[Piece] | None:
    if not _is_small(stream):
        return None
    from trainmaster.bot.reading.scan.newest_first import put_in_order  # noqa: PLC0415 - see above
    from trainmaster.bot.reading.scan.yaml_records import yaml_records  # noqa: PLC0415 - see above

    records = yaml_records(stream.read().decode("utf-8", "replace"))
    stream.seek(0)
    put_in_order(records)
    text = LogRecords().text_in(records, most=MAX_BYTES)
    return None if text is None else _numbered(text)


def _of_lines_newest_first(stream: BinaryIO, head: bytes) -> Iterator[Piece] | None:
    first = head.lstrip().partition(b"\n")[0]
    if not re.search(_TELLS_TIME, first):  # nearly all logs end here
        return None
    from trainmaster.bot.reading.scan.newest_first import lines_in_order  # noqa: PLC0415 - see above

    begin = head[: head.rfind(b"\n") + 1].decode("utf-8", "replace")
    if lines_in_order(begin) is None or not _is_small(stream):
        return None
    text = lines_in_order(stream.read().decode("utf-8", "replace"))
    stream.seek(0)
    return None if text is None else _numbered(text)


def _numbered(text: str) -> Iterator[Piece]:
    return enumerate(text.encode("utf-8", "replace").split(b"\n"), 1)


def _of_recording(stream: BinaryIO) -> Iterator[Piece]:
    """What a recorded terminal has shown. A line may be shown in several pieces."""
    import json  # noqa: PLC0415 - see above

    shown: list[str] = []
    for line in stream:
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            continue  # the last may be cut
        if isinstance(event, list) and len(event) == 3 and event[1] == "o" and isinstance(event[2], str):
            shown.append(event[2])
    return enumerate("".join(shown).encode("utf-8", "replace").split(b"\n"), 1)


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
    from trainmaster.bot.reading.scan.tables import CsvTable, cells_of  # noqa: PLC0415 - see above

    table = CsvTable.of(text, first, encoding=encoding or "utf-8-sig", cut=len(head) == HEAD_BYTES)
    return cells_of(stream, table) if table is not None and _is_small(stream) else None


def _is_small(stream: BinaryIO) -> bool:
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    return size <= MAX_BYTES
