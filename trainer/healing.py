"""Puts right what became bad outside the batch: the EMA, and the optimizer's own state and settings."""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import nn
from ultralytics.utils.torch_utils import unwrap_model

from trainer.gradients import all_finite

_SETTINGS: Final = ("lr", "momentum", "weight_decay", "betas", "alpha")
"""Of an optimizer's groups, what a step multiplies by."""


@torch.no_grad()
def heal_ema(ema: nn.Module, model: nn.Module) -> int:
    """Every tensor of ``ema`` that held a non-finite value is that of ``model`` now; how many. 0 costs one read.

    One NaN would stay in a running average for good. The live tensor is the best estimate there is.
    """
    averaged = ema.state_dict()
    if all_finite(averaged.values()):
        return 0
    live = unwrap_model(model).state_dict()
    healed = 0
    for name, value in averaged.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()) and name in live:
            value.copy_(live[name])
            healed += 1
    return healed


@torch.no_grad()
def heal_optimizer(optimizer: torch.optim.Optimizer) -> int:
    """The state of every parameter that held a non-finite value starts over; how many tensors were bad.

    All of a parameter's state goes to zero, its step count too, which is how the optimizers start: half an Adam state
    would take a step of thirty times its size.
    """
    num_bad = 0
    for state in optimizer.state.values():
        tensors = [value for value in state.values() if isinstance(value, torch.Tensor) and value.is_floating_point()]
        bad = sum(not bool(torch.isfinite(tensor).all()) for tensor in tensors)
        if bad:
            num_bad += bad
            for tensor in tensors:
                tensor.zero_()
    return num_bad


def mend_settings(optimizer: torch.optim.Optimizer) -> str | None:
    """The first of the optimizer's settings that none can have, with its value, put right; reads no device."""
    for group in optimizer.param_groups:
        for name in _SETTINGS:
            value = group.get(name)
            parts = value if isinstance(value, tuple | list) else (value,)
            if any(isinstance(part, float) and not 0 <= part < math.inf for part in parts):
                group[name] = optimizer.defaults.get(name, 0.0)  # the state saved next is a good one
                return f"{name} is {value}"
    return None
