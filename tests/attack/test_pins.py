"""The bot is killed over its pins: there is one while the run goes on, and none when it is over."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.attack.living import LivingBot
from tests.attack.strict_slack import StrictSlack
from tests.support.run_dirs import START_TS, WrittenRun
from trainmaster.trainer.contract import EventKind, RunRecordState

pytestmark = pytest.mark.timeout(240)
CARD = "its alerts and reports are in the thread"


def now_s() -> float:
    return time.time() - START_TS


@pytest.mark.parametrize("moment", ["asked", "answered"])
async def test_a_bot_that_is_killed_over_a_pin_leaves_one_while_it_runs_and_none_at_the_end(
    tmp_path: Path, slack: StrictSlack, moment: str
) -> None:
    bot = LivingBot(tmp_path, slack, PIN_CARDS="on")
    run = WrittenRun(bot.runs)
    run.start_epoch(1, now_s())
    run.beat(now_s(), epoch=1, batch=10)
    try:
        await bot.start()
        run.bad_batch(1, 11, now_s())
        wanted = (lambda: slack.calls_of("pins.add")) if moment == "asked" else (lambda: slack.pins)
        await slack.until(wanted, what="the pin", timeout_s=60)
        await bot.kill()
        run.beat(now_s(), epoch=1, batch=12)
        await bot.start()
        await slack.until(lambda: slack.pins, what="the pin", timeout_s=60)
        card = slack.newest(CARD)
        assert card is not None
        assert slack.pins == [(card.channel, card.ts)]
        await bot.kill()
        run.event(EventKind.RUN_FINISHED, now_s(), epochs=4, fitness=0.3, seconds=100.0)
        run.record(state=RunRecordState.FINISHED, exit_code=0)
        await bot.start()
        await slack.until(lambda: not slack.pins, what="the end of the pin", timeout_s=60)
    finally:
        await bot.stop()
    assert len(slack.calls_of("pins.add")) <= 2
