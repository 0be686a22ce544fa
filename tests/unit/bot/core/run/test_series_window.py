"""Stretches of a series: however its rows come, together or one by one, they are judged alike."""

from __future__ import annotations

import math
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainmaster.bot.core.run.series_window import (
    MAX_STRETCHES_KEPT,
    MIN_COMPARED,
    NUM_COMPARED,
    SeriesRow,
    SeriesWindow,
    with_rows,
)

losses = st.one_of(st.floats(0, 10), st.sampled_from([math.nan, math.inf, 5.0]))


def rows_of(values: list[float], attempts: list[int]) -> list[SeriesRow]:
    return [
        SeriesRow(ts=float(number), attempt=attempt, epoch=1, batch=10 * number, loss=loss)
        for number, (loss, attempt) in enumerate(zip(values, attempts, strict=False))
    ]


@given(
    values=st.lists(losses, max_size=80),
    attempts=st.lists(st.sampled_from([1, 1, 1, 1, 1, 2]), min_size=80, max_size=80),
    size=st.integers(1, 80),
)
def test_each_stretch_is_compared_with_the_finite_losses_of_its_attempt_among_those_before(
    values: list[float], attempts: list[int], size: int
) -> None:
    rows = rows_of(values, attempts)
    known: tuple[SeriesWindow, ...] = ()
    for start in range(0, len(rows), size):
        known = with_rows(known, rows[start : start + size])
    assert len(known) == len(rows)
    for number, one in enumerate(known):
        before = [
            row.loss
            for row in rows[max(0, number - NUM_COMPARED) : number]
            if row.attempt == one.attempt and math.isfinite(row.loss)
        ]
        if len(before) < MIN_COMPARED:
            assert (one.loss_before, one.loss_deviation) == (None, None)
        else:
            middle = median(before)
            assert one.loss_before == middle
            deviation = pytest.approx(1.4826 * median(abs(loss - middle) for loss in before))
            assert one.loss_deviation == (deviation if one.loss > sorted(before)[-2] else None)


def test_a_long_history_read_at_once_ends_as_one_read_row_by_row() -> None:
    rows = rows_of([math.sin(number) + 2 for number in range(3 * MAX_STRETCHES_KEPT)], [1] * 3 * MAX_STRETCHES_KEPT)
    one_by_one: tuple[SeriesWindow, ...] = ()
    for row in rows:
        one_by_one = with_rows(one_by_one, [row])
    assert with_rows((), rows) == one_by_one
    assert len(one_by_one) == MAX_STRETCHES_KEPT
