"""How long the phases of a run took, for time-outs that are learnt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from trainmaster.bot.core.run.facts import Event
from trainmaster.trainer.contract import Phase


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseTimes:
    """``longest_s`` of each phase that ended, over all attempts; ``since`` is the phase that goes on."""

    longest_s: Mapping[Phase, float] = field(default_factory=dict)
    since: tuple[int, Phase, float] | None = None
    """(attempt, phase, ts)"""

    def with_event(self, event: Event) -> PhaseTimes:
        """A phase of ``event``'s attempt begins, and the one before it ends. Between attempts nothing was at work."""
        name = event.text("phase")
        if name not in set(Phase):
            return self
        longest_s = self.longest_s
        if self.since is not None:
            attempt, phase, since_ts = self.since
            took_s = event.ts - since_ts
            if attempt == event.attempt and took_s > longest_s.get(phase, 0.0):
                longest_s = MappingProxyType({**longest_s, phase: took_s})
        return replace(self, longest_s=longest_s, since=(event.attempt, Phase(name), event.ts))
