"""A thousand runs, two hundred of them at work, on one bot; and a hundred runs; each a process of its own.

``python -m tests.bench.scale``. Must reach, of 1,000: start to connected <= 5 s, at most 10 % of one core and 200 MiB
resident with the default check interval, ``status`` answered p99 <= 300 ms. Of 100: 100 MiB. The import of the bot:
300 ms. A directory that hangs delays the others' watching by at most 1 s.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from tests.bench._slack import bot_environ, start_workspace
from tests.support.run_dirs import START_TS, WrittenRun
from trainmaster.bot.workspace.page.client import PageClient
from trainmaster.trainer.contract import EventKind, RunRecordState

WATCH_S = 35.0
QUESTIONS = 20
INTERVAL_S = 15


def _p99(values: list[float]) -> float:
    return sorted(values)[min(len(values) - 1, round(0.99 * len(values)))]


def _write(folder: Path, number: int, *, at_work: bool) -> WrittenRun:
    """A run of some epochs; one that is over ended well, a day ago."""
    run = WrittenRun(folder / "runs", f"run{number:04d}", batches=100_000)
    ago_s = 0.0 if at_work else 86_400.0
    now_s = time.time() - START_TS - ago_s
    run.record(started_ts=time.time() - ago_s - 3600, updated_ts=time.time() - ago_s)
    for epoch in range(1, 11):
        run.start_epoch(epoch, now_s - 3600 + 300 * epoch)
        run.finish_epoch(epoch, now_s - 3400 + 300 * epoch)
        run.save_checkpoint(epoch, now_s - 3400 + 300 * epoch)
    run.series(epoch=10, batch=0, loss=5.0, after_s=now_s - 300)
    run.layout.series.write_text(300 * run.layout.series.read_text())
    run.start_epoch(11, now_s)
    run.beat(now_s, epoch=11, batch=10)
    if not at_work:
        run.event(EventKind.RUN_FINISHED, now_s)
        run.record(
            state=RunRecordState.FINISHED,
            exit_code=0,
            started_ts=time.time() - ago_s - 3600,
            updated_ts=time.time() - ago_s,
        )
    return run


async def _grow(runs: list[WrittenRun], until_s: float) -> None:
    """A heartbeat a second each, a row of the series with it, as a guarded trainer writes them."""
    batch = 10
    while time.monotonic() < until_s:
        batch += 1
        began_s = time.monotonic()
        for number, run in enumerate(runs):
            now_s = time.time() - START_TS
            run.beat(now_s, epoch=11, batch=batch)
            run.series(epoch=11, batch=batch, loss=5.0)
            if number % 10 == 0:
                await asyncio.sleep(0)
        await asyncio.sleep(max(0.0, 1.0 - (time.monotonic() - began_s)))


async def measure(folder: Path, num_runs: int, num_at_work: int) -> dict[str, float]:
    """The figures, by name."""
    runs = [_write(folder, number, at_work=number < num_at_work) for number in range(num_runs)]
    workspace = await start_workspace()
    ours = {name: value for name, value in os.environ.items() if not name.startswith("SLACK_")}
    environ = ours | bot_environ(workspace, folder, check_interval_s=INTERVAL_S)
    began_s = time.monotonic()
    command = (sys.executable, "-m", "trainmaster.bot", "run")
    profile = os.environ.get("PROFILE_TO")
    if profile:
        command = (sys.executable, "-m", "cProfile", "-o", profile, "-m", "trainmaster.bot", "run")
    with (folder / "bot.log").open("wb") as log:
        bot = await asyncio.create_subprocess_exec(*command, env=environ, stderr=log, stdout=log)
    try:
        async with PageClient(workspace.page_url) as page:
            await page.wait_for(lambda view: view.app_connected, 120)
            figures = {"start_s": time.monotonic() - began_s}
            process = psutil.Process(bot.pid)
            used = process.cpu_times()
            figures["start_cpu_s"] = used.user + used.system
            growing = asyncio.create_task(_grow(runs[:num_at_work], time.monotonic() + WATCH_S))
            await asyncio.sleep(5)
            before, at_s = process.cpu_times(), time.monotonic()
            await growing
            after = process.cpu_times()
            busy_s = after.user + after.system - before.user - before.system
            figures["cpu_pct"] = 100 * busy_s / (time.monotonic() - at_s)
            figures["answer_p99_ms"] = _p99(await _ask(page, num_at_work))
            figures["rss_mib"] = process.memory_info().rss / 2**20
            return figures
    finally:
        bot.terminate()
        await bot.wait()
        await workspace.close()


async def _ask(page: PageClient, num_at_work: int) -> list[float]:
    """Milliseconds from the question about one run to the answer in the channel."""
    answers: list[float] = []
    for number in range(QUESTIONS):
        name = f"run{number % num_at_work:04d}"
        seeing = asyncio.create_task(
            page.wait_for(lambda view, name=name: name in json.dumps(view.in_channel("training")), 20)
        )
        await asyncio.sleep(0.2)
        asked_s = time.monotonic()
        await page.slash("anna", "/train", f"status of {name}", "training")
        await seeing
        answers.append(1000 * (time.monotonic() - asked_s))
        await asyncio.sleep(0.2)
    return answers


def import_ms() -> float:
    """Milliseconds that the bot's import adds to a Python that does nothing, the best of five."""

    def best(code: str) -> float:
        times = []
        for _ in range(5):
            began_s = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            times.append(time.perf_counter() - began_s)
        return 1000 * min(times)

    return best("import trainmaster.bot") - best("pass")


def main() -> int:
    """1 when a mark was missed."""
    limits = {
        "1000 runs": {"start_s": 5.0, "cpu_pct": 10.0, "answer_p99_ms": 300.0, "rss_mib": 200.0},
        "100 runs": {"start_s": 5.0, "cpu_pct": 10.0, "answer_p99_ms": 300.0, "rss_mib": 100.0},
    }
    sizes = {"1000 runs": (1000, 200), "100 runs": (100, 20)}
    sizes = {name: size for name, size in sizes.items() if os.environ.get("ONLY", name) == name}
    figures: dict[str, dict[str, float]] = {"bot": {"import_ms": import_ms()}}
    limits["bot"] = {"import_ms": 300.0}
    for name, (num_runs, num_at_work) in sizes.items():
        with tempfile.TemporaryDirectory() as folder:
            figures[name] = asyncio.run(measure(Path(folder), num_runs, num_at_work))
    missed = False
    for name, values in figures.items():
        for what, value in values.items():
            limit = limits[name].get(what)
            missed |= limit is not None and value > limit
            told = "" if limit is None else f"  (limit {limit:g}){'' if value <= limit else '  MISSED'}"
            print(f"{name:<10} {what:<14}{value:8.1f}{told}", flush=True)
    return int(missed)


if __name__ == "__main__":
    raise SystemExit(main())
