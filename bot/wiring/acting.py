"""What is done to runs: asked, decided, written down, carried out."""

from __future__ import annotations

import os
from dataclasses import dataclass

from trainmaster.bot.checks.limits import CheckLimits
from trainmaster.bot.core.run.epoch_report import ReportLimits
from trainmaster.bot.core.run.facts import ProcessIdentity
from trainmaster.bot.drivers.gpu.holders import LocalGpuHolders
from trainmaster.bot.drivers.local.driver import LocalDriver
from trainmaster.bot.drivers.start_gate import LocalStartGate
from trainmaster.bot.drivers.trainer_cli import TrainerCli
from trainmaster.bot.drivers.trainer_levels import TrainerLevels
from trainmaster.bot.operations.books import Books
from trainmaster.bot.operations.going_on.deaths import ENDS
from trainmaster.bot.operations.operation_context import World
from trainmaster.bot.operations.rollback.planning import Planner
from trainmaster.bot.operations.run_looks import RunLooks
from trainmaster.bot.operations.service import Operations
from trainmaster.bot.settings.limits import operation_limits
from trainmaster.bot.settings.model import Settings
from trainmaster.bot.storage.adoptions import Adoptions
from trainmaster.bot.storage.audit import AUDIT_LOG, AuditLog
from trainmaster.bot.storage.database import Durable
from trainmaster.bot.storage.ledger import Ledger
from trainmaster.bot.storage.operations import SqliteApprovals, SqliteIntents, SqliteOperations
from trainmaster.bot.watching.supervisor import Supervisor
from trainmaster.bot.wiring.telling import Telling
from trainmaster.bot.wiring.watching import Places
from trainmaster.bot.wiring.wires import Later, Wires
from trainmaster.trainer.contract import boot_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """Where operations are prepared. ``looks`` is what they have to do with each look at a run."""

    audit: Ledger
    books: Books
    trainer: TrainerCli
    gate: LocalStartGate
    planner: Planner
    looks: RunLooks


def wire_desk(settings: Settings, wires: Wires, telling: Telling, places: Places, later: Later) -> Desk:
    """The books, plans, and whatever a look at a run asks of them."""
    durable = Durable(telling.database)
    audit = Ledger(AuditLog(settings.state_dir / AUDIT_LOG), telling.database, name_of=later.name_of)
    books = Books(
        approvals=SqliteApprovals(durable),
        operations=SqliteOperations(durable),
        intents=SqliteIntents(durable),
        outbox=telling.outbox,
        audit=audit,
        transactions=durable,
    )
    environment = places.driver.local.environments.recall
    trainer = TrainerCli(environment=environment)
    gate = LocalStartGate(host=places.host.as_it_is_now, environment=environment, copies=trainer.copies)
    planner = Planner(forensics=trainer, levels=TrainerLevels(), host=os.uname().nodename, gate=gate)
    looks = RunLooks(
        books=books,
        planner=planner,
        clock=wires.clock,
        limits=operation_limits(settings),
        chat=telling.connection.chat,
        notify=wires.notify,
        checks=settings.part(CheckLimits),
        silenced=lambda run, now: telling.pipeline.asked_for_quiet(run, ENDS, now),
    )
    return Desk(audit=audit, books=books, trainer=trainer, gate=gate, planner=planner, looks=looks)


def wire_operations(settings: Settings, wires: Wires, desk: Desk, places: Places, supervisor: Supervisor) -> Operations:
    """What carries out orders."""
    return Operations(
        world=World(
            runs=supervisor,
            driver=places.driver,
            forensics=desk.trainer,
            planner=desk.planner,
            clock=wires.clock,
            limits=desk.looks.limits,
            attempts=Adoptions(settings.state_dir),
            gpu_holders=LocalGpuHolders(),
            hands_off=places.hands_off,
            gate=desk.gate,
            think_again=desk.looks.deaths.think_again,
        ),
        books=desk.books,
        looks=desk.looks,
        instance=_own_identity(places.driver.local),
        notify=wires.notify,
        report_limits=settings.part(ReportLimits),
    )


def _own_identity(driver: LocalDriver) -> ProcessIdentity:
    return driver.identify(os.getpid()) or ProcessIdentity(
        pid=os.getpid(), create_time=None, host=os.uname().nodename, boot_id=boot_id()
    )
