"""The plain numbers that live modules carry beside their tensors, judged as those in a file are.

No file holds them: a full state is of tensors alone, and Ultralytics' checkpoint of the EMA's modules."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from trainmaster.trainer.checkpoints.attest import Examination
from trainmaster.trainer.checkpoints.held_numbers import others_in
from trainmaster.trainer.checkpoints.module_settings import (
    ModuleSetting,
    impossible_among,
    may_hold_numbers,
    settings_of,
)
from trainmaster.trainer.checkpoints.naming import below, few
from trainmaster.trainer.contract import Verdict

_MOST_STRIDES = 16


def examine_settings(part: str, model: nn.Module) -> Examination:
    """Judge an eps, a momentum, a stride and the like of every module of ``model``, the ``part`` of what trains.

    A stride that is a tensor is read from its device, and once whether NaN is in any that is no weight or statistic,
    nor a buffer: that is unknown, as it may be meant.
    """
    reasons = [f"{part}: {why}" for why in impossible_among(list(_settings(model)))]
    bad = _with_nan(model)
    doubts = [f"{part}: a tensor or an array outside the weights holds NaN: {few(bad)}"] if bad else []
    verdict = Verdict.CONTAMINATED if reasons else Verdict.UNKNOWN if doubts else Verdict.CLEAN
    return Examination(verdict=verdict, reasons=(*reasons, *doubts))


def _with_nan(model: nn.Module) -> list[str]:
    """Names of the attributes of modules that hold NaN in a tensor or an array of NumPy's."""
    return [
        below(path, key)
        for path, module in model.named_modules()
        for key, value in vars(module).items()
        if key != "stride" and may_hold_numbers(key, value) and any(map(_holds_nan, others_in(value)))
    ]


def _holds_nan(held: Any) -> bool:
    kind = type(held)
    if issubclass(kind, np.ndarray):
        return bool(held.dtype.kind in "fc" and np.isnan(held).any())
    if not issubclass(kind, torch.Tensor) or held.layout is not torch.strided or held.is_meta:
        return False
    return bool(held.is_floating_point() and held.isnan().any())


def _settings(model: nn.Module) -> Iterator[ModuleSetting]:
    for path, module in model.named_modules():
        yield from settings_of(path, vars(module))
        stride = vars(module).get("stride")
        if isinstance(stride, torch.Tensor) and stride.numel() <= _MOST_STRIDES:
            name = below(path, "stride")
            for number in stride.detach().flatten().tolist():
                yield ModuleSetting(name, "stride", float(number), normalizes=False)
