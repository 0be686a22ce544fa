"""The card of a run in the channel: pinned while the run goes on, with its owner on it, whatever becomes of the bot."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.integration.bot.world import CHANNEL, World, now_s, text_of
from trainmaster.bot.core.run.owner import OwnerRule
from trainmaster.bot.workspace.page.client import PageView
from trainmaster.trainer.contract import EventKind, RunRecordState


def cards(view: PageView) -> list[dict[str, Any]]:
    return [one for one in view.in_channel(CHANNEL) if "its alerts and reports are in the thread" in text_of(one)]


async def pinned(world: World, *, is_pinned: bool = True) -> dict[str, Any]:
    def found(view: PageView) -> dict[str, Any] | None:
        return next((one for one in cards(view) if ("pinned_to" in one) is is_pinned), None)

    return await world.page.wait_for(found, 30.0)


def end(world: World) -> None:
    world.run.event(EventKind.RUN_FINISHED, now_s(), epochs=4, fitness=0.3, seconds=100.0)
    world.run.record(state=RunRecordState.FINISHED, exit_code=0)


async def test_the_card_is_pinned_and_comes_off_when_the_run_is_finished(world: World) -> None:
    await world.start_bot()
    world.run.bad_batch(1, 11, now_s())
    card = await pinned(world)
    end(world)
    assert (await pinned(world, is_pinned=False))["ts"] == card["ts"]
    calls = [method for method, _ in world.workspace.web_api.calls if method.startswith("pins.")]
    assert calls == ["pins.add", "pins.remove"]


async def test_a_run_that_ended_while_no_bot_was_there_is_not_left_pinned(world: World) -> None:
    app = await world.start_bot()
    world.run.bad_batch(1, 11, now_s())
    card = await pinned(world)
    await app.close()
    end(world)
    await world.start_bot()
    assert (await pinned(world, is_pinned=False))["ts"] == card["ts"]


async def test_a_pin_that_slack_took_although_its_answer_was_lost_is_one_pin(world: World) -> None:
    world.workspace.faults.reset_next("pins.add", after_effect=True)
    app = await world.start_bot()
    world.run.bad_batch(1, 11, now_s())
    card = await pinned(world)
    await app.close()
    await world.start_bot()
    end(world)
    assert (await pinned(world, is_pinned=False))["ts"] == card["ts"]


@pytest.mark.parametrize("severity", ["critical", "warning"])
async def test_the_owner_that_the_training_was_given_is_called_by_its_alerts_and_named_on_its_card(
    world: World, severity: str
) -> None:
    world.run.record(owner="U0CLEO")  # a member of the channel, and in no setting
    app = await world.start_bot()
    await app._learn_owners()
    if severity == "critical":
        world.run.record(owner="U0CLEO", state=RunRecordState.GAVE_UP, exit_code=4)
        world.run.event(EventKind.RUN_GAVE_UP, now_s(), epoch=1, batch=12, why="10 bad batches", skipped_epoch=10)
        alert = await world.see("gave up", '"ack"')
    else:
        world.run.bad_batch(1, 11, now_s())
        alert = await world.see("loss is not finite", '"ack"')
    assert text_of(alert).count("<@U0CLEO>") == 1
    card = await world.see("its alerts and reports are in the thread", "*Owner*")
    assert "<@U0CLEO>" not in text_of(card)


async def test_an_id_that_nobody_knows_is_not_called(world: World) -> None:
    world.run.record(owner="U0NOBODY")
    app = await world.start_bot()
    await app._learn_owners()
    world.run.bad_batch(1, 11, now_s())
    await world.see("loss is not finite", '"ack"')
    await world.see("its alerts and reports are in the thread")
    assert "U0NOBODY" not in "".join(text_of(one) for one in await world.page.messages(CHANNEL))


async def test_the_setting_names_owners_by_the_names_of_their_runs(world: World) -> None:
    rule = OwnerRule(pattern="dig*", user="U0CLEO")
    world = replace(world, settings=world.settings.model_copy(update={"run_owners": (rule,)}))
    await world.start_bot()
    world.run.bad_batch(1, 11, now_s())
    assert "<@U0CLEO>" in text_of(await world.see("loss is not finite", '"ack"'))
