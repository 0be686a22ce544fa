"""What becomes of the bot's own state, at the start and in the middle: told in the channel, and no alert is lost."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from pathlib import Path

import pytest

from tests.integration.bot.world import CHANNEL, World, now_s, text_of
from tests.support.locking import locked
from trainmaster.bot.app import App
from trainmaster.bot.core.decisions.order import Decide
from trainmaster.bot.errors import StoreError
from trainmaster.bot.storage.bot_state import BotState
from trainmaster.bot.wiring.telling import DATABASE


async def _told_times(world: World, words: str) -> int:
    return len([one for one in await world.page.messages(CHANNEL) if words in text_of(one)])


@pytest.mark.parametrize("when", ["at the start", "in the middle"])
async def test_a_locked_database_is_told_and_alerts_go_on_once_each(world: World, when: str) -> None:
    path = world.settings.state_dir / DATABASE
    app = await world.start_bot()
    if when == "at the start":
        await app.close()
    with locked(path):
        if when == "at the start":
            app = await world.start_bot()
        world.run.bad_batch(1, 42, now_s())
        await world.see("Trainmaster can't write its database", "locked", "rollbacks are refused")
        await world.see("loss is not finite in epoch 1, batch 42")
        await world.page.slash("anna", "/train", "status", CHANNEL)
        await world.see("digits: training, epoch 1 of 4")
    await world.see("Trainmaster can write its database again", timeout_s=30)
    await app.close()
    await world.start_bot()
    await world.page.slash("anna", "/train", "alerts", CHANNEL)
    await world.see("1 alert firing")
    assert await _told_times(world, "Images: img_0001") == 1


async def test_a_damaged_database_is_set_aside_and_told(world: World) -> None:
    path = world.settings.state_dir / DATABASE
    app = await world.start_bot()
    await app.close()
    path.write_bytes(b"\xff" * 20_000)
    await world.start_bot()
    await world.see("Trainmaster's database was damaged", f"{path.name}.damaged-", "/train audit", "U0ANNA")
    world.run.bad_batch(1, 42, now_s())
    await world.see("loss is not finite in epoch 1, batch 42")
    (damaged,) = path.parent.glob("*.damaged-*[0-9]")
    assert damaged.read_bytes() == b"\xff" * 20_000


async def test_a_state_directory_that_can_no_longer_be_made_use_of_is_told(world: World) -> None:
    """A directory stands where the file should: the same to SQLite as a mount that came up empty and read-only."""
    (world.settings.state_dir / DATABASE).mkdir(parents=True)
    app = await world.start_bot()
    await world.see("Trainmaster can't write its database")
    world.run.bad_batch(1, 42, now_s())
    alert = await world.see("loss is not finite in epoch 1, batch 42", '"ack"')
    await world.page.click("ben", alert["ts"], "ack", CHANNEL)
    await world.see("loss is not finite", "cknowledged", "U0BEN", '"silence"')
    # What a rollback writes before it acts is refused, and so is asking whether one is open.
    with pytest.raises(StoreError, match="cannot be opened"), app.operations.books.transactions.transaction():
        pass
    with pytest.raises(StoreError, match="cannot be opened"):
        await app.operations.perform(Decide(approval_id="any", user="U0BEN", approve=True))


async def test_a_bot_that_was_away_says_so_and_what_it_missed(world: World) -> None:
    app = await world.start_bot()
    BotState(app.database).put("alive_ts", f"{time.time() - 7200}")
    await app.close()
    # Closing is no sign of life; what was put is what a bot that was killed two hours ago would have left.
    world.run.finish_epoch(1, now_s())
    await world.start_bot()
    await world.see("Trainmaster was away for 2 h", "digits", "1 epoch finished")


async def test_a_short_restart_is_not_worth_a_word(world: World) -> None:
    app = await world.start_bot()
    await app.close()
    await world.start_bot()
    world.run.bad_batch(1, 42, now_s())
    await world.see("loss is not finite in epoch 1, batch 42")
    assert await _told_times(world, "was away") == 0


async def test_a_channel_that_takes_nothing_is_told_directly_and_gets_all_of_it_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainmaster.bot.alerting.undelivered.TOLD_AFTER_S", 0.5)
    await world.start_bot()
    state = world.workspace.state
    state.set_membership("C0TRAIN", bot_is_member=False)
    world.run.bad_batch(1, 42, now_s())
    await world.page.wait_for(
        lambda view: [
            one
            for one in view.messages
            if one["channel"] == "D0ANNA"
            and "Alerts can't be posted" in text_of(one)
            and "not_in_channel" in text_of(one)
        ],
        15,
    )
    state.set_membership("C0TRAIN", bot_is_member=True)
    world.run.finish_epoch(1, now_s())
    await world.see("epoch 1 of 4 finished", timeout_s=30)
    await world.see("loss is not finite in epoch 1, batch 42", timeout_s=30)


async def test_systemd_hears_that_it_is_ready_alive_and_stopping(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(address)
        systemd.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        monkeypatch.setenv("WATCHDOG_USEC", "400000")
        monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
        loop = asyncio.get_running_loop()
        app: App = await world.start_bot()
        heard = [(await asyncio.wait_for(loop.sock_recv(systemd, 500), 10)).decode() for _ in range(3)]
        await app.close()
        while not heard[-1].startswith("STOPPING"):
            heard.append((await asyncio.wait_for(loop.sock_recv(systemd, 500), 10)).decode())
    assert heard[0].startswith("READY=1\nSTATUS=watching 1 run")
    assert all(one.startswith("WATCHDOG=1\nSTATUS=") for one in heard[1:-1])
    assert heard[-1] == "STOPPING=1"
