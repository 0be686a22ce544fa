from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from trainmaster.trainer.batches.healing import heal_optimizer
from trainmaster.trainer.batches.momenta import LARGEST_FED, LOOKED_AT_EVERY, Momenta

CPU = torch.device("cpu")


class Training:
    """Steps of a small model, each looked at before it is taken."""

    def __init__(self, kind: Callable[..., torch.optim.Optimizer]) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 2, 3))
        self.model.to(memory_format=torch.channels_last)
        self.optimizer = kind(self.model.parameters(), lr=0.01)
        self.momenta = Momenta(self.optimizer)

    def good(self) -> bool:
        signs, elsewhere = self.momenta.signs(CPU)
        return elsewhere and all(map(math.isfinite, torch.stack([*signs, torch.zeros(())]).tolist()))

    def step(self, norm: float | None = None) -> None:
        self.optimizer.zero_grad()
        self.model(torch.randn(1, 3, 8, 8)).square().sum().backward()
        if norm is None:
            norm = self.clip()
        self.momenta.feed(norm)
        self.optimizer.step()

    def clip(self) -> float:
        """Gradients are of a norm of 1 at most, or zero; of which. (Torch's own would be counted as a look.)"""
        gradients = [one.grad for one in self.model.parameters() if one.grad is not None]
        norm = math.sqrt(sum(float(one.norm()) ** 2 for one in gradients))
        for one in gradients:
            one.mul_(min(1 / norm, 1.0)) if math.isfinite(norm) and norm else one.zero_()
        return min(norm, 1.0) if math.isfinite(norm) else 0.0

    def go(self, num_steps: int) -> None:
        for _ in range(num_steps):
            assert self.good()
            self.step()

    def state(self, key: str) -> torch.Tensor:
        return self.state_of_last()[key]

    def state_of_last(self) -> dict[str, Any]:
        return list(self.optimizer.state.values())[-1]


def sgd(*given: Any, **named: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(*given, momentum=0.9, **named)


def looks_at_all(momenta: Momenta, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Fills with the sizes of what is read whole."""
    sizes: list[int] = []
    norm = torch._foreach_norm

    def counted(tensors: Any, *given: Any, **named: Any) -> Any:
        sizes.append(sum(one.numel() for one in tensors))
        return norm(tensors, *given, **named)

    monkeypatch.setattr(torch, "_foreach_norm", counted)
    return sizes


@pytest.mark.parametrize(
    "kind", [sgd, torch.optim.AdamW, torch.optim.RMSprop, torch.optim.NAdam], ids=lambda one: one.__name__
)
def test_all_is_read_at_every_eighth_step_only(
    kind: Callable[..., torch.optim.Optimizer], monkeypatch: pytest.MonkeyPatch
) -> None:
    training = Training(kind)
    training.go(3)
    sizes = looks_at_all(training.momenta, monkeypatch)

    training.go(4 * LOOKED_AT_EVERY)

    assert len(sizes) == 4


@pytest.mark.parametrize("key", ["exp_avg", "exp_avg_sq", "step"])
@pytest.mark.parametrize("value", [math.nan, math.inf], ids=str)
@pytest.mark.parametrize("num_before", [0, 1, 2, 3, 5, 8, 9], ids=str)
def test_what_is_written_to_any_number_is_seen_at_the_next_look(key: str, value: float, num_before: int) -> None:
    training = Training(torch.optim.AdamW)
    training.step()
    training.go(num_before)

    training.state(key).view(-1)[-1] = value

    assert not training.good()
    training.state(key).view(-1)[-1] = 1.0
    assert training.good()


@pytest.mark.parametrize(
    ("kind", "key", "value"),
    [
        (torch.optim.AdamW, "exp_avg_sq", -1e-3),
        (torch.optim.AdamW, "exp_avg_sq", 1e14),
        (torch.optim.AdamW, "exp_avg_sq", 1e30),
        (torch.optim.AdamW, "exp_avg", 1e20),
        (torch.optim.AdamW, "step", -1.0),
        (torch.optim.AdamW, "step", 1e30),
        (torch.optim.RMSprop, "square_avg", -1e-3),
        (torch.optim.Adamax, "exp_inf", -1e-3),
        (sgd, "momentum_buffer", -1e8),
    ],
    ids=lambda one: getattr(one, "__name__", str(one)),
)
def test_finite_numbers_that_no_step_leaves_are_seen_and_start_over(
    kind: Callable[..., torch.optim.Optimizer], key: str, value: float
) -> None:
    training = Training(kind)
    training.go(5)
    assert heal_optimizer(training.optimizer, largest=training.momenta.largest) == 0

    training.state(key).view(-1)[-1] = value

    assert not training.good()
    assert heal_optimizer(training.optimizer, largest=training.momenta.largest) == 1
    assert not training.state(key).any()
    assert training.good()


def test_a_momentum_of_gradients_that_are_as_large_is_none_of_these() -> None:
    training = Training(sgd)
    training.go(5)
    training.step(norm=1e5)
    training.state("momentum_buffer").view(-1)[-1] = 1.5e6

    assert training.good()
    assert heal_optimizer(training.optimizer, largest=training.momenta.largest) == 0


def test_a_write_that_torch_does_not_count_is_seen_at_once_in_a_first_number_and_else_within_eight_steps() -> None:
    training = Training(torch.optim.AdamW)
    training.go(5)
    training.state("exp_avg").data.fill_(math.nan)
    assert not training.good()
    training.state("exp_avg").data.zero_()
    training.go(3)

    training.state("exp_avg_sq").data[..., -1] = math.nan

    seen = []
    for _ in range(LOOKED_AT_EVERY):
        seen.append(not training.good())
        training.step()
    assert seen.count(True) >= 1


@pytest.mark.parametrize("how", ["another tensor", "another storage", "another state"])
def test_what_stands_in_the_place_of_another_is_looked_at(how: str) -> None:
    training = Training(torch.optim.AdamW)
    training.go(5)
    spoiled = torch.zeros_like(training.state("exp_avg"))
    spoiled.view(-1)[-1] = math.nan
    match how:
        case "another tensor":
            list(training.optimizer.state.values())[-1]["exp_avg"] = spoiled
        case "another storage":
            training.state("exp_avg").data = spoiled
        case _:
            record = training.optimizer.state_dict()
            record["state"][max(record["state"])]["exp_avg"] = spoiled
            training.optimizer.load_state_dict(record)

    assert not training.good()


def test_a_step_of_gradients_without_a_bound_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    training = Training(sgd)
    training.go(4)
    assert training.good()
    sizes = looks_at_all(training.momenta, monkeypatch)

    for norm in (LARGEST_FED, 2 * LARGEST_FED, math.nan):
        training.step(norm)
        assert training.good()

    assert len(sizes) == 2


def test_a_step_that_was_left_out_changes_nothing_that_is_seen() -> None:
    training = Training(sgd)
    training.go(4)
    assert training.good()
    training.state("momentum_buffer").view(-1)[1] = math.inf

    assert not training.good()
    assert not training.good()


def test_an_optimizer_without_a_state_is_good() -> None:
    training = Training(torch.optim.SGD)
    training.go(LOOKED_AT_EVERY + 4)


def test_what_an_optimizer_keeps_without_numbers_in_one_place_is_passed_over() -> None:
    optimizer = sgd([torch.nn.Parameter(torch.ones(2))], lr=0.1)
    optimizer.state["steps"] = 3
    optimizer.state["own"] = {"sparse": torch.ones(2).to_sparse()}
    assert Momenta(optimizer).signs(torch.device("cpu"), whole=True) == ([], True)


def test_tensors_that_count_no_writes_are_looked_at_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    training = Training(sgd)
    training.go(4)
    with torch.inference_mode():
        kept = torch.zeros_like(training.state("momentum_buffer"))
    list(training.optimizer.state.values())[-1]["momentum_buffer"] = kept
    sizes = looks_at_all(training.momenta, monkeypatch)

    assert training.good()
    assert training.good()

    assert len(sizes) == 2


@pytest.mark.parametrize("kind", [sgd, torch.optim.AdamW], ids=["sgd", "adamw"])
@pytest.mark.parametrize("counted", [False, True], ids=["past the count", "counted"])
@pytest.mark.parametrize("num_before", [3, 6, 10], ids=str)
def test_a_finite_momentum_that_leapt_is_told(
    kind: Callable[..., torch.optim.Optimizer], counted: bool, num_before: int
) -> None:
    training = Training(kind)
    training.go(num_before)
    (momentum,) = (value for key, value in training.state_of_last().items() if key in {"exp_avg", "momentum_buffer"})

    with torch.no_grad():
        (momentum if counted else momentum.data).view(-1)[-1] = 1e5
    steps = 0
    while training.good() and steps < LOOKED_AT_EVERY:
        training.step()
        steps += 1

    (leapt,) = training.momenta.leapt()
    assert leapt is momentum
    assert steps == 0 or training.momenta.may_have_stepped([leapt])
    assert not (counted and training.momenta.may_have_stepped([leapt]))


@pytest.mark.parametrize(
    ("kind", "key"),
    [(torch.optim.AdamW, "exp_avg_sq"), (torch.optim.RMSprop, "square_avg"), (torch.optim.Adagrad, "sum")],
    ids=lambda one: getattr(one, "__name__", one),
)
def test_squares_that_leapt_start_over_and_end_nothing(kind: Callable[..., torch.optim.Optimizer], key: str) -> None:
    training = Training(kind)
    training.go(LOOKED_AT_EVERY + 2)

    training.state(key).data.fill_(1e6)
    while training.good():
        training.step()

    (leapt,) = training.momenta.leapt_squares()
    assert leapt is training.state(key)
    assert not training.momenta.leapt()
    assert heal_optimizer(training.optimizer, largest=training.momenta.largest, leapt=[leapt]) > 0
    training.momenta.healed()
    training.go(2 * LOOKED_AT_EVERY)


def test_settings_that_none_can_be_are_told_by_others() -> None:
    training = Training(torch.optim.AdamW)
    training.go(LOOKED_AT_EVERY)
    training.optimizer.param_groups[0]["weight_decay"] = 1e300
    training.momenta.signs(CPU, whole=True)
    assert not training.momenta.leapt_squares()


@pytest.mark.parametrize("change", [{"weight_decay": 0.5}, {"dampening": -9.0}, {"momentum": 0.999}], ids=str)
def test_other_settings_of_an_optimizer_make_no_leap(change: dict[str, float]) -> None:
    training = Training(sgd)
    training.go(LOOKED_AT_EVERY)
    training.optimizer.param_groups[0].update(change)

    training.go(4 * LOOKED_AT_EVERY)


def test_a_momentum_of_gradients_divided_by_their_size_is_no_leap() -> None:
    training = Training(lambda parameters, lr: torch.optim.RMSprop(parameters, lr=lr, momentum=0.9))
    training.go(3)
    state = training.state_of_last()
    state["momentum_buffer"].fill_(0)
    training.go(LOOKED_AT_EVERY)
    state["momentum_buffer"].data.fill_(300.0)

    training.go(2 * LOOKED_AT_EVERY)


def test_a_momentum_of_steps_that_nobody_told_of_is_no_leap() -> None:
    training = Training(sgd)
    training.go(LOOKED_AT_EVERY + 4)
    assert training.momenta.signs(CPU, whole=True)

    for _ in range(3):  # of a subclass that passes the guard by
        training.optimizer.zero_grad()
        training.model(torch.randn(1, 3, 8, 8)).mul(1000).sum().backward()
        training.optimizer.step()

    training.momenta.signs(CPU, whole=True)
    assert not training.momenta.leapt()


def test_a_step_that_was_left_out_hides_none_that_used_what_leapt() -> None:
    training = Training(sgd)
    training.go(LOOKED_AT_EVERY + 4)
    training.state("momentum_buffer").data.view(-1)[1] = 1e5
    training.go(2)

    assert training.good()  # a step is due, and left out
    assert not training.good()

    assert training.momenta.may_have_stepped(training.momenta.leapt())
