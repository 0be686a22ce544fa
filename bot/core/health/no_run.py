"""What stands where a run's id stands in findings that are about no run. Each is stored, so it never changes."""

from __future__ import annotations

from typing import Final

HOST_RUN: Final = "host"
"""The host that trains, so that many runs have one alert for it."""
CLUSTER_RUN: Final = "cluster"
"""The controller of the cluster."""
BOT_RUN: Final = "trainmaster-jobs"
"""The bot's periodic work."""
DATABASE_RUN: Final = "trainmaster"
"""The bot's database, which has a name of its own: what is wrong with it must not resolve what its work has found."""
ABOUT_NO_RUN: Final = frozenset({HOST_RUN, CLUSTER_RUN, BOT_RUN, DATABASE_RUN})
