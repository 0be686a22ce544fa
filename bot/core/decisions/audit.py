"""Lines of the audit log, and what a check of it found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One line: who did what to which run. ``digest`` covers every other value, ``previous`` included."""

    seq: int
    ts: float
    actor: str
    action: str
    subject: str
    detail: Mapping[str, Any]
    previous: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """What a check of the whole chain found. ``faults`` name the line."""

    num_entries: int
    head: str
    faults: tuple[str, ...]

    @property
    def intact(self) -> bool:
        """Whether nothing was changed, left out, put in or cut off."""
        return not self.faults
