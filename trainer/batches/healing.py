"""Puts right what became bad outside the batch: the EMA, and the optimizer's own state and settings."""

from __future__ import annotations

from typing import Final

import torch
from torch import nn
from ultralytics.utils.torch_utils import unwrap_model

from trainmaster.trainer.batches.batchnorm import lowest_of
from trainmaster.trainer.batches.gradients import all_finite

LARGEST: Final = {"lr": 10.0, "momentum": 1.0, "weight_decay": 10.0, "betas": 1.0, "alpha": 1.0}
"""Of an optimizer's groups, what a step multiplies by, and what none can be above. Ultralytics takes no lr0 above 1.

One step at a rate of a million leaves weights that are finite, and a model that is lost."""


@torch.no_grad()
def heal_ema(ema: nn.Module, model: nn.Module) -> int:
    """Every tensor of ``ema`` that held a non-finite value, or a variance below 0, is that of ``model`` now; how many.

    One NaN would stay in a running average for good. The live tensor is the best estimate there is. 0 costs two reads.
    """
    averaged = ema.state_dict()
    variances = {name: value for name, value in averaged.items() if name.endswith("running_var")}
    if all_finite(averaged.values()) and not (variances and bool(lowest_of(list(variances.values())) < 0)):
        return 0
    live = unwrap_model(model).state_dict()
    healed = 0
    for name, value in averaged.items():
        if name not in live or not value.is_floating_point():
            continue
        if not bool(torch.isfinite(value).all()) or (name in variances and bool((value < 0).any())):
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
        for name, largest in LARGEST.items():
            value = group.get(name)
            parts = value if isinstance(value, tuple | list) else (value,)
            if any(isinstance(part, float) and not 0 <= part <= largest for part in parts):
                group[name] = optimizer.defaults.get(name, 0.0)  # the state saved next is a good one
                return f"{name} is {value}"
    return None
