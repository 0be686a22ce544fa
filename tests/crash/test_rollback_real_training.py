"""A rollback of a real training by the real driver and the trainer's real command line."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attack.living import PACED
from tests.support.clocks import SystemClock
from tests.support.one_run import OneRun
from tests.support.outboxes import FakeChat, FakeOutbox
from tests.support.tiny_model import write_tiny_model
from tests.unit.bot.operations.paper import ALICE, BOB
from trainmaster.bot.core.decisions.operation import EntryKind, OperationState, Step
from trainmaster.bot.core.decisions.order import Decide, ProposeRollback, StopNow
from trainmaster.bot.core.run.facts import ProcessIdentity
from trainmaster.bot.core.run.launch_spec import LaunchSpec
from trainmaster.bot.drivers.local.driver import LocalDriver
from trainmaster.bot.drivers.trainer_cli import TrainerCli
from trainmaster.bot.drivers.trainer_levels import TrainerLevels
from trainmaster.bot.operations.books import Books
from trainmaster.bot.operations.limits import OperationLimits
from trainmaster.bot.operations.operation_context import World
from trainmaster.bot.operations.rollback.planning import Planner
from trainmaster.bot.operations.run_looks import RunLooks
from trainmaster.bot.operations.service import Operations
from trainmaster.bot.reading.run_files import RunReader
from trainmaster.bot.storage.audit import AuditLog
from trainmaster.bot.storage.database import Database
from trainmaster.bot.storage.operations import SqliteApprovals, SqliteIntents, SqliteOperations
from trainmaster.trainer.contract import RunLayout

pytestmark = [pytest.mark.training, pytest.mark.timeout(400)]


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[LocalDriver]:
    driver = LocalDriver(tmp_path / "state" / "launches")
    yield driver
    for process, child in driver._children.items():
        driver.signal(process, signal.SIGKILL, group=True)
        child.wait(10)


async def until(run: OneRun, epoch: int, batch: int, *, attempt: int = 1) -> None:
    """The training has come that far."""
    async with asyncio.timeout(200):
        while True:
            view = run.look()
            beat = view.beat
            if beat is not None and view.attempt == attempt and (beat.epoch or 0, beat.batch or 0) >= (epoch, batch):
                return
            assert not (view.process and view.process.over), "\n".join(run._reader.log_tail())
            await asyncio.sleep(0.1)


async def test_real_training_is_rolled_back_and_trains_on(tmp_path: Path, driver: LocalDriver) -> None:
    from trainmaster.trainer.data.digits import make

    data = make(tmp_path / "digits", images=48, imgsz=64, digits=96, progress=False)
    directory = tmp_path / "runs" / "digits"
    driver.launch(
        LaunchSpec(
            key="first",
            argv=(
                *(
                    sys.executable,
                    "-m",
                    "trainmaster.trainer",
                    "train",
                    f"model={write_tiny_model(tmp_path)}",
                    f"data={data}",
                    "epochs=30",
                ),
                *("imgsz=64", "batch=8", "device=cpu", "amp=False", "plots=False", "workers=2", "level=standard"),
                "deterministic=False",
                *(f"project={directory.parent}", f"name={directory.name}"),
            ),
            cwd=Path.cwd(),
            log=tmp_path / "trainer.out",
            # An epoch lasts longer than a decision takes: a plan of the epoch before is void.
            env={"YOLO_CONFIG_DIR": str(tmp_path / "settings"), "OMP_NUM_THREADS": "1", **PACED, "BATCH_S": "0.8"},
        )
    )
    run = OneRun(RunReader(directory, first_seen_ts=0.0), driver)
    await until(run, 2, 2)

    database = Database(tmp_path / "state" / "db.sqlite3")
    forensics, outbox = TrainerCli(), FakeOutbox(delivers=True)
    own = driver.identify(os.getpid())
    assert own is not None
    books = Books(
        approvals=SqliteApprovals(database),
        operations=SqliteOperations(database),
        intents=SqliteIntents(database),
        outbox=outbox,
        audit=AuditLog(tmp_path / "state" / "audit.jsonl"),
        transactions=database,
    )
    planner = Planner(forensics=forensics, levels=TrainerLevels(), host=own.host)
    limits, clock = OperationLimits(confirm_batches=3), SystemClock()
    looks = RunLooks(books=books, planner=planner, clock=clock, limits=limits, chat=FakeChat(ALICE, BOB))
    operations = Operations(
        world=World(
            runs=run,
            driver=driver,
            forensics=forensics,
            planner=planner,
            clock=clock,
            limits=limits,
        ),
        books=books,
        looks=looks,
        instance=own,
    )
    name = run.look().run
    old = run.look().record
    await operations.perform(ProposeRollback(run=name, user=ALICE, to_epoch=1))
    question = operations.pending(name)
    assert question is not None
    clicked_ts = time.time()
    await operations.perform(Decide(approval_id=question.id, user=BOB, approve=True))
    await operations.settle()
    healthy_ts = time.time()
    operation = SqliteOperations(database).get(question.id)
    assert operation is not None
    assert operation.state is OperationState.DONE, (operation.problem, run._reader.log_tail())
    view = run.look()
    assert (view.attempt, view.record and view.record.level) == (2, "strict")
    assert "can be resumed" in dict(operation.done)[Step.STOP]
    assert old is not None
    assert old.process is not None
    assert driver.survivors(old.process) == ()
    assert list(RunLayout(directory).archive.rglob("*.pt"))
    assert dict(operation.done)[Step.VERIFY].startswith("clean")
    assert len(await forensics.archives(view)) == 1
    launched = operation.note("launched")
    assert launched is not None
    started_ts = ProcessIdentity(**json.loads(launched)).create_time
    assert started_ts is not None
    for entry in operations.books.operations.entries(operation.id):
        if entry.kind in {EntryKind.BEGUN, EntryKind.CLOSED}:
            print(f"{entry.ts - clicked_ts:6.2f} s {entry.kind} {entry.step}")
    print(f"from the click to the launch {started_ts - clicked_ts:.1f} s, to healthy {healthy_ts - clicked_ts:.1f} s")

    await operations.perform(StopNow(run=name, user=ALICE))
    await operations.settle()
    stopped = outbox.last(f"operation/{operations.books.operations.history(name)[0].id}")
    assert "can be resumed" in stopped.items[0].detail, stopped
    assert AuditLog(tmp_path / "state" / "audit.jsonl").verify().intact
