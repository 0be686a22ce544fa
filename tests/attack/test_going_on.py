"""A trainer that is killed goes on by itself: a real bot process, a real training, kills of either at any moment."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import time
from pathlib import Path

import pytest

from tests.attack.living import PACED, LivingBot, end_trainers, train, trained, trainers
from tests.attack.scene import ANN, Scene, stage
from tests.attack.strict_slack import StrictSlack
from tests.attack.strict_web import Post
from trainmaster.trainer.contract import RunLayout, read_json

pytestmark = [pytest.mark.training, pytest.mark.timeout(900)]

NUM_MOMENTS = int(os.environ.get("TRAINMASTER_KILLS", "2"))
DETECTION_S = 60.0
"""From a death to the new attempt's first batch, without the trainer's own start: asked for by who uses it."""


def automatic(bot: LivingBot) -> list[dict[str, object]]:
    return [one for one in bot.operations() if one["kind"] == "resume" and one["requester"] == "Trainmaster"]


def with_button(slack: StrictSlack) -> Post | None:
    return next((p for p in slack.posts.values() if any(b["action_id"] == "resume_run" for b in p.buttons())), None)


async def goes_on(scene: Scene, attempt: int, timeout_s: float = 90.0) -> None:
    await trained(scene.run, 1, attempt=attempt, timeout_s=timeout_s)


async def test_real_training_killed_goes_on_within_a_minute_of_its_own_start(
    tmp_path: Path, material: Path, slack: StrictSlack
) -> None:
    """At the interval of looks that is the default: the worst of the moments is what is asked for."""
    bot = LivingBot(tmp_path, slack, AUTO_RESUME="auto", CHECK_INTERVAL_S="30", **PACED)
    trainer = train(tmp_path, material, environment=PACED)
    run = tmp_path / "runs" / "digits"
    try:
        await trained(run, 2)
        await bot.start()
        before = read_json(RunLayout(run).heartbeat) or {}
        died_ts = time.time()
        trainer.kill()
        trainer.wait()
        await trained(run, 1, attempt=2, timeout_s=180)
        first_batch_ts = time.time()
        record = read_json(RunLayout(run).run_json) or {}
        beat = read_json(RunLayout(run).heartbeat) or {}
        own_start_s = first_batch_ts - record["create_time"]
        waited_s = first_batch_ts - died_ts - own_start_s
        print(f"from the death to the start {waited_s:.1f} s, the trainer's own start {own_start_s:.1f} s")
        assert waited_s <= DETECTION_S
        assert beat["epoch"] >= before["epoch"] - 1, "no epoch is trained anew from the beginning"
        assert len(trainers(tmp_path)) == 1
        await slack.until(lambda: slack.newest("goes on by itself"), timeout_s=120, what="the word of it")
        assert len(automatic(bot)) == 1
    finally:
        await bot.stop()
        end_trainers(tmp_path)
        trainer.wait()


async def test_bot_killed_at_random_moments_of_a_continuation_starts_once(tmp_path: Path, material: Path) -> None:
    chance = random.Random(int(os.environ.get("TRAINMASTER_SEED", "1")))
    for number in range(NUM_MOMENTS):
        slack = await StrictSlack.start()
        folder = tmp_path / str(number)
        folder.mkdir()
        try:
            async with stage(folder, material, slack, AUTO_RESUME="auto", AUTO_RESUME_PAUSE_S="1") as scene:
                await asyncio.sleep(1.5)  # it is seen at work
                scene.trainer.kill()
                scene.trainer.wait()
                moment_s = chance.uniform(0.0, 5.0)
                await asyncio.sleep(moment_s)  # the moment is what is tested
                await scene.bot.kill()
                await scene.bot.start()
                await goes_on(scene, 3)
                await scene.over()
                assert (len(trainers(folder)), scene.attempt, len(automatic(scene.bot))) == (1, 3, 1), moment_s
                assert scene.acts("resume.begin") == scene.acts("resume.end") == 1, moment_s
        finally:
            await slack.close()
        assert slack.breaches == []


async def test_run_whose_directory_is_gone_is_taken_back_from_its_copies_by_a_press(
    tmp_path: Path, material: Path, slack: StrictSlack
) -> None:
    copies = tmp_path / "copies"
    copies.mkdir()
    bot = LivingBot(tmp_path, slack, COPY_TO=str(copies), **PACED)
    trainer = train(tmp_path, material, f"copy_to={copies}", environment=PACED)
    run = tmp_path / "runs" / "digits"
    try:
        await bot.start()
        await trained(run, 3)
        await slack.until(lambda: list(copies.glob("digits/files/epoch0002.pt-*.sha256")), what="a copy of epoch 2")
        trainer.kill()
        trainer.wait()
        shutil.rmtree(run, ignore_errors=True)
        card = await slack.until(lambda: with_button(slack), what="a message with Resume")
        await slack.click(ANN, card, "resume_run")
        gone = await slack.until(lambda: slack.newest("something stands against it"), what="what stands against it")
        assert "its copies" in str(gone.shown)
        assert "hold clean states up to epoch" in str(gone.shown)
        await slack.click(ANN, gone, "details")
        told = await slack.until(lambda: slack.newest("what stands against a start"), what="its details")
        assert f"trainmaster resume {copies / 'digits'} into={run}" in str(told.shown)
        await slack.click(ANN, gone, "resume_run")
        await trained(run, 3, attempt=2, timeout_s=180)
        await slack.until(lambda: slack.newest("digits goes on"), timeout_s=120, what="the word of it")
        assert len(trainers(tmp_path)) == 1
    finally:
        await bot.stop()
        end_trainers(tmp_path)
        trainer.wait()


async def test_resume_pressed_under_ask_is_one_start(tmp_path: Path, material: Path, slack: StrictSlack) -> None:
    async with stage(tmp_path, material, slack) as scene:
        scene.trainer.kill()
        scene.trainer.wait()
        card = await slack.until(lambda: with_button(slack), what="a message with Resume")
        await asyncio.gather(*(slack.click(user, card, "resume_run") for user in (ANN, ANN, "U0BOB")))
        await goes_on(scene, 3)
        await scene.over()
        assert (len(trainers(tmp_path)), scene.attempt, len(scene.bot.operations())) == (1, 3, 1)
