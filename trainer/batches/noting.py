"""What one value is, for later: a number, several, what stands where one will be, or what they are gathered in."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from itertools import chain
from types import NoneType
from typing import Any, Final

import numpy as np
import torch

from trainmaster.trainer.batches.batch_guard import ABSURD
from trainmaster.trainer.batches.healing import float_of
from trainmaster.trainer.batches.own_buffers import is_plain

LEAP: Final = 1e6
"""Times what a good batch was judged with: nobody turns a gain up so far, and beyond :data:`ABSURD` none trains."""

CONTAINERS: Final = (list, dict, deque, set)
"""What is filled as losses are made: a history of them, a table of means."""

MAX_COPIED: Final = 4096
"""Entries of a container. Of a longer list its length is noted, as a history grows at its end; other ones are left."""

_PLAIN: Final = (int, float, str, NoneType, np.number, torch.device, torch.dtype)
"""Numbers, and what stands where one will be or says of what one is."""


@dataclass(frozen=True, slots=True)
class _Length:
    """Of a list that was too long to copy."""

    count: int
    last: Any


def is_noted(value: Any) -> bool:
    """Whether it is a number or several, what says whether there are any yet (nothing, a flag, a name), or a container
    that keeps no batch alive."""
    if isinstance(value, _PLAIN):
        return True
    if isinstance(value, CONTAINERS):
        return isinstance(value, list) if len(value) > MAX_COPIED else not any(map(_is_of_a_graph, _parts(value)))
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
    """``value`` for later, whatever it is; of a container what it is filled with, and not what that holds in turn."""
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if isinstance(value, list) and len(value) > MAX_COPIED:
        return _Length(len(value), value[-1])
    return value.copy() if isinstance(value, (np.ndarray, *CONTAINERS)) else value


def has_changed(now: Any, before: Any) -> bool:
    """Since ``before`` was :func:`copied`, of what is no tensor. No read."""
    if now is before:
        return False
    if isinstance(now, CONTAINERS) or isinstance(before, (_Length, *CONTAINERS)):
        return not _is_filled_alike(now, before)
    if isinstance(now, tuple) and not all(isinstance(part, _PLAIN) for part in now):
        return False  # to compare tensors would read a device
    if isinstance(now, np.ndarray) or isinstance(before, np.ndarray | torch.Tensor):
        return not (isinstance(before, np.ndarray) and np.array_equal(now, before, equal_nan=True))
    return bool(now != before)


def put_into(now: Any, value: Any) -> bool:
    """``now`` is as when ``value`` was :func:`copied` of it; False where another has to take its place."""
    if isinstance(now, torch.Tensor) and isinstance(value, torch.Tensor) and now.shape == value.shape and is_plain(now):
        now.copy_(value)
    elif isinstance(now, np.ndarray) and isinstance(value, np.ndarray) and now.shape == value.shape:
        np.copyto(now, value)
    elif isinstance(value, _Length):
        if isinstance(now, list) and len(now) > value.count and now[value.count - 1] is value.last:
            del now[value.count :]
    elif (kind := _kind_of(now)) is not None and kind is _kind_of(value):
        if not _is_filled_alike(now, value):
            now.clear()
            (now.extend if isinstance(now, list | deque) else now.update)(value)
    else:
        return False
    return True


def is_finite(value: Any) -> bool:
    """Whether nothing of ``value`` is NaN or infinite. Reads the device."""
    return math.isfinite(_size(value))


def has_leapt(now: Any, kept: Any) -> bool:
    """Whether ``now`` is beyond anything that trains, and ``kept`` was not. Reads the device."""
    return now is not kept and ABSURD < (size := _size(now)) < math.inf and size > LEAP * _size(kept)


def _is_alike(one: torch.Tensor, other: torch.Tensor) -> bool:
    return (one.shape, one.dtype, one.device) == (other.shape, other.dtype, other.device)


def _is_filled_alike(now: Any, before: Any) -> bool:
    """Whether ``now`` holds the same objects as ``before``, in the same order."""
    if isinstance(before, _Length):
        return isinstance(now, list) and len(now) == before.count and now[-1] is before.last
    kind = _kind_of(now)
    if kind is None or kind is not _kind_of(before) or len(now) != len(before):
        return False
    return all(one is other for one, other in zip(_parts(now), _parts(before), strict=True))


def _kind_of(value: Any) -> type | None:
    """Which container it is, or one of somebody's own is made of, whose copy is a plain one."""
    return next((kind for kind in CONTAINERS if isinstance(value, kind)), None)


def _parts(container: Any) -> Any:
    return chain(container, container.values()) if isinstance(container, dict) else container


def _is_of_a_graph(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.requires_grad


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
