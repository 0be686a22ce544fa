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


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("running_mean", one) for one in (math.nan, 1e6)),
        *(("running_var", one) for one in (math.inf, 1e12, -1.0)),
        ("num_batches_tracked", -1),
    ],
)
def test_what_a_model_begins_with_and_none_can_be_starts_over(name: str, value: float) -> None:
    model = model_of_two()
    run(model, 1)
    sound = {name: buffer.clone() for name, buffer in model.named_buffers()}
    getattr(model[3], name).view(-1)[-1] = value
    statistics = BatchNormStatistics(model)

    assert statistics.heal() == 1

    sound[f"3.{name}"].view(-1)[-1] = 1.0 if name == "running_var" else 0.0
    assert all(torch.equal(buffer, sound[name]) for name, buffer in model.named_buffers())
    assert float(statistics.flag()) == 0
    statistics.restore()
    assert statistics.heal() == 0


class OwnNorm(nn.Module):
    """A normalization of somebody's own, none of torch's (as those of inplace_abn and detectron2 are)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            self.running_mean.lerp_(x.mean((0, 2, 3)), 0.03)
            self.running_var.lerp_(x.var((0, 2, 3)), 0.03)
        return (x - self.running_mean[:, None, None]) / self.running_var[:, None, None].add(1e-3).sqrt()


def test_statistics_of_a_normalization_of_ones_own_may_jump_no_further() -> None:
    model = nn.Sequential(nn.Conv2d(3, 5, 3), OwnNorm(5), nn.Conv2d(5, 7, 3), nn.BatchNorm2d(7))
    statistics = BatchNormStatistics(model)
    run(model, 1)
    statistics.accept()
    before = model[1].running_var.clone()
    model(torch.full((2, 3, 8, 8), 1e18) * torch.randn(2, 3, 8, 8))
    assert math.isinf(float(statistics.flag()))

    statistics.restore()

    assert float(statistics.flag()) == 0
    assert torch.equal(model[1].running_var, before)


def test_a_layer_in_another_precision_keeps_it() -> None:
    model = nn.Sequential(nn.BatchNorm2d(7, dtype=torch.float64), *model_of_two())
    statistics = BatchNormStatistics(model)
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    model[0](torch.randn(2, 7, 4, 4, dtype=torch.float64) * 100)
    run(model[1:], 1)
    assert model[0].running_var.dtype is torch.float64
    assert model[4].running_var.data_ptr() - model[2].running_var.data_ptr() == 2 * 64 * 4  # in one tensor

    statistics.restore()

    assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())


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
