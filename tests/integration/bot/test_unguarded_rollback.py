"""A training without the guard, adopted while it runs: stopped, taken back, started again by its own script."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.clocks import SetClock
from tests.support.one_run import OneRun
from tests.support.outboxes import FakeChat, FakeOutbox
from tests.support.tiny_model import write_tiny_model
from tests.unit.bot.operations.paper import ALICE, BOB
from trainmaster.bot.cli.adopt import Wanted, adopt
from trainmaster.bot.core.decisions.operation import OperationState
from trainmaster.bot.core.decisions.order import Decide, ProposeRollback
from trainmaster.bot.drivers.local.driver import LocalDriver
from trainmaster.bot.drivers.trainer_cli import TrainerCli
from trainmaster.bot.drivers.trainer_levels import TrainerLevels
from trainmaster.bot.operations.books import Books
from trainmaster.bot.operations.limits import OperationLimits
from trainmaster.bot.operations.operation_context import World
from trainmaster.bot.operations.rollback.planning import Planner
from trainmaster.bot.operations.run_looks import RunLooks
from trainmaster.bot.operations.service import Operations
from trainmaster.bot.reading.adopted import AdoptedReader
from trainmaster.bot.rehearsal.small_training import repeated
from trainmaster.bot.storage.adoptions import Adoptions, find_adoptions
from trainmaster.bot.storage.audit import AuditLog
from trainmaster.bot.storage.database import Database
from trainmaster.bot.storage.operations import SqliteApprovals, SqliteIntents, SqliteOperations

pytestmark = [pytest.mark.training, pytest.mark.timeout(300)]

REPEATS = 5
"""Of every image: with a batch that lasts 0.2 s an epoch of some seconds, as a plan is about the epoch in training."""

SCRIPT = """
import sys, time
from ultralytics import YOLO

if __name__ == "__main__":
    resumed = len(sys.argv) > 1
    model = YOLO(sys.argv[1] if resumed else "tiny.yaml")
    model.add_callback("on_train_batch_start", lambda _: time.sleep(0.2))
    if resumed:
        model.train(resume=True)
    else:
        model.train(
            data="{data}", epochs=50, imgsz=64, batch=4, device="cpu", amp=False, plots=False, workers=0,
            deterministic=False, project="{runs}", name="plain",
        )
"""


@pytest.fixture
def trainer(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A plain Ultralytics training that somebody started with nohup; its first epoch is over."""
    data = tmp_path / "digits"
    make = (sys.executable, "-m", "trainmaster.trainer.data.digits", str(data), "images=30", "imgsz=64", "digits=60")
    subprocess.run(make, check=True, capture_output=True)
    longer = repeated(data / "data.yaml", REPEATS)
    write_tiny_model(tmp_path)
    script = tmp_path / "train.py"
    script.write_text(SCRIPT.format(data=longer, runs=tmp_path / "runs"))
    environment = {**os.environ, "YOLO_CONFIG_DIR": tempfile.mkdtemp(dir=tmp_path), "OMP_NUM_THREADS": "1"}
    with (tmp_path / "nohup.out").open("wb") as log:
        process = subprocess.Popen(
            (sys.executable, str(script)),
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=tmp_path,
            env=environment,
            start_new_session=True,
        )
    yield process, tmp_path
    with process:
        process.kill()


async def until_saved(process: subprocess.Popen[bytes], folder: Path) -> Path:
    last = folder / "runs" / "plain" / "weights" / "last.pt"
    while not last.exists():
        assert process.poll() is None, (folder / "nohup.out").read_text()[-3000:]
        await asyncio.sleep(0.1)
    return last


async def test_unguarded_training_is_taken_back_and_goes_on(trainer: tuple[subprocess.Popen[bytes], Path]) -> None:
    process, folder = trainer
    await until_saved(process, folder)
    state = folder / "state"
    wanted = Wanted(launch=f"{sys.executable} train.py {{last}}")
    adoption = adopt(folder / "runs" / "plain", folder / "nohup.out", process.pid, None, state_dir=state, wanted=wanted)
    driver, database = LocalDriver(state / "launches"), Database(state / "state.db")
    runs = OneRun(AdoptedReader(adoption, first_seen_ts=0.0, record=find_adoptions(state)[0]), driver)
    own = driver.identify(os.getpid())
    assert own is not None
    forensics = TrainerCli()
    books = Books(
        approvals=SqliteApprovals(database),
        operations=SqliteOperations(database),
        intents=SqliteIntents(database),
        outbox=FakeOutbox(delivers=True),
        audit=AuditLog(state / "audit.jsonl"),
        transactions=database,
    )
    planner = Planner(forensics=forensics, levels=TrainerLevels(), host=own.host)
    limits, clock = OperationLimits(min_free_bytes=0, confirm_batches=3), SetClock()
    looks = RunLooks(books=books, planner=planner, clock=clock, limits=limits, chat=FakeChat(ALICE, BOB))
    operations = Operations(
        world=World(
            runs=runs,
            driver=driver,
            forensics=forensics,
            planner=planner,
            clock=clock,
            limits=limits,
            attempts=Adoptions(state),
        ),
        books=books,
        looks=looks,
        instance=own,
    )
    try:
        while (current := runs.look().current) is None or current.epoch < 2:  # noqa: ASYNC110 - seen in the log only
            await asyncio.sleep(0.1)
        await operations.perform(ProposeRollback(run="plain", user=ALICE))
        approval = operations.pending(runs.look().run)
        assert approval is not None
        epoch = approval.plan.target.epoch
        await operations.perform(Decide(approval_id=approval.id, user=BOB, approve=True))
        await operations.settle()
        operation = operations.books.operations.get(approval.id)
        assert operation is not None
        assert operation.state is OperationState.DONE, operation.problem
        view = runs.look()
        assert process.wait(1) == -signal.SIGTERM
        assert view.record is not None
        assert view.record.process is not None
        assert (view.attempt, view.record.from_epoch, view.current and view.current.epoch) == (2, epoch + 1, epoch + 1)
        rows = (folder / "runs" / "plain" / "results.csv").read_text().splitlines()[1:]
        assert [int(row.split(",")[0]) for row in rows] == list(range(1, epoch + 1))
        assert "Resuming training" in (folder / "nohup.attempt2.out").read_text(errors="replace")
        assert list((folder / "runs" / "archive" / "plain").iterdir())
    finally:
        newest = runs.look().record
        if newest is not None and newest.process is not None:
            driver.signal(newest.process, signal.SIGKILL, group=True)
            while not driver.inspect(newest.process).over:  # noqa: ASYNC110 - and reaped by it
                await asyncio.sleep(0.05)
        database.close()
