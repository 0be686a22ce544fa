"""The plain numbers that live modules carry beside their tensors, judged as those in a file are.

Ultralytics' checkpoint is of whole modules and holds them. A full state is of tensors alone: it doesn't."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from trainmaster.trainer.checkpoints.attest import Examination
from trainmaster.trainer.checkpoints.module_settings import SLOTS, ModuleSetting, impossible_among, numbers_in
from trainmaster.trainer.contract import Verdict

_MAY_HOLD_NUMBERS = (float, int, list, tuple, dict)
_MOST_STRIDES = 16


def examine_settings(part: str, model: nn.Module) -> Examination:
    """Judge an eps, a momentum, a stride and the like of every module of ``model``, which becomes ``part`` of a file.

    A stride that is a tensor is read from its device.
    """
    reasons = [f"{part}: {why}" for why in impossible_among(list(_settings(model)))]
    return Examination(verdict=Verdict.CONTAMINATED if reasons else Verdict.CLEAN, reasons=tuple(reasons))


def _settings(model: nn.Module) -> Iterator[ModuleSetting]:
    for path, module in model.named_modules():
        normalizes = "running_var" in module._buffers  # noqa: SLF001 - as a file holds them
        for key, value in vars(module).items():
            name = f"{path}.{key}" if path else key
            if key == "stride" and isinstance(value, torch.Tensor) and value.numel() <= _MOST_STRIDES:
                numbers = value.detach().flatten().tolist()
                yield from (ModuleSetting(name, key, float(number), normalizes=False) for number in numbers)
            elif key not in SLOTS and isinstance(value, _MAY_HOLD_NUMBERS):
                yield from (ModuleSetting(name, key, number, normalizes) for number in numbers_in(value))
