"""Thirty days of a hundred runs, simulated: how large the bot's database grows, and what a purge takes.

``python -m tests.bench.state``. Each run finishes four epochs a day, has a warning that fires and resolves each day and
a critical alert each week, which somebody acknowledges. Must reach: 100 MiB after 30 days, no move of a purge longer
than 100 ms, and after a year nothing left of what is over.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from tests.unit.bot.alerting.fakes import NOW, Desk, finding
from trainmaster.bot.core.alerts.finding import Finding, Nature, Severity
from trainmaster.bot.core.check_name import CheckName
from trainmaster.bot.core.keeping import StorageLimits
from trainmaster.bot.storage.purge import Purge

RUNS, DAYS = 100, 30
DAY_S = 86_400.0
TABLES = ("alerts", "messages", "alert_revisions", "silences", "operations", "journal", "seen", "runs_seen")
SIZE_LIMIT_MIB, STEP_LIMIT_MS = 100.0, 100.0


def _epoch(run: str, number: int, now: float) -> Finding:
    return finding(
        CheckName.EPOCH_FINISHED,
        run=run,
        key=f"attempt1/epoch{number}",
        severity=Severity.INFO,
        nature=Nature.OCCURRENCE,
        ts=now,
        title=f"{run}: epoch {number} of 400 finished",
        fields=tuple(
            (name, "0.0123 to 0.0120") for name in ("Box loss", "Class loss", "DFL loss", "mAP50", "mAP50-95")
        ),
    )


def _look(desk: Desk, run: str, *findings: Finding) -> None:
    desk.pipeline.process(replace(desk.view(name=run)), findings, desk.clock.ts)


def _day(desk: Desk, day: int) -> None:
    for quarter in range(4):
        for number in range(RUNS):
            run, epoch = f"run{number:03d}", 4 * day + quarter
            desk.clock.ts += DAY_S / 4 / RUNS / 4
            _look(desk, run, _epoch(run, epoch, desk.clock.ts))
            if quarter != number % 4:
                continue
            ill = finding(
                CheckName.STALLED if (day + number) % 7 == 0 else CheckName.NONFINITE,
                run=run,
                key=f"attempt1/epoch{epoch}",
                severity=Severity.CRITICAL if (day + number) % 7 == 0 else Severity.WARNING,
                title=f"{run}: no sign of progress for 300 s (limit 120 s)",
                excerpt="a line of the log that is as long as such lines are\n" * 10,
            )
            _look(desk, run, ill)
            if (day + number) % 7 == 0:
                desk.pipeline.ack(ill.fingerprint, "U1", desk.clock.ts)
            desk.clock.ts += DAY_S / 4 / RUNS / 4
            _look(desk, run)
            desk.clock.ts += DAY_S / 4 / RUNS / 4
            _look(desk, run)
        desk.send_all()
        desk.clock.ts += DAY_S / 16


def measure(folder: Path) -> dict[str, float]:
    """The figures, by name."""
    desk = Desk(path=folder / "state.sqlite3")
    desk.database.execute("PRAGMA synchronous=OFF")  # 30 days in a minute
    for day in range(DAYS):
        desk.clock.ts = NOW + day * DAY_S
        _day(desk, day)
    for _ in range(2):  # what was ill at the end recovers
        desk.clock.ts += 3600.0
        for number in range(RUNS):
            _look(desk, f"run{number:03d}")
    desk.send_all()
    desk.database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    figures = {"size_mib": (folder / "state.sqlite3").stat().st_size / 2**20}
    for table in TABLES:
        figures[f"rows_{table}"] = float(desk.database.rows(f"SELECT count(*) FROM {table}")[0][0])
    desk.database.execute("PRAGMA synchronous=FULL")
    purge = Purge(
        database=desk.database,
        archive=folder / "archive.jsonl",
        limits=StorageLimits(),
        clock=desk.clock,
        watched=tuple,
    )
    began_s = time.perf_counter()
    asyncio.run(purge.run())
    figures["purge_of_nothing_ms"] = 1000 * (time.perf_counter() - began_s)
    desk.clock.ts = NOW + 366 * DAY_S
    figures["purge_of_a_day_rows"], figures["purge_of_a_day_ms"], _ = _purged(purge)
    desk.clock.ts = NOW + (366 + DAYS) * DAY_S
    figures["purge_of_the_rest_rows"], figures["purge_of_the_rest_ms"], figures["longest_step_ms"] = _purged(purge)
    figures["archive_mib"] = (folder / "archive.jsonl").stat().st_size / 2**20
    left = ("alerts", "messages")
    figures["rows_left"] = float(sum(desk.database.rows(f"SELECT count(*) FROM {one}")[0][0] for one in left))
    return figures


def _purged(purge: Purge) -> tuple[float, float, float]:
    """Rows, milliseconds, and the longest time for which the loop did nothing else."""

    async def beside() -> tuple[float, float]:
        longest_s, moved = 0.0, asyncio.create_task(purge.run())
        while not moved.done():
            at_s = time.perf_counter()
            await asyncio.sleep(0)
            longest_s = max(longest_s, time.perf_counter() - at_s)
        return float(moved.result()), longest_s

    began_s = time.perf_counter()
    rows, longest_s = asyncio.run(beside())
    return rows, 1000 * (time.perf_counter() - began_s), 1000 * longest_s


def main() -> int:
    """1 when a mark was missed."""
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder))
    marks = {"size_mib": SIZE_LIMIT_MIB, "longest_step_ms": STEP_LIMIT_MS, "rows_left": 0.0}
    for name, value in figures.items():
        limit = marks.get(name)
        told = "" if limit is None else f"  (limit {limit:g}){'' if value <= limit else '  MISSED'}"
        print(f"{name:<24}{value:12.1f}{told}")
    return int(any(figures[name] > limit for name, limit in marks.items()))


if __name__ == "__main__":
    raise SystemExit(main())
