"""App Home and the shortcut on a message: real app, real Bolt, against the workspace."""

from __future__ import annotations

import json
from typing import Any

from tests.integration.bot.world import ANSWER_S, CHANNEL, World, now_s
from trainmaster.bot.slack.incoming import EXPLAIN_SHORTCUT
from trainmaster.bot.workspace.page.client import PageView


async def page_of(world: World, user: str, *words: str, timeout_s: float = ANSWER_S) -> dict[str, Any]:
    def found(view: PageView) -> dict[str, Any] | None:
        homes = [one["view"] for one in view.homes if one["user"] == user]
        return next((one for one in homes if all(word in json.dumps(one, ensure_ascii=False) for word in words)), None)

    return await world.page.wait_for(found, timeout_s)


async def test_a_home_is_published_when_it_is_opened_and_when_something_changes(world: World) -> None:
    await world.start_bot()
    assert (await world.page.open_home("anna")).ok
    await page_of(world, "U0ANNA", "Nothing waits for you", "digits", "On call")
    world.run.bad_batch(1, 42, now_s(), action="observed")
    await page_of(world, "U0ANNA", "1 thing waits for you", "loss is not finite", timeout_s=40)
    assert [one["user"] for one in (await world.page.look()).homes] == ["U0ANNA"]
    num_published = sum(method == "views.publish" for method, _ in world.workspace.web_api.calls)
    assert num_published <= 4


async def test_a_workspace_without_homes_costs_nothing_but_the_first_try(world: World) -> None:
    world.workspace.faults.fail_next("views.publish", "not_enabled", times=5)
    await world.start_bot()
    for _ in range(3):
        await world.page.open_home("anna")
    await world.page.slash("anna", "/train", "status", CHANNEL)
    await world.see("digits: training")
    assert sum(method == "views.publish" for method, _ in world.workspace.web_api.calls) == 1


async def test_the_shortcut_on_an_alert_explains_it_to_that_person_alone(world: World) -> None:
    await world.start_bot()
    world.run.bad_batch(1, 42, now_s())
    alert = await world.see("loss is not finite")
    assert (await world.page.shortcut("cleo", alert["ts"], EXPLAIN_SHORTCUT, CHANNEL)).ok
    await world.told("U0CLEO", "What it means: a batch was bad")
