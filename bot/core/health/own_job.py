"""What the bot itself has to do again and again, and how that goes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

CHECK_RUNS: Final = "check runs"
PAGE_TARGET: Final = "page target"
"""A job whose name begins so is a target of PAGE_URLS."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnJob:
    """One job. ``num_faults`` counts those since it last went well, the first of them at ``since_ts``; ``fault`` says
    what the last one was."""

    name: str
    num_faults: int = 0
    since_ts: float | None = None
    fault: str = ""
