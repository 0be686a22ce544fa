"""A rollback told by bot processes that can be killed: the same files, a new process after each death."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.unit.bot.operations.paper import ALICE, BOB, FAST, PaperWorld
from tests.unit.bot.operations.paper_run import HOST, RUN
from trainmaster.bot.core.decisions.operation import JournalEntry, Operation, OperationState
from trainmaster.bot.core.run.facts import ProcessIdentity
from trainmaster.bot.errors import OperationError
from trainmaster.bot.operations.limits import OperationLimits
from trainmaster.bot.storage.audit import AuditLog
from trainmaster.bot.storage.operations import SqliteOperations
from trainmaster.trainer.contract import read_json, replace_json

EPOCH_FILES = {f"weights of epoch {epoch}" for epoch in range(1, 5)}


class _PointedOperations(SqliteOperations):
    """A journal whose boundaries are places to pull the plug."""

    point: Callable[[str], None]

    def record(self, operation: Operation, entry: JournalEntry) -> None:
        self.point(f"before {entry.kind} {entry.step}")
        super().record(operation, entry)
        self.point(f"after {entry.kind} {entry.step}")


class BotProcess:
    """One life of the bot, inside a forked child: it recovers what is open and, the first time, asks and approves."""

    def __init__(
        self,
        folder: Path,
        point: Callable[[str], None],
        *,
        archive_fails: bool = False,
        limits: OperationLimits = FAST,
    ) -> None:
        self.world = PaperWorld(folder, point=point, limits=limits)
        # What a killed process gave to the kernel stays; only a power cut needs the syncs, and they are slow.
        self.world.database.execute("PRAGMA synchronous=OFF")
        self.world.log = _PointedOperations(self.world.database)
        self.world.log.point = point
        self.world.audit = AuditLog(folder / "audit.jsonl")  # type: ignore[assignment]
        if archive_fails:
            self.world.forensics.faults.lasting["archive"] = OperationError("full", "no space left on device.")
        self.world.operations = self.world.new_operations()
        self.world.operations.instance = self._sign_in()
        self.world.operations.__post_init__()

    async def live(self) -> None:
        world = self.world
        await world.operations.recover()
        await world.operations.settle()
        if not world.log.history(RUN):
            pending = world.operations.pending(RUN)
            approval = pending.id if pending else await world.ask(ALICE)
            await world.approve(approval, BOB)

    def _sign_in(self) -> ProcessIdentity:
        """Earlier lives are over, and this one has a name on paper."""
        driver = self.world.driver
        table = driver.processes
        for entry in table.values():
            if entry.get("bot"):
                entry["alive"] = False
        replace_json(self.world.folder / "processes.json", table)
        identity = driver.spawn(bot=True)
        assert identity.host == HOST
        return identity


@dataclass
class Points:
    """Counts the places passed; at number ``last`` it does ``then``."""

    last: int | None = None
    then: Callable[[], None] = lambda: None
    passed: int = 0

    def __call__(self, _name: str) -> None:
        self.passed += 1
        if self.passed == self.last:
            self.then()


def die() -> None:
    """kill -9, as a power cut would."""
    os.kill(os.getpid(), signal.SIGKILL)


def kill_trainer(folder: Path) -> Callable[[], None]:
    """kill -9 of whatever trains."""

    def act() -> None:
        path = folder / "processes.json"
        table = read_json(path) or {}
        for entry in table.values():
            if not entry.get("bot"):
                entry["alive"] = False
        replace_json(path, table)

    return act


def live(
    folder: Path, *, points: Points | None = None, kill_after_s: float | None = None, archive_fails: bool = False
) -> bool:
    """One life of the bot in a process of its own; whether it ended by itself."""
    _prepare(folder)
    began_in, begins_out = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            bot = BotProcess(folder, points or Points(), archive_fails=archive_fails)
            os.write(begins_out, b".")
            asyncio.run(bot.live())
            code = 0
        finally:
            os._exit(code)
    os.close(begins_out)
    os.read(began_in, 1)
    os.close(began_in)
    if kill_after_s is not None:
        time.sleep(kill_after_s)  # the moment is what is tested
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in {0, -signal.SIGKILL}, f"the bot ended with {code}"
    return code == 0


def _prepare(folder: Path) -> None:
    """The run is there before any bot is: its start is no part of the story."""
    if not (folder / "runs").exists():
        folder.mkdir(parents=True, exist_ok=True)
        world = PaperWorld(folder)
        world.start_run()
        world.database.close()


@dataclass(frozen=True)
class Ending:
    """What is left on paper when the story is over."""

    operation: Operation
    launches: int
    living_trainers: int
    files: set[str]
    audit_intact: bool
    audited: list[str]
    """Actions in the audit log, first to last."""

    @property
    def healthy(self) -> bool:
        """One rollback, one trainer, nothing lost."""
        done = self.operation.state is OperationState.DONE
        return (
            done and self.launches == 1 and self.living_trainers == 1 and self.files == EPOCH_FILES and self.told_once
        )

    @property
    def told_once(self) -> bool:
        """Whether the audit log has one beginning and one end."""
        return self.audited.count("rollback.begin") == self.audited.count("rollback.end") == 1


def ending(folder: Path) -> Ending:
    """Read from the files that the bots left."""
    world = PaperWorld(folder)
    (operation,) = world.log.history(RUN)
    table = world.driver.processes.values()
    result = Ending(
        operation=operation,
        launches=sum(entry["key"] == operation.id for entry in table),
        living_trainers=sum(bool(entry["alive"]) and not entry.get("bot") for entry in table),
        files=set(world.run.files()),
        audit_intact=AuditLog(folder / "audit.jsonl").verify().intact,
        audited=[entry.action for entry in AuditLog(folder / "audit.jsonl").entries(1000)],
    )
    world.database.close()
    return result


def count_points(folder: Path, *, archive_fails: bool = False) -> int:
    """How many places an undisturbed story passes."""
    _prepare(folder)
    points = Points()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            asyncio.run(BotProcess(folder, points, archive_fails=archive_fails).live())
            os.write(writer, str(points.passed).encode())
        finally:
            os._exit(0)
    os.close(writer)
    text = os.read(reader, 32)
    os.close(reader)
    os.waitpid(child, 0)
    return int(text)
