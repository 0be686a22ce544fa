"""What rollbacks put aside, as the trainer's command line tells it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trainmaster.bot.core.run.parsing import time_of, whole_of


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveFact:
    """One archive: everything of a run that came after ``after_epoch`` (from 1; 0 for its start)."""

    name: str
    folder: str
    state: str
    ts: float
    after_epoch: int
    attempt: int | None
    num_files: int
    size_bytes: int

    @classmethod
    def parse(cls, record: Mapping[str, Any]) -> ArchiveFact | None:
        """None when it names no folder."""
        name, folder, after = record.get("name"), record.get("folder"), record.get("after_epoch")
        if not (isinstance(name, str) and isinstance(folder, str) and isinstance(after, int)):
            return None
        moved, attempt = record.get("moved"), record.get("attempt")
        return cls(
            name=name,
            folder=folder,
            state=str(record.get("state", "")),
            ts=time_of(record.get("ts")) or 0.0,
            after_epoch=after,
            attempt=attempt if isinstance(attempt, int) else None,
            num_files=len(moved) if isinstance(moved, list) else 0,
            size_bytes=whole_of(record.get("bytes")) or 0,
        )
