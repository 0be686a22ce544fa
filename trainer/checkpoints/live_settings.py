"""The plain numbers that live modules and an optimizer carry beside their tensors, judged as those in a file are.

Ultralytics' checkpoint is of whole modules and holds those of modules. A full state is of tensors alone: it doesn't."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from trainmaster.trainer.checkpoints.attest import Examination
from trainmaster.trainer.checkpoints.module_settings import ModuleSetting, impossible_among, settings_of
from trainmaster.trainer.checkpoints.optimizer_state import doubtful_state, poisoned_state
from trainmaster.trainer.checkpoints.single_numbers import doubtful_numbers, poisoned_numbers
from trainmaster.trainer.contract import Verdict

_MOST_STRIDES = 16


def examine_settings(part: str, model: nn.Module) -> Examination:
    """Judge an eps, a momentum, a stride and the like of every module of ``model``, which becomes ``part`` of a file.

    A stride that is a tensor is read from its device.
    """
    reasons = [f"{part}: {why}" for why in impossible_among(list(_settings(model)))]
    return Examination(verdict=Verdict.CONTAMINATED if reasons else Verdict.CLEAN, reasons=tuple(reasons))


def examine_optimizer(state: Mapping[str, Any]) -> Examination:
    """Judge what a state dict of an optimizer holds beside its tensors: its settings, and whatever its own code or a
    callback keeps there. Reads no device."""
    top = {"optimizer": _without_tensors(state)}
    reasons = (*poisoned_state(top), *poisoned_numbers(top))
    doubts = (*doubtful_state(top), *doubtful_numbers(top))
    verdict = Verdict.CONTAMINATED if reasons else Verdict.UNKNOWN if doubts else Verdict.CLEAN
    return Examination(verdict=verdict, reasons=(*reasons, *doubts))


def _without_tensors(held: Any) -> Any:
    """``held`` with a number in the place of each tensor of one number on the CPU; others are judged as tensors, and
    those that can't be are a text here, as they are no number that can be read."""
    if isinstance(held, dict):
        return {key: _without_tensors(value) for key, value in held.items()}
    if isinstance(held, list | tuple):
        return [_without_tensors(value) for value in held]
    if isinstance(held, torch.Tensor):
        if held.layout is not torch.strided or held.is_complex():
            return str(held.layout)
        return held.item() if held.numel() == 1 and held.device.type == "cpu" else 0.0
    return held


def _settings(model: nn.Module) -> Iterator[ModuleSetting]:
    for path, module in model.named_modules():
        yield from settings_of(path, vars(module))
        stride = vars(module).get("stride")
        if isinstance(stride, torch.Tensor) and stride.numel() <= _MOST_STRIDES:
            name = f"{path}.stride" if path else "stride"
            for number in stride.detach().flatten().tolist():
                yield ModuleSetting(name, "stride", float(number), normalizes=False)
