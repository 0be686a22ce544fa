"""The bot's own clock is set, or the host sleeps."""

from __future__ import annotations

import pytest

from tests.support.run_dirs import START_TS, WrittenRun
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.reading.own_clock import OwnClock
from trainmaster.bot.reading.run_files import RunReader


@pytest.mark.parametrize(
    ("wall_s", "steady_s", "jump_s"),
    [
        pytest.param(30.0, 30.0, 0.0, id="time passes"),
        pytest.param(38.0, 30.0, 0.0, id="a slow look"),
        pytest.param(3630.0, 30.0, 3600.0, id="set forward, or asleep"),
        pytest.param(-3570.0, 30.0, -3600.0, id="set back"),
    ],
)
def test_a_jump_is_what_no_steady_clock_saw(wall_s: float, steady_s: float, jump_s: float) -> None:
    steady = iter([100.0, 100.0 + steady_s])
    clock = OwnClock(lambda: next(steady))
    assert clock.jump_s(1000.0) == 0.0
    assert clock.jump_s(1000.0 + wall_s) == jump_s


def test_made_up_time_never_jumps() -> None:
    clock = OwnClock(None)
    clock.jump_s(1.0)
    assert clock.jump_s(1e9) == 0.0


@pytest.mark.parametrize("by_s", [-86_400.0, 86_400.0])
def test_ages_survive_a_jump(written: WrittenRun, by_s: float) -> None:
    steady = iter([0.0, 30.0, 60.0])
    reader = RunReader(written.layout.root, first_seen_ts=START_TS, steady=lambda: next(steady))
    written.beat(0, epoch=1, batch=5)
    reader.read(START_TS + 1)

    def age(view: RunView, now: float) -> float:
        assert view.beat_seen_ts is not None
        return now - view.beat_seen_ts

    now = START_TS + 31 + by_s
    assert age(reader.read(now), now) == 31
    assert age(reader.read(now + 30), now + 30) == 61
