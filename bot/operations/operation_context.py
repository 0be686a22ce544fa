"""One operation on its way through its steps: what it may ask of the world, and what it writes down."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from trainmaster.bot.core.decisions.going_on import LAUNCHED, SecondThought, launched_by
from trainmaster.bot.core.decisions.operation import WAITS, EntryKind, JournalEntry, Operation, Step
from trainmaster.bot.core.decisions.plan import Difference, RollbackPlan
from trainmaster.bot.core.run.facts import Identity, ProcessFact, ProcessIdentity
from trainmaster.bot.core.run.identity import encode_identity
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.errors import OperationError
from trainmaster.bot.operations.limits import OperationLimits
from trainmaster.bot.operations.ports import Driver, ForeignAttempts, GpuHolders, RunFiles, StartGate
from trainmaster.bot.operations.rollback.planning import Planner
from trainmaster.bot.operations.start.open_gate import OpenGate
from trainmaster.bot.ports import Clock, Runs

_BACK_OFF_AFTER_S = 30.0
_SLOW_POLL_S = 1.0


class NoForeignAttempts:
    """Where no run but guarded ones is known."""

    def begin(self, name: str, process: ProcessIdentity, log: Path, from_epoch: int | None) -> None:
        """Never gets here: a plan for an unguarded run needs its record.

        Raises:
            OperationError: always.
        """
        told = f"{process.label}, log {log}, from epoch {from_epoch or 1}"
        raise OperationError("run-unguarded", f"run {name} has no record where its new attempt could be noted: {told}.")

    def end(self, name: str) -> None:
        """Nothing is noted: such a run signs out by itself."""


class NoGpuSeen:
    """Where nothing tells of GPUs."""

    def look(self) -> frozenset[int] | None:
        """None: which processes hold a GPU is unknown."""
        return None


class HaltedError(Exception):
    """Somebody on call asked for an emergency stop meanwhile."""


class WorldChangedError(OperationError):
    """The plan no longer fits the run; ``plan`` is the one that does, None when there is none any more."""

    def __init__(self, message: str, plan: RollbackPlan | None, changed: tuple[Difference, ...]) -> None:
        super().__init__("world-changed", message)
        self.plan = plan
        self.changed = changed


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What the steps act on. ``pause`` waits that many seconds; ``hands_off`` says why this bot only watches what lies
    in a directory, empty when it may act; ``think_again`` whether a start that begins by itself still may."""

    runs: Runs
    driver: Driver
    forensics: RunFiles
    planner: Planner
    clock: Clock
    limits: OperationLimits
    attempts: ForeignAttempts = field(default_factory=NoForeignAttempts)
    gpu_holders: GpuHolders = field(default_factory=NoGpuSeen)
    gate: StartGate = field(default_factory=OpenGate)
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep
    hands_off: Callable[[Path], str] = lambda _directory: ""
    think_again: Callable[[RunView, Operation], SecondThought] = lambda _view, _start: SecondThought()

    async def inspect(self, identity: Identity) -> ProcessFact:
        """What the driver knows of it now; asked in a thread, since a cluster may take seconds to answer."""
        return await asyncio.to_thread(self.driver.inspect, identity)

    async def survivors(self, identity: Identity) -> tuple[Identity, ...]:
        """What belonged to it and is still alive; asked in a thread, since every process of the host is looked at."""
        return await asyncio.to_thread(self.driver.survivors, identity)


class OperationContext:
    """``operation`` is always what was last committed. Nothing here is kept in memory only."""

    def __init__(
        self,
        world: World,
        operation: Operation,
        *,
        commit: Callable[[Operation, JournalEntry], None],
        halted_by: Callable[[], str | None],
    ) -> None:
        self.world = world
        self.operation = operation
        self.heeds_halt = True
        self._commit = commit
        self._halted_by = halted_by
        self._began_s = asyncio.get_running_loop().time()

    def commit(self, changed: Operation, kind: EntryKind, detail: str = "") -> None:
        """The journal ends with this entry, the operation is ``changed``, and its message shows it: one transaction.

        Raises:
            FencedError: another bot process owns the operation.
            StoreError: nothing was written.
        """
        now = self.world.clock.now()
        changed = replace(changed, updated_ts=now)
        self._commit(changed, JournalEntry(ts=now, step=changed.step, kind=kind, detail=detail))
        self.operation = changed

    def begin(self, step: Step) -> None:
        """``step`` is the one under way."""
        self._began_s = asyncio.get_running_loop().time()
        waits_no_more = tuple(item for item in self.operation.notes if item[0] != WAITS)
        self.commit(replace(self.operation, step=step, notes=waits_no_more), EntryKind.BEGUN)

    def note(self, name: str, value: str) -> None:
        """The fact survives a crash from now on."""
        kept = tuple(item for item in self.operation.notes if item[0] != name)
        self.commit(replace(self.operation, notes=(*kept, (name, value))), EntryKind.NOTED, f"{name} {value}")

    def wait_for(self, text: str) -> None:
        """The operation's message says what the step waits for, nothing where ``text`` is empty; written when that
        changes."""
        if (self.operation.note(WAITS) or "") != text:
            kept = tuple(item for item in self.operation.notes if item[0] != WAITS)
            self.commit(replace(self.operation, notes=(*kept, (WAITS, text))), EntryKind.WAITING, text)

    def note_launched(self, process: Identity) -> None:
        """What the operation started can be found again after a crash."""
        self.note(LAUNCHED, json.dumps(encode_identity(process)))

    @property
    def launched(self) -> Identity | None:
        """What :meth:`note_launched` was told last."""
        return launched_by(self.operation)

    @property
    def step_s(self) -> float:
        """Since the step began in this process, by a clock that nobody sets."""
        return asyncio.get_running_loop().time() - self._began_s

    async def view(self) -> RunView:
        """The run, read anew.

        Raises:
            OperationError: it cannot be found any more, or strangers have got at it since.
        """
        view = await self.world.runs.refresh(self.operation.run)
        if view is None or view.record is None:
            raise OperationError(
                "run-unreadable",
                f"the record of {self.operation.name} cannot be read in {self.operation.directory}.",
                "check the disk and its permissions",
            )
        _refuse_watched_only(view)
        return view

    async def refuse_foreign(self, process: Identity) -> None:
        """Nothing keeps the bot from ending ``process``; a run whose record can't be read was judged when this began.

        Raises:
            OperationError: strangers have got at the run since, or the process is no trainer of it.
        """
        view = await self.world.runs.refresh(self.operation.run)
        if view is None:
            return
        _refuse_watched_only(view)
        if view.process_fault and view.record is not None and view.record.process == process:
            raise OperationError(
                "not-its-trainer", f"{view.process_fault}; it was not signalled.", "stop the trainer by hand"
            )

    @property
    def halted_by(self) -> str | None:
        """Who asked for an emergency stop meanwhile."""
        return self._halted_by()

    def check_halt(self) -> None:
        """Nobody asked for an emergency stop.

        Raises:
            HaltedError: somebody did.
        """
        if self.heeds_halt and self._halted_by() is not None:
            raise HaltedError

    async def breathe(self) -> None:
        """A pause between two looks; short at first, longer when it takes long anyway. Heeds an emergency stop."""
        limits = self.world.limits
        await self.world.pause(limits.poll_s if self.step_s < _BACK_OFF_AFTER_S else max(_SLOW_POLL_S, limits.poll_s))
        self.check_halt()


def _refuse_watched_only(view: RunView) -> None:
    if view.watched_only:
        raise OperationError(
            "watched-only",
            f"run {view.name} is watched only: {view.watched_only}.",
            "see who may write to its directory, then go on by hand",
        )
