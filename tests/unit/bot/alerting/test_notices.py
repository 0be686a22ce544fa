"""The daily digest and the word after an absence: told when due, once, restarts or not."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.clocks import SetClock
from tests.unit.conftest import Look
from trainmaster.bot.alerting.notices import Notices
from trainmaster.bot.core.conversation.message import Message, Tone
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.storage.bot_state import BotState
from trainmaster.bot.storage.database import Database
from trainmaster.bot.storage.messages import MessageStore

NINE = datetime(2025, 10, 9, 9, 0, tzinfo=UTC).timestamp()
DAY_S = 86_400.0


class World:
    def __init__(self, views: list[RunView], digest_at: tuple[int, int] | None = (9, 0)) -> None:
        self.views, self.digest_at, self.clock = views, digest_at, SetClock(NINE - 3600)
        self.database = Database(Path(":memory:"))
        self.outbox = MessageStore(self.database)
        self.notices = self.restarted()

    def restarted(self) -> Notices:
        return Notices(
            memory=BotState(self.database),
            outbox=self.outbox,
            transactions=self.database,
            runs=lambda: self.views,
            told_counts=self.told_counts,
            clock=self.clock,
            digest_at=self.digest_at,
            away_told_s=300.0,
            zone=UTC,
        )

    def told_counts(self, since_ts: float) -> Mapping[str, tuple[int, int]]:
        return {"digits-0001": (3, 2)}

    def said(self) -> dict[str, Message]:
        return {one.key: one.message for one in self.outbox.pending(2e9)}


@pytest.fixture
def world(look: Look) -> World:
    return World([look()])


def test_digest_is_told_once_a_day_at_its_time(world: World) -> None:
    for hours in range(4 * 24):
        world.clock.ts = NINE - 3600 + 3600 * hours
        assert world.restarted().tick() is (hours in {1, 25, 49, 73})
    assert list(world.said()) == [f"digest/2025-10-{day:02d}" for day in (9, 10, 11, 12)]


def test_first_start_after_the_hour_waits_for_the_next_day(world: World) -> None:
    world.clock.ts = NINE + 3600
    assert not world.notices.tick()
    world.clock.ts = NINE + DAY_S
    assert world.notices.tick()


def test_digest_that_was_due_while_the_bot_was_away_is_told_late_and_once(world: World) -> None:
    world.notices.tick()
    world.clock.ts = NINE + 5 * 3600
    assert world.restarted().tick()
    assert not world.restarted().tick()
    world.clock.ts = NINE + DAY_S
    assert world.restarted().tick()
    assert "in 19 h" in world.said()["digest/2025-10-10"].title


def test_without_a_run_at_work_there_is_no_digest(world: World) -> None:
    world.notices.tick()
    world.views = []
    world.clock.ts = NINE
    assert not world.notices.tick()
    assert world.said() == {}


def test_digest_that_is_off_is_never_told(look: Look) -> None:
    world = World([look()], digest_at=None)
    for hours in range(48):
        world.clock.ts = NINE + 3600 * hours
        assert not world.notices.tick()


def test_clock_put_back_doubles_no_digest(world: World) -> None:
    world.notices.tick()
    world.clock.ts = NINE
    assert world.notices.tick()
    world.clock.ts = NINE - 2 * DAY_S
    assert not world.notices.tick()
    world.clock.ts = NINE + 60
    assert not world.notices.tick()


def test_absence_is_told_with_its_length(world: World) -> None:
    world.notices.tick()
    world.clock.ts += 3 * 3600
    assert world.restarted().returned()
    ((key, message),) = world.said().items()
    assert key == f"away/{NINE - 3600:.0f}"
    assert message.title == "Trainmaster was away for 3 h"


@pytest.mark.parametrize(
    ("away_s", "told"), [(299.0, False), (300.0, True), (-5000.0, False)], ids=["short", "long", "clock put back"]
)
def test_only_a_long_absence_is_told(world: World, away_s: float, told: bool) -> None:
    world.notices.tick()
    world.clock.ts += away_s
    assert world.restarted().returned() is told
    assert bool(world.said()) is told


def test_first_start_is_no_absence(world: World) -> None:
    assert not world.notices.returned()


def test_absence_is_told_once_when_the_bot_is_killed_just_after(world: World) -> None:
    world.notices.tick()
    world.clock.ts += 3600
    assert world.restarted().returned()
    assert not world.restarted().returned()
    assert [one.tone for one in world.said().values()] == [Tone.NEUTRAL]
