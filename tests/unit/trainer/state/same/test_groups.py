"""Each parameter keeps its own momentum, whatever order its group stands in."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import nn

from trainmaster.trainer.state.same.groups import in_order_of

NAMES = ("weight", "bn", "bias")


def parameters() -> dict[str, list[nn.Parameter]]:
    shapes = {"weight": [(4, 3, 3, 3), (2, 4)], "bn": [(4,)], "bias": [(4,), (2,)]}
    return {name: [nn.Parameter(torch.randn(shape)) for shape in given] for name, given in shapes.items()}


def optimizer(
    kind: type[torch.optim.Optimizer], given: dict[str, list[nn.Parameter]], order: Sequence[str], *, named: bool
) -> torch.optim.Optimizer:
    extra: Any = {"lr": 0.1, **({"momentum": 0.9} if kind is torch.optim.SGD else {})}
    return kind([{"params": given[name], **({"param_group": name} if named else {})} for name in order], **extra)


def stepped(one: torch.optim.Optimizer, given: dict[str, list[nn.Parameter]]) -> torch.optim.Optimizer:
    for number, parameter in enumerate(itertools.chain(*given.values())):
        parameter.grad = torch.full_like(parameter, float(number + 1))
    one.step()
    return one


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW])
@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("order", list(itertools.permutations(NAMES)), ids="-".join)
def test_each_parameter_keeps_its_own_momentum(
    kind: type[torch.optim.Optimizer], named: bool, order: Sequence[str]
) -> None:
    given = parameters()
    old = stepped(optimizer(kind, given, order, named=False), given)
    new = optimizer(kind, given, NAMES, named=named)
    ordered = in_order_of(new, old.state_dict())
    assert ordered is not None
    new.load_state_dict(ordered)
    for parameter in itertools.chain(*given.values()):
        was, now = old.state[parameter], new.state[parameter]
        assert was.keys() == now.keys()
        assert all(torch.equal(torch.as_tensor(was[key]), torch.as_tensor(now[key])) for key in was)


def test_an_optimizer_of_many_groups_keeps_its_momentum() -> None:
    """Ultralytics' MuSGD has eight groups, some of them empty; rates by layer make more."""
    given = {str(number): [nn.Parameter(torch.zeros(number))] * (number > 2) for number in range(1, 10)}
    names = list(given)
    old = stepped(optimizer(torch.optim.SGD, given, names, named=False), given).state_dict()
    assert in_order_of(optimizer(torch.optim.SGD, given, names, named=False), old) == old
    turned = names[:2] + names[:1:-1]
    new = optimizer(torch.optim.SGD, given, turned, named=True)
    assert in_order_of(new, old) is None, "the empty groups may be either"
    kept = {name: value for name, value in given.items() if value}
    old = stepped(optimizer(torch.optim.SGD, kept, list(kept), named=False), kept).state_dict()
    new = optimizer(torch.optim.SGD, kept, list(kept)[::-1], named=True)
    ordered = in_order_of(new, old)
    assert ordered is not None
    new.load_state_dict(ordered)
    assert [new.state[one]["momentum_buffer"].numel() for (one,) in kept.values()] == list(range(3, 10))


def test_groups_of_other_parameters_are_other_ones() -> None:
    given = parameters()
    old = stepped(optimizer(torch.optim.SGD, given, NAMES, named=False), given).state_dict()
    given["bn"].append(nn.Parameter(torch.zeros(4)))
    assert in_order_of(optimizer(torch.optim.SGD, given, NAMES, named=False), old) is None


def test_momentum_of_another_shape_is_not_taken() -> None:
    given = parameters()
    old = stepped(optimizer(torch.optim.SGD, given, NAMES, named=False), given).state_dict()
    given["weight"][0] = nn.Parameter(torch.zeros(5, 3, 3, 3))
    assert in_order_of(optimizer(torch.optim.SGD, given, NAMES, named=False), old) is None


def test_what_is_kept_of_rows_and_columns_is_taken_in_the_same_order() -> None:
    given = parameters()
    old = stepped(optimizer(torch.optim.Adafactor, given, NAMES, named=False), given).state_dict()
    assert in_order_of(optimizer(torch.optim.Adafactor, given, NAMES, named=True), old) == old


def test_groups_that_nobody_can_tell_apart_are_taken_in_no_other_order() -> None:
    alike = {name: [nn.Parameter(torch.zeros(4))] for name in ("bn", "bias")}
    alike["weight"] = [nn.Parameter(torch.zeros(4, 3))]
    old = stepped(optimizer(torch.optim.SGD, alike, ("bias", "weight", "bn"), named=False), alike).state_dict()
    assert in_order_of(optimizer(torch.optim.SGD, alike, NAMES, named=False), old) is None


def test_a_group_is_known_by_its_name_where_both_have_one() -> None:
    alike = {name: [nn.Parameter(torch.zeros(4))] for name in NAMES}
    old = stepped(optimizer(torch.optim.SGD, alike, ("bias", "weight", "bn"), named=True), alike)
    new = optimizer(torch.optim.SGD, alike, NAMES, named=True)
    ordered = in_order_of(new, old.state_dict())
    assert ordered is not None
    new.load_state_dict(ordered)
    (bias,) = alike["bias"]
    assert torch.equal(old.state[bias]["momentum_buffer"], new.state[bias]["momentum_buffer"])
