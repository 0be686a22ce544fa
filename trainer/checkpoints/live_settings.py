"""The plain numbers that live modules carry beside their tensors, judged as those in a file are.

Ultralytics' checkpoint is of whole modules and holds them. A full state is of tensors alone: it doesn't."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from trainmaster.trainer.checkpoints.attest import Examination
from trainmaster.trainer.checkpoints.module_settings import ModuleSetting, impossible_among, settings_of
from trainmaster.trainer.contract import Verdict

_MOST_STRIDES = 16


def examine_settings(part: str, model: nn.Module) -> Examination:
    """Judge an eps, a momentum, a stride and the like of every module of ``model``, which becomes ``part`` of a file.

    A stride that is a tensor is read from its device.
    """
    reasons = [f"{part}: {why}" for why in impossible_among(list(_settings(model)))]
    return Examination(verdict=Verdict.CONTAMINATED if reasons else Verdict.CLEAN, reasons=tuple(reasons))


def _settings(model: nn.Module) -> Iterator[ModuleSetting]:
    for path, module in model.named_modules():
        yield from settings_of(path, vars(module))
        stride = vars(module).get("stride")
        if isinstance(stride, torch.Tensor) and stride.numel() <= _MOST_STRIDES:
            name = f"{path}.stride" if path else "stride"
            for number in stride.detach().flatten().tolist():
                yield ModuleSetting(name, "stride", float(number), normalizes=False)
