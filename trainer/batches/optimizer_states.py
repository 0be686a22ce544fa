"""What an optimizer keeps of each parameter, however it keeps it: its own tensors, those in lists, plain numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import torch

from trainmaster.trainer.checkpoints.domains import ANYTHING, domain_of
from trainmaster.trainer.checkpoints.held_numbers import numbers_in

MAX_DEPTH: Final = 4
"""Containers within containers: one of L-BFGS holds lists."""

_PRODUCT: Final = "mu_product"
"""Of NAdam's momenta, which starts at one."""


def states_of(optimizer: torch.optim.Optimizer) -> list[dict[Any, Any]]:
    """The state of every parameter, and what else the optimizer keeps in that way; a bare number beside is none."""
    return [state for state in optimizer.state.values() if isinstance(state, dict)]


def is_judged(value: Any) -> bool:
    """Whether ``value`` is a tensor whose numbers can be looked at one by one."""
    return (
        isinstance(value, torch.Tensor)
        and value.is_floating_point()
        and value.layout is torch.strided
        and not value.is_meta
    )


def tensors_of(holder: Any, name: str = "", depth: int = MAX_DEPTH) -> Iterator[tuple[str, torch.Tensor]]:
    """Every tensor in ``holder`` that can be judged, also in the containers in it, by a name that leads to it."""
    items = holder.items() if isinstance(holder, dict) else enumerate(holder)
    for key, value in items:
        place = f"{name}.{key}" if name else str(key)
        if is_judged(value):
            yield place, value
        elif depth and isinstance(value, dict | list | tuple):
            yield from tensors_of(value, place, depth - 1)


def num_ruined(state: dict[Any, Any]) -> int:
    """How many values of ``state`` beside its own tensors are NaN, or hold it. Reads a device only for tensors within
    containers, which no optimizer of torch's but L-BFGS has."""
    return sum(_is_ruined(value) for value in state.values())


def _is_ruined(value: Any) -> bool:
    if type(value) is float:
        return math.isnan(value)
    if isinstance(value, torch.Tensor):
        return False
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "fc" and bool(np.isnan(value).any())
    if isinstance(value, dict | list | tuple) and not all(
        bool(torch.isfinite(tensor).all()) for _, tensor in tensors_of(value)
    ):
        return True
    return any(map(math.isnan, numbers_in(value)))


def start_over(state: dict[Any, Any]) -> None:
    """The parameter's state is as the optimizer has it at the start.

    Momenta, squares and counts start at zero. Where there is more, nobody can tell what it starts at (a copy of the
    weights, say, which the schedule-free ones and Lookahead keep): the optimizer makes it all anew at the next step.
    """
    if not all(_starts_at_zero(name, value) for name, value in state.items()):
        state.clear()
        return
    for name, value in state.items():
        if is_judged(value):
            value.zero_()
        elif isinstance(value, float | np.floating) or (name == "step" and isinstance(value, int)):
            state[name] = type(value)(0)


def _starts_at_zero(name: object, value: Any) -> bool:
    if is_judged(value):
        return name != _PRODUCT and domain_of("optimizer", str(name), value.ndim) != ANYTHING
    return not isinstance(value, torch.Tensor | np.ndarray | dict | list | tuple | complex)
