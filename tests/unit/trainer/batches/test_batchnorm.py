from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from trainmaster.trainer.batches.batchnorm import BatchNormStatistics


def model_of_two() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.Conv2d(5, 7, 3), nn.BatchNorm2d(7))


def run(model: nn.Module, seed: int) -> torch.Tensor:
    torch.manual_seed(seed)
    return model(torch.randn(2, 3, 8, 8))


def test_the_model_computes_what_it_computed() -> None:
    plain, guarded = model_of_two(), model_of_two()
    BatchNormStatistics(guarded)
    for seed in range(3):
        assert torch.equal(run(plain, seed), run(guarded, seed))
    left, right = plain.state_dict(), guarded.state_dict()
    assert all(torch.equal(left[name], right[name]) for name in left)


def test_restoring_undoes_a_forward_pass_counters_too() -> None:
    model = model_of_two()
    statistics = BatchNormStatistics(model)
    run(model, 1)
    statistics.accept()
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    run(model, 2)
    assert any(not torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())

    statistics.restore()

    assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())


def test_rewinding_goes_back_to_the_start_of_the_window() -> None:
    model = model_of_two()
    statistics = BatchNormStatistics(model)
    statistics.start_window()
    before = model[1].running_mean.clone()
    for seed in range(3):
        run(model, seed)
        statistics.accept()

    statistics.rewind()
    assert torch.equal(model[1].running_mean, before)
    run(model, 9)
    statistics.restore()
    assert torch.equal(model[1].running_mean, before)


def test_the_flag_tells_any_value_that_is_not_finite() -> None:
    model = model_of_two()
    statistics = BatchNormStatistics(model)
    assert float(statistics.flag()) == 0
    model[3].running_var[6] = math.inf
    assert math.isnan(float(statistics.flag()))
    statistics.restore()
    assert float(statistics.flag()) == 0


def test_the_views_hold_again_after_the_storage_was_replaced() -> None:
    model = model_of_two()
    statistics = BatchNormStatistics(model)
    model.double()
    model.float()
    statistics.reattach()
    model[1].running_mean[0] = math.nan
    assert math.isnan(float(statistics.flag()))


def test_a_model_without_batch_norm_is_always_fine() -> None:
    statistics = BatchNormStatistics(nn.Linear(2, 2))
    statistics.accept()
    statistics.restore()
    assert float(statistics.flag()) == 0


def test_what_is_written_between_two_batches_outlives_a_bad_one() -> None:
    """A callback that reckons statistics anew, or loads weights."""
    model = model_of_two()
    model.register_buffer("own", torch.zeros(2))
    statistics = BatchNormStatistics(model)
    model[1].running_mean.fill_(0.25)
    model[3].running_var.data.fill_(2.0)
    model.own.fill_(0.5)
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}

    assert float(statistics.take_over()) == 0
    statistics.start_window()
    run(model, 1)
    model.own.fill_(math.nan)
    statistics.restore()

    assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())
    statistics.rewind()
    assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e30])
def test_what_none_can_be_is_not_taken_over(value: float) -> None:
    model = model_of_two()
    statistics = BatchNormStatistics(model)
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    model[1].running_mean[0] = value

    assert not math.isfinite(float(statistics.take_over()))
    statistics.restore()

    assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())
