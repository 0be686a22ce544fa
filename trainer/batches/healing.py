"""Puts right what became bad outside the batch: the EMA, and the optimizer's own state and settings."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from ultralytics.utils.torch_utils import unwrap_model

from trainmaster.trainer.batches.gradients import all_finite
from trainmaster.trainer.checkpoints.domains import domain_of
from trainmaster.trainer.checkpoints.single_numbers import setting_holds


@torch.no_grad()
def heal_ema(ema: nn.Module, model: nn.Module) -> int:
    """Every tensor of ``ema`` that held what none can hold is that of ``model`` now; how many.

    That is a non-finite value, a variance below 0, and a running statistic beyond anything that trains. One NaN, or one
    1e30, would stay in a running average for good. The live tensor is the best estimate there is. 0 costs two reads.
    """
    averaged = ema.state_dict()
    statistics = {name: value for name, value in averaged.items() if name.endswith((".running_var", ".running_mean"))}
    strays = [_is_stray(name, value) for name, value in statistics.items()]
    if all_finite(averaged.values()) and not (strays and bool(torch.stack(strays).any())):
        return 0
    live = unwrap_model(model).state_dict()
    healed = 0
    for name, value in averaged.items():
        if name not in live or not value.is_floating_point():
            continue
        if not bool(torch.isfinite(value).all()) or (name in statistics and bool(_is_stray(name, value))):
            healed += not torch.equal(value, live[name])
            value.copy_(live[name])
    return healed


def _is_stray(name: str, value: torch.Tensor) -> torch.Tensor:
    """Whether running statistics have left their domain, on their device."""
    domain = domain_of("ema", name, value.ndim)
    beyond = value.abs().amax() > domain.largest
    return beyond | (value.amin() < 0) if domain.nonnegative else beyond


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
    """The optimizer's settings that none can have, with their values, put right; None when all can be.

    Reads no device, but for a setting that somebody keeps in a tensor there.
    """
    bad: dict[str, object] = {}
    for group in optimizer.param_groups:
        for name, value in group.items():
            if name == "params" or value is None or type(value) in {bool, str}:
                continue
            parts = value if isinstance(value, tuple | list) else (value,)
            if all(_holds(name, part) for part in parts):
                continue
            bad.setdefault(name, value)
            default = optimizer.defaults.get(name, 0.0)
            defaults = default if isinstance(default, tuple | list) else (default,)
            group[name] = default if all(_holds(name, part) for part in defaults) else 0.0  # the next state is good
    return " and ".join(f"{name} is {value}" for name, value in bad.items()) or None


def _holds(name: str, part: object) -> bool:
    """Whether a setting can be ``part``: a number of Python or NumPy, or a tensor of one."""
    if isinstance(part, float | int):
        return setting_holds(name, part)
    if isinstance(part, torch.Tensor):
        return part.numel() != 1 or part.is_complex() or setting_holds(name, float(part))
    return not isinstance(part, np.number) or (isinstance(part, np.complexfloating) or setting_holds(name, float(part)))
