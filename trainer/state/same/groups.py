"""The parameters of an optimizer keep their own momentum where another Ultralytics puts them into another order.

8.3.230 has the groups bias, weight, batch norm; 8.4.190 has weight, batch norm, bias. Within a group the order is that
of the model's modules in both (``engine/trainer.py``, ``build_optimizer``).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch

from trainmaster.trainer.checkpoints.domains import ANYTHING, domain_of

_NAME: Final = "param_group"
"""Ultralytics 8.4.3 and later write into a group what it is of."""


def in_order_of(optimizer: torch.optim.Optimizer, saved: Mapping[str, Any]) -> dict[str, Any] | None:
    """``saved``, an optimizer's own state, with its groups in the order of ``optimizer``'s; None where they are other
    ones, or nobody can tell which is which."""
    old: Sequence[Mapping[str, Any]] = saved["param_groups"]
    new = optimizer.param_groups
    if len(old) != len(new):
        return None
    order: Sequence[int] = range(len(old))
    if not all(_fits(one, saved["state"], group) for one, group in zip(old, new, strict=True)):
        fits = [[place for place in order if _fits(one, saved["state"], new[place])] for one in old]
        found = _only_way(fits)
        if found is None:
            return None
        order = found
    numbers = itertools.count()
    groups: list[dict[str, Any]] = []
    state: dict[int, Any] = {}
    for index in order:
        own = {number: next(numbers) for number in old[index]["params"]}
        groups.append({**old[index], "params": list(own.values())})
        state |= {own[number]: saved["state"][number] for number in own if number in saved["state"]}
    return {**saved, "param_groups": groups, "state": state}


def _only_way(fits: Sequence[Sequence[int]]) -> list[int] | None:
    """Which goes to each place, where each has places that it ``fits``; None unless there is just one way.

    Then one of those that are left always fits one place only: where each fits several, there is a circle of them to
    turn.
    """
    left = {index: set(places) for index, places in enumerate(fits)}
    found: dict[int, int] = {}
    while left:
        index = next((one for one, places in left.items() if len(places) == 1), None)
        if index is None:
            return None
        (place,) = left.pop(index)
        found[place] = index
        for places in left.values():
            places.discard(place)
    return [found[place] for place in range(len(fits))]


def _fits(old: Mapping[str, Any], state: Mapping[int, Mapping[str, Any]], new: Mapping[str, Any]) -> bool:
    """Whether what is saved of a group can be of these parameters: as many, of the same shapes, of the same name.

    What an optimizer keeps under a name of its own may have any shape: Adafactor keeps sums of rows and of columns.
    """
    if len(old["params"]) != len(new["params"]) or old.get(_NAME, new.get(_NAME)) != new.get(_NAME, old.get(_NAME)):
        return False
    return all(
        value.shape == parameter.shape
        for number, parameter in zip(old["params"], new["params"], strict=True)
        for name, value in state.get(number, {}).items()
        if isinstance(value, torch.Tensor) and value.ndim and domain_of("optimizer", str(name), value.ndim) != ANYTHING
    )
