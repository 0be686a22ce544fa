"""What somebody puts in the place of the EMA after the last batch of an epoch is what would be saved."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import prune
from ultralytics.utils.torch_utils import ModelEMA

from trainmaster.trainer.batches.trained_object import OF_ANOTHER, TrainedObject
from trainmaster.trainer.run import guarding as guarding_module
from trainmaster.trainer.run.guarding import Guarding
from trainmaster.trainer.stop import GaveUp


def another(trainer: Any) -> None:
    trainer.ema = SimpleNamespace(ema=nn.Linear(2, 2))


def another_within(trainer: Any) -> None:
    trainer.ema.ema = nn.Linear(2, 2)


def nothing(trainer: Any) -> None:
    trainer.ema = None


def the_live_one(trainer: Any) -> None:
    trainer.ema = SimpleNamespace(ema=trainer.model)


def a_copy(trainer: Any) -> None:
    trainer.ema = SimpleNamespace(ema=deepcopy(trainer.ema.ema))


def another_model(trainer: Any) -> None:
    trainer.model = nn.Linear(2, 2)


def scene() -> tuple[Any, Any]:
    model = nn.Linear(3, 3)
    average = SimpleNamespace(ema=deepcopy(model))
    trainer: Any = SimpleNamespace(model=model, optimizer=torch.optim.SGD(model.parameters()), ema=average)
    trainer.world_size = 1
    guarding: Any = object.__new__(Guarding)
    guarding._trained, guarding._skip, guarding._movement = TrainedObject(trainer), True, None
    guarding._told_moved, guarding._trainer = False, trainer
    guarding.step = SimpleNamespace(mend_window=lambda: None)
    return trainer, guarding


@pytest.mark.parametrize("change", [another, another_within, nothing, the_live_one], ids=lambda one: one.__name__)
def test_an_average_of_another_model_is_not_saved(change: Callable[[Any], None]) -> None:
    trainer, guarding = scene()
    average = trainer.ema
    change(trainer)
    with pytest.raises(GaveUp) as end:
        guarding.epoch_trained()
    assert end.value.why == f"the EMA was replaced while training, and {OF_ANOTHER}"
    assert trainer.ema is average


@pytest.mark.parametrize("change", [lambda _: None, a_copy, another_model], ids=["none", "a copy", "another model"])
def test_what_is_an_average_of_what_was_trained_is_saved(change: Callable[[Any], None]) -> None:
    trainer, guarding = scene()
    change(trainer)
    guarding.epoch_trained()


@pytest.mark.parametrize(("num_ranks", "told"), [(1, []), (2, ["other weights"])])
def test_ranks_whose_weights_have_parted_are_told_once(
    monkeypatch: pytest.MonkeyPatch, num_ranks: int, told: list[str]
) -> None:
    trainer, guarding = scene()
    trainer.world_size, guarding._told_parted = num_ranks, False
    notices: list[str] = []
    guarding._run = SimpleNamespace(reporter=SimpleNamespace(notice=notices.append))
    monkeypatch.setattr(guarding_module, "parted", lambda _: "other weights")
    guarding.epoch_trained()
    guarding.epoch_trained()
    assert notices == told


def test_a_weight_that_pruning_gives_another_name_is_trained_as_before() -> None:
    trainer, _ = scene()
    trainer.world_size = 0
    before = TrainedObject(trainer)
    prune.l1_unstructured(trainer.model, "weight", amount=0.3)
    assert before.replaced() == "weight"
    assert before.why_nothing_trains() == OF_ANOTHER
    trainer.ema = SimpleNamespace(ema=prune.l1_unstructured(nn.Linear(3, 3), "weight", amount=0.3))
    assert before.why_nothing_trains() is None
    trainer.optimizer.param_groups[0]["params"] = [trainer.model.bias]
    assert before.why_nothing_trains() == "the optimizer no longer trains weight"


def no_groups(trainer: Any) -> None:
    trainer.optimizer.param_groups.clear()


def fewer_parameters(trainer: Any) -> None:
    del trainer.optimizer.param_groups[0]["params"][0]


@pytest.mark.parametrize("change", [no_groups, fewer_parameters], ids=lambda one: one.__name__)
def test_an_optimizer_that_lost_parameters_is_saved_as_it_trained(change: Callable[[Any], None]) -> None:
    trainer, guarding = scene()
    trainer.world_size = 1
    trainer.model(torch.ones(1, 3)).sum().backward()
    trainer.optimizer.param_groups[0]["momentum"] = 0.9
    trainer.optimizer.step()
    before = trainer.optimizer.state_dict()
    change(trainer)
    with pytest.raises(GaveUp) as end:
        guarding.follow()
    assert end.value.why.startswith("the optimizer was replaced while training, and the optimizer no longer trains")
    torch.testing.assert_close(trainer.optimizer.state_dict(), before)


def test_a_module_of_the_average_that_is_another_one_is_followed() -> None:
    trainer, guarding = scene()
    trainer.model = nn.Sequential(nn.Linear(3, 3))
    trainer.ema = ModelEMA(trainer.model)
    trainer.optimizer = torch.optim.SGD(trainer.model.parameters())
    guarding._trained = trained = TrainedObject(trainer)
    assert trained.replaced() is None
    trainer.ema.ema[0] = deepcopy(trainer.ema.ema[0])
    assert trained.replaced() == "the EMA's 0"
    assert trained.why_nothing_trains() is None


def weights_elsewhere(trainer: Any) -> None:
    for weight in trainer.model.parameters():
        weight.data = weight.data + 1.0


def average_elsewhere(trainer: Any) -> None:
    trainer.ema.ema.half().float()


def average_of_other_weights(trainer: Any) -> None:
    trainer.ema.ema.weight = nn.Parameter(torch.zeros(3, 3), requires_grad=False)


@pytest.mark.parametrize("follows", [True, False], ids=["", "observe"])
@pytest.mark.parametrize(
    "change", [weights_elsewhere, average_elsewhere, average_of_other_weights], ids=lambda one: one.__name__
)
def test_the_average_follows_weights_that_lie_elsewhere_and_that_is_told_once(
    change: Callable[[Any], None], follows: bool
) -> None:
    trainer, guarding = scene()
    trainer.ema = ModelEMA(trainer.model, decay=0.0)
    guarding._trained, guarding._skip = TrainedObject(trainer), follows
    told: list[str] = []
    guarding._run = SimpleNamespace(reporter=SimpleNamespace(notice=told.append))
    trainer.ema.update(trainer.model)
    for _ in range(2):
        change(trainer)
        guarding.follow()
        weights_are = [weight.detach().clone().add_(1.0) for weight in trainer.model.parameters()]
        for weight in trainer.model.parameters():
            weight.data.add_(1.0)
        trainer.ema.update(trainer.model)
        averaged = zip(trainer.ema.ema.parameters(), weights_are, strict=True)
        assert all(torch.equal(average, weight) for average, weight in averaged) is follows
    assert told == ["weights were put elsewhere in memory while training; the EMA follows them"] * follows
