"""An epoch of steps that moved nothing is told from one that had nothing to move."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from trainmaster.trainer.batches.movement import MIN_STEPS, Movement, Standstill, StepsTaken
from trainmaster.trainer.engines.protocol import EngineTrainer


def trainer_of(model: torch.nn.Module, average: torch.nn.Module | None = None) -> EngineTrainer:
    ema = None if average is None else SimpleNamespace(ema=average)
    return cast("EngineTrainer", SimpleNamespace(model=model, ema=ema))


def taken(*norms: float, lr: Any = 0.01, plain: bool = True) -> StepsTaken:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
    optimizer.param_groups[0]["lr"] = lr
    found = StepsTaken()
    for norm in norms:
        found.note(norm, optimizer, plain=plain)
    return found


STRONG = [1.0] * MIN_STEPS


@pytest.mark.parametrize(
    ("steps", "found"),
    [
        (taken(), None),
        (taken(*STRONG), Standstill.WEIGHTS_FOR_CERTAIN),
        (taken(*STRONG[1:]), Standstill.WEIGHTS),
        (taken(*STRONG, plain=False), Standstill.WEIGHTS),
        (taken(*STRONG, lr=1e-9), Standstill.WEIGHTS),
        (taken(*[1e-20] * 9), Standstill.WEIGHTS),
        (taken(*STRONG, lr=0.0), None),
        (taken(*STRONG, lr=torch.tensor(0.01)), None),
        (taken(*[0.0] * 9), Standstill.GRADIENTS),
    ],
    ids=[
        *("no steps", "steps that move", "few", "steps of its own", "a tiny rate", "tiny gradients", "no rate"),
        *("a rate on a device", "no gradients"),
    ],
)
def test_weights_that_stand_still_are_told_by_what_the_steps_could_do(
    steps: StepsTaken, found: Standstill | None
) -> None:
    assert Movement(trainer_of(torch.nn.Linear(3, 3))).judge(steps) is found


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("width", [3, 300])
def test_one_bit_of_one_bias_is_a_movement(dtype: torch.dtype, width: int) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(width, width), torch.nn.Conv2d(2, 3, 3)).to(dtype)
    model[1].to(memory_format=torch.channels_last)
    movement = Movement(trainer_of(model))
    assert movement.judge(taken(*STRONG)) is Standstill.WEIGHTS_FOR_CERTAIN
    bias = cast("torch.Tensor", model[0].bias)
    with torch.no_grad():
        bias[1] = torch.nextafter(bias[1].float(), torch.tensor(9.0)) if dtype is torch.float32 else bias[1] + 1
    assert movement.judge(taken(*STRONG)) is None
    assert movement.judge(taken(*STRONG)) is Standstill.WEIGHTS_FOR_CERTAIN


def test_zero_gradients_are_told_though_decay_moves_the_weights() -> None:
    model = torch.nn.Linear(3, 3)
    movement = Movement(trainer_of(model))
    with torch.no_grad():
        model.weight.mul_(0.999)
    assert movement.judge(taken(0.0, 0.0)) is Standstill.GRADIENTS


def test_an_average_that_stays_behind_is_told() -> None:
    model, average = torch.nn.Linear(3, 3), torch.nn.Linear(3, 3)
    movement = Movement(trainer_of(model, average.requires_grad_(requires_grad=False)))
    with torch.no_grad():
        model.weight.mul_(0.9)
    assert movement.judge(taken(*STRONG)) is Standstill.EMA
    with torch.no_grad():
        model.weight.mul_(0.9)
        average.weight.mul_(0.9)
    assert movement.judge(taken(*STRONG)) is None


def test_a_frozen_model_is_nobodys_fault() -> None:
    model = torch.nn.Linear(3, 3).requires_grad_(requires_grad=False)
    assert Movement(trainer_of(model, torch.nn.Linear(3, 3))).judge(taken(*STRONG)) is None
