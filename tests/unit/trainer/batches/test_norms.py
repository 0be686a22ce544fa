from __future__ import annotations

import math
import random

import pytest

from trainmaster.trainer.batches.norms import TREND_FACTOR, NormHistory

BLOOM = (0.95, 2.4, 16.0, 145.0, 960.0)
"""What followed 0.24 in five steps, before the loss showed it."""


def noisy(history: NormHistory, steps: int, sigma: float, seed: int = 0) -> int:
    """Warnings that ``steps`` healthy norms around 0.24 gave."""
    draw = random.Random(seed)
    return sum(history.note(0.24 * math.exp(draw.gauss(0, sigma))) is not None for _ in range(steps))


@pytest.mark.parametrize("sigma", [0.0, 0.2, 0.5], ids="scatter {}".format)
@pytest.mark.parametrize("steps", [25, 150, 3000])
def test_growth_warns_steps_before_the_loss_shows_it(steps: int, sigma: float) -> None:
    history = NormHistory()
    assert noisy(history, steps, sigma) == 0
    warned = [norm for norm in BLOOM if history.note(norm) is not None]
    assert len(warned) == 1
    assert warned[0] <= 16.0


def test_growth_warns_even_when_little_is_known_yet() -> None:
    history = NormHistory()
    assert [norm for norm in (0.24, *BLOOM) if history.note(norm) is not None] == [16.0]


@pytest.mark.parametrize("sigma", [0.2, 0.5, 1.2], ids="scatter {}".format)
def test_healthy_noise_is_quiet(sigma: float) -> None:
    assert noisy(NormHistory(), 10_000, sigma) == 0


def test_a_falling_warm_up_is_quiet() -> None:
    history, draw = NormHistory(), random.Random(3)
    norms = (math.exp(draw.gauss(0, 0.4)) * (100 * math.exp(-step / 50) + 3) for step in range(2000))
    assert not any(history.note(norm) for norm in norms)


def test_height_that_was_reached_twice_lately_is_no_growth() -> None:
    """Batches of which some hold no object at all."""
    history = NormHistory()
    norms = [12.0 if step % 30 in {3, 9} else 0.2 for step in range(1000)]
    assert [step for step, norm in enumerate(norms) if history.note(norm)] == []
    assert history.note(145.0) is not None


def test_growth_too_slow_for_the_median_shows_in_the_trend() -> None:
    history = NormHistory()
    assert noisy(history, 1000, 0.0) == 0
    assert history.trend == pytest.approx(1.0)
    warned = next(step for step in range(1000) if history.note(0.24 * 1.003**step))
    assert history.trend is not None
    assert history.trend >= TREND_FACTOR
    assert 1.003**warned < 5


def test_a_summary_covers_the_steps_since_the_last_one() -> None:
    history = NormHistory()
    for norm in range(1, 101):
        history.note(float(norm))
    summary = history.summary()
    assert (summary.p50, summary.p99, summary.largest) == (51.0, 100.0, 100.0)
    assert history.summary().p50 is None
    assert history.recent().largest == 100.0


def test_a_norm_that_is_no_number_blinds_nothing() -> None:
    history = NormHistory()
    noisy(history, 30, 0.1)
    assert history.note(math.nan) is None
    assert history.note(math.inf) is None
    assert history.note(16.0) is not None
