"""The bot dies at each moment at which something of an alert becomes durable, or leaves for Slack.

Beside ``test_kills_amid_everything``, which kills at random: here no moment is left to chance.
``TRAINMASTER_POINTS=all`` tries every one of them, some ten seconds each.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.attack import fault_points
from tests.attack.living import ROOT, LivingBot
from tests.attack.planting import rows
from tests.attack.scene import ANN, BOB
from tests.attack.strict_slack import StrictSlack
from tests.attack.strict_web import Post
from tests.attack.test_kills_amid_everything import differences, insist, twice_in, until
from tests.support.run_dirs import WrittenRun

pytestmark = pytest.mark.timeout(7200)

NUM_TRIED = 3
"""Of some seventy, spread over them."""
PENDING = "SELECT key FROM messages WHERE desired_version > sent_version"


@dataclass(frozen=True, kw_only=True)
class Passed:
    """Names of the moments that were passed, and what did not hold afterwards."""

    points: tuple[str, ...]
    faults: tuple[str, ...]


async def test_nothing_is_lost_or_doubled_whatever_had_just_become_durable(tmp_path: Path) -> None:
    whole = await live_through(tmp_path / "whole", dies_at=0)
    assert whole.faults == ()
    num = len(whole.points)
    assert num > 30, whole.points
    step = 1 if os.environ.get("TRAINMASTER_POINTS") == "all" else max(1, num // NUM_TRIED)
    wrong = {}
    for dies_at in range(step // 2 + 1, num + 1, step):
        passed = await live_through(tmp_path / str(dies_at), dies_at=dies_at)
        where = f"{dies_at}: {passed.points[dies_at - 1] if len(passed.points) >= dies_at else 'not reached'}"
        print(where, passed.faults or "holds", flush=True)
        if passed.faults:
            wrong[where] = passed.faults
    assert wrong == {}


async def live_through(folder: Path, *, dies_at: int) -> Passed:
    """A run has died: it is told, Ann takes the alert, Bob silences the run. The bot dies at that point, if at any, and
    is started again."""
    slack = await StrictSlack.start()
    path = fault_points.install(folder, str(ROOT))
    bot = LivingBot(folder, slack, PYTHONPATH=path)
    faults: list[str] = []
    try:
        await bot.start(timeout_s=120)
        await asyncio.sleep(0.5)
        fault_points.arm(folder, dies_at)
        reviving = asyncio.create_task(_revive(bot, folder, dies_at))
        _dead_run(bot.runs)
        try:
            await _taken_and_silenced(slack, bot)
        except (AssertionError, TimeoutError) as error:
            faults.append(f"{type(error).__name__}: {error}"[:300])
        if dies_at and len(fault_points.passed(folder)) >= dies_at:
            await reviving
        reviving.cancel()
        with contextlib.suppress(TimeoutError):
            await until(lambda: not differences(bot) and not rows(bot, PENDING), "agreement", timeout_s=20)
        faults += differences(bot)
        faults += [f"twice: {key}" for key in twice_in(slack)]
        faults += [] if _alert(slack) is not None else ["the alert does not stand in the channel"]
        faults += [one for one in slack.breaches if "acknowledged after" not in one]
    finally:
        fault_points.disarm(folder)
        await bot.stop()
        await slack.close()
    return Passed(points=tuple(fault_points.passed(folder)), faults=tuple(faults))


async def _revive(bot: LivingBot, folder: Path, dies_at: int) -> None:
    if dies_at == 0:
        return
    await bot.over()
    fault_points.disarm(folder)
    await bot.start(timeout_s=120)


async def _taken_and_silenced(slack: StrictSlack, bot: LivingBot) -> None:
    post = await slack.until(lambda: _alert(slack), what="the alert", timeout_s=120)
    payload = slack.click_payload(ANN, post, "ack")
    acked = "SELECT 1 FROM alerts WHERE acked_by = ?"
    await insist(lambda: slack.send("interactive", payload), lambda: bool(rows(bot, acked, ANN)), "the ack")
    silenced = "SELECT 1 FROM silences WHERE made_by = ?"
    await insist(lambda: slack.command(BOB, "silence 2h"), lambda: bool(rows(bot, silenced, BOB)), "the silence")


def _alert(slack: StrictSlack) -> Post | None:
    key = "night-0001/process_died/attempt1"
    found = (one for one in slack.posts.values() if (one.metadata.get("event_payload") or {}).get("key") == key)
    return next(found, None)


def _dead_run(runs: Path) -> None:
    gone = subprocess.Popen(["sleep", "60"])
    created = psutil.Process(gone.pid).create_time()
    gone.kill()
    gone.wait()
    WrittenRun(runs, "night").record(started_ts=time.time() - 30, pid=gone.pid, create_time=created)
