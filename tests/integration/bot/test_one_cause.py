"""Sixty runs that one trouble stops, through the real app into the real workspace; the bot is restarted in the
middle."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

from tests.integration.bot.world import CHANNEL, World, now_s, text_of
from tests.support.run_dirs import WrittenRun
from trainmaster.bot.workspace.page.client import PageView

RUNS = 60


def ended_pid() -> int:
    """Of a process that is over and collected."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def at_work(world: World) -> list[WrittenRun]:
    runs = []
    for number in range(RUNS):
        run = WrittenRun(world.settings.runs_dir, f"run{number:03d}")
        run.start_epoch(1, now_s())
        run.beat(now_s(), epoch=1, batch=10)
        runs.append(run)
    return runs


def of_bot(view: PageView) -> list[dict[str, Any]]:
    """What stands in the channel itself and tells of a death, in an alert or on a run's card."""
    return [
        one for one in view.in_channel(CHANNEL) if "died" in text_of(one) and one.get("thread_ts") in {None, one["ts"]}
    ]


async def test_sixty_runs_that_die_together_are_one_message_across_a_restart(world: World) -> None:
    runs = at_work(world)
    app, pid = await world.start_bot(), ended_pid()
    for run in runs[: RUNS // 2]:
        run.record(pid=pid)
    await world.see("30 runs died at about the same time")
    await app.close()
    for run in runs[RUNS // 2 :]:
        run.record(pid=pid)
    await world.start_bot()
    message = await world.see("60 runs died at about the same time")
    assert all(f"run{number:03d}" in text_of(message) for number in range(RUNS))
    await world.page.wait_for(
        lambda view: "run059: the training process died" in "".join(text_of(one) for one in view.messages), 20
    )
    await asyncio.sleep(1)
    standing = await world.page.wait_for(lambda view: of_bot(view) or None, 5)
    assert [one["ts"] for one in standing] == [message["ts"]], [one["text"][:90] for one in standing]
    calls = await world.page.wait_for(lambda view: [one for one in view.messages if "<@U0ANNA>" in text_of(one)], 5)
    assert [one["ts"] for one in calls] == [message["ts"]]


async def test_a_run_that_dies_alone_has_its_own_message(world: World) -> None:
    await world.start_bot()
    world.run.record(pid=ended_pid())
    message = await world.see("digits: the training process died")
    assert "at about the same time" not in text_of(message)
