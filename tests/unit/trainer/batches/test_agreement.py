"""What ranks make of each other's doubts."""

from __future__ import annotations

import pytest
import torch

from trainmaster.trainer.batches import agreement
from trainmaster.trainer.batches.agreement import Agreed, Doubts, first_said, number_of_settings, parted


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ([None, None], None),
        ([None, "lr is nan"], "in rank 1, lr is nan"),
        (["lr is nan", "lr is nan"], "lr is nan"),
        (["a", "b"], "in rank 0, a"),
    ],
    ids=["none", "one", "all the same", "each its own"],
)
def test_the_rank_that_says_it_is_named_unless_all_do(said: list[str | None], told: str | None) -> None:
    assert first_said(said) == told


def test_what_any_rank_doubts_all_doubt_and_a_whole_optimizer_is_named() -> None:
    agreed = Agreed.of([Doubts(momenta=True), Doubts(gradient=True), Doubts(hopeless="lr is nan")])
    assert (agreed.momenta, agreed.gradient, agreed.whole) == (True, True, 1)
    assert (agreed.ruin, agreed.hopeless) == (None, "in rank 2, lr is nan")
    assert Agreed.of([Doubts(momenta=True), Doubts(momenta=True)]).whole is None


def test_what_is_replaced_in_one_rank_alone_parts_the_weights_and_in_all_it_does_not() -> None:
    alone = Agreed.of([Doubts(), Doubts(replaced="the optimizer")])
    assert alone.hopeless == "in rank 1, the optimizer was replaced, and the weights of the ranks would part ways"
    assert Agreed.of([Doubts(replaced="the optimizer"), Doubts(replaced="the optimizer")]).hopeless is None


def test_rates_that_differ_have_other_numbers() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], lr=0.1, momentum=0.9)
    before = number_of_settings(optimizer)
    assert number_of_settings(optimizer) == before < 2**24
    optimizer.param_groups[0]["lr"] = 0.1 + 1e-9
    assert number_of_settings(optimizer) != before


@pytest.mark.parametrize(
    ("other", "unlike"),
    [
        ({"weight": 2.0, "bias": 0.0}, None),
        ({"weight": 2.00001, "bias": 1e-9}, None),
        ({"weight": 2.1, "bias": 0.0}, "weight"),
        ({"weight": float("nan"), "bias": 0.5}, "weight, bias"),
        ({"weight": 2.0}, "bias"),
    ],
    ids=["the same", "rounded differently", "others", "not finite", "another model"],
)
def test_weights_that_differ_between_ranks_are_named(
    monkeypatch: pytest.MonkeyPatch, other: dict[str, float], unlike: str | None
) -> None:
    """By a step at another rate, or a callback that writes to those of one rank: no gradient shows that later."""
    layer = torch.nn.Linear(2, 2)
    layer.weight.data.fill_(1.0)
    layer.bias.data.zero_()
    monkeypatch.setattr(agreement, "of_all", lambda own: [own, own, other])
    told = unlike and f"rank 2 trains other weights than the first, whose are saved: {unlike}"
    assert parted(layer) == told
