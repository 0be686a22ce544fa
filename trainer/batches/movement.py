"""Whether an epoch of steps has moved anything: the gradients were not zero, the weights changed, and the EMA too."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, unique
from typing import Any, Final

import torch
from torch import nn
from ultralytics.utils.torch_utils import unwrap_model

from trainmaster.trainer.engines.protocol import EngineTrainer

MIN_STEPS: Final = 4
"""That ought to have moved something, before an epoch in which nothing moved is the end: an optimizer of somebody's own
may gather a few steps into one."""
MIN_MOVE: Final = 1e-4
"""Gradient norm times the smallest learning rate. Spread over 100 million weights of 0.05 it is still five times what
rounds away in single precision; below, a step may honestly change nothing."""
NUM_SAMPLED: Final = 1024
"""Of a tensor's numbers, about so many are looked at."""

_INTEGERS: Final = {2: torch.int16, 4: torch.int32, 8: torch.int64}


@unique
class Standstill(Enum):
    """What did not move in an epoch that took steps."""

    GRADIENTS = "every gradient was exactly zero, as of a loss that does not depend on the model, or of hooks"
    WEIGHTS = "steps were taken and not one weight has changed"
    WEIGHTS_FOR_CERTAIN = "steps were taken that had to change weights, and not one has changed"
    EMA = "the EMA, which is what is saved, has not changed though the model has"


class StepsTaken:
    """Counts the steps of an epoch by what they could do. Reads no device."""

    def __init__(self) -> None:
        self.start_over()

    def start_over(self) -> None:
        """Nothing is counted yet, as at the start of an epoch."""
        self.num = 0
        """At a learning rate above zero."""
        self.num_with_gradient = 0
        """Of these, with a gradient that is not zero."""
        self.num_moving = 0
        """Of these, those that have to change weights."""

    def note(self, norm: float, optimizer: torch.optim.Optimizer, *, plain: bool, there: bool = True) -> None:
        """A step is taken, its clipped gradients of ``norm``; ``plain`` unless a subclass takes it in its own way.

        Where none is ``there``, each weight was stepped within the backward pass, or none.
        """
        rates = [group["lr"] for group in optimizer.param_groups] if there else []
        if not all(isinstance(rate, float | int) for rate in rates) or not any(rate > 0 for rate in rates):
            return  # a rate in a tensor may lie on a device: nothing is concluded from its steps
        self.num += 1
        self.num_with_gradient += norm > 0
        self.num_moving += plain and norm * min(rates) >= MIN_MOVE


@dataclass(frozen=True, slots=True, kw_only=True)
class _Digests:
    weights: dict[str, int]
    averaged: dict[str, int]


class Movement:
    """Compares the weights with those of the epoch before, by one number a tensor and one read of the device."""

    def __init__(self, trainer: EngineTrainer) -> None:
        self._trainer = trainer
        self._before = self._now()

    def judge(self, taken: StepsTaken) -> Standstill | None:
        """What stood still since the last call though ``taken`` says that it should not; None when all moved."""
        before, self._before = self._before, self._now()
        if not taken.num:
            return None
        if before.weights and before.weights == self._before.weights:
            if not taken.num_with_gradient:
                return Standstill.GRADIENTS
            return Standstill.WEIGHTS_FOR_CERTAIN if taken.num_moving >= MIN_STEPS else Standstill.WEIGHTS
        if not taken.num_with_gradient:  # decay and momentum still move the weights
            return Standstill.GRADIENTS
        if before.averaged and before.averaged == self._before.averaged and taken.num_moving:
            return Standstill.EMA
        return None

    def _now(self) -> _Digests:
        model: nn.Module = unwrap_model(self._trainer.model)
        weights = {name: value for name, value in model.named_parameters() if value.requires_grad}
        ema: Any = getattr(self._trainer.ema, "ema", None)
        averaged = dict(ema.named_parameters()) if isinstance(ema, nn.Module) else {}
        averaged = {name: value for name, value in averaged.items() if name in weights}
        numbers = _digests([*weights.values(), *averaged.values()])
        return _Digests(
            weights=dict(zip(weights, numbers, strict=False)),
            averaged=dict(zip(averaged, numbers[len(weights) :], strict=True)),
        )


@torch.no_grad()
def _digests(tensors: Iterable[torch.Tensor]) -> list[int]:
    """One number a tensor, the sum of the bits of a sample; one read for all that lie on a device."""
    sums = [_bits(tensor.detach()).sum() for tensor in tensors]
    return [int(number) for number in torch.stack([one.to(sums[0].device) for one in sums]).tolist()] if sums else []


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    """Of a small tensor all, of a large one some from end to end: the cost does not grow with the model's width."""
    kind = _INTEGERS.get(tensor.element_size()) if tensor.is_floating_point() else None
    if kind is None:
        return tensor.new_zeros(1, dtype=torch.int64)
    bits, count = tensor.view(kind), tensor.numel()
    return bits if count < 2 * NUM_SAMPLED else bits.reshape(-1)[:: count // NUM_SAMPLED]
