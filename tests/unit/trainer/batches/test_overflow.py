from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from trainmaster.trainer.batches.overflow import FIRST_SCALE, MAX_OVERFLOWS, Overflows


class Scaler(torch.amp.GradScaler):
    """What torch's gradient scaler is asked for, noted."""

    def __init__(self, *, enabled: bool) -> None:
        super().__init__("cpu")
        self.enabled = enabled
        self.scale = 1024.0
        self.asked: list[str] = []

    def is_enabled(self) -> bool:
        return self.enabled

    def get_scale(self) -> float:
        return self.scale

    def step(self, _: Any) -> None:  # type: ignore[override]
        self.asked.append("step")

    def update(self, new_scale: float | None = None) -> None:
        self.asked.append("update" if new_scale is None else f"update to {new_scale:.0f}")


def overflows_of(*, enabled: bool) -> tuple[Overflows, Scaler]:
    scaler = Scaler(enabled=enabled)
    optimizer = SimpleNamespace(zero_grad=lambda: scaler.asked.append("zero_grad"))
    trainer: Any = SimpleNamespace(scaler=scaler, optimizer=optimizer, ema=None, model=None)
    return Overflows(trainer), scaler


def test_without_a_scaler_gradients_that_are_not_finite_are_no_overflow() -> None:
    overflows, scaler = overflows_of(enabled=False)
    assert not overflows.possible
    assert not overflows.count()
    overflows.forget()
    assert (overflows.num, scaler.asked) == (0, [])


@pytest.mark.parametrize("scale", [math.nan, math.inf, -math.inf, 0.0])
def test_a_scale_that_no_search_brings_back_starts_over(scale: float) -> None:
    overflows, scaler = overflows_of(enabled=True)
    assert not overflows.mend_scale()
    scaler.scale = scale
    assert overflows.mend_scale()
    assert scaler.asked == [f"update to {FIRST_SCALE:.0f}"]


@pytest.mark.parametrize("value", [math.nan, math.inf, 0.0, -1.0])
@pytest.mark.parametrize(
    ("name", "start"), [("growth_factor", 2.0), ("backoff_factor", 0.5), ("growth_interval", 2000)]
)
def test_what_a_scale_is_changed_by_starts_over(name: str, start: float, value: float) -> None:
    overflows, scaler = overflows_of(enabled=True)
    setattr(scaler, f"_{name}", value)
    assert overflows.mend_scale()
    assert getattr(scaler, f"_{name}") == start
    assert not overflows.mend_scale()


def test_without_a_scaler_there_is_no_scale_to_mend() -> None:
    overflows, scaler = overflows_of(enabled=False)
    scaler.scale = math.nan
    assert not overflows.mend_scale()
    assert not scaler.asked


def test_an_overflow_is_left_to_the_scaler_and_its_gradients_are_gone() -> None:
    overflows, scaler = overflows_of(enabled=True)
    assert overflows.leave_out()
    assert scaler.asked == ["step", "update", "zero_grad"]


@pytest.mark.parametrize("good_at", [None, 10], ids=["without end", "with a good step between"])
def test_overflows_pass_until_they_go_on_and_on(good_at: int | None) -> None:
    overflows, _ = overflows_of(enabled=True)
    passed = []
    for number in range(MAX_OVERFLOWS + 1):
        if number == good_at:
            overflows.end_streak()
        passed.append(overflows.leave_out())
    assert passed == [True] * MAX_OVERFLOWS + [good_at is not None]
    assert overflows.num == MAX_OVERFLOWS + 1


def test_an_overflow_that_was_none_leaves_the_scale_as_it_was() -> None:
    overflows, scaler = overflows_of(enabled=True)
    overflows.forget()
    assert scaler.asked == ["update to 1024"]
