"""How a trainer is started, and how it is brought to its end. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchSpec:
    """How to start a trainer. ``log`` gets stdout and stderr, appended. ``key`` makes a launch repeatable: a second
    launch with the same key returns what the first one started."""

    key: str
    argv: tuple[str, ...]
    cwd: Path
    log: Path
    env: Mapping[str, str]
    run: str = ""
    """The id of the run."""
    options: tuple[str, ...] | None = None
    """Of the cluster's submission; None for a process of this host."""
    margin_s: int | None = None
    """From a cluster's request to end until its time limit; None where no save was measured."""


class Force(StrEnum):
    """How a trainer is brought to its end, in the order in which it is tried."""

    ASK = "ask"
    """SIGTERM to it alone: it saves and ends."""
    ALL = "all"
    """SIGTERM to it and all that belongs to it; a trainer that gets it a second time ends at once."""
    KILL = "kill"
    """SIGKILL to all that belongs to it."""
