"""What a trainer was started with, kept so that it is started with the same again.

Read from the process while it lives (``/proc/PID/environ`` is as it was at its start), kept in the bot's own folder
with mode 600: it may hold keys of experiment trackers, without which a restarted run would report to nobody.
docs/decisions/0014-a-trainers-environment.md says why.
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import psutil

from trainmaster.trainer.contract import read_json, replace_json

_LOG = logging.getLogger(__name__)
_MAX_BYTES = 1_000_000
"""The kernel's own limit is 2 MiB for arguments and environment together; nobody means so much."""


class LaunchEnvironments:
    """One file a run in ``folder``, named by the run's directory."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def remember(self, directory: Path, pid: int) -> None:
        """What the run's trainer was started with is kept. What can't be read or written costs a log line: a restart
        then has the plain environment."""
        try:
            seen = psutil.Process(pid).environ()
            if not seen or sum(map(len, seen.values())) > _MAX_BYTES:
                return
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            replace_json(self._file(directory), {"run": str(directory), "environment": seen}, mode=0o600)
        except (psutil.Error, OSError, ValueError) as error:
            _LOG.warning("the environment of process %d was not kept: %s", pid, error)

    def recall(self, directory: Path) -> dict[str, str] | None:
        """What the newest trainer of the run was started with; None when nobody saw it."""
        try:
            record = read_json(self._file(directory)) or {}
        except OSError:
            return None
        kept = record.get("environment")
        if not isinstance(kept, dict) or record.get("run") != str(directory):
            return None
        return {str(name): str(value) for name, value in kept.items()}

    def _file(self, directory: Path) -> Path:
        name = hashlib.sha256(str(directory).encode("utf-8", "surrogateescape")).hexdigest()[:16]
        return self._folder / f"{name}.json"
