"""Two bot processes over one RUNS_DIR, each with a STATE_DIR and a Slack of its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.attack.living import LivingBot, trainers
from tests.attack.scene import ANN, BOB, Scene, stage
from tests.attack.strict_slack import StrictSlack
from tests.attack.strict_web import CHANNEL, OTHER_CHANNEL, Post
from tests.support.run_dirs import START_TS, WrittenRun

pytestmark = [pytest.mark.training, pytest.mark.timeout(300)]

FIRST_SAYS, NOW_ACTS = "only watches", "acts on the runs itself"


@pytest.fixture
async def elsewhere() -> AsyncIterator[StrictSlack]:
    """The Slack of the second bot."""
    slack = await StrictSlack.start()
    yield slack
    await slack.close()
    assert slack.breaches == []


def second_bot(folder: Path, slack: StrictSlack, runs: Path, **settings: str) -> LivingBot:
    other = folder / "second"
    other.mkdir()
    return LivingBot(other, slack, RUNS_DIR=str(runs), **settings)


async def soon(holds: Callable[[], bool], what: str, timeout_s: float = 60.0) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            while not holds():  # noqa: ASYNC110 - what another process does has no event
                await asyncio.sleep(0.1)
    except TimeoutError as error:
        raise AssertionError(f"{what} did not come about") from error


async def test_the_second_bot_says_that_it_only_watches_and_takes_over_when_the_first_is_killed(
    tmp_path: Path, material: Path, slack: StrictSlack, elsewhere: StrictSlack
) -> None:
    async with stage(tmp_path, material, slack) as scene:
        second = second_bot(tmp_path, elsewhere, scene.bot.runs)
        try:
            await second.start()
            await elsewhere.until(lambda: elsewhere.newest(FIRST_SAYS), what="the word that it only watches")
            assert "this one only watches" in second.output()
            assert "went wrong" not in str([post.shown for post in elsewhere.posts.values()])
            for words in ("stop now", "execute rollback to epoch 1", "resume", "stop after epoch"):
                asked = Scene(slack=elsewhere, bot=second, run=scene.run, trainer=scene.trainer)
                assert "another Trainmaster acts on them" in await asked.says(ANN, elsewhere.command(ANN, words)), words
            assert scene.untouched()
            assert not slack.newest(FIRST_SAYS)

            await scene.bot.kill()
            await elsewhere.until(lambda: elsewhere.newest(NOW_ACTS), what="that it acts", timeout_s=60)
            await elsewhere.command(ANN, "stop now")
            await soon(lambda: not trainers(tmp_path), "the stop")
        finally:
            await second.stop()


async def test_a_rollback_that_was_cut_off_is_left_alone_while_the_other_bot_acts(
    tmp_path: Path, material: Path, slack: StrictSlack, elsewhere: StrictSlack
) -> None:
    async with stage(tmp_path, material, slack) as scene:
        second = second_bot(tmp_path, elsewhere, scene.bot.runs)
        try:
            card = await scene.ask()
            await slack.click(BOB, card, "approve")
            await soon(lambda: bool(scene.bot.operations()), "the operation")
            await scene.bot.kill()
            left_at = scene.bot.operations()[-1]
            if left_at["state"] != "open":
                pytest.skip("the rollback was faster than the kill")
            await second.start()
            await soon(lambda: "acts on the runs" in second.output() or _holds(second), "the take-over")
            await scene.bot.start()
            await slack.until(lambda: slack.newest(FIRST_SAYS), what="that the first one only watches now")
            before = (scene.attempt, scene.acts("rollback.end"))
            await asyncio.sleep(3)  # several ticks, in which nothing may be done
            assert scene.bot.operations()[-1]["state"] == "open"
            assert (scene.attempt, scene.acts("rollback.end")) == before
            assert second.operations() == []

            await second.kill()
            assert (await scene.over(timeout_s=90))["state"] == "done"
            await soon(lambda: scene.acts("rollback.end") == 1, "its end in the audit log, which is written after it")
            assert (scene.attempt, scene.acts("rollback.begin"), scene.acts("rollback.end")) == (3, 1, 1)
            assert len(trainers(tmp_path)) == 1
        finally:
            await second.stop()


def _holds(bot: LivingBot) -> bool:
    lease = bot.folder.parent / "runs" / ".trainmaster-lease.json"
    return lease.exists() and f'"pid": {bot.pid}' in lease.read_text()


async def test_a_spare_of_the_same_app_repeats_nothing_and_tells_what_the_first_one_no_longer_could(
    tmp_path: Path, slack: StrictSlack
) -> None:
    first = LivingBot(tmp_path, slack)
    spare = second_bot(tmp_path, slack, first.runs)
    try:
        day = WrittenRun(first.runs, "day")
        day.record(started_ts=time.time())
        day.start_epoch(1, time.time() - START_TS)
        await first.start()
        await spare.start()
        await slack.until(lambda: slack.newest(FIRST_SAYS), what="the word that it only watches")
        dead_run(first.runs, "night")
        await slack.until(lambda: alerts_of(slack, "night"), what="the alert")
        await soon(lambda: "told by the other bot" in spare.output(), "that the spare knows of it")
        assert "posted" not in "".join(line for line in spare.output().splitlines() if "night-0001/" in line)

        await first.kill()
        day.bad_batch(1, 7, time.time() - START_TS)  # seen by the spare only
        await slack.until(
            lambda: alerts_of(slack, "day", "nonfinite/attempt1/epoch1"), what="the alert of the spare", timeout_s=60
        )
        await slack.until(lambda: slack.newest(NOW_ACTS), what="that it acts")
        payload = slack.click_payload(ANN, alerts_of(slack, "night")[0], "ack")
        await slack.send("interactive", payload)
        await soon(
            lambda: "Acknowledged by" in str(alerts_of(slack, "night")[0].versions), "the edit of the first's alert"
        )
        keys = [str((post.metadata.get("event_payload") or {}).get("key")) for post in slack.posts.values()]
        assert sorted(keys) == sorted(set(keys))
    finally:
        await spare.stop()
        await first.stop()


async def test_a_second_bot_that_tells_another_channel_tells_there(tmp_path: Path, slack: StrictSlack) -> None:
    first = LivingBot(tmp_path, slack)
    other = second_bot(tmp_path, slack, first.runs, ALERT_CHANNEL=OTHER_CHANNEL)
    try:
        await first.start()
        await other.start()
        await slack.until(lambda: slack.newest(FIRST_SAYS, channel=OTHER_CHANNEL), what="that it only watches")
        dead_run(first.runs, "night")
        for channel in (CHANNEL, OTHER_CHANNEL):
            await slack.until(
                lambda channel=channel: [one for one in alerts_of(slack, "night") if one.channel == channel],
                what=f"the alert in {channel}",
            )
    finally:
        await other.stop()
        await first.stop()


def dead_run(runs: Path, name: str) -> None:
    WrittenRun(runs, name).record(started_ts=time.time(), pid=2**22 - 1)


def alerts_of(slack: StrictSlack, name: str, check: str = "process_died/attempt1") -> list[Post]:
    key = f"{name}-0001/{check}"
    return [one for one in slack.posts.values() if (one.metadata.get("event_payload") or {}).get("key") == key]
