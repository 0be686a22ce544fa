"""The bot itself killed with SIGKILL at random moments, as a process, while a run gets into trouble again and again."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from tests.bench._slack import bot_environ, start_workspace
from tests.support.run_dirs import START_TS, WrittenRun
from trainmaster.bot.workspace.page.client import PageClient
from trainmaster.trainer.contract import RunRecordState

NUM_KILLS = 6
NUM_BESIDE = 40
"""More runs: so many that each start has a second process read some of them."""


async def _bot(environment: dict[str, str]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "trainmaster.bot", "run"),
        env=environment,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )


def _now_s() -> float:
    return time.time() - START_TS


@pytest.mark.timeout(120)
async def test_every_alert_is_told_and_what_is_told_twice_was_on_its_way_at_a_kill(tmp_path: Path) -> None:
    chance = random.Random(11)
    (tmp_path / "runs").mkdir()
    workspace = await start_workspace()
    run = WrittenRun(tmp_path / "runs", epochs=NUM_KILLS + 1)
    run.start_epoch(1, _now_s())
    for number in range(NUM_BESIDE):
        WrittenRun(tmp_path / "runs", f"done{number:02}").record(state=RunRecordState.FINISHED)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SLACK_")}
    environment |= bot_environ(workspace, tmp_path, check_interval_s=1)
    expected = set()
    try:
        async with PageClient(workspace.page_url) as page:
            for epoch in range(1, NUM_KILLS + 2):
                process = await _bot(environment)
                # The run is seen once before anything happens: what happened earlier is history.
                if epoch == 1:
                    await page.wait_for(lambda view: view.app_connected, 30)
                run.bad_batch(epoch, 7, _now_s())
                expected.add(f"{run.run}/nonfinite/attempt1/epoch{epoch}")
                if epoch <= NUM_KILLS:
                    await asyncio.sleep(chance.uniform(0.0, 3.0))
                    process.send_signal(signal.SIGKILL)
                    await process.wait()
            try:
                await page.wait_for(lambda view: expected <= set(_keys(view.messages)), 60)
            finally:
                process.terminate()
                await process.wait()
            told = Counter(_keys(await page.messages("training")))
    finally:
        await workspace.close()
    doubled = sum(count - 1 for count in told.values())
    assert doubled <= NUM_KILLS
    assert max(told.values()) <= 2
    assert await _nothing_runs_of(tmp_path), "a process outlived its bot"


async def _nothing_runs_of(folder: Path) -> bool:
    """Within ten seconds no process has a setting that leads into ``folder``."""
    for _ in range(100):
        if not any(_is_of(process, str(folder)) for process in psutil.process_iter()):
            return True
        await asyncio.sleep(0.1)
    return False


def _is_of(process: psutil.Process, folder: str) -> bool:
    try:
        return any(folder in value for value in process.environ().values())
    except psutil.Error:
        return False


def _keys(messages: object) -> list[str]:
    assert isinstance(messages, list | tuple)
    return [one["metadata"]["event_payload"]["key"] for one in messages if one.get("metadata")]
