"""Which processes belong to a trainer, remembered while it lives, so that what outlives it is known.

A child that lost its parent shows no sign of it: data loader workers are forks, with the parent's own command line, and
are handed to the first process of the host. So children are noted, by pid and start, while the trainer is alive; beside
them counts what is in the session or process group that the trainer led, since such a number is not given out anew
while it has members.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

from trainmaster.bot.core.run.facts import ProcessIdentity
from trainmaster.bot.drivers.local.proc_stat import ProcStat, ProcTable

_NOTE_EVERY_S: Final = 30.0
"""Workers live for an epoch at least, most for the whole run."""
_TABLE_AGE_S: Final = 2.0


class Families:
    """Children of trainers. One reading of the process table serves every run."""

    def __init__(self, table: ProcTable) -> None:
        self._table = table
        self._children: dict[ProcessIdentity, frozenset[tuple[int, float]]] = {}
        self._noted_at: dict[ProcessIdentity, float] = {}
        self._bereft: set[ProcessIdentity] = set()
        """Dead ones without any survivor: nobody can join them any more."""

    def note(self, process: ProcessIdentity) -> int:
        """Its descendants are known as of now, or of half a minute ago; how many."""
        now = time.monotonic()
        if now - self._noted_at.get(process, -_NOTE_EVERY_S) >= _NOTE_EVERY_S:
            found = _descendants(process.pid, self._table.processes(max_age_s=_TABLE_AGE_S))
            self._children[process] = frozenset((one.pid, one.started_s) for one in found)
            self._noted_at[process] = now  # last: another thread may ask for the same process meanwhile
        return len(self._children.get(process, ()))

    def orphans(self, process: ProcessIdentity, *, replaced: bool) -> tuple[ProcStat, ...]:
        """Living members of the family of a trainer that is over. ``replaced``: its pid belongs to somebody else now,
        and so may a session or group of that number."""
        if process in self._bereft:
            return ()
        table = self._table.processes(max_age_s=_TABLE_AGE_S)
        known = self._children.get(process, frozenset())
        found = [
            one
            for one in table.values()
            if one.pid != process.pid and not one.over
            if (one.pid, one.started_s) in known or (not replaced and process.pid in {one.session, one.group})
        ]
        if not found:
            self._bereft.add(process)
            self._children.pop(process, None)
            self._noted_at.pop(process, None)
        return tuple(sorted(found, key=lambda one: one.pid))


def _descendants(pid: int, table: Mapping[int, ProcStat]) -> list[ProcStat]:
    by_parent: dict[int, list[ProcStat]] = {}
    for one in table.values():
        by_parent.setdefault(one.parent, []).append(one)
    found: list[ProcStat] = []
    pending = [pid]
    while pending:
        children = by_parent.pop(pending.pop(), [])
        found += children
        pending += [child.pid for child in children]
    return found
