"""A world on paper, wired: what the operations act on is files, what they say is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.support.clocks import SetClock
from tests.support.outboxes import FakeAudit, FakeChat, FakeOutbox
from tests.unit.bot.operations.paper_forensics import PaperAttempts, PaperForensics
from tests.unit.bot.operations.paper_run import HOST, RUN, PaperDriver, PaperRun, PaperRuns, no_point
from trainmaster.bot.core.alerts.finding import Finding
from trainmaster.bot.core.decisions.gate import GateCheck, GateFact, GateOutcome
from trainmaster.bot.core.decisions.operation import WAITS
from trainmaster.bot.core.decisions.order import Decide, ProposeRollback
from trainmaster.bot.core.run.facts import ProcessIdentity
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.drivers.trainer_levels import TrainerLevels
from trainmaster.bot.operations.books import Books
from trainmaster.bot.operations.limits import OperationLimits
from trainmaster.bot.operations.operation_context import World
from trainmaster.bot.operations.rollback.planning import Planner
from trainmaster.bot.operations.run_looks import RunLooks
from trainmaster.bot.operations.service import Operations
from trainmaster.bot.storage.database import Database
from trainmaster.bot.storage.operations import SqliteApprovals, SqliteIntents, SqliteOperations
from trainmaster.trainer.contract import replace_json

ALICE, BOB, CAROL, MALLORY = "U0ALICE", "U0BOB", "U0CAROL", "U0MALLORY"

FAST = OperationLimits(
    stop_grace_s=0.05,
    stop_grace_max_s=0.2,
    group_grace_s=0.05,
    kill_wait_s=0.05,
    poll_s=0.001,
    retry_pause_s=0.01,
    min_free_bytes=0,
    confirm_batches=3,
    first_batch_timeout_s=0.2,
    batch_timeout_s=0.2,
    restart_timeout_s=60.0,
)

START_TS = 1_732_286_400.0


async def hurried(seconds: float) -> None:
    """A pause of which no test wants to see more."""
    await asyncio.sleep(min(seconds, 0.01))


class PaperGate:
    """Says what it is told to; by default nothing stands against any start."""

    def __init__(self) -> None:
        self.facts: tuple[GateFact, ...] = ()

    def close(self, check: GateCheck, text: str, outcome: GateOutcome = GateOutcome.FAIL) -> None:
        self.facts = (*self.facts, GateFact(check=check, outcome=outcome, text=text))

    async def look(self, view: RunView) -> tuple[GateFact, ...]:
        return self.facts


@dataclass
class PaperWorld:
    """All of it, wired. ``operations`` is what is tested."""

    folder: Path
    clock: SetClock = field(default_factory=lambda: SetClock(START_TS))
    limits: OperationLimits = FAST
    instance_pid: int = 1
    point: Callable[[str], None] = no_point
    hands_off: str = ""
    """Why the bot only watches."""

    def __post_init__(self) -> None:
        self.driver = PaperDriver(self.folder, self.point)
        self.run = PaperRun(self.folder)
        self.runs = PaperRuns(self.run, self.driver)
        self.attempts = PaperAttempts(self.run)
        self.forensics = PaperForensics(self.run, self.point)
        self.outbox = FakeOutbox(delivers=True)
        self.chat = FakeChat(ALICE, BOB)
        self.audit = FakeAudit()
        self.database = Database(self.folder / "state.db")
        self.gate = PaperGate()
        self.log = SqliteOperations(self.database)
        self.questions = SqliteApprovals(self.database)
        self.intents = SqliteIntents(self.database)
        self.operations = self.new_operations()

    def new_operations(self) -> Operations:
        planner = Planner(forensics=self.forensics, levels=TrainerLevels(), host=HOST, gate=self.gate)
        books = Books(
            approvals=self.questions,
            operations=self.log,
            intents=self.intents,
            outbox=self.outbox,
            audit=self.audit,
            transactions=self.database,
        )
        self.looks = RunLooks(books=books, planner=planner, clock=self.clock, limits=self.limits, chat=self.chat)
        self.world = World(
            runs=self.runs,
            driver=self.driver,
            forensics=self.forensics,
            planner=planner,
            clock=self.clock,
            limits=self.limits,
            attempts=self.attempts,
            hands_off=lambda _directory: self.hands_off,
            gate=self.gate,
            think_again=self.looks.deaths.think_again,
            pause=hurried,
        )
        return Operations(
            world=self.world,
            books=books,
            looks=self.looks,
            instance=ProcessIdentity(pid=self.instance_pid, create_time=1.0, host=HOST, boot_id="boot"),
        )

    def findings(self) -> tuple[Finding, ...]:
        """What operations say of the run as it is now."""
        (view,) = self.runs.all()
        return self.looks.findings(view)

    def start_run(self, **settings: object) -> ProcessIdentity:
        """A run in its fifth epoch, whose fourth is contaminated."""
        process = self.driver.spawn()
        table = self.driver.processes
        table[str(process.pid)]["saves"] = True
        replace_json(self.folder / "processes.json", table)
        self.run.create(process, **settings)  # type: ignore[arg-type]
        return process

    def with_limits(self, **changes: object) -> None:
        """Other limits from now on."""
        self.limits = replace(self.limits, **changes)  # type: ignore[arg-type]
        self.operations = self.new_operations()

    async def ask(self, user: str = ALICE, **settings: object) -> str:
        """A rollback was asked for; the id of the question."""
        await self.operations.perform(ProposeRollback(run=RUN, user=user, **settings))  # type: ignore[arg-type]
        pending = self.operations.pending(RUN)
        assert pending is not None
        return pending.id

    async def approve(self, approval: str, user: str = BOB) -> str:
        """Somebody said yes and everything that followed is over; the title of the answer."""
        reply = await self.operations.perform(Decide(approval_id=approval, user=user, approve=True))
        await self.operations.settle()
        return reply.message.title

    async def launched(self) -> None:
        """The trainer was started again."""
        while not self.launches():  # noqa: ASYNC110 - the paper driver is synchronous and knows no event
            await asyncio.sleep(0.001)

    async def waits(self, text: str) -> None:
        """The operation that is under way says that it waits so."""
        while text not in str([one.note(WAITS) for one in self.log.open(RUN)]):
            assert self.log.open(RUN), "it is over"
            await asyncio.sleep(0.001)

    def launches(self) -> list[str]:
        return [line for line in self.driver.log() if line.startswith("launch")]

    def signals(self) -> list[str]:
        return [line for line in self.driver.log() if line.startswith("signal")]
