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
from io import BytesIO
from typing import Any, BinaryIO, Final

from trainmaster.bot.reading.console.encodings import utf16_of
from trainmaster.bot.reading.console.records import LogRecords, are_over_lines, is_notebook

HEAD_BYTES: Final = 64 * 1024
MAX_BYTES: Final = 64 * 1024 * 1024
"""Services hand out some megabytes at most. What is larger is read line by line, as any log."""
_HEADINGS: Final = r"[\w@.$#/()\[\] ,;\t\"-]{1,4000}"

_TELLS_TIME: Final = rb"\d[-/]\d\d[-/]\d\d[T ]\d\d:|\d{10}|[A-Z][a-z]{2} [ \d]\d \d\d:"
_MAX_DEPTH: Final = 8
_STARTED: Final = b"Starting training for "
_YAML_BEGINS: Final = (b"---\n", b"---\r\n")
_RECORDING: Final = rb'\{ *"version": *[23], [^\n]*\}\r?\n'
"""The head of asciinema's; each line behind it is a list of time, kind and text."""

Piece = tuple[int, bytes]
"""A line of the log, which may hold further ones, and its number."""


def exported(stream: BinaryIO) -> BytesIO | Iterator[Piece] | None:
    """The log that ``stream`` has within it, which may be an export in turn, or the lines of a table; None when it is a
    log itself. ``stream`` is at its beginning; so it is afterwards unless something was found."""
    head = stream.read(HEAD_BYTES)
    stream.seek(0)
    if re.match(_RECORDING, head):
        return _of_recording(stream) if _is_small(stream) else None
    if head.startswith(_YAML_BEGINS):
        return _of_yaml(stream)
    if head.lstrip()[:1] in {b"{", b"["}:
        return _of_document(stream, head) or _of_lines_newest_first(stream, head)
    return _of_table(stream, head) or _of_lines_newest_first(stream, head)


def _of_document(stream: BinaryIO, head: bytes) -> BytesIO | None:
    one_line = b"\n" not in head.strip()
    begins_one = is_notebook(head) or are_over_lines(head) or re.match(rb"\s*\[\s*\{", head) is not None
    if not (one_line or begins_one) or not _is_small(stream):
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
    several = data.count(_STARTED) > 1
    del data
    from trainmaster.bot.reading.scan.newest_first import put_in_order  # noqa: PLC0415 - see above

    if is_notebook(head):
        return _log(_printed(document))
    if isinstance(document, dict) and document.get("version") == 1:  # asciinema's first format
        return _log("".join(event[1] for event in _listed(document, "stdout") if _is_shown(event)))
    turned = put_in_order(document)
    if several and (named := _by_source(document)):
        return named
    # Others are read line by line, as any log.
    return _log(LogRecords().text_in(document, most=MAX_BYTES)) if turned or one_line else None


def _of_yaml(stream: BinaryIO) -> BytesIO | None:
    if not _is_small(stream):
        return None
    from trainmaster.bot.reading.scan.newest_first import put_in_order  # noqa: PLC0415 - see above
    from trainmaster.bot.reading.scan.yaml_records import yaml_records  # noqa: PLC0415 - see above

    text = stream.read().decode("utf-8", "replace")
    stream.seek(0)
    records = yaml_records(text)
    put_in_order(records)
    several = text.count(_STARTED.decode()) > 1
    return (_by_source(records) if several else None) or _log(LogRecords().text_in(records, most=MAX_BYTES))


def _by_source(document: Any) -> BytesIO | None:
    """The lines of the records that ``document`` lists, if they are of several sources."""
    records = _records_in(document)
    if not all(isinstance(record, dict) for record in records):
        return None
    from trainmaster.bot.reading.scan.sources import lines_by_source  # noqa: PLC0415 - see above

    return _log(lines_by_source(records))


def _records_in(document: Any, depth: int = 0) -> list[Any]:
    """The longest list in ``document``, which may be one."""
    if isinstance(document, list):
        return document
    inner = document.values() if isinstance(document, dict) and depth < _MAX_DEPTH else ()
    return max((_records_in(one, depth + 1) for one in inner), key=len, default=[])


def _of_lines_newest_first(stream: BinaryIO, head: bytes) -> BytesIO | None:
    first = head.lstrip().partition(b"\n")[0]
    if not re.search(_TELLS_TIME, first):  # nearly all logs end here
        return None
    from trainmaster.bot.reading.scan.newest_first import lines_in_order  # noqa: PLC0415 - see above

    begin = head[: head.rfind(b"\n") + 1].decode("utf-8", "replace")
    if lines_in_order(begin) is None or not _is_small(stream):
        return None
    text = lines_in_order(stream.read().decode("utf-8", "replace"))
    stream.seek(0)
    return _log(text)


def _log(text: str | None) -> BytesIO | None:
    return None if text is None else BytesIO(text.encode("utf-8", "replace"))


def _of_recording(stream: BinaryIO) -> BytesIO | None:
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
    return _log("".join(shown))


def _is_shown(event: Any) -> bool:
    return isinstance(event, list) and len(event) == 2 and isinstance(event[1], str)


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


def _of_table(stream: BinaryIO, head: bytes) -> BytesIO | Iterator[Piece] | None:
    encoding = utf16_of(head)
    text = head.decode(encoding or "utf-8-sig", "replace")
    first = text.lstrip("\r\n").partition("\n")[0].rstrip("\r")
    if not re.fullmatch(_HEADINGS, first):  # nearly all logs end here
        return None
    from trainmaster.bot.reading.scan.tables import CsvTable, cells_of, records_of  # noqa: PLC0415 - see above

    table = CsvTable.of(text, first, encoding=encoding or "utf-8-sig", cut=len(head) == HEAD_BYTES)
    if table is None or not _is_small(stream):
        return None
    several = _by_source(records_of(stream, table)) if text.count(_STARTED.decode()) > 1 else None
    return several or cells_of(stream, table)


def _is_small(stream: BinaryIO) -> bool:
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    return size <= MAX_BYTES
