"""The numbers of a real bot in the local workspace, read as Prometheus reads them."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.integration.bot.world import World, now_s
from tests.support.ports import free_port
from trainmaster.bot.app import App
from trainmaster.bot.errors import StoreError, TrainmasterError
from trainmaster.bot.storage.counts import Counts

RUN = ("digits", "digits-0001")
"""Name and id: the library orders labels by their own names."""
Numbers = dict[tuple[str, ...], float]


@pytest.fixture
def port(world: World) -> int:
    chosen = free_port()
    world.settings = world.settings.model_copy(update={"metrics_address": ("127.0.0.1", chosen)})
    return chosen


async def scrape(port: int) -> Numbers:
    """Every number by its name and its label values."""
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as answer:
        answer.raise_for_status()
        text = await answer.text()
    return {
        (one.name.removeprefix("trainmaster_"), *one.labels.values()): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }


async def scraped_until(port: int, holds: Callable[[Numbers], Any], timeout_s: float = 20.0) -> Numbers:
    until_s = time.monotonic() + timeout_s
    while not holds(found := await scrape(port)):
        assert time.monotonic() < until_s, found
        await asyncio.sleep(0.1)
    return found


async def test_a_bad_batch_a_checkpoint_and_their_alert_are_counted(world: World, port: int) -> None:
    world.run.save_checkpoint(1, now_s())
    await world.start_bot()
    first = await scrape(port)
    assert first["run_state", *RUN, "training"] == 1.0
    assert first["runs", "training"] == 1.0
    assert first["run_epoch", *RUN] == 1.0
    assert (first["run_batch", *RUN], first["run_batches", *RUN]) == (10.0, 100.0)
    assert first["run_bad_batches", *RUN] == 0.0
    assert first["run_clean_checkpoint_epoch", *RUN] == 1.0
    assert first["tick_duration_seconds",] > 0.0

    world.run.bad_batch(1, 42, now_s())
    await world.see("loss is not finite in epoch 1")
    after = await scraped_until(
        port, lambda now: now["run_bad_batches", *RUN] == 1.0 and now["delivery_waiting",] == 0.0
    )
    assert after["run_skipped_batches", *RUN] == 1.0
    assert sum(number for key, number in after.items() if key[0] == "alerts_firing" and key[1] == "nonfinite") == 1.0
    assert after["slack_connected",] == 1.0
    assert after["tick_age_seconds",] < 30.0


async def test_while_slack_is_away_what_waits_is_counted(world: World, port: int) -> None:
    await world.start_bot()
    await world.workspace.go_down()
    world.run.bad_batch(1, 42, now_s())
    waiting = await scraped_until(port, lambda now: now["delivery_waiting",] and now["delivery_failing",])
    assert waiting["delivery_oldest_age_seconds",] >= 0.0
    assert waiting["run_bad_batches", *RUN] == 1.0


async def test_a_database_that_can_not_be_read_is_told_and_the_rest_is_served(
    world: World, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.start_bot()

    def refuse(_: Counts) -> None:
        raise StoreError("state-database", "refused")

    monkeypatch.setattr(Counts, "delivery", refuse)
    found = await scraped_until(port, lambda now: now["database_readable",] == 0.0)
    assert ("delivery_waiting",) not in found
    assert found["run_epoch", *RUN] == 1.0
    monkeypatch.undo()
    await scraped_until(port, lambda now: now["database_readable",] == 1.0)


async def test_many_scrapes_at_once_leave_the_bot_answering(world: World, port: int) -> None:
    await world.start_bot()
    await asyncio.gather(*(scrape(port) for _ in range(200)))
    await world.page.say("anna", "training", "@trainmaster status")
    await world.see("digits: training, epoch 1 of 4")


async def test_a_port_in_use_ends_the_start_with_a_sentence(world: World, port: int) -> None:
    with socket.create_server(("127.0.0.1", port)):
        app = App(world.settings)
        with pytest.raises(TrainmasterError, match=f"METRICS_ADDRESS 127.0.0.1:{port} can't be listened on"):
            await app.start()
        await app.close()


async def test_without_the_setting_nothing_is_collected_or_served(world: World) -> None:
    app = await world.start_bot()
    assert app._metrics is None
