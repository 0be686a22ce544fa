"""What one value is, for later: a number, several, or what stands where one will be."""

from __future__ import annotations

import math
from types import NoneType
from typing import Any, Final

import numpy as np
import torch

from trainmaster.trainer.batches.batch_guard import ABSURD
from trainmaster.trainer.batches.healing import float_of

LEAP: Final = 1e6
"""Times what a good batch was judged with: nobody turns a gain up so far, and beyond :data:`ABSURD` none trains."""

_PLAIN: Final = (int, float, str, NoneType, np.number, torch.device, torch.dtype)
"""Numbers, and what stands where one will be or says of what one is."""


def is_noted(value: Any) -> bool:
    """Whether it is a number or several, or what says whether there are any yet: nothing, a flag, a name."""
    if isinstance(value, _PLAIN):
        return True
    if isinstance(value, torch.Tensor):
        return value.layout is torch.strided and not value.is_meta
    if isinstance(value, np.ndarray):
        return bool(value.dtype.kind in "fiub")
    return isinstance(value, tuple) and bool(value) and all(map(is_noted, value))


def noted(value: Any, before: Any) -> Any:
    """``value`` for later, or ``before`` where it is not finite or leapt; of tensors it is found out on their
    device."""
    if isinstance(value, torch.Tensor) and value.is_floating_point():
        now = value.detach()
        if not isinstance(before, torch.Tensor) or not _is_alike(before, now) or not now.numel():
            return now.clone()
        size, last = now.abs().amax(), before.abs().amax()
        return torch.where(~size.isfinite() | ((size > ABSURD) & (size > LEAP * last)), before, now)
    if before is None or isinstance(before, torch.Tensor) or (is_finite(value) and not has_leapt(value, before)):
        return copied(value)
    return before


def copied(value: Any) -> Any:
    """``value`` for later, whatever it is."""
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    return value.copy() if isinstance(value, np.ndarray) else value


def has_changed(now: Any, before: Any) -> bool:
    """Since ``before`` was :func:`copied`, of what is no tensor. No read."""
    if now is before:
        return False
    if isinstance(now, tuple) and not all(isinstance(part, _PLAIN) for part in now):
        return False  # to compare tensors would read a device
    if isinstance(now, np.ndarray) or isinstance(before, np.ndarray | torch.Tensor):
        return not (isinstance(before, np.ndarray) and np.array_equal(now, before, equal_nan=True))
    return bool(now != before)


def is_finite(value: Any) -> bool:
    """Whether nothing of ``value`` is NaN or infinite. Reads the device."""
    return math.isfinite(_size(value))


def has_leapt(now: Any, kept: Any) -> bool:
    """Whether ``now`` is beyond anything that trains, and ``kept`` was not. Reads the device."""
    return now is not kept and ABSURD < (size := _size(now)) < math.inf and size > LEAP * _size(kept)


def _is_alike(one: torch.Tensor, other: torch.Tensor) -> bool:
    return (one.shape, one.dtype, one.device) == (other.shape, other.dtype, other.device)


def _size(value: Any) -> float:
    """The largest magnitude of ``value``; 0 of what is no number."""
    if isinstance(value, torch.Tensor):
        return float(value.detach().abs().amax()) if value.numel() and value.is_floating_point() else 0.0
    if isinstance(value, np.ndarray):
        return float(np.abs(value).max()) if value.size and value.dtype.kind == "f" else 0.0
    if isinstance(value, tuple):
        sizes = [_size(part) for part in value]
        return max(sizes) if all(map(math.isfinite, sizes)) else math.nan
    return abs(float_of(value) or 0.0)
