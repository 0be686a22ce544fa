"""Two bot processes over one RUNS_DIR, each with a STATE_DIR and a Slack of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.attack.living import LivingBot, trainers
from tests.attack.scene import ANN, BOB, Scene, stage
from tests.attack.strict_slack import StrictSlack

pytestmark = [pytest.mark.training, pytest.mark.timeout(300)]

FIRST_SAYS, NOW_ACTS = "only watches", "acts on the runs itself"


@pytest.fixture
async def elsewhere() -> AsyncIterator[StrictSlack]:
    """The Slack of the second bot."""
    slack = await StrictSlack.start()
    yield slack
    await slack.close()
    assert slack.breaches == []


def second_bot(folder: Path, slack: StrictSlack, runs: Path) -> LivingBot:
    other = folder / "second"
    other.mkdir()
    return LivingBot(other, slack, RUNS_DIR=str(runs))


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
            assert (scene.attempt, scene.acts("rollback.begin"), scene.acts("rollback.end")) == (3, 1, 1)
            assert len(trainers(tmp_path)) == 1
        finally:
            await second.stop()


def _holds(bot: LivingBot) -> bool:
    lease = bot.folder.parent / "runs" / ".trainmaster-lease.json"
    return lease.exists() and f'"pid": {bot.pid}' in lease.read_text()
