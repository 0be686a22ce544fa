"""A fresh trainer takes over the tensors of a state."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from trainmaster.trainer.state.full_state import capture, plain, restore


def restored(model: nn.Module, **tensors: torch.Tensor) -> nn.Module:
    """``model`` with the weights of another one of its kind, and ``tensors`` among them."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer: Any = SimpleNamespace(
        model=model, ema=None, optimizer=optimizer, args=SimpleNamespace(), stopper=SimpleNamespace()
    )
    state = {
        "model": {"weight": torch.full((1, 2), 7.0), "bias": torch.zeros(1), **tensors},
        "args": {},
        "optimizer_class": "SGD",
        "optimizer": optimizer.state_dict(),
        "scaler": {},
        "best_fitness": None,
        "fitness": None,
        "stopper": {},
    }
    assert not restore(trainer, state)
    return model


def test_a_criterion_that_is_a_module_keeps_no_state_from_being_resumed() -> None:
    found = restored(nn.Linear(2, 1), **{"criterion.loss.weight": torch.ones(3)})
    assert found.state_dict()["weight"].unique().tolist() == [7.0]


def test_what_an_optimizer_keeps_in_its_groups_goes_on_and_the_settings_are_those_of_now() -> None:
    """Prodigy keeps its step size there, the schedule-free ones their count of steps."""
    model, state = nn.Linear(2, 1), {"model": {"weight": torch.ones(1, 2), "bias": torch.zeros(1)}, "args": {}}
    before, now = (torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9) for lr in (0.5, 0.1))
    before.param_groups[0] |= {"d": 0.02, "k": 700, "schedule": "<function>", "only": 1}
    now.param_groups[0] |= {"d": 1e-6, "k": 0, "schedule": len}
    trainer: Any = SimpleNamespace(
        model=model, ema=None, optimizer=now, args=SimpleNamespace(), stopper=SimpleNamespace()
    )
    rest = {"best_fitness": None, "fitness": None, "stopper": {}, "scaler": {}}
    restore(trainer, {**state, **rest, "optimizer_class": "SGD", "optimizer": before.state_dict()})
    found = now.param_groups[0]
    assert [found[name] for name in ("d", "k", "schedule", "lr", "only")] == [0.02, 700, len, 0.1, 1]


def test_a_state_of_another_model_is_refused() -> None:
    with pytest.raises(RuntimeError, match="of another model"):
        restored(nn.Linear(2, 1), **{"second.weight": torch.ones(3)})


@pytest.mark.parametrize(("epochs", "saved"), [(3, 3), (3.0, 3), (float("inf"), 10_000_000)])
def test_a_run_without_an_end_is_saved_like_any_other(epochs: float, saved: int) -> None:
    assert captured(nn.Linear(2, 1), epochs)["epochs"] == saved


def test_gradients_of_an_open_window_that_are_not_finite_are_left_out() -> None:
    """Scaled ones, say, or those of several ranks, of which only one saves."""
    model = nn.Linear(2, 1)
    model.bias.grad = torch.ones(1)
    assert captured(model)["gradients"] == {"bias": model.bias.grad}
    model.weight.grad = torch.tensor([[1.0, float("inf")]])
    assert captured(model)["gradients"] == {}


def captured(model: nn.Module, epochs: float = 3) -> dict[str, Any]:
    trainer: Any = SimpleNamespace(
        model=model,
        ema=None,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        scaler=torch.amp.GradScaler(enabled=False),
        args=SimpleNamespace(task="detect"),
        stopper=SimpleNamespace(best_fitness=0.0, best_epoch=0, possible_stop=False),
        epochs=epochs,
        best_fitness=None,
        fitness=None,
        loss_names=(),
    )
    return capture(trainer, epoch=1, batch=0, batches=6, extra={})


def test_what_holds_itself_is_saved_without_itself() -> None:
    held: dict[str, Any] = {"rate": 0.5, "same": [1, 2]}
    held |= {"again": held["same"], "self": [held], "spaces": SimpleNamespace(a=held)}
    assert plain(held) == {"rate": 0.5, "same": [1, 2], "again": [1, 2], "self": [None], "spaces": {"a": None}}
