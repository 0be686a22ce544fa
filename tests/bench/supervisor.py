"""A hundred runs of growing logs: what watching them costs, and how soon the bot answers meanwhile.

``python -m tests.bench.supervisor``. Must reach: at most 5 % of one core and 100 MiB resident with a check every 5 s,
``/train status`` acknowledged p99 <= 50 ms and answered p99 <= 300 ms, start to connected <= 2 s.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

from tests.bench._watching import Load, measure, told
from tests.support.run_dirs import START_TS, WrittenRun

RUNS = 100
LIMITS = {"start_s": 2.0, "cpu_pct": 5.0, "rss_mib": 100.0, "ack_p99_ms": 50.0, "answer_p99_ms": 300.0}


def _write(folder: Path, number: int) -> WrittenRun:
    run = WrittenRun(folder / "runs", f"run{number:03d}", batches=100_000)
    run.record(started_ts=time.time(), updated_ts=time.time())
    run.start_epoch(1, time.time() - START_TS)
    for epoch in range(2, 12):
        run.event("notice", time.time() - START_TS, text=f"{epoch}")
    return run


def _log(run: WrittenRun, batch: int) -> None:
    with run.layout.train_log.open("a") as log:
        log.write(f"1/4 {batch}\n")


def main() -> int:
    """1 when a mark was missed."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        runs = [_write(folder, number) for number in range(RUNS)]
        load = Load(runs=runs, epoch=1, first_batch=0, check_interval_s=5, questions=30, more=_log)
        figures = asyncio.run(measure(folder, load))
    return int(not told("100 runs", figures, LIMITS))


if __name__ == "__main__":
    raise SystemExit(main())
