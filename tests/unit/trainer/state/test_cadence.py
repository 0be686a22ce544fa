from __future__ import annotations

import itertools

import pytest

from trainmaster.trainer.state.cadence import BETWEEN_DEATHS_S, LEAST_S, MOST_S, Cadence


@pytest.mark.parametrize(("given_s", "interval_s"), [(30.0, 30.0), (0, None), (7200.0, 7200.0)])
def test_what_the_user_gives_holds_whatever_a_save_costs(given_s: float, interval_s: float | None) -> None:
    cadence = Cadence(given_s)
    cadence.saved(100.0)
    assert cadence.interval_s == interval_s


@pytest.mark.parametrize(
    ("pause_s", "interval_s"),
    [
        pytest.param(0.01, LEAST_S, id="costs nothing"),
        pytest.param(0.5, pytest.approx(294, abs=1), id="a small model"),
        pytest.param(1.0, pytest.approx(416, abs=1), id="a larger one"),
        pytest.param(30.0, MOST_S, id="a slow disk"),
        pytest.param(100.0, 2000.0, id="a disk that hardly answers"),
        pytest.param(-1.0, LEAST_S, id="a clock that was set back"),
    ],
)
def test_the_longer_a_save_takes_the_rarer_it_is(pause_s: float, interval_s: float) -> None:
    cadence = Cadence(None)
    assert cadence.interval_s == LEAST_S, "the first one, of unknown cost"
    cadence.saved(pause_s)
    assert cadence.interval_s == interval_s


@pytest.mark.parametrize("pause_s", [0.1, 0.5, 2.0])
def test_no_other_interval_loses_less_to_saves_and_deaths_together(pause_s: float) -> None:
    def lost_s(interval_s: float) -> float:
        """Of each second: to saving, and to half an interval a death."""
        return pause_s / interval_s + interval_s / 2 / BETWEEN_DEATHS_S

    cadence = Cadence(None)
    cadence.saved(pause_s)
    chosen_s = cadence.interval_s
    assert chosen_s is not None
    assert all(lost_s(chosen_s) <= lost_s(other_s) for other_s in itertools.chain(range(60, 590, 5), (610, 1200)))
