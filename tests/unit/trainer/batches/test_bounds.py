from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from trainmaster.trainer.batches.batchnorm import BatchNormStatistics
from trainmaster.trainer.batches.bounds import KNOWN_AFTER


def model_of_two() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5, momentum=0.03), nn.Conv2d(5, 7, 3), nn.BatchNorm2d(7, momentum=0.03)
    )


def trained(batches: int, scale: float = 1.0) -> tuple[nn.Module, BatchNormStatistics]:
    model = model_of_two()
    statistics = BatchNormStatistics(model)
    for _ in range(batches):
        model(torch.randn(4, 3, 8, 8) * scale)
        assert float(statistics.flag()) == 0
        statistics.accept()
    return model, statistics


@pytest.mark.parametrize("scale", [1e-4, 1.0, 255.0])
def test_ordinary_batches_of_any_scale_pass(scale: float) -> None:
    trained(KNOWN_AFTER + 60, scale)


@pytest.mark.parametrize("batches", [0, 1, KNOWN_AFTER, KNOWN_AFTER + 20])
@pytest.mark.parametrize("activation", [1e18, 1e10, -1e18])
def test_one_activation_that_ruins_a_layer_is_told_at_any_time(batches: int, activation: float) -> None:
    model, statistics = trained(batches)
    images = torch.randn(4, 3, 8, 8)
    images[1, 2, 3, 4] = activation
    model(images)
    assert float(statistics.flag()) == math.inf
    statistics.restore()
    assert float(statistics.flag()) == 0


def test_the_bound_is_the_layers_own() -> None:
    model, statistics = trained(KNOWN_AFTER)
    model[3].running_var[2] = 2e4 * float(model[3].running_var.max())
    assert float(statistics.flag()) == math.inf
    assert statistics.heal() == 1
    assert float(statistics.flag()) == 0
    model[3].running_var[2] = 100.0 * float(model[3].running_var.max())
    assert float(statistics.flag()) == 0


def test_data_of_another_scale_passes() -> None:
    model, statistics = trained(KNOWN_AFTER)
    for _ in range(100):
        model(torch.randn(4, 3, 8, 8) * 255.0)
        assert float(statistics.flag()) == 0
        statistics.accept()


def test_a_layer_that_wakes_up_passes() -> None:
    model, statistics = trained(KNOWN_AFTER, scale=0.0)
    model(torch.randn(4, 3, 8, 8))
    assert float(statistics.flag()) == 0


def test_weights_that_were_trained_have_a_history_at_once() -> None:
    model, _ = trained(KNOWN_AFTER)
    model[1].running_var[0] *= 1e-5
    statistics = BatchNormStatistics(model)
    model[3].running_mean[2] = 5e3
    assert float(statistics.flag()) == math.inf


def test_a_value_that_is_not_finite_is_told_from_a_jump() -> None:
    model, statistics = trained(KNOWN_AFTER)
    model[3].running_var[2] = math.inf
    assert math.isnan(float(statistics.flag()))
    model[1].running_var[2] = 1e30
    assert math.isnan(float(statistics.flag()))
