"""A lost channel is told directly, once, and not for a passing trouble."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.clocks import SetClock
from trainmaster.bot.alerting.undelivered import TOLD_AFTER_S, Undelivered
from trainmaster.bot.core.conversation.message import Message
from trainmaster.bot.storage.database import Database
from trainmaster.bot.storage.messages import MessageStore

FAULT = "C0TRAIN: slack-channel: posting: the channel is archived (is_archived)."


class World:
    def __init__(self) -> None:
        self.clock = SetClock()
        self.outbox = MessageStore(Database(Path(":memory:")))
        self.outbox.put("alert", Message(title="stalled"))
        self.faults: tuple[str, ...] = ()
        self.on_call = ("U1", "U2")
        self.undelivered = Undelivered(
            faults=lambda: self.faults,
            waiting=self.outbox,
            outbox=self.outbox,
            on_call=self.who,
            clock=self.clock,
        )

    async def who(self) -> tuple[str, ...]:
        return self.on_call

    def direct(self) -> list[str]:
        return [one.lane for one in self.outbox.pending(2e9) if one.key.startswith("undelivered/")]


@pytest.fixture
def world() -> World:
    return World()


async def test_lost_channel_is_told_to_each_person_on_call_once(world: World) -> None:
    world.faults = (FAULT,)
    told = []
    for _ in range(20):
        told.append(await world.undelivered.tick())
        world.clock.pass_s(TOLD_AFTER_S / 4)
    assert told.count(True) == 1
    assert told.index(True) == 4
    assert world.direct() == ["U1", "U2"]
    (first, *_) = [one.message for one in world.outbox.pending(2e9) if one.lane == "U1"]
    assert first.body[0] == FAULT
    assert "1 message is kept" in first.body[1]


async def test_trouble_that_passes_is_told_to_nobody(world: World) -> None:
    for _ in range(10):
        world.faults = (FAULT,)
        assert not await world.undelivered.tick()
        world.clock.pass_s(TOLD_AFTER_S - 1)
        world.faults = ()
        assert not await world.undelivered.tick()
    assert world.direct() == []


async def test_channel_lost_again_is_told_again(world: World) -> None:
    for _ in range(2):
        world.faults = (FAULT,)
        await world.undelivered.tick()
        world.clock.pass_s(TOLD_AFTER_S)
        assert await world.undelivered.tick()
        world.faults = ()
        await world.undelivered.tick()
        world.clock.pass_s(1)
    assert len(world.direct()) == 4


async def test_a_long_pause_is_told_at_once_and_once(world: World) -> None:
    wait_s = 600.0
    undelivered = Undelivered(
        faults=lambda: (),
        waiting=world.outbox,
        outbox=world.outbox,
        on_call=world.who,
        clock=world.clock,
        held_back_s=lambda: wait_s,
    )
    assert await undelivered.tick()
    for _ in range(10):
        world.clock.pass_s(60)
        wait_s -= 60
        assert not await undelivered.tick()
    held = [one for one in world.outbox.pending(2e9) if one.key.startswith("held-back/")]
    assert [one.lane for one in held] == ["U1", "U2"]
    assert "600 s (Retry-After)" in held[0].message.body[0]


async def test_no_pause_is_no_word(world: World) -> None:
    assert not await world.undelivered.tick()
    assert world.direct() == []


async def test_who_is_on_call_is_asked_when_it_is_to_be_told_and_again_while_that_is_nobody(world: World) -> None:
    world.faults, world.on_call = (FAULT,), ()
    await world.undelivered.tick()
    world.clock.pass_s(TOLD_AFTER_S)
    assert not await world.undelivered.tick()
    world.on_call = ("U3",)  # the user group answers, or somebody joined it
    assert await world.undelivered.tick()
    assert world.direct() == ["U3"]
