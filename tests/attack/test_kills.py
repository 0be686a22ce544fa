"""kill -9 of the bot process, of the trainer, and of both, at random moments of a rollback through the channel."""

from __future__ import annotations

import asyncio
import os
import random
import time
from pathlib import Path

import pytest

from tests.attack.living import Inventory, end_trainers, trainers
from tests.attack.scene import BOB, Scene, stage
from tests.attack.strict_slack import StrictSlack

pytestmark = [pytest.mark.training, pytest.mark.timeout(3600)]

NUM_MOMENTS = int(os.environ.get("TRAINMASTER_KILLS", "1"))
"""Of each kind. ``make bench`` takes 70, which makes 210 rollbacks; the suite has less time."""
VICTIMS = [("bot",), ("trainer",), ("bot", "trainer")]


@pytest.fixture(scope="module")
def spent_s() -> list[float]:
    """What a rollback has taken so far, from the click to its end."""
    return [3.0]


@pytest.mark.parametrize("victims", VICTIMS, ids=" and ".join)
async def test_rollback_survives_kills_at_random_moments(
    tmp_path: Path, material: Path, victims: tuple[str, ...], spent_s: list[float]
) -> None:
    chance = random.Random(f"{victims} {os.environ.get('TRAINMASTER_SEED', '1')}")
    for number in range(NUM_MOMENTS):
        slack = await StrictSlack.start()
        folder = tmp_path / str(number)
        folder.mkdir()
        try:
            async with stage(folder, material, slack) as scene:
                await one_kill(scene, victims, chance.uniform(0, 1.1 * min(spent_s)), spent_s)
        finally:
            await slack.close()
        assert slack.breaches == []


async def one_kill(scene: Scene, victims: tuple[str, ...], moment_s: float, spent_s: list[float]) -> None:
    """Exactly one rollback, nothing lost, and a healthy run or a word why not."""
    folder = scene.run.parent.parent
    card = await scene.ask()
    before = Inventory.of(scene.run)
    began = time.monotonic()
    await scene.slack.click(BOB, card, "approve")
    await asyncio.sleep(moment_s)  # the moment is what is tested
    at = [(one["step"], one["state"]) for one in scene.bot.operations()]
    if "bot" in victims:
        await scene.bot.kill()
    if "trainer" in victims:
        end_trainers(folder)
    if "bot" in victims:
        await scene.bot.start()
    if not at and not await committed(scene):
        # Killed before the click was on record, so Slack told Bob that it failed: he clicks again.
        (card,) = await scene.slack.until(scene.slack.cards, what="the card")
        await scene.slack.click(BOB, card, "approve")
    operation = await scene.over()
    if not at or at[0][1] == "open":
        spent_s.append(max(1.0, time.monotonic() - began))
    where = (victims, moment_s, at, operation["state"], operation["problem"])
    assert len(scene.bot.operations()) == 1, where
    assert before.lost_in(Inventory.of(scene.run)) == [], where
    left = len(trainers(folder))
    if operation["state"] == "done" and left == 1:
        assert scene.attempt == 3, where
        await scene.slack.until(lambda: scene.slack.newest("rolled back to epoch 1"), what=f"the word of it {where}")
    else:
        # The trainer is what was killed, and somebody is told, with what to do.
        assert "trainer" in victims, where
        assert left == 0, where
        await scene.slack.until(lambda: alarm(scene), what=f"an alarm {where}")
    assert scene.acts("rollback.begin") == scene.acts("rollback.end") == 1, where


async def committed(scene: Scene) -> bool:
    """Whether the click, on its way when the bot was killed, is on record after all."""
    try:
        async with asyncio.timeout(5):
            while not scene.bot.operations():  # noqa: ASYNC110 - what another process writes has no event
                await asyncio.sleep(0.05)
    except TimeoutError:
        return False
    return True


def alarm(scene: Scene) -> bool:
    """Whether the channel says that the run needs a person, or that its process is gone."""
    words = ("needs a person", "is dead", "is gone", "died", "was killed", "ended without")
    return any(word in post.shown for post in scene.slack.posts.values() for word in words)
