"""Records of several pods, hosts or tasks that train at once: which field names the source of each. Loaded only for an
export in which several trainings begin."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any, Final

from trainmaster.bot.reading.console.records import MAX_LEAVES, LogRecords, Path, leaves_of
from trainmaster.bot.reading.console.stamps import WITHIN_A_PROCESS

_STARTED: Final = "Starting training for "
_TABLE: Final = "GPU_mem "
_NAME: Final = rf"(?=.*[A-Za-z])(?!{WITHIN_A_PROCESS}$)[\w./:@-]{{1,80}}"
_FEW_RECORDS: Final = 2
_MOST_SOURCES: Final = 16


def lines_by_source(records: Sequence[dict[str, Any]]) -> str | None:
    """The lines of ``records`` behind names, as ``docker compose logs`` has them; None where no field tells several
    trainings apart that draw by turns."""
    texts = _texts(records)
    _, names = _sources(records, texts)
    if not names:
        return None
    return "".join(
        f"{re.sub('[^A-Za-z0-9_.-]', '-', name) or '-'} | {line}\n"
        for name, text in zip(names, texts, strict=True)
        for line in text.removesuffix("\n").split("\n")
    )


def sources_of(lines: Iterable[bytes]) -> tuple[Path, tuple[bytes, ...]] | None:
    """Where the records of a log, of which ``lines`` are the first, name their source, and those that draw tables; None
    as above."""
    records = [record for line in lines if (record := _record(line)) is not None]
    texts = _texts(records)
    path, names = _sources(records, texts)
    drawing = dict.fromkeys(name for name, text in zip(names, texts, strict=False) if _TABLE in text)
    return (path, tuple(name.encode() for name in drawing)) if drawing else None


def source_of(line: bytes, path: Path) -> bytes | None:
    """What the record in ``line`` has at ``path``; None where that is no name."""
    record = _record(line)
    name = _names(record).get(path) if record else None
    return name.encode() if name else None


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line.strip(b" ,[]\r\n"))
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _texts(records: Sequence[dict[str, Any]]) -> list[str]:
    reader = LogRecords()
    reader.text_in(list(records[:MAX_LEAVES]))  # learns where the text is
    return [reader.text_in(record) or "" for record in records]


def _sources(records: Sequence[dict[str, Any]], texts: Sequence[str]) -> tuple[Path, list[str]]:
    """The field that tells most sources apart, and what each record has there; nothing where none does."""
    drawn = [place for place, text in enumerate(texts) if _TABLE in text]
    num_begun = sum(_STARTED in text for text in texts)
    if len(drawn) <= 1:
        return (), []
    columns = _columns(records, _names(records[drawn[0]]))
    best = max(columns.items(), key=lambda column: _num_sources(column[1], drawn, num_begun), default=((), []))
    return best if best[1] and _num_sources(best[1], drawn, num_begun) else ((), [])


def _columns(records: Sequence[dict[str, Any]], paths: Iterable[Path]) -> dict[Path, list[str]]:
    columns: dict[Path, list[str]] = {path: [] for path in paths}
    for record in records:
        names = _names(record)
        for path, column in columns.items():
            column.append(names.get(path, ""))
    return columns


def _names(record: dict[str, Any]) -> dict[Path, str]:
    return {path: value for path, value in leaves_of(record) if re.fullmatch(_NAME, value)}


def _num_sources(names: Sequence[str], drawn: Sequence[int], num_begun: int) -> int:
    """How many sources draw tables by turns, if ``names`` are those of the records; 0 where they are no sources.
    Attempts one behind the other take as many turns as trainings were begun."""
    sources = {names[place] for place in drawn}
    counts = Counter(names)
    turns = len([name for name, _ in groupby(name for name in names if name in sources)])
    told = "" not in sources and len(counts) <= _MOST_SOURCES and all(counts[one] > _FEW_RECORDS for one in sources)
    return len(sources) if told and len(sources) > 1 and turns > num_begun else 0
