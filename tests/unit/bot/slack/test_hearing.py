"""How old what tells no time may be."""

from __future__ import annotations

from tests.support.clocks import SetClock
from trainmaster.bot.slack.hearing import AFTER_S, AWAY_S, Hearing


def test_while_it_listens_nothing_was_held_back() -> None:
    clock = SetClock()
    hearing = Hearing(clock)
    for _ in range(100):
        hearing.listens()
        assert hearing.said_since() is None
        clock.ts += 5


def test_what_comes_right_after_it_stood_still_may_be_as_old_as_that() -> None:
    clock = SetClock()
    hearing = Hearing(clock)
    hearing.listens()
    stood_still_at = clock.ts
    clock.ts += AWAY_S + 1
    assert hearing.said_since() == stood_still_at  # before the first beat too
    hearing.listens()
    assert hearing.said_since() == stood_still_at
    clock.ts += AFTER_S + 1
    hearing.listens()
    assert hearing.said_since() is None


def test_a_short_silence_is_none() -> None:
    clock = SetClock()
    hearing = Hearing(clock)
    hearing.listens()
    clock.ts += AWAY_S - 1
    assert hearing.said_since() is None


def test_what_comes_right_after_a_long_absence_of_the_bot_may_be_as_old_as_that() -> None:
    clock = SetClock()
    hearing = Hearing(clock, heard_ts=clock.ts - 600)
    hearing.listens()
    assert hearing.said_since() == clock.ts - 600
    assert Hearing(clock, heard_ts=clock.ts - 30).said_since() is None
    assert Hearing(clock).said_since() is None
