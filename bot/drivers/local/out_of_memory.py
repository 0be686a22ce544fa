"""Whether the kernel's out-of-memory killer was at work when a process died, from counters that anybody may read.

Sources: ``oom_kill`` in ``/proc/vmstat`` (the whole host), in ``memory.events`` of a control group (kernel
documentation, cgroup-v2) and in ``memory.oom_control`` (cgroup-v1). A counter that rose between the last look at the
living process and the first at the dead one is evidence; the process's own group is better evidence than the host.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from trainmaster.bot.core.run.facts import OomEvidence, ProcessIdentity

_NOTE_EVERY_S: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Counters:
    noted_at: float
    group_file: Path | None
    in_group: int | None
    on_host: int | None


class OomWitness:
    """Remembers the counters while a process lives."""

    def __init__(self, proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> None:
        self._proc = proc
        self._cgroups = cgroups
        self._alive: dict[ProcessIdentity, _Counters] = {}
        self._found: dict[ProcessIdentity, OomEvidence] = {}

    def note(self, process: ProcessIdentity) -> None:
        """The process lives; what died before now was not it."""
        known, now = self._alive.get(process), time.monotonic()
        if known is not None and now - known.noted_at < _NOTE_EVERY_S:
            return
        group_file = known.group_file if known is not None else self._group_file(process.pid)
        self._alive[process] = _Counters(
            noted_at=now,
            group_file=group_file,
            in_group=_num_kills(group_file),
            on_host=_num_kills(self._proc / "vmstat"),
        )

    def evidence(self, process: ProcessIdentity) -> OomEvidence:
        """Of a process that is over; the answer of the first look stays."""
        found = self._found.get(process)
        if found is None:
            found = self._found[process] = self._judge(self._alive.pop(process, None))
        return found

    def _judge(self, before: _Counters | None) -> OomEvidence:
        if before is None:
            return OomEvidence.UNKNOWN
        # The group may have gone with its last process.
        in_group = _num_kills(before.group_file)
        on_host = _num_kills(self._proc / "vmstat")
        if in_group is not None and before.in_group is not None and in_group > before.in_group:
            return OomEvidence.OWN_GROUP
        if on_host is None or before.on_host is None:
            return OomEvidence.UNKNOWN
        return OomEvidence.HOST if on_host > before.on_host else OomEvidence.NONE

    def _group_file(self, pid: int) -> Path | None:
        try:
            lines = (self._proc / str(pid) / "cgroup").read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return None
        groups = {controllers: path for _, controllers, path in (line.split(":", 2) for line in lines if ":" in line)}
        candidates = [
            self._cgroups / groups[""].lstrip("/") / "memory.events" if "" in groups else None,
            self._cgroups / "memory" / groups["memory"].lstrip("/") / "memory.oom_control"
            if "memory" in groups
            else None,
        ]
        return next((one for one in candidates if one is not None and one.is_file()), None)


def _num_kills(path: Path | None) -> int | None:
    """What the kernel counts there under ``oom_kill``; None where it can't be read."""
    if path is None:
        return None
    try:
        lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    for line in lines:
        key, _, value = line.partition(" ")
        if key == "oom_kill" and value.strip().isdigit():
            return int(value)
    return None
