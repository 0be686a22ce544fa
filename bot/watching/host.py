"""The host that the bot runs on, looked at once an interval for all runs."""

from __future__ import annotations

import asyncio
from typing import Protocol

from trainmaster.bot.checks.host import check_host
from trainmaster.bot.checks.limits import HostLimits
from trainmaster.bot.core.health.host import HostFact
from trainmaster.bot.core.health.no_run import HOST_RUN
from trainmaster.bot.ports import Clock
from trainmaster.bot.watching.sink import BesideRuns, Sink


class Probe(Protocol):
    """Looks at the host."""

    async def look(self, now: float) -> HostFact:
        """The host as it is; never raises."""
        ...


class HostWatch:
    """Findings about the host go where those of runs go, under the name :data:`HOST_RUN`."""

    def __init__(self, *, probe: Probe, sink: Sink, limits: HostLimits, clock: Clock) -> None:
        self._probe = probe
        self._beside = BesideRuns(sink, HOST_RUN, clock)
        self._limits = limits
        self._clock = clock
        self.fact: HostFact | None = None
        """The newest look; None before the first."""
        self._looked_s = 0.0
        self._looking = asyncio.Lock()

    async def as_it_is_now(self) -> HostFact:
        """A look that began after this was asked: one that is older may be of before the end of a trainer, whose memory
        it took for used, and whose card it took for whole. All who ask meanwhile share the next one."""
        asked_s = asyncio.get_running_loop().time()
        async with self._looking:
            if self.fact is None or self._looked_s < asked_s:
                await self._look()
        assert self.fact is not None
        return self.fact

    async def look(self) -> None:
        """The host was looked at and its findings handed on."""
        async with self._looking:  # two looks at once would take each other for a driver that hangs
            await self._look()

    async def _look(self) -> None:
        self._looked_s = asyncio.get_running_loop().time()
        self.fact = fact = await self._probe.look(self._clock.now())
        now = self._clock.now()
        unjudged = frozenset(check for one in fact.unseen for check in one.checks)
        self._beside.tell(check_host(fact, self._limits, now), now, unjudged=unjudged)
