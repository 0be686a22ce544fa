"""Cards at the head of the channel: there while the run goes on, once, whatever is killed or refused meanwhile."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from tests.support.clocks import SetClock
from tests.support.worlds import FakeRuns
from trainmaster.bot.alerting.pins import AGAIN_S, CALLS_A_TICK, MAX_PINS, OFF_S, OVER_S, PinCards, PinnedCards
from trainmaster.bot.core.alerts.alert import card_key
from trainmaster.bot.core.conversation.message import Message
from trainmaster.bot.core.conversation.pin import Pin, PinState
from trainmaster.bot.core.run.facts import ProcessFact, ProcessStatus, RunRecord
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.errors import ChatError
from trainmaster.bot.ports import ChatRefused, MessageGone, Posted, RateLimited
from trainmaster.bot.storage.database import Database
from trainmaster.bot.storage.messages import MessageStore
from trainmaster.bot.storage.pins import PinStore
from trainmaster.trainer.contract import RunRecordState

NOW = 1_700_000_000.0
AWAY = ChatError("slack-unreachable", "connection reset")
REFUSED = ChatRefused("slack-scope", "the app lacks a permission: pins:write")


class KilledError(BaseException):
    """The process ends here."""


@dataclass
class FakeBoard:
    """A channel's head. ``faults`` come one after the other before a call, ``killed_after`` a call that was done."""

    pinned: list[tuple[str, str]] = field(default_factory=list)
    calls: list[tuple[str, str]] = field(default_factory=list)
    faults: list[ChatError] = field(default_factory=list)
    kills: int = 0

    async def pin(self, pin: Pin) -> None:
        self._enter("pin", pin)
        if pin.place not in self.pinned:  # a second one is already_pinned, which is as good
            self.pinned.append(pin.place)
        self._die()

    async def unpin(self, pin: Pin) -> None:
        self._enter("unpin", pin)
        if pin.place in self.pinned:
            self.pinned.remove(pin.place)
        self._die()

    def _enter(self, what: str, pin: Pin) -> None:
        self.calls.append((what, pin.ts))
        if self.faults:
            raise self.faults.pop(0)

    def _die(self) -> None:
        if self.kills:
            self.kills -= 1
            raise KilledError


class Wall:
    """A channel with cards, on a real database."""

    def __init__(self, path: Path, switch: PinCards = PinCards.AUTO) -> None:
        self.clock = SetClock(NOW)
        self.database = Database(path)
        self.messages = MessageStore(self.database, self.clock.now)
        self.runs = FakeRuns()
        self.board = FakeBoard()
        self.may: bool | None = True
        self.switch = switch
        self.restart()

    def restart(self) -> None:
        """Another process on the same database."""
        self.cards = PinnedCards(
            book=PinStore(self.database),
            board=self.board,
            runs=self.runs,
            clock=self.clock,
            may_pin=lambda: self.may,
            switch=self.switch,
        )

    def run(self, name: str = "night", *, posted: bool = True) -> RunView:
        view = RunView(
            directory=Path("runs") / name,
            name=name,
            ts=NOW,
            first_seen_ts=NOW,
            record=RunRecord(run=name, pid=7, state=RunRecordState.RUNNING),
            process=ProcessFact(status=ProcessStatus.ALIVE, ts=NOW),
        )
        self.runs.views.append(view)
        if posted:
            self.post(name, f"1.{len(self.runs.views):06d}")
        return view

    def post(self, name: str, ts: str) -> None:
        self.messages.put(card_key(name), Message(title=f"{name}: training"))
        self.messages.mark_sent(card_key(name), 1, Posted(channel="C1", ts=ts))

    def becomes(self, state: RunRecordState, name: str = "night") -> None:
        self.runs.views = [
            replace(one, record=replace(one.record, state=state)) if one.name == name and one.record else one
            for one in self.runs.views
        ]

    async def tick(self, after_s: float = 5.0) -> None:
        self.clock.ts += after_s
        await self.cards.tick()

    def pins(self) -> list[str]:
        return [ts for _, ts in self.board.pinned]


@pytest.fixture
def wall(tmp_path: Path) -> Iterator[Wall]:
    made = Wall(tmp_path / "db.sqlite3")
    yield made
    made.database.close()


async def test_the_card_is_pinned_once_it_stands_and_only_once(wall: Wall) -> None:
    wall.run(posted=False)
    await wall.tick()
    assert wall.board.calls == []
    wall.post("night", "1.000001")
    for _ in range(3):
        await wall.tick()
    assert wall.board.calls == [("pin", "1.000001")]
    wall.restart()
    await wall.tick()
    assert wall.board.calls == [("pin", "1.000001")]


async def test_the_pin_comes_off_when_the_run_is_finished(wall: Wall) -> None:
    wall.run()
    await wall.tick()
    wall.becomes(RunRecordState.FINISHED)
    await wall.tick()
    await wall.tick()
    assert wall.board.calls == [("pin", "1.000001"), ("unpin", "1.000001")]
    assert PinStore(wall.database).all() == ()


@pytest.mark.parametrize("state", [RunRecordState.STOPPED, RunRecordState.CRASHED, RunRecordState.GAVE_UP])
async def test_a_run_that_is_resumed_at_once_keeps_its_pin_and_one_that_is_not_loses_it(
    wall: Wall, state: RunRecordState
) -> None:
    wall.run()
    await wall.tick()
    wall.becomes(state)
    await wall.tick(OVER_S / 2)
    wall.becomes(RunRecordState.RUNNING)
    await wall.tick(OVER_S)
    assert wall.board.calls == [("pin", "1.000001")]
    wall.becomes(state)
    await wall.tick()
    await wall.tick(OVER_S)
    assert wall.pins() == []
    wall.becomes(RunRecordState.RUNNING)
    await wall.tick()
    assert wall.pins() == ["1.000001"]


async def test_a_run_that_is_unknown_for_a_while_keeps_its_pin_and_gets_none(wall: Wall) -> None:
    view = wall.run()
    await wall.tick()
    wall.run("other")
    wall.runs.views = [replace(one, process=None) for one in wall.runs.views]
    for _ in range(3):
        await wall.tick(OVER_S)
    assert (view.name, wall.pins()) == ("night", ["1.000001"])


async def test_the_pin_of_a_run_whose_directory_is_gone_comes_off(wall: Wall) -> None:
    wall.run()
    await wall.tick()
    wall.runs.views = []
    await wall.tick()
    await wall.tick(OVER_S)
    assert wall.pins() == []


async def test_a_card_that_was_posted_anew_is_pinned_and_the_old_one_is_not(wall: Wall) -> None:
    wall.run()
    await wall.tick()
    wall.messages.mark_gone(card_key("night"))
    await wall.tick()
    wall.post("night", "2.000002")
    await wall.tick()
    assert wall.pins() == ["2.000002"]


@pytest.mark.parametrize("finished", [False, True], ids=["pinning", "taking off"])
async def test_what_a_kill_cut_off_is_done_again(wall: Wall, finished: bool) -> None:
    wall.run()
    if finished:
        await wall.tick()
        wall.becomes(RunRecordState.FINISHED)
    wall.board.kills = 1
    with pytest.raises(KilledError):
        await wall.tick()
    wall.restart()
    await wall.tick()
    await wall.tick()
    assert wall.pins() == ([] if finished else ["1.000001"])
    assert [pin.state for pin in PinStore(wall.database).all()] == ([] if finished else [PinState.PINNED])


async def test_a_pin_that_somebody_took_off_stays_off(wall: Wall) -> None:
    wall.run()
    await wall.tick()
    wall.board.pinned.clear()
    wall.restart()
    for _ in range(3):
        await wall.tick(OFF_S)
    assert wall.pins() == []


async def test_slack_that_is_away_is_asked_again_later(wall: Wall) -> None:
    wall.run()
    wall.board.faults = [AWAY]
    await wall.tick()
    await wall.tick()
    assert len(wall.board.calls) == 1
    await wall.tick(AGAIN_S)
    assert wall.pins() == ["1.000001"]


async def test_a_rate_limit_is_honoured_within_a_tick(wall: Wall) -> None:
    for number in range(3):
        wall.run(f"r{number}")
    wall.board.faults = [RateLimited(30.0)]
    await wall.tick()
    assert len(wall.board.calls) == 1
    await wall.tick(31.0)
    assert len(wall.pins()) == 3


async def test_a_refusal_is_said_once_and_stops_the_asking(wall: Wall, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(3):
        wall.run(f"r{number}")
    wall.board.faults = [REFUSED, REFUSED]
    with caplog.at_level(logging.WARNING):
        for after_s in (5.0, 5.0, OFF_S, 5.0):
            await wall.tick(after_s)
    assert len(wall.board.calls) == 2
    assert caplog.text.count("cards are not pinned") == 1


async def test_a_message_that_slack_never_pins_is_left_alone_and_the_others_are_pinned(wall: Wall) -> None:
    for number in range(2):
        wall.run(f"r{number}")
    wall.board.faults = [MessageGone("slack-pin", "not_pinnable")]
    for _ in range(3):
        await wall.tick()
    assert wall.board.calls == [("pin", "1.000001"), ("pin", "1.000002")]
    wall.becomes(RunRecordState.FINISHED, "r0")
    await wall.tick()
    assert len(wall.board.calls) == 2
    assert [pin.ts for pin in PinStore(wall.database).all()] == ["1.000002"]


async def test_many_runs_are_pinned_at_a_calm_pace_and_leave_room_for_others(wall: Wall) -> None:
    for number in range(MAX_PINS + 10):
        wall.run(f"r{number}")
    await wall.tick()
    assert len(wall.board.calls) == CALLS_A_TICK
    for _ in range(2 * MAX_PINS):
        await wall.tick()
    assert len(wall.pins()) == len(wall.board.calls) == MAX_PINS
    wall.becomes(RunRecordState.FINISHED, "r0")
    await wall.tick()
    await wall.tick()
    assert len(wall.pins()) == MAX_PINS


@pytest.mark.parametrize(
    ("switch", "may", "pinned"),
    [
        (PinCards.AUTO, True, True),
        (PinCards.AUTO, False, False),
        (PinCards.AUTO, None, False),
        (PinCards.ON, True, True),
        (PinCards.ON, False, False),
        (PinCards.ON, None, True),
        (PinCards.OFF, True, False),
        (PinCards.OFF, None, False),
    ],
)
async def test_the_setting_and_the_permission_decide(
    tmp_path: Path, switch: PinCards, may: bool | None, pinned: bool
) -> None:
    wall = Wall(tmp_path / "db.sqlite3", switch)
    wall.may = may
    wall.run()
    await wall.tick()
    assert bool(wall.board.calls) is pinned
    wall.database.close()


async def test_a_permission_that_is_lacking_where_pins_are_wanted_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wall = Wall(tmp_path / "db.sqlite3", PinCards.ON)
    wall.may = False
    wall.run()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            await wall.tick()
    assert caplog.text.count("lacks pins:write") == 1
    wall.database.close()


async def test_what_was_pinned_comes_off_when_pins_are_switched_off(wall: Wall) -> None:
    wall.run()
    await wall.tick()
    wall.switch = PinCards.OFF
    wall.restart()
    await wall.tick()
    assert wall.pins() == []
