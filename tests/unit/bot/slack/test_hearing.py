"""How old what tells no time may be."""

from __future__ import annotations

from trainmaster.bot.slack.hearing import AFTER_S, AWAY_S, Hearing


class Clock:
    now_s = 1_000_000.0

    def __call__(self) -> float:
        return self.now_s


def test_while_it_listens_nothing_was_held_back() -> None:
    clock = Clock()
    hearing = Hearing(clock)
    for _ in range(100):
        hearing.listens()
        assert hearing.said_since() is None
        clock.now_s += 5


def test_what_comes_right_after_it_stood_still_may_be_as_old_as_that() -> None:
    clock = Clock()
    hearing = Hearing(clock)
    hearing.listens()
    stood_still_at = clock.now_s
    clock.now_s += AWAY_S + 1
    assert hearing.said_since() == stood_still_at  # before the first beat too
    hearing.listens()
    assert hearing.said_since() == stood_still_at
    clock.now_s += AFTER_S + 1
    hearing.listens()
    assert hearing.said_since() is None


def test_a_short_silence_is_none() -> None:
    clock = Clock()
    hearing = Hearing(clock)
    hearing.listens()
    clock.now_s += AWAY_S - 1
    assert hearing.said_since() is None


def test_what_comes_right_after_a_long_absence_of_the_bot_may_be_as_old_as_that() -> None:
    clock = Clock()
    hearing = Hearing(clock, heard_ts=clock.now_s - 600)
    hearing.listens()
    assert hearing.said_since() == clock.now_s - 600
    assert Hearing(clock, heard_ts=clock.now_s - 30).said_since() is None
    assert Hearing(clock).said_since() is None
