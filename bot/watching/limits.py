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


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterLimits:
    """What is called trouble of a cluster."""

    cluster_silent_s: Annotated[float, Setting("s", ge=0)] = 10.0
    """A controller that gives no answer for longer is told, once for all runs; the first answer ends it. One that is
    asked by a loaded host, or is restarted, is silent for a few seconds."""
