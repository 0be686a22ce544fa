"""One blocking look at one run: its files, its process, and what else is asked for while it stands still."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from trainmaster.bot.checks import CheckLimits
from trainmaster.bot.checks.job import lives_unseen
from trainmaster.bot.checks.memory import forget
from trainmaster.bot.checks.progress import stall_of
from trainmaster.bot.core.evolve import evolve
from trainmaster.bot.core.run.facts import Identity, ProcessFact, ProcessStatus
from trainmaster.bot.core.run.state import RunState
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.ports import Clock
from trainmaster.bot.watching.resting import RestingSource

LOG_TAIL_AFTER_S = 60.0
"""Age of the heartbeat from which the end of the console log is read along."""


class ViewSource(Protocol):
    """Reads one run directory."""

    view: RunView

    def read(self, now: float) -> RunView:
        """The newest view; never raises."""
        ...

    def log_tail(self) -> tuple[str, ...]:
        """The last lines of the console log."""
        ...


@runtime_checkable
class NotingSource(Protocol):
    """A reader that writes down how far it was told of a run which tells no times itself."""

    def stored(self) -> None:
        """What the last look found is stored."""
        ...


class Inspector(Protocol):
    """The part of a driver that looks at processes."""

    def inspect(self, identity: Identity) -> ProcessFact:
        """What is known of it now."""
        ...


class StackSource(Protocol):
    """Tells what a run that stands still is doing."""

    def take(self, view: RunView, since_ts: float) -> tuple[str, ...]:
        """The stacks of its process, taken once for a stall that began at ``since_ts``; empty if they can't be had."""
        ...


class Trainers(Protocol):
    """Tells trainers from other processes."""

    def fault(self, view: RunView) -> str:
        """Why the living process of the run is not the bot's to act on; empty when it is."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenRun:
    """What a look at a run found: None where there is no run (yet). ``at_rest``: that it is as it was."""

    view: RunView | None
    at_rest: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Looker:
    """Looks at runs, in whichever thread it is asked."""

    inspector: Inspector
    limits: CheckLimits
    clock: Clock
    stacks: StackSource | None = None
    trainers: Trainers | None = None
    hands_off: Callable[[Path], str] = lambda _place: ""
    """Why this bot must only watch the run of that place; empty when it may act."""
    next_start: Callable[[str, Identity], ProcessFact | None] | None = None
    """What is known of a start of a run after the one that its record names."""

    def look(self, place: Path, reader: ViewSource) -> SeenRun:
        """The run as it is now."""
        now = self.clock.now()
        return SeenRun(view=self._examined(place, reader, reader.read(now), now))

    def first_look(self, place: Path, reader: ViewSource, source: RestingSource) -> SeenRun:
        """The run as it is now; brief where it has been over for long."""
        now = self.clock.now()
        return SeenRun(view=self._examined(place, reader, source.glance(now), now))

    def look_at_rest(self, place: Path, reader: ViewSource, source: RestingSource, known: RunView) -> SeenRun:
        """What is ``known`` of a run at rest, made light, while it still holds; else the run as it is now."""
        if not source.unchanged() or not self._is_over_still(known):
            return self.look(place, reader)
        if known.brief:
            return SeenRun(view=known, at_rest=True)
        forget(known.run)
        return SeenRun(view=evolve(source.rest(known), log_tail=()), at_rest=True)

    def _is_over_still(self, known: RunView) -> bool:
        """Whether what ran is as it was. What was a process is over for good; a job may be queued again, and a trainer
        that wrote its last word may end, without a word in the files."""
        record, before = known.record, known.process
        if record is None or record.process is None or before is None:
            return True
        if record.job is None:
            return before.over or self.inspector.inspect(record.process).status is before.status
        return evolve(self._process(known.run, record.process), ts=before.ts) == before

    def _examined(self, place: Path, reader: ViewSource, view: RunView, now: float) -> RunView | None:
        if view.record is None:
            return None
        record = view.record
        if (why := self.hands_off(place)) and not view.watched_only:  # its stacks are asked for with a signal
            view = evolve(view, watched_only=why, spare=True)
        view = evolve(view, process=self._process(view.run, record.process) if record.process else None)
        if view.process is not None and _is_only_forgotten(view, view.process, now):
            text = f"{view.process.detail}; its heartbeat goes on"
            view = evolve(view, process=evolve(view.process, status=ProcessStatus.UNKNOWN, detail=text))
        alive = view.process is not None and view.process.status is ProcessStatus.ALIVE
        if self.trainers is not None and alive and record.process is not None and record.process.pids:
            view = evolve(view, process_fault=self.trainers.fault(view))
        stall = stall_of(view, self.limits, now)
        if stall is not None and self.stacks is not None:
            view = evolve(view, stacks=self.stacks.take(view, stall.since_ts))
        silent_s = now - (view.beat.ts if view.beat else record.started_ts or now)
        if view.state is RunState.DIED or stall is not None or silent_s > LOG_TAIL_AFTER_S:
            view = evolve(view, log_tail=reader.log_tail())
        return view

    def _process(self, run: str, identity: Identity) -> ProcessFact:
        """What is known of what trains, or is to: a run goes on with what was submitted for it last."""
        fact = self.inspector.inspect(identity)
        later = self.next_start(run, identity) if self.next_start is not None and fact.over else None
        return later or fact


def _is_only_forgotten(view: RunView, process: ProcessFact, now: float) -> bool:
    """Whether a cluster does not know the job and says nothing of its end, as a controller that lost its state does,
    while the trainer is seen to live."""
    return process.over and process.job is None and lives_unseen(view, now)
