"""What one check of one run costs when nothing has changed, whatever the size of its files, and when they have grown.

``python -m tests.bench.check``. Must reach: at most 1 ms of CPU for a run whose files have not changed. Reader, checks,
process, alerts and database are the bot's own; only Slack is left out.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import sys
import tempfile
import time
from pathlib import Path

from tests.support.run_dirs import START_TS, WrittenRun
from trainmaster.bot.alerting.limits import AlertLimits, Audience
from trainmaster.bot.alerting.pipeline import AlertPipeline
from trainmaster.bot.app import SystemClock
from trainmaster.bot.checks import CheckLimits
from trainmaster.bot.drivers.local.driver import LocalDriver
from trainmaster.bot.findings_sink import FindingsSink
from trainmaster.bot.reading.run_files import RunReader, find_runs
from trainmaster.bot.storage.alerts import AlertStore
from trainmaster.bot.storage.database import Database
from trainmaster.bot.storage.messages import MessageStore
from trainmaster.bot.storage.pictures import PictureStore
from trainmaster.bot.storage.silences import SilenceStore
from trainmaster.bot.watching.look import Looker
from trainmaster.bot.watching.supervisor import Supervisor

RUNS = 50
ROUNDS = 20
LIMIT_MS = 1.0
LARGE_ROWS, LARGE_LOG_BYTES = 100_000, 400 * 1024 * 1024
GROWTH_ROWS = (100, 1_000, 10_000)


def make_supervisor(root: Path) -> Supervisor:
    """Everything between a run directory and the outbox."""
    clock = SystemClock()
    database = Database(root / "state" / "bench.sqlite3")
    pipeline = AlertPipeline(
        records=AlertStore(database),
        silences=SilenceStore(database),
        outbox=MessageStore(database),
        transactions=database,
        clock=clock,
        limits=AlertLimits(),
        audience=Audience(),
    )
    return Supervisor(
        find_runs=lambda: find_runs(root / "runs"),
        open_reader=lambda path: RunReader(path, first_seen_ts=clock.now()),
        looker=Looker(inspector=LocalDriver(root / "state"), limits=CheckLimits(), clock=clock),
        sink=FindingsSink(
            database=database, pipeline=pipeline, notify=lambda: None, clock=clock, pictures=PictureStore(database)
        ),
    )


def start_run(root: Path, name: str) -> WrittenRun:
    """A healthy run in its first epoch."""
    run = WrittenRun(root / "runs", name, batches=10**6)
    now = time.time()
    run.record(started_ts=now, updated_ts=now)
    run.start_epoch(1, now - START_TS)
    run.beat(now - START_TS, epoch=1, batch=5, phase_since_ts=now)
    run.layout.train_log.write_text("      1/4     1.2G\n")
    return run


def add_rows(run: WrittenRun, number: int) -> None:
    """``number`` more rows of the series, in one write."""
    row = '{"attempt":1,"epoch":1,"batch":%d,"losses":{"box_loss":5.0}}\n'
    with run.layout.series.open("a") as series:
        series.write("".join(row % batch for batch in range(number)))


async def ticks_ms(supervisor: Supervisor, rounds: int) -> list[float]:
    """CPU of each tick, in ms a run; without what the garbage of earlier measurements costs."""
    gc.collect()
    taken = []
    for _ in range(rounds):
        before_s = time.process_time()
        await supervisor.tick()
        taken.append(1000 * (time.process_time() - before_s) / len(supervisor.all()))
    return taken


async def measure(root: Path) -> dict[str, list[float]]:
    """Samples by name, ms of CPU."""
    figures: dict[str, list[float]] = {}
    small = make_supervisor(root / "small")
    for number in range(RUNS):
        start_run(root / "small", f"run{number:03d}")
    await ticks_ms(small, 2)
    figures[f"unchanged, each of {RUNS} runs"] = await ticks_ms(small, ROUNDS)

    large = make_supervisor(root / "large")
    run = start_run(root / "large", "large")
    add_rows(run, LARGE_ROWS)
    with run.layout.train_log.open("r+b") as log:
        log.truncate(LARGE_LOG_BYTES)
    await ticks_ms(large, 5)
    figures["unchanged, one run with a log of 400 MiB"] = await ticks_ms(large, ROUNDS)
    for rows in GROWTH_ROWS:
        samples = []
        for _ in range(5):
            add_rows(run, rows)
            samples += await ticks_ms(large, 1)
        figures[f"grown by {rows} rows"] = samples
    return figures


def main() -> int:
    """1 when a check of unchanged files cost too much in the median."""
    with tempfile.TemporaryDirectory() as folder:
        figures = asyncio.run(measure(Path(folder)))
    missed = False
    for name, samples in figures.items():
        median = statistics.median(samples)
        over = name.startswith("unchanged") and median > LIMIT_MS
        missed = missed or over
        limit = f"  (limit {LIMIT_MS:g} ms)" if name.startswith("unchanged") else ""
        print(f"{name:<44}{median:8.3f} ms ({min(samples):.3f} to {max(samples):.3f}){limit}{'  MISSED' * over}")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
