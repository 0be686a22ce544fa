"""What the guard holds in tensors beside the model, found by following its references."""

from __future__ import annotations

import gc
import types
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import nn
from ultralytics.utils.torch_utils import unwrap_model

PER_PARAMETER_BYTES: Final = 4 * (1 + 3 + 3 + 2)
"""A number a parameter of each vector: gradient norms; norms, limits and what leapt of the weights, and of their EMA;
norms of momenta and what leapt of these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Bytes. ``limit``: three copies and one set of zeros of the batch-norm statistics, padded, and the norms."""

    guard: int
    num_tensors: int
    weights: int
    statistics: int
    limit: int


def bytes_held(trainer: Any) -> Held:
    """Of the tensors that the guard of ``trainer`` holds and that the trainer would not hold without it."""
    model = unwrap_model(trainer.model)
    statistics = sum(buffer.nbytes for buffer in model.buffers())
    parameters = list(model.parameters())
    own = _storages(trainer.guard, stop_at={id(trainer)})
    for theirs in (model, trainer.ema.ema, trainer.optimizer):
        for pointer in _storages(theirs, stop_at={id(trainer), id(trainer.guard)}):
            own.pop(pointer, None)
    padding = 2 * 256 * sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    return Held(
        guard=sum(own.values()),
        num_tensors=len(own),
        weights=sum(parameter.nbytes for parameter in parameters),
        statistics=statistics,
        limit=4 * (statistics + padding) + PER_PARAMETER_BYTES * len(parameters) + 1024,
    )


def _storages(root: Any, *, stop_at: set[int]) -> dict[int, int]:
    """Bytes by address of every storage that is reachable from ``root`` without passing through ``stop_at``."""
    found: dict[int, int] = {}
    seen, waiting = set(stop_at), [root]
    while waiting:
        item = waiting.pop()
        if id(item) in seen or isinstance(item, type | types.ModuleType | types.FrameType):
            continue
        seen.add(id(item))
        if isinstance(item, torch.Tensor):
            storage = item.untyped_storage()
            found[storage.data_ptr()] = storage.nbytes()
            if item.grad is not None:
                waiting.append(item.grad)
        if isinstance(item, types.FunctionType):
            waiting += [cell.cell_contents for cell in item.__closure__ or () if cell.cell_contents is not None]
            continue
        waiting += gc.get_referents(item)
    return found
