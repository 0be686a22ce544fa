"""Records of several pods, hosts or tasks that train at once, each line put behind the name of its source, as
``docker compose logs`` has it. Loaded only for an export in which several trainings begin."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any, Final

from trainmaster.bot.reading.console.records import MAX_LEAVES, LogRecords, Path, leaves_of

_STARTED: Final = "Starting training for "
_TABLE: Final = "GPU_mem "
_NAME: Final = r"(?=.*[A-Za-z])(?!std(?:out|err)$)[\w./:@-]{1,80}"
_FEW_RECORDS: Final = 2
_MOST_SOURCES: Final = 16


def lines_by_source(records: Sequence[dict[str, Any]]) -> str | None:
    """The lines of ``records`` behind names; None where no field tells several trainings apart that draw by turns."""
    reader = LogRecords()
    reader.text_in(list(records[:MAX_LEAVES]))  # learns where the text is
    texts = [reader.text_in(record) or "" for record in records]
    drawn = [place for place, text in enumerate(texts) if _TABLE in text]
    num_begun = sum(_STARTED in text for text in texts)
    if len(drawn) <= 1:
        return None
    columns = _columns(records, _names(records[drawn[0]]))
    names = max(columns, key=lambda column: _num_sources(column, drawn, num_begun), default=None)
    if names is None or not _num_sources(names, drawn, num_begun):
        return None
    return "".join(
        f"{re.sub('[^A-Za-z0-9_.-]', '-', name) or '-'} | {line}\n"
        for name, text in zip(names, texts, strict=True)
        for line in text.removesuffix("\n").split("\n")
    )


def _columns(records: Sequence[dict[str, Any]], paths: Iterable[Path]) -> list[list[str]]:
    columns: dict[Path, list[str]] = {path: [] for path in paths}
    for record in records:
        names = _names(record)
        for path, column in columns.items():
            column.append(names.get(path, ""))
    return list(columns.values())


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
