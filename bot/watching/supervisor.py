"""One tick: read -> fold -> check -> track -> notify.

The periodic check and the file watcher call the same function.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Protocol

from trainmaster.bot.checks import CHECKS
from trainmaster.bot.checks.job import CONDITIONS as JOB_CONDITIONS
from trainmaster.bot.core.alerts.finding import Finding, Nature, Severity
from trainmaster.bot.core.check_name import CheckName
from trainmaster.bot.core.evolve import evolve
from trainmaster.bot.core.run.facts import ProcessStatus
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.errors import StoreError
from trainmaster.bot.watching.look import Looker, NotingSource, SeenRun, ViewSource
from trainmaster.bot.watching.read_pool import PATIENCE_S, TIMEOUT_S, Looked, ReadPool
from trainmaster.bot.watching.resting import RestingRuns, RestingSource
from trainmaster.bot.watching.sink import Sink
from trainmaster.bot.watching.twins import raise_if_it_trains, takes_over

_LOG = logging.getLogger(__name__)

QUIET_WHILE_HELD = frozenset(
    {CheckName.PROCESS_DIED, CheckName.ORPHANS, CheckName.STALLED, CheckName.RUN_STOPPED, CheckName.LOG_ERROR}
)
"""An operation stops the process on purpose and says so itself."""
SLOW_PATIENCE_S = 5.0
"""Runs that are read for the first time, and those that took long the last time, are read one after the other and apart
from all others: they don't fight over the processor. One that computes for longer than this is left behind."""
NEWS_OF = 8
"""News of more runs than this at once is a round of all of them."""
_AGAIN_AT_ONCE = 4
_IN_A_TURN = 16
_TURN_S = 1.0
_NEWS, _ROUND, _SLOW = range(3)


class OperationFindings(Protocol):
    """What operations add to the checks, and which runs they hold."""

    def held(self, run: str) -> bool:
        """Whether an operation acts on the run, so that its process may end."""
        ...

    def findings(self, view: RunView) -> tuple[Finding, ...]:
        """Operations of the run that need a human."""
        ...

    def told(self, view: RunView, findings: Sequence[Finding]) -> list[Finding]:
        """The findings of a look, with what becomes of a run that is over."""
        ...

    def notice(self, view: RunView) -> None:
        """The run was looked at, and what was found is stored. Returns at once and never raises."""
        ...


class Supervisor:
    """Watches every run that ``find_runs`` names: a run directory, or the record of an adopted run.

    Implements :class:`trainmaster.bot.ports.Runs`.
    """

    def __init__(
        self,
        *,
        find_runs: Callable[[], tuple[Path, ...]],
        open_reader: Callable[[Path], ViewSource],
        looker: Looker,
        sink: Sink,
        operations: OperationFindings | None = None,
        resting: RestingRuns | None = None,
        together: Callable[[], AbstractContextManager[object]] = nullcontext,
        read_timeout_s: float = TIMEOUT_S,
    ) -> None:
        """Without ``resting`` every look is a full one."""
        self._find_runs = find_runs
        self._open_reader = open_reader
        self._looker = looker
        self._sink = sink
        self._operations = operations
        self._resting = resting
        self._together = together
        """Around what opens several readers: what they write is written at once."""
        self._read_pool = ReadPool(timeout_s=read_timeout_s)
        self._readers: dict[Path, ViewSource] = {}
        self._can_rest: dict[Path, RestingSource] = {}
        self._views: dict[Path, RunView] = {}
        self._place_of: dict[str, Path] = {}
        """By the id of a run: where it is watched, of the places that hold a record of it."""
        self._locks: dict[Path, asyncio.Lock] = {}
        self._again = asyncio.Semaphore(_AGAIN_AT_ONCE)
        self._quick: set[Path] = set()
        """What was read in no time at the last look."""
        self.last_tick_ts: float | None = None
        self._checked_ts: dict[Path, float] = {}
        self.find_fault: str | None = None
        """Why the last tick could not look for new runs; None when it could."""
        self._look_faults: dict[str, str | None] = {}

    async def tick(self) -> None:
        """Every run has been looked at once; one that fails or hangs does not keep the others waiting."""
        found: tuple[Path, ...] = ()
        self.find_fault = None
        try:
            found = await self._read_pool.ask("runs", self._find_runs)
        except OSError as error:
            # Before the first training there need be no RUNS_DIR.
            if self._readers or not isinstance(error, FileNotFoundError):
                self.find_fault = f"{error}. Check RUNS_DIR, its permissions and its mount."
            _LOG.warning("runs-dir-unreadable: %s. Hint: check RUNS_DIR, its permissions and its mount.", error)
        runs = {*found, *self._readers}
        if self._resting is not None:
            self._resting.begin_round()
        for one in runs:
            self._checked_ts.setdefault(one, self._looker.clock.now())
        await self.check_all(runs)
        self.last_tick_ts = self._looker.clock.now()

    def take_look_faults(self) -> tuple[tuple[str, str | None], ...]:
        """Runs whose looks failed inside the bot since this was last asked, and why; None for one that is well again.
        What a directory does to its reader is told as a finding of its run instead."""
        taken = tuple(self._look_faults.items())
        self._look_faults = {run: fault for run, fault in taken if fault is not None}
        return taken

    def places(self) -> tuple[str, ...]:
        """What is watched: run directories, and the records of adopted runs."""
        return tuple(str(one) for one in self._readers)

    def oldest_check_ts(self) -> float | None:
        """When the run that has waited longest for its turn was last checked; None when there is no run."""
        return min(self._checked_ts.values(), default=None)

    async def check_all(self, directories: Collection[Path]) -> None:
        """Each run was read, checked and its findings handed on; those that are free are read in one thread, and those
        that may take long in another one. A few of which news came go first, before a round of all and before those
        that may take long. Of a run at rest it is enough that its files are as they were."""
        locks = {one: self._locks.setdefault(one, asyncio.Lock()) for one in sorted(directories)}
        free = [one for one, lock in locks.items() if not lock.locked()]
        busy = [one for one, lock in locks.items() if lock.locked()]
        quick, slow = [one for one in free if one in self._quick], [one for one in free if one not in self._quick]
        rank = _NEWS if len(locks) <= NEWS_OF else _ROUND
        await asyncio.gather(
            self._look_in_turns(quick, rank),
            self._look_at(slow, resting=self._resting, patience_s=SLOW_PATIENCE_S, rank=_SLOW),
            *(self._look_again(one, rank if one in self._quick else _SLOW) for one in busy),
        )

    async def _look_in_turns(self, directories: Sequence[Path], rank: int) -> None:
        """A few at a time: a run is held from the beginning of its turn until it was looked at, and news of it wait."""
        async with asyncio.TaskGroup() as turns:
            for first in range(0, len(directories), _IN_A_TURN):
                these = directories[first : first + _IN_A_TURN]
                turn = turns.create_task(self._look_at(these, resting=self._resting, rank=rank))
                await asyncio.wait({turn}, timeout=_TURN_S)  # one that hangs does not hold the others

    async def _look_again(self, directory: Path, rank: int) -> None:
        """After the look that is under way; not at all of them at once, which would be as many threads."""
        lock = self._locks[directory]
        async with lock:
            pass
        async with self._again:
            await self._look_at([directory], rank=rank)

    async def check(self, directory: Path) -> RunView | None:
        """The run in ``directory`` was read, checked and its findings handed on. None when it is no run (yet)."""
        await self._look_at([directory])
        return self._views.get(directory)

    async def _look_at(
        self,
        directories: Sequence[Path],
        resting: RestingRuns | None = None,
        *,
        patience_s: float = PATIENCE_S,
        rank: int = 0,
    ) -> None:
        held: dict[Path, asyncio.Lock] = {}

        def take(looked: Looked[SeenRun]) -> None:
            is_quick = looked.error is None and looked.took_s < PATIENCE_S
            (self._quick.add if is_quick else self._quick.discard)(looked.place)
            try:
                self._take(looked)
            except Exception as error:  # noqa: BLE001 - the tick: told after the third, and the next look repeats it
                _LOG.exception("look-failed: %s", looked.place)
                self._note_look(looked.place, error)
            else:
                self._note_look(looked.place, None)
            held.pop(looked.place).release()  # one that hangs must not hold the others

        try:
            for one in directories:
                lock = self._locks.setdefault(one, asyncio.Lock())
                await lock.acquire()
                held[one] = lock
            self._open_new([one for one in directories if one not in self._readers])
            work = {one: self._look_of(one, resting) for one in directories if one in self._readers}
            await self._read_pool.look(work, take, patience_s=patience_s, rank=rank)
        finally:
            for lock in held.values():
                lock.release()

    def _look_of(self, place: Path, resting: RestingRuns | None) -> Callable[[], SeenRun]:
        reader, source, looker = self._readers[place], self._can_rest.get(place), self._looker
        if source is None:
            return partial(looker.look, place, reader)
        if place not in self._views:
            return partial(looker.first_look, place, reader, source)
        known = resting.known(place, looker.clock.now(), looker.hands_off(place)) if resting is not None else None
        if known is None:
            return partial(looker.look, place, reader)
        return partial(looker.look_at_rest, place, reader, source, known)

    def _open_new(self, directories: Sequence[Path]) -> None:
        if not directories:
            return
        with self._together():
            for one in directories:
                try:
                    self._readers[one] = reader = self._open_reader(one)
                    if self._resting is not None and isinstance(reader, RestingSource):
                        self._can_rest[one] = reader
                except Exception as error:  # noqa: BLE001 - the tick: told after the third, and tried again
                    _LOG.exception("run-unreadable: %s; it is opened again at the next look", one)
                    self._note_look(one, error)

    def _note_look(self, place: Path, error: Exception | None) -> None:
        if error is not None:
            self._look_faults[str(place)] = f"{type(error).__name__}: {error}"
        elif str(place) in self._look_faults:
            self._look_faults[str(place)] = None

    def _take(self, looked: Looked[SeenRun]) -> None:
        directory, view, error = looked.place, looked.answer.view if looked.answer is not None else None, looked.error
        self._checked_ts[directory] = self._looker.clock.now()
        if looked.answer is not None and looked.answer.at_rest and view is not None and self._resting is not None:
            self._views[directory] = view
            self._resting.keep(directory, view)
            return
        if self._resting is not None:
            self._resting.wake(directory)  # until all of this look is stored
        if isinstance(error, TimeoutError):
            view = self._unreadable(directory, str(error))
        elif error is not None:
            _LOG.error("run-unreadable: %s", directory, exc_info=error)
            view = self._unreadable(directory, f"{type(error).__name__}: {error}")
        if view is None or not self._is_the_run(directory, view):
            return
        hands_off = self._looker.hands_off(directory)
        if hands_off and not view.watched_only:
            view = evolve(view, watched_only=hands_off, spare=True)
        self._views[directory] = view
        now, stored = self._looker.clock.now(), True
        try:
            findings, unjudged = self._findings(view, now)
            self._sink.process(view, findings, unjudged, now)
        except StoreError:
            _LOG.exception("findings-not-stored: %s; the next look repeats them", view.name)
            stored = False
        if self._operations is not None and not hands_off:  # else another bot asks people what to do with it
            self._operations.notice(view)
        if stored and isinstance(reader := self._readers.get(directory), NotingSource):
            reader.stored()
        if stored and self._resting is not None and directory in self._can_rest:
            self._resting.consider(directory, view, now, hands_off)

    def _is_the_run(self, place: Path, view: RunView) -> bool:
        """Whether what was seen in ``place`` is the run of its id, and no copy of it; no other place is, from then on.
        A TrainmasterError where it is not, and trains for itself. One that is gone is not looked for any more."""
        other = self._place_of.get(view.run, place)
        known = self._views.get(other)
        if other != place and known is not None and known.run == view.run:
            away = place
            if takes_over(view, known):
                _LOG.warning("the run %s is now watched in %s; it was in %s", view.run, place, other)
                away = other
            self._views.pop(away, None)
            if self._resting is not None:
                self._resting.wake(away)
            if (view if away == place else known).gone:
                for places in (self._readers, self._can_rest, self._checked_ts):
                    places.pop(away, None)
            if away == place:
                raise_if_it_trains(view, other)
                return False
        self._place_of[view.run] = place
        return True

    def _unreadable(self, directory: Path, why: str) -> RunView | None:
        known = self._views.get(directory)
        return evolve(known, read_errors=(why,), process=None) if known else None

    def _findings(self, view: RunView, now: float) -> tuple[list[Finding], frozenset[CheckName]]:
        found: list[Finding] = []
        unjudged: set[CheckName] = set()
        for check in CHECKS:
            try:
                found += check.look(view, self._looker.limits, now)
            except Exception as error:  # noqa: BLE001 - the tick: logged, and told as a finding
                _LOG.exception("check-failed: %s on %s", check.look.__name__, view.name)
                found.append(_check_failed(view, check.look.__name__, error, now))
                unjudged.update(check.conditions)
        if view.process is not None and view.process.status is ProcessStatus.UNKNOWN:
            unjudged |= {*JOB_CONDITIONS, CheckName.PROCESS_DIED}  # nobody answered, which resolves nothing
        if self._operations is not None:
            try:
                if self._operations.held(view.run):
                    found = [one for one in found if one.check not in QUIET_WHILE_HELD]
                    unjudged |= QUIET_WHILE_HELD
                found = self._operations.told(view, found)
                found += self._operations.findings(view)
            except StoreError:  # the sink meets the same fault and tells it
                _LOG.exception("operations-unreadable: %s", view.name)
        return found, frozenset(unjudged)

    def all(self) -> Sequence[RunView]:
        """Newest activity first, runs at work before all others."""
        return sorted(self._views.values(), key=_newness, reverse=True)

    def find(self, name_or_id: str) -> RunView | None:
        """By id, by directory name, or by a path that ends in it; the newest when several share a name."""
        wanted = name_or_id.strip().strip("/")
        parts = tuple(wanted.split("/"))
        matching = [view for view in self._views.values() if wanted == view.run or _ends_in(view, parts)]
        return max(matching, key=_newness, default=None)

    async def refresh(self, run: str) -> RunView | None:
        """The run, read anew now."""
        view = self.find(run)
        place = next((place for place, known in self._views.items() if view and known.run == view.run), None)
        return await self.check(place) if place else None


def _ends_in(view: RunView, parts: tuple[str, ...]) -> bool:
    return parts in {(view.name,), view.directory.parts[-len(parts) :]}


def _newness(view: RunView) -> tuple[bool, float]:
    return view.state.active, _activity_ts(view)


def _activity_ts(view: RunView) -> float:
    beat = view.heartbeat.ts if view.heartbeat else 0.0
    record = view.record
    return max(beat, (record.updated_ts or record.started_ts or 0.0) if record else 0.0)


def _check_failed(view: RunView, name: str, error: Exception, now: float) -> Finding:
    return Finding(
        run=view.run,
        check=CheckName.CHECK_FAILED,
        key=name,
        severity=Severity.WARNING,
        nature=Nature.CONDITION,
        ts=now,
        title=f"{view.name}: {name.replace('_', ' ')} failed, so what it watches is not watched",
        body=(f"{type(error).__name__}: {error}",),
        hint="the bot's log has the traceback",
        resolution=f"{view.name}: {name.replace('_', ' ')} works again",
    )
