"""Start times of processes, compared across a clock that may be set.

The kernel counts a process's start from the boot; psutil adds the boot's wall time (``btime`` in ``/proc/stat``), which
moves when the clock is set. So the same process shows another start time after that, by exactly as much.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Final

import psutil

from trainmaster.trainer.contract import read_json, replace_json

_TOLERANCE_S: Final = 1.5
"""``btime`` is in whole seconds and wanders by one with clock discipline. A pid comes around after 32,768 or more
forks, which no host does in this time."""

_MAX_KEPT: Final = 64


class StartTimes:
    """Remembers in ``path`` every ``btime`` seen on this boot."""

    def __init__(self, path: Path, boot: str) -> None:
        self._path = path
        self._boot = boot
        self._seen = self._load()
        self._learn()

    def equal(self, recorded: float, shown: float) -> bool:
        """Whether both are the start of one process, as far as a clock that was set may have moved them apart."""
        if abs(recorded - shown) <= _TOLERANCE_S:
            return True
        now = self._learn()
        return any(abs((recorded - then) - (shown - now)) <= _TOLERANCE_S for then in self._seen)

    def is_start(self, recorded: float, started_s: float) -> bool:
        """As :meth:`equal`, with the start as the kernel counts it, from the boot."""
        if any(abs(recorded - then - started_s) <= _TOLERANCE_S for then in self._seen):
            return True
        now = self._learn()
        return abs(recorded - now - started_s) <= _TOLERANCE_S

    def _learn(self) -> float:
        now = float(psutil.boot_time())
        if all(abs(now - then) > _TOLERANCE_S for then in self._seen):
            self._seen = [*self._seen, now][-_MAX_KEPT:]
            with suppress(OSError):  # memory of this process remains; the worst is an "unknown" after a restart
                self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                replace_json(self._path, {"boot_id": self._boot, "btimes": self._seen}, mode=0o600)
        return now

    def _load(self) -> list[float]:
        try:
            record = read_json(self._path) or {}
        except OSError:
            record = {}
        times = record.get("btimes")
        if record.get("boot_id") != self._boot or not isinstance(times, list):
            return []
        return [float(value) for value in times if isinstance(value, int | float)]
