"""How often is looked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from trainmaster.bot.core.setting import Setting


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchLimits:
    """How often the runs are looked at."""

    check_interval_s: Annotated[float, Setting("s", ge=0.2, le=3600)] = 30.0
    """Periodic look at every run, beside the file watcher that makes it immediate."""
