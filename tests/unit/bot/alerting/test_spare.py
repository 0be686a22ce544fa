"""A bot that only watches leaves the telling to the other one, and takes over without a gap or an echo."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.worlds import FakeRuns
from tests.unit.bot.alerting.fakes import DOWN, FakeChannel
from tests.unit.bot.alerting.test_deliver import LIMITS, Bench
from trainmaster.bot.alerting.deliver import Deliverer
from trainmaster.bot.alerting.spare import PATIENCE_S, SharedRuns, Spare
from trainmaster.bot.core.conversation.message import Message, Tone
from trainmaster.bot.core.run.facts import RunRecord
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.storage.database import Database
from trainmaster.bot.storage.messages import MessageStore


class Pair(Bench):
    """A bench whose bot is the spare one; the other one speaks through :meth:`other_tells`."""

    def __init__(self) -> None:
        super().__init__()
        self.silent = True
        self.messages = MessageStore(Database(Path(":memory:")), self.loop.now)
        self.channel = FakeChannel(clock=self.loop)
        common: dict[str, Any] = {"channel": "C1", "clock": self.loop, "limits": LIMITS}
        self.spare = Spare(
            self.messages,
            self.channel,
            silent=lambda: self.silent,
            shared=lambda key: not key.startswith("own/"),
            **common,
        )
        self.deliverer = Deliverer(self.messages, self.channel, chance=lambda: 1.0, leave=self.spare, **common)

    async def other_tells(self, key: str, thread_ts: str | None = None) -> None:
        await self.channel.post("C1", Message(title=f"{key} by the other"), thread_ts=thread_ts, key=key)

    def play(self, story: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async def with_spare() -> None:
            task = asyncio.create_task(self.spare.run())
            await story()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        super().play(with_spare)


@pytest.fixture
def pair() -> Iterator[Pair]:
    one = Pair()
    yield one
    if not one.loop.is_closed():
        one.loop.close()


def test_what_the_other_one_told_is_not_repeated_and_is_known(pair: Pair) -> None:
    async def story() -> None:
        pair.put("run/died", tone=Tone.CRITICAL)
        await asyncio.sleep(1)
        await pair.other_tells("run/died")
        await asyncio.sleep(300)
        assert pair.keys == ["run/died"]
        assert pair.messages.posted("run/died") is not None
        assert pair.messages.num_pending() == 0

    pair.play(story)


def test_its_own_troubles_are_told_meanwhile(pair: Pair) -> None:
    async def story() -> None:
        pair.put("run/died", tone=Tone.CRITICAL)
        pair.put("own/only watches")
        await asyncio.sleep(10)
        assert pair.keys == ["own/only watches"]

    pair.play(story)


@pytest.mark.parametrize("edited", [False, True], ids=["as it was", "edited all the while"])
def test_what_the_other_one_cannot_tell_is_told_after_a_while(pair: Pair, edited: bool) -> None:
    async def story() -> None:
        for number in range(5):
            pair.put("run/died", f"{number if edited else 0} bad batches", tone=Tone.CRITICAL)
            await asyncio.sleep((PATIENCE_S - 5) / 5)
        assert pair.keys == []
        await asyncio.sleep(15)
        assert pair.keys == ["run/died"]

    pair.play(story)


@pytest.mark.parametrize("told", [True, False], ids=["told before", "not told"])
def test_at_the_take_over_nothing_is_lost_and_nothing_comes_twice(pair: Pair, told: bool) -> None:
    async def story() -> None:
        pair.channel.find_faults = [DOWN] * 3  # whatever it knew
        pair.put("run/died", tone=Tone.CRITICAL)
        await asyncio.sleep(2)
        if told:
            await pair.other_tells("run/died")
        pair.silent = False
        await asyncio.sleep(30)
        assert pair.keys == ["run/died"]
        assert pair.channel.shown[0].message.title == "run/died"  # it reads as this bot sees it now

    pair.play(story)


def test_answers_in_the_thread_of_the_others_message_follow_it(pair: Pair) -> None:
    async def story() -> None:
        pair.put("run/died", tone=Tone.CRITICAL)
        pair.put("run/died#line", thread_of="run/died")
        await pair.other_tells("run/died")
        await asyncio.sleep(60)
        pair.silent = False
        await asyncio.sleep(30)
        root, line = pair.channel.shown
        assert (line.key, line.thread_ts) == ("run/died#line", root.ts)

    pair.play(story)


def test_an_edit_that_the_other_one_makes_is_not_made_here_later(pair: Pair) -> None:
    async def story() -> None:
        pair.put("run/died", "one")
        await pair.other_tells("run/died")
        await asyncio.sleep(60)
        pair.put("run/died", "two")
        await asyncio.sleep(120)
        pair.silent = False
        await asyncio.sleep(30)
        assert pair.channel.shown[0].num_edits == 0

    pair.play(story)


def test_that_a_message_may_stand_there_is_written_down_once(pair: Pair) -> None:
    async def story() -> None:
        pair.put("run/died", tone=Tone.CRITICAL)
        await asyncio.sleep(60)
        assert not pair.messages.may_stand_twice("run/died")

    pair.play(story)


@pytest.mark.parametrize(
    ("key", "tells"),
    [
        pytest.param("night/died", True, id="an alert"),
        pytest.param("night/card", True, id="a card"),
        pytest.param("digest/2026", True, id="a digest"),
        pytest.param("night/died#details", False, id="what a person asked this bot for"),
        pytest.param("night-2/died", False, id="another run's name begins so"),
        pytest.param("adopted/died", False, id="a run elsewhere"),
        pytest.param("host/disk", False, id="this bot's host"),
    ],
)
def test_the_other_one_tells_what_it_sees_too(key: str, tells: bool) -> None:
    places = {"night": Path("/runs/night"), "adopted": Path("/elsewhere/adopted")}
    runs = FakeRuns(
        [
            RunView(directory=place, name=name, ts=0.0, first_seen_ts=0.0, record=RunRecord(run=name))
            for name, place in places.items()
        ]
    )
    assert SharedRuns(runs, Path("/runs")).tells(key) is tells


def test_a_run_that_came_is_known_within_a_second() -> None:
    now_s, runs = [100.0], FakeRuns([])
    shared = SharedRuns(runs, Path("/runs"), steady=lambda: now_s[0])
    assert not shared.tells("night/died")
    runs.views.append(
        RunView(directory=Path("/runs/night"), name="night", ts=0.0, first_seen_ts=0.0, record=RunRecord(run="night"))
    )
    now_s[0] += 1.0
    assert shared.tells("night/died")
