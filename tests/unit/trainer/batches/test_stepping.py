"""What a step is taken with."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.amp.grad_scaler import GradScaler

from trainmaster.trainer.batches.batchnorm import BatchNormStatistics
from trainmaster.trainer.batches.gradients import Gradients
from trainmaster.trainer.batches.overflow import FIRST_SCALE, Overflows
from trainmaster.trainer.batches.stepping import Stepping
from trainmaster.trainer.batches.weight_watch import WeightWatch
from trainmaster.trainer.batches.window import Window

NOTHING: Any = SimpleNamespace(
    due=lambda _: True,
    spoil_gradients=lambda _: None,
    end_streak=lambda: None,
    count=lambda: False,
    mend_scale=lambda: False,
    failed=lambda *_, **__: None,
    is_judged=True,
    window_open=False,
    possible=False,
)
"""Position, drill, overflows and the batch in work, of which none has anything to say."""


def stepping(
    model: nn.Module,
    *,
    skip: bool,
    work: Any = NOTHING,
    statistics: Any = None,
    scaled: bool = False,
    window: Any = None,
) -> Stepping:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scaler = GradScaler("cpu", enabled=scaled)
    trainer: Any = SimpleNamespace(
        model=model,
        optimizer=optimizer,
        scaler=scaler,
        ema=None,
        device=torch.device("cpu"),
        amp=False,
        world_size=1,
    )
    return Stepping(
        trainer,
        model,
        gradients=Gradients(model, optimizer),
        statistics=statistics or BatchNormStatistics(model),
        work=work,
        window=window or Window(cut=False),
        weights=WeightWatch(model, None, optimizer),
        recovery=NOTHING,
        overflows=Overflows(trainer) if scaled else NOTHING,
        position=NOTHING,
        drill=NOTHING,
        max_norm=10.0,
        skip=skip,
        emit=lambda _: None,
    )


@pytest.mark.parametrize(
    ("skip", "given", "met"),
    [(True, 30.0, 10.0), (False, 30.0, 30.0), (False, float("inf"), float("inf"))],
    ids=["guarded", "observed", "observed, without a number"],
)
def test_a_step_of_its_own_way_meets_the_gradients_as_they_were_where_nothing_is_to_be_changed(
    skip: bool, given: float, met: float
) -> None:
    """It clips as it likes; clipped twice, a gradient is another one in its last bits."""
    model = nn.Linear(1, 1, bias=False)
    model.weight.grad = torch.full((1, 1), given)
    seen: list[float] = []

    stepping(model, skip=skip).step(lambda: seen.append(float(model.weight.grad or 0)))

    assert seen == [pytest.approx(met)]


def test_what_a_batch_that_nobody_judged_left_in_the_statistics_counts_as_verified_with_its_step() -> None:
    model = nn.Sequential(nn.Linear(1, 2), nn.BatchNorm1d(2))
    statistics = BatchNormStatistics(model)
    model(torch.randn(4, 1)).sum().backward()
    left = [buffer.clone() for buffer in model.buffers()]

    stepping(model, skip=True, work=SimpleNamespace(is_judged=False), statistics=statistics).step(None)
    statistics.restore()

    assert all(map(torch.equal, model.buffers(), left))


@pytest.mark.parametrize("skip", [True, False], ids=["guarded", "observed"])
def test_a_step_whose_gradients_were_used_within_the_backward_pass_is_one(skip: bool) -> None:
    window = Window(cut=False)
    window.count(skipped=False)
    made = stepping(nn.Linear(1, 1), skip=skip, window=window)
    updated: list[Any] = []
    made._trainer.ema = SimpleNamespace(update=updated.append)

    made.step(None)

    assert updated == [made._trainer.model]
    assert not made.taken.num


@pytest.mark.parametrize("left", [None, 0.0], ids=["none", "zeros"])
def test_no_step_is_taken_where_every_batch_was_skipped(left: float | None) -> None:
    window = Window(cut=False)
    window.count(skipped=True)
    model = nn.Linear(1, 1)
    for parameter in model.parameters():
        parameter.grad = None if left is None else torch.full_like(parameter, left)
    made = stepping(model, skip=True, window=window)
    steps: list[Any] = []
    made._trainer.optimizer.register_step_pre_hook(lambda *_: steps.append(1))

    made.step(None)

    assert not steps


def test_nothing_is_saved_of_an_average_that_is_none_any_more() -> None:
    made = stepping(nn.Linear(1, 1), skip=True)
    assert made.sound()
    made._trainer.ema = SimpleNamespace(ema=nn.Identity(), updates=float("nan"), decay=lambda _: 0.9)
    assert not made.sound()
    assert made._weights.ruin == "the EMA's updates are nan, so it is no average of the weights any more"


@pytest.mark.parametrize("gradient", [1.0, float("nan"), float("inf")])
def test_what_is_bad_in_an_open_window_is_found_before_it_is_saved(gradient: float) -> None:
    model = nn.Linear(1, 1, bias=False)
    model.weight.grad = torch.full((1, 1), gradient)
    made = stepping(model, skip=True)
    made._position = SimpleNamespace(window_open=True)  # type: ignore[assignment]
    met: list[float] = []
    made._recovery = SimpleNamespace(recover=lambda measured, _: met.append(measured.norm))  # type: ignore[assignment]
    assert made.sound()
    assert len(met) == (gradient != 1.0)


@pytest.mark.parametrize("scale", [float("nan"), float("inf"), 0.0])
def test_a_scale_that_no_search_brings_back_is_not_saved(scale: float) -> None:
    made = stepping(nn.Linear(1, 1), skip=True, scaled=True)
    made._trainer.scaler.scale(torch.zeros(()))
    made._trainer.scaler.update(new_scale=scale)
    assert made.sound()
    assert made._trainer.scaler.get_scale() == FIRST_SCALE
