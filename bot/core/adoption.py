"""A run that something else started: what a person told of it. What was not told and can't be seen is unknown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bot.core.facts import ProcessIdentity


@dataclass(frozen=True, slots=True, kw_only=True)
class Adoption:
    """``log`` is the console log; ``directory`` Ultralytics' ``save_dir``; ``process`` is None when no pid was told."""

    name: str
    directory: Path
    log: Path
    process: ProcessIdentity | None
    adopted_ts: float

    def to_json(self) -> dict[str, Any]:
        """For :meth:`from_json`."""
        return {
            "v": 1,
            "name": self.name,
            "directory": str(self.directory),
            "log": str(self.log),
            "process": asdict(self.process) if self.process else None,
            "adopted_ts": self.adopted_ts,
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Adoption | None:
        """What :meth:`to_json` wrote; None for anything else."""
        try:
            process = record["process"]
            return cls(
                name=str(record["name"]),
                directory=Path(record["directory"]),
                log=Path(record["log"]),
                process=ProcessIdentity(**process) if process else None,
                adopted_ts=float(record["adopted_ts"]),
            )
        except (KeyError, TypeError, ValueError):
            return None
