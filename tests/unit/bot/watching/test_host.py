"""The host is looked at for all runs at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.support.clocks import SetClock
from trainmaster.bot.checks.limits import HostLimits
from trainmaster.bot.core.alerts.finding import Finding
from trainmaster.bot.core.health.host import DiskFact, HostFact, Unseen
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.errors import StoreError
from trainmaster.bot.watching.host import HostWatch

FULL = DiskFact(place="/data", holds=("RUNS_DIR",), free_gib=1.0, total_gib=100.0)


@dataclass
class Probe:
    fact: HostFact

    async def look(self, now: float) -> HostFact:
        return self.fact


@dataclass
class Sink:
    looks: list[tuple[str, list[str], frozenset[str]]] = field(default_factory=list)
    broken: bool = False

    def process(self, view: RunView, findings: Sequence[Finding], unjudged: frozenset[str], now: float) -> None:
        if self.broken:
            raise StoreError("state-database", "it is locked.")
        self.looks.append((view.run, [one.check for one in findings], unjudged))


def _watch(sink: Sink, fact: HostFact) -> HostWatch:
    return HostWatch(probe=Probe(fact), sink=sink, limits=HostLimits(), clock=SetClock())


async def test_findings_of_the_host_go_to_the_sink_under_its_own_name() -> None:
    sink = Sink()
    watch = _watch(sink, HostFact(ts=1.0, name="gpu1", disks=(FULL,)))
    await watch.look()
    assert sink.looks == [("host", ["disk_low"], frozenset())]
    assert watch.fact is not None


async def test_what_gave_no_answer_is_not_judged() -> None:
    sink = Sink()
    unseen = Unseen(what="disk of /data", why="no answer", checks=frozenset({"disk_low"}))
    await _watch(sink, HostFact(ts=1.0, name="gpu1", unseen=(unseen,))).look()
    assert sink.looks == [("host", ["host_unseen"], frozenset({"disk_low"}))]


async def test_a_store_that_fails_ends_no_watching() -> None:
    watch = _watch(Sink(broken=True), HostFact(ts=1.0, name="gpu1"))
    await watch.look()
    assert watch.fact is not None


@dataclass
class HeldProbe:
    """A look takes until it is let go; each is told by its number."""

    looks: int = 0
    go: asyncio.Event = field(default_factory=asyncio.Event)

    async def look(self, now: float) -> HostFact:
        self.looks += 1
        number = self.looks
        await self.go.wait()
        return HostFact(ts=number, name="gpu1")


async def _until_all_wait() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_before_a_start_no_look_counts_that_began_before_it_was_asked_for() -> None:
    """A trainer that died in between held memory then, and its card asked for nothing yet."""
    probe = HeldProbe()
    watch = HostWatch(probe=probe, sink=Sink(), limits=HostLimits(), clock=SetClock())
    probe.go.set()
    await watch.look()
    assert (await watch.as_it_is_now()).ts == 2
    probe.go.clear()
    under_way = asyncio.ensure_future(watch.look())
    await _until_all_wait()
    asked = [asyncio.ensure_future(watch.as_it_is_now()) for _ in range(50)]
    await _until_all_wait()
    assert probe.looks == 3, "the look under way is not disturbed"
    probe.go.set()
    told = await asyncio.gather(*asked)
    await under_way
    assert {fact.ts for fact in told} == {4}, "who asks together shares a look"
