"""A hundred runs of growing logs: what watching them costs, and how soon the bot answers meanwhile.

``python -m tests.bench.supervisor``. Must reach: at most 5 % of one core and 100 MiB resident with a check every 5 s,
``/train status`` acknowledged p99 <= 50 ms and answered p99 <= 300 ms, start to connected <= 2 s.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import psutil

from tests.bench._slack import bot_environ, start_workspace
from tests.support.run_dirs import START_TS, WrittenRun
from trainmaster.bot.workspace.page.client import PageClient

RUNS = 100
WATCH_S = 40.0
QUESTIONS = 30
CPU_LIMIT_PCT, RSS_LIMIT_MIB, ACK_LIMIT_MS, ANSWER_LIMIT_MS, START_LIMIT_S = 5.0, 100.0, 50.0, 300.0, 2.0


def _p99(values: list[float]) -> float:
    return sorted(values)[min(len(values) - 1, round(0.99 * len(values)))]


async def _grow(runs: list[WrittenRun], until_s: float) -> None:
    """Every run writes a heartbeat, a row of its series and some log each second."""
    batch = 0
    while time.monotonic() < until_s:
        batch += 1
        for run in runs:
            now_s = time.time() - START_TS
            run.beat(now_s, epoch=1, batch=batch)
            run.series(epoch=1, batch=batch, loss=5.0)
            with run.layout.train_log.open("a") as log:
                log.write(f"1/4 {batch}\n")
            await asyncio.sleep(0)
        await asyncio.sleep(1.0)


async def measure(folder: Path) -> dict[str, float]:
    """The figures, by name."""
    runs = [WrittenRun(folder / "runs", f"run{number:03d}", batches=100_000) for number in range(RUNS)]
    for run in runs:
        run.record(started_ts=time.time(), updated_ts=time.time())
        run.start_epoch(1, time.time() - START_TS)
        for epoch in range(2, 12):
            run.event("notice", time.time() - START_TS, text=f"{epoch}")
    workspace = await start_workspace()
    ours = {name: value for name, value in os.environ.items() if not name.startswith("SLACK_")}
    environ = ours | bot_environ(workspace, folder, check_interval_s=5)
    began_s = time.monotonic()
    bot = await asyncio.create_subprocess_exec(sys.executable, "-m", "trainmaster.bot", "run", env=environ)
    try:
        async with PageClient(workspace.page_url) as page:
            await page.wait_for(lambda view: view.app_connected, 60)
            figures = {"start_s": time.monotonic() - began_s}
            process = psutil.Process(bot.pid)
            growing = asyncio.create_task(_grow(runs, time.monotonic() + WATCH_S))
            await asyncio.sleep(5)
            before, at_s = process.cpu_times(), time.monotonic()
            await growing
            after = process.cpu_times()
            busy_s = after.user + after.system - before.user - before.system
            figures["cpu_pct"] = 100 * busy_s / (time.monotonic() - at_s)
            figures["rss_mib"] = process.memory_info().rss / 2**20
            acks, answers = await _ask(page)
            figures["ack_p99_ms"], figures["answer_p99_ms"] = _p99(acks), _p99(answers)
            return figures
    finally:
        bot.terminate()
        await bot.wait()
        await workspace.close()


async def _ask(page: PageClient) -> tuple[list[float], list[float]]:
    acks: list[float] = []
    answers: list[float] = []
    for number in range(QUESTIONS):
        name = f"run{number:03d}"
        seeing = asyncio.create_task(
            page.wait_for(lambda view, name=name: name in json.dumps(view.in_channel("training")), 20)
        )
        await asyncio.sleep(0.2)
        asked_s = time.monotonic()
        await page.slash("anna", "/train", f"status of {name}", "training")
        acks.append(1000 * (time.monotonic() - asked_s))
        await seeing
        answers.append(1000 * (time.monotonic() - asked_s))
        await asyncio.sleep(0.2)
    return acks, answers


def main() -> int:
    """1 when a mark was missed."""
    with tempfile.TemporaryDirectory() as folder:
        figures = asyncio.run(measure(Path(folder)))
    marks = {
        "start_s": START_LIMIT_S,
        "cpu_pct": CPU_LIMIT_PCT,
        "rss_mib": RSS_LIMIT_MIB,
        "ack_p99_ms": ACK_LIMIT_MS,
        "answer_p99_ms": ANSWER_LIMIT_MS,
    }
    for name, limit in marks.items():
        print(f"{name:<14}{figures[name]:8.1f}  (limit {limit:g}){'' if figures[name] <= limit else '  MISSED'}")
    return int(any(figures[name] > limit for name, limit in marks.items()))


if __name__ == "__main__":
    raise SystemExit(main())
