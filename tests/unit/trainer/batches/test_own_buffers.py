from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn

from trainmaster.trainer.batches.batchnorm import BatchNormStatistics


class Scaled(nn.Module):
    """Divides by a running mean of sizes, as modules of somebody's own do."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(1))
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))
        self.register_buffer("mask", torch.full((2, 2), -math.inf), persistent=False)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            self.keep(image.abs().mean())
        self.seen += 1
        return image / self.scale

    def keep(self, size: torch.Tensor) -> None:
        self.scale.mul_(0.9).add_(0.1 * size)


class Replacing(Scaled):
    """Puts another tensor in the place of its buffer at every pass."""

    def keep(self, size: torch.Tensor) -> None:
        self.scale = self.scale * 0.9 + 0.1 * size


class Uncounted(Scaled):
    """Writes past torch's count of writes."""

    def keep(self, size: torch.Tensor) -> None:
        self.scale.data.mul_(0.9).add_(0.1 * size)


every_kind = pytest.mark.parametrize("kind", [Scaled, Replacing, Uncounted])


def watched(kind: Callable[[], nn.Module]) -> tuple[nn.Module, BatchNormStatistics]:
    model = nn.Sequential(nn.BatchNorm2d(3), kind())
    statistics = BatchNormStatistics(model)
    model(torch.randn(2, 3, 4, 4))
    statistics.accept()
    return model, statistics


def values(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: buffer.clone() for name, buffer in model.named_buffers()}


def assert_holds(model: nn.Module, expected: dict[str, torch.Tensor]) -> None:
    assert all(torch.equal(buffer, expected[name]) for name, buffer in model.named_buffers())


@every_kind
def test_restoring_undoes_what_a_bad_batch_wrote(kind: Callable[[], nn.Module]) -> None:
    model, statistics = watched(kind)
    before = values(model)
    assert math.isfinite(statistics.flag())
    model[1](torch.full((1, 3, 4, 4), math.nan))
    assert math.isnan(statistics.flag())

    statistics.restore()

    assert_holds(model, before)
    assert math.isfinite(statistics.flag())


@every_kind
def test_rewinding_goes_back_to_the_start_of_the_window(kind: Callable[[], nn.Module]) -> None:
    model, statistics = watched(kind)
    statistics.start_window()
    before = values(model)
    for _ in range(2):
        model(torch.randn(2, 3, 4, 4))
        statistics.accept()

    statistics.rewind()
    assert_holds(model, before)
    model(torch.randn(2, 3, 4, 4))
    statistics.restore()
    assert_holds(model, before)


def test_what_was_spoiled_between_batches_is_healed_and_counted() -> None:
    model, statistics = watched(Scaled)
    before = values(model)
    model[1].scale.fill_(math.inf)

    assert statistics.heal() == 1
    assert_holds(model, before)
    assert statistics.heal() == 0


@pytest.mark.parametrize("how", ["expanded", "of another shape", "gone"])
def test_a_buffer_that_can_not_be_written_to_is_put_back(how: str) -> None:
    model, statistics = watched(Scaled)
    before = values(model)
    match how:
        case "expanded":
            model[1].scale = torch.zeros(1, 1).expand(3, 1)
        case "of another shape":
            model[1].scale = torch.zeros(7)
        case _:
            model[1].scale = None

    statistics.restore()

    assert_holds(model, before)
    assert model[1].scale is not None
