from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from ultralytics.utils.torch_utils import ModelEMA

from trainmaster.trainer.batches.momenta import LOOKED_AT_EVERY
from trainmaster.trainer.batches.weight_watch import AVERAGE_LOOKED_AT_EVERY, WeightWatch


class Trained:
    """A small model with its EMA, each of whose steps is looked at before it is taken."""

    def __init__(self, kind: Callable[..., torch.optim.Optimizer] = torch.optim.SGD, lr: float = 0.01) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 2, 3))
        self.averager = ModelEMA(self.model)
        self.ema: Any = self.averager.ema
        self.optimizer = kind(self.model.parameters(), lr=lr)
        self.watch = WeightWatch(self.model, self.averager, self.optimizer)

    def step(self) -> bool:
        """Whether anything was told."""
        told = any(sign.tolist() for sign in self.watch.signs()) and self.watch.judge() is not None
        self.optimizer.zero_grad()
        self.model(torch.randn(2, 3, 8, 8)).square().sum().backward()
        norm = float(nn.utils.clip_grad_norm_(self.model.parameters(), 10.0))
        if math.isfinite(norm):
            self.watch.feed(min(norm, 10.0))
            self.optimizer.step()
        return told

    def averages(self, num_steps: int) -> str | None:
        """What of the EMA was written to, in words, in so many steps after each of which it is updated."""
        told = []
        for _ in range(num_steps):
            self.step()
            self.averager.update(self.model)
            told.append(self.watch.written_to())
        self.watch.look()
        return next(filter(None, [*told, self.watch.written_to()]), None)

    def go(self, num_steps: int) -> int:
        return sum(self.step() for _ in range(num_steps))


@pytest.mark.parametrize("value", [1e4, -1e6, 1e18, 1e30], ids=str)
@pytest.mark.parametrize("place", ["0.weight", "1.weight", "1.bias", "3.bias"])
def test_a_weight_that_no_step_made_is_told_within_eight_steps(place: str, value: float) -> None:
    trained = Trained()
    assert trained.go(LOOKED_AT_EVERY + 2) == 0

    dict(trained.model.named_parameters())[place].data.view(-1)[0] = value

    assert trained.go(LOOKED_AT_EVERY) == 1
    assert trained.watch.ruin is not None
    assert place in trained.watch.ruin


def test_a_look_that_nobody_waits_for_finds_it_at_once() -> None:
    trained = Trained()
    trained.go(3)
    assert trained.watch.look() is None

    trained.model[0].weight.data[0, 0, 0, 0] = 1e4

    assert "0.weight" in str(trained.watch.look())
    assert trained.watch.ruin is not None


def lion(parameters: Any, lr: float) -> torch.optim.Optimizer:
    """Steps of the rate in each number, as large as any optimizer's."""

    class Signs(torch.optim.SGD):
        def step(self, closure: Any = None) -> None:
            for group in self.param_groups:
                for one in group["params"]:
                    one.data -= group["lr"] * one.grad.sign()

    return Signs(parameters, lr=lr)


@pytest.mark.parametrize(
    ("kind", "lr"),
    [(torch.optim.SGD, 0.1), (torch.optim.SGD, 50.0), (torch.optim.AdamW, 0.01), (lion, 0.01)],
    ids=["SGD", "SGD at a mad rate", "AdamW", "signs alone"],
)
def test_honest_steps_are_no_leaps(kind: Callable[..., torch.optim.Optimizer], lr: float) -> None:
    assert Trained(kind, lr).go(3 * LOOKED_AT_EVERY) == 0


def load_others(trained: Trained) -> None:
    for one in trained.model.parameters():
        one.data.copy_(torch.randn_like(one) * 20)


def load_zeros(trained: Trained) -> None:
    for one in trained.model.parameters():
        one.data.zero_()


def raise_the_rate(trained: Trained) -> None:
    trained.optimizer.param_groups[0]["lr"] = 100.0


def freeze(trained: Trained) -> None:
    trained.model[0].requires_grad_(False)


@pytest.mark.parametrize("change", [load_others, load_zeros, raise_the_rate, freeze], ids=lambda one: one.__name__)
def test_what_people_do_to_weights_is_no_leap(change: Callable[[Trained], None]) -> None:
    trained = Trained()
    trained.go(LOOKED_AT_EVERY)

    change(trained)

    assert trained.go(3 * LOOKED_AT_EVERY) == 0
    assert trained.watch.look() is None


def test_weights_that_were_beyond_all_that_trains_from_the_start_are_left_alone() -> None:
    trained = Trained()
    trained.model[0].weight.data[0, 0, 0, 0] = 1e5
    trained.watch = WeightWatch(trained.model, trained.averager, trained.optimizer)

    assert trained.go(2 * LOOKED_AT_EVERY) == 0


def test_a_parameter_of_ones_own_may_be_set_to_what_it_likes() -> None:
    trained = Trained()
    trained.model[0].temperature = nn.Parameter(torch.ones(1), requires_grad=False)
    trained.watch = WeightWatch(trained.model, trained.averager, trained.optimizer)

    trained.model[0].temperature.data.fill_(1000.0)

    assert trained.go(2 * LOOKED_AT_EVERY) == 0


@pytest.mark.parametrize("value", [1e4, 1e18], ids=str)
def test_an_average_that_leapt_is_the_live_tensor_again(value: float) -> None:
    trained = Trained()
    trained.go(2)
    trained.ema[0].weight.data[0, 0, 0, 0] = value

    signs = [sign.tolist() for _ in range(AVERAGE_LOOKED_AT_EVERY) for sign in trained.watch.signs()]

    assert sum(signs) == 2  # it leapt, and was written to
    assert trained.watch.look() is None  # later than this one, nothing has leapt


def test_an_average_is_healed_where_it_leapt_and_nowhere_else() -> None:
    trained = Trained()
    trained.ema[0].weight.data[0, 0, 0, 0] = 1e4
    trained.ema[3].weight.data.add_(0.5)

    assert trained.watch.look() is None
    assert trained.watch.heal_average() == 1
    assert torch.equal(trained.ema[0].weight, trained.model[0].weight)
    assert not torch.equal(trained.ema[3].weight, trained.model[3].weight)
    assert trained.watch.look() is None
    assert trained.watch.heal_average() == 0


@pytest.mark.parametrize(
    ("place", "change"),
    [
        ("0.weight", torch.Tensor.zero_),
        ("0.weight", lambda one: one.mul_(1e-3)),
        ("1.running_var", torch.Tensor.zero_),
        ("1.running_var", lambda one: one.mul_(1e3)),
    ],
    ids=["emptied", "shrunk", "no variance", "a thousand times the variance"],
)
def test_an_average_that_lies_where_none_can_is_the_live_tensor_again(place: str, change: Any) -> None:
    trained = Trained()
    trained.go(2)
    change(trained.ema.state_dict()[place])

    signs = [sign.tolist() for _ in range(AVERAGE_LOOKED_AT_EVERY) for sign in trained.watch.signs()]
    assert sum(signs) == 1
    assert place in str(trained.watch.average())
    assert trained.watch.heal_average() == 1
    assert torch.equal(trained.ema.state_dict()[place], trained.model.state_dict()[place])
    assert trained.watch.average() is None


@pytest.mark.parametrize(
    ("place", "change"),
    [
        ("0.weight", lambda one: one[:1].zero_()),
        ("0.weight", lambda one: one.mul_(2)),
        ("1.bias", lambda one: one.add_(1)),
        ("1.running_mean", lambda one: one.add_(30)),
        ("3.weight", lambda one: one.fill_(0.01)),
    ],
    ids=["channel", "doubled", "bias", "mean", "constant"],
)
def test_what_no_averaging_makes_of_an_average_is_told(place: str, change: Any) -> None:
    trained = Trained(lr=1e-3)
    trained.averager.updates = 50_000
    trained.watch = WeightWatch(trained.model, trained.averager, trained.optimizer)
    assert trained.averages(2 * AVERAGE_LOOKED_AT_EVERY) is None
    change(trained.ema.state_dict()[place])
    assert place in str(trained.averages(AVERAGE_LOOKED_AT_EVERY))
    trained.go(AVERAGE_LOOKED_AT_EVERY)
    assert trained.averages(2 * AVERAGE_LOOKED_AT_EVERY) is None
    assert trained.watch.heal_average() == 0


@pytest.mark.parametrize("lr", [1e-3, 0.1, 10.0])
@pytest.mark.parametrize("updates", [0, 300, 50_000])
def test_an_average_at_work_was_written_to_by_nobody(updates: int, lr: float) -> None:
    trained = Trained(lr=lr)
    trained.averager.updates = updates
    trained.watch = WeightWatch(trained.model, trained.averager, trained.optimizer)
    told = [trained.averages(AVERAGE_LOOKED_AT_EVERY // 3) for _ in range(12)]
    assert not any(told), told


def sign_turned(trained: Trained) -> None:
    """A bias crosses zero, and its average is there."""
    trained.model[3].bias.data.copy_(-trained.ema[3].bias)
    trained.ema[3].bias.data.zero_()


def live_emptied(trained: Trained) -> None:
    trained.model[0].weight.data.zero_()
    trained.ema[0].weight.data.mul_(0.01)


def live_jumped(trained: Trained) -> None:
    trained.model[1].running_var.fill_(1e6)
    trained.ema[1].running_var.fill_(1e4)


@pytest.mark.parametrize("change", [sign_turned, live_emptied, live_jumped], ids=lambda one: one.__name__)
def test_an_average_between_what_it_was_and_what_it_follows_is_left_alone(change: Callable[[Trained], None]) -> None:
    trained = Trained()
    change(trained)

    assert trained.watch.look() is None
    assert trained.watch.average() is None
    assert trained.watch.heal_average() == 0


def test_what_is_not_finite_is_told_by_others() -> None:
    trained = Trained()
    trained.model[0].weight.data[0, 0, 0, 0] = float("inf")
    trained.model[3].weight.data[0, 0, 0, 0] = float("nan")

    assert trained.watch.look() is None


def test_an_average_that_leaps_before_the_weights_were_looked_at_is_healed() -> None:
    trained = Trained()
    trained.ema[0].weight.data[0, 0, 0, 0] = 1e4

    assert trained.go(LOOKED_AT_EVERY // 2) == 0  # told of the EMA alone
    assert trained.watch.heal_average() == 1
    assert trained.watch.ruin is None


def test_an_average_may_be_where_steps_have_carried_the_weights() -> None:
    trained = Trained(lr=1.0)
    trained.go(2)
    for averaged, one in zip(trained.ema.parameters(), trained.model.parameters(), strict=True):
        averaged.data.fill_(600.0)
        one.data.fill_(50.0)

    assert trained.watch.look() is None
    assert trained.watch.heal_average() == 0


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        (torch.optim.SGD, {"lr": 30.0}),
        (torch.optim.SGD, {"lr": 1.0, "momentum": 0.99}),
        (torch.optim.RMSprop, {"lr": 1.0, "momentum": 0.98}),
    ],
    ids=["a rate that was high for a step", "momentum", "RMSprop"],
)
def test_where_steps_may_carry_weights_is_no_leap(kind: Any, given: dict[str, Any]) -> None:
    trained = Trained(lambda parameters, lr: kind(parameters, **given))
    trained.watch.feed(10.0)
    trained.optimizer.param_groups[0]["lr"] = 0.01  # by the time of the look
    for _ in range(LOOKED_AT_EVERY - 2):
        trained.watch.feed(0.1)
    trained.model[0].weight.data[0, 0, 0, 0] = 2000.0  # less than eight steps of these do

    assert trained.watch.look() is None
    trained.model[0].weight.data[0, 0, 0, 0] = 1e6
    assert trained.watch.look() is not None
