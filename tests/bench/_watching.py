"""What watching runs costs a bot that is a process of its own, and how soon it answers meanwhile."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from tests.bench._slack import bot_environ, start_workspace
from tests.support.run_dirs import START_TS, WrittenRun
from trainmaster.bot.workspace.page.client import PageClient

_WARM_UP_S: Final = 5.0
_CONNECT_S: Final = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """``runs`` write a heartbeat and a row of their series once a second, and ``more`` with it, for ``watch_s``; the
    first ``questions`` of them are asked about afterwards. ``profile_to``: where a profile of the bot's own thread
    goes."""

    runs: Sequence[WrittenRun]
    epoch: int
    first_batch: int
    check_interval_s: int
    watch_s: float = 40.0
    questions: int = 20
    more: Callable[[WrittenRun, int], None] = lambda _run, _batch: None
    profile_to: str = ""


async def measure(folder: Path, load: Load) -> dict[str, float]:
    """The figures, by name: start to connected and the processor time until then, share of a core and memory while the
    runs write, and the 99th of a hundred times until a question is acknowledged, and answered."""
    workspace = await start_workspace()
    ours = {name: value for name, value in os.environ.items() if not name.startswith("SLACK_")}
    environ = ours | bot_environ(workspace, folder, check_interval_s=load.check_interval_s)
    profiled = ("-m", "cProfile", "-o", load.profile_to) if load.profile_to else ()
    began_s = time.monotonic()
    with (folder / "bot.log").open("wb") as log:
        bot = await asyncio.create_subprocess_exec(
            *(sys.executable, *profiled, "-m", "trainmaster.bot", "run"), env=environ, stderr=log, stdout=log
        )
    try:
        async with PageClient(workspace.page_url) as page:
            await page.wait_for(lambda view: view.app_connected, _CONNECT_S)
            figures = {"start_s": time.monotonic() - began_s}
            process = psutil.Process(bot.pid)
            figures["start_cpu_s"] = _used_s(process)
            growing = asyncio.create_task(_grow(load, time.monotonic() + load.watch_s))
            await asyncio.sleep(_WARM_UP_S)
            before_s, at_s = _used_s(process), time.monotonic()
            await growing
            figures["cpu_pct"] = 100 * (_used_s(process) - before_s) / (time.monotonic() - at_s)
            figures["rss_mib"] = process.memory_info().rss / 2**20
            acks, answers = await _ask(page, [load.runs[n % len(load.runs)] for n in range(load.questions)])
            figures["ack_p99_ms"], figures["answer_p99_ms"] = _p99(acks), _p99(answers)
            return figures
    finally:
        bot.terminate()
        await bot.wait()
        await workspace.close()


def told(name: str, figures: dict[str, float], limits: dict[str, float]) -> bool:
    """The figures were printed, each with its limit if it has one; whether all were within theirs."""
    reached = True
    for what, value in figures.items():
        limit = limits.get(what)
        missed = limit is not None and value > limit
        reached = reached and not missed
        mark = "" if limit is None else f"  (limit {limit:g}){'  MISSED' if missed else ''}"
        print(f"{name:<10} {what:<14}{value:8.1f}{mark}", flush=True)
    return reached


def _used_s(process: psutil.Process) -> float:
    used = process.cpu_times()
    return float(used.user + used.system)


async def _grow(load: Load, until_s: float) -> None:
    batch = load.first_batch
    while time.monotonic() < until_s:
        batch += 1
        began_s = time.monotonic()
        for number, run in enumerate(load.runs):
            run.beat(time.time() - START_TS, epoch=load.epoch, batch=batch)
            run.series(epoch=load.epoch, batch=batch, loss=5.0)
            load.more(run, batch)
            if number % 10 == 0:
                await asyncio.sleep(0)
        await asyncio.sleep(max(0.0, 1.0 - (time.monotonic() - began_s)))


async def _ask(page: PageClient, runs: Sequence[WrittenRun]) -> tuple[list[float], list[float]]:
    """Milliseconds from each question about a run until it is acknowledged, and until its answer is in the channel."""
    acks: list[float] = []
    answers: list[float] = []
    for run in runs:
        name = run.layout.name
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


def _p99(values: Sequence[float]) -> float:
    return sorted(values)[min(len(values) - 1, round(0.99 * len(values)))]
