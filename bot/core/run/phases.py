"""How long the phases of a run took, for time-outs that are learnt."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from trainmaster.bot.core.run.facts import Event
from trainmaster.bot.core.run.parsing import member_of
from trainmaster.trainer.contract import Phase


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseTimes:
    """``longest_s`` of each phase that ended, over all attempts; ``since`` is the phase that goes on."""

    longest_s: Mapping[Phase, float] = field(default_factory=dict)
    since: tuple[int, Phase, float] | None = None
    """(attempt, phase, ts)"""

    def with_events(self, events: Iterable[Event]) -> PhaseTimes:
        """With each event a phase of its attempt begins, and the one before it ends. Between attempts nothing was at
        work."""
        longest_s, since = dict(self.longest_s), self.since
        for event in events:
            name = member_of(Phase, event.data.get("phase"))
            if name is None:
                continue
            if since is not None and since[0] == event.attempt:
                _, phase, since_ts = since
                if event.ts - since_ts > longest_s.get(phase, 0.0):
                    longest_s[phase] = event.ts - since_ts
            since = (event.attempt, name, event.ts)
        return self if since is self.since else PhaseTimes(longest_s=MappingProxyType(longest_s), since=since)
