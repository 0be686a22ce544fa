"""How long what is over stays in the database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from trainmaster.bot.core.setting import Setting


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageLimits:
    """What the bot remembers."""

    keep_days: Annotated[int, Setting("days", ge=31)] = 365
    """Resolved alerts, sent messages, finished operations and ended silences that are older go from the database to
    archive.jsonl in STATE_DIR, once an hour. What fires, waits or is open stays, however old."""
    batch: int = 50
    """Rows that are moved at once; between two moves the bot does something else."""
