"""What a check found, as a row; all rows as a table for people and as JSON for programs. Loads no torch."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final

from trainmaster.terminal import columns

PREFIX: Final = "selfcheck-row "
"""Before each row that a child process prints: libraries print too."""
WIDTH: Final = 80
BROKEN_OFF: Final = "ended in order"
"""The row of a part that did not."""
_TRACEBACK: Final = "Traceback (most recent call last)"
_LAST_LINES: Final = 6
_LAST_CHARACTERS: Final = 400


class Status(StrEnum):
    """How a check ended. Only :attr:`FAILED` makes the whole fail."""

    OK = "ok"
    FAILED = "FAIL"
    UNDECIDED = "?"  # measured, but too noisy to tell
    SKIPPED = "-"  # not possible on this machine
    TOLD = "i"  # a fact, judged by nobody


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """``part`` made it; ``value`` is what was found, ``limit`` what it is held against, both with units. ``device`` is
    what it was found on, empty where the row is of all or of none."""

    part: str
    name: str
    status: Status
    value: str = ""
    limit: str = ""
    detail: str = ""
    device: str = ""

    def line(self) -> str:
        """As a child process prints it."""
        return PREFIX + json.dumps(asdict(self))

    @classmethod
    def parse(cls, line: str) -> Row | None:
        """The row in a line of a child's output; None when it holds none."""
        if not line.startswith(PREFIX):
            return None
        try:
            record: dict[str, Any] = json.loads(line.removeprefix(PREFIX))
            return cls(**{**record, "status": Status(record["status"])})
        except (ValueError, TypeError, KeyError):
            return None


def passed(rows: Iterable[Row]) -> bool:
    """Whether no row says that something failed."""
    return all(row.status is not Status.FAILED for row in rows)


def as_table(rows: Sequence[Row]) -> str:
    """The rows for a terminal of 80 columns, or its own fewer, and one line that sums up."""
    width = min(WIDTH, columns() or WIDTH)
    lines: list[str] = []
    part = ""
    for row in rows:
        title = f"{row.part} (device {row.device})" if row.device else row.part
        if title != part:
            part = title
            lines += ["", part]
        against = f" (limit {row.limit})" if row.limit else ""
        text = f"{row.name}: {row.value}{against}" if row.value else f"{row.name}{against}"
        lines += textwrap.wrap(text, width, initial_indent=f"  {row.status:<5}", subsequent_indent=" " * 9)
        if row.detail:
            lines += textwrap.wrap(row.detail, width, initial_indent=" " * 9, subsequent_indent=" " * 9)
    return "\n".join([*lines, "", summary(rows)])


def summary(rows: Sequence[Row]) -> str:
    """How many rows ended how, and what that means."""
    counts = {status: sum(row.status is status for row in rows) for status in Status}
    failed = [row.name for row in rows if row.status is Status.FAILED]
    told = f"{counts[Status.OK]} ok, {counts[Status.FAILED]} failed, {counts[Status.SKIPPED]} not possible here"
    if counts[Status.UNDECIDED]:
        told += f", {counts[Status.UNDECIDED]} too noisy to decide"
    if failed:
        return f"NOT READY: {told}. Failed: {'; '.join(failed)}."
    return f"READY: {told}."


def last_words(lines: Iterable[str]) -> str:
    """What a process said last, in one line; of a traceback, what it ends with."""
    said = [line for line in lines if line.strip() and Row.parse(line) is None]
    begins = [number for number, line in enumerate(said) if _TRACEBACK in line]
    if begins:
        ends = [line for line in said[begins[-1] + 1 :] if not line.startswith(" ")]
        said = ends[:1]
    return " | ".join(line.strip() for line in said[-_LAST_LINES:])[-_LAST_CHARACTERS:]


def as_json(rows: Sequence[Row]) -> str:
    """One object: ``passed`` and ``rows``."""
    return json.dumps({"passed": passed(rows), "rows": [asdict(row) for row in rows]}, indent=2)
