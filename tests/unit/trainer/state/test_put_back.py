"""Whether an epoch that was cut through goes on with the very batches that are left of it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, WeightedRandomSampler
from torch.utils.data.sampler import SequentialSampler

from trainmaster.trainer.arguments import ArgumentsError
from trainmaster.trainer.data.sampling import GuardedLoader, _Order, random_state
from trainmaster.trainer.state import put_back
from trainmaster.trainer.state.put_back import GoingOn

NOTHING: Any = SimpleNamespace()


class Loader(GuardedLoader):
    """Of four samples, two a batch."""

    def __init__(self, sampler: Any) -> None:
        vars(self)["order"] = _Order(BatchSampler(sampler, batch_size=2, drop_last=False))


@pytest.mark.parametrize(
    ("loader", "batch", "why"),
    [
        (Loader(SequentialSampler(range(4))), 1, None),
        (Loader(WeightedRandomSampler([0.5] * 4, 4)), 1, "what WeightedRandomSampler has drawn can't be drawn again"),
        (Loader(RandomSampler(range(4))), 1, "what RandomSampler has drawn can't be drawn again"),
        (Loader(WeightedRandomSampler([0.5] * 4, 4)), 2, None),
        (DataLoader([1, 2, 3, 4], batch_size=2), 1, "a DataLoader of one's own can't go on within an epoch"),
        (DataLoader([1, 2, 3, 4], batch_size=2), 0, None),
    ],
    ids=["in order", "by weights", "no generator", "only validation is left", "another loader", "at an epoch's end"],
)
def test_an_epoch_goes_on_only_with_what_is_left_of_it(loader: Any, batch: int, why: str | None) -> None:
    plan: Any = SimpleNamespace(state={"batch": batch})
    going_on = GoingOn(plan, position=NOTHING, running=NOTHING)
    assert going_on._unable_to_go_on(loader) == why


SHUFFLED = RandomSampler(range(4), generator=torch.Generator())


@pytest.mark.parametrize(
    ("sampler", "was", "goes_on"),
    [
        (SHUFFLED, torch.Generator().get_state(), True),
        (SHUFFLED, None, False),
        (SequentialSampler(range(4)), torch.Generator().get_state(), False),
        (SequentialSampler(range(4)), None, True),
    ],
    ids=["shuffled", "shuffled now", "in order now", "in order"],
)
def test_an_epoch_that_was_shuffled_does_not_go_on_in_order(sampler: Any, was: Any, goes_on: bool) -> None:
    plan: Any = SimpleNamespace(state={"batch": 1, "order": {"state": was}})
    going_on = GoingOn(plan, position=NOTHING, running=NOTHING)
    assert (going_on._unable_to_go_on(Loader(sampler)) is None) is goes_on


def test_a_state_that_does_not_fit_the_model_of_the_data_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def restore(*_: Any) -> list[str]:
        torch.nn.Conv2d(1, 8, 3).load_state_dict(torch.nn.Conv2d(3, 8, 3).state_dict())
        raise AssertionError

    monkeypatch.setattr("trainmaster.trainer.state.put_back.restore", restore)
    plan: Any = SimpleNamespace(state={}, notes=(), path=Path("stop.pt"))
    trainer: Any = SimpleNamespace(args=SimpleNamespace(data="gray.yaml"))
    with pytest.raises(
        ArgumentsError, match=r"stop.pt does not fit the model that data=gray.yaml makes: size mismatch"
    ):
        GoingOn(plan, position=NOTHING, running=NOTHING).set_up(trainer)


@pytest.mark.parametrize(("rank", "taken"), [(-1, True), (0, True), (1, False)], ids=["alone", "first", "another"])
def test_ranks_do_not_all_draw_what_the_first_draws(monkeypatch: pytest.MonkeyPatch, rank: int, taken: bool) -> None:
    monkeypatch.setattr(put_back, "RANK", rank)
    trainer: Any = SimpleNamespace(
        train_time_start=0.0, model=torch.nn.Linear(1, 1), ema=None, train_loader=SimpleNamespace(dataset=None)
    )
    state = {"batch": 0, "epoch": 1, "gradients": {}, "rng": random_state()}
    saved = torch.rand(1)
    torch.rand(1)
    plan: Any = SimpleNamespace(state=state)
    GoingOn(plan, position=NOTHING, running=NOTHING).epoch_started(trainer)
    assert bool(torch.rand(1) == saved) is taken


def test_tensors_of_the_state_are_let_go_and_gradients_are_of_one_window_only() -> None:
    gradients = {"weight": torch.ones(1)}
    state: dict[str, Any] = {"model": {}, "ema": {}, "optimizer": {}, "gradients": gradients, "counts": {}}
    going_on = GoingOn(SimpleNamespace(state=state), position=NOTHING, running=NOTHING)  # type: ignore[arg-type]
    assert going_on.let_go() is gradients
    assert (going_on.let_go(), state) == ({}, {"counts": {}})


def test_an_average_of_ones_own_that_is_made_at_the_start_goes_on_from_the_saved_one() -> None:
    model = torch.nn.Linear(2, 1)
    ema: Any = SimpleNamespace(ema=torch.nn.Linear(2, 1), updates=0)
    trainer: Any = SimpleNamespace(
        train_time_start=0.0, model=model, ema=ema, train_loader=SimpleNamespace(dataset=None)
    )
    average = {"weight": torch.tensor([[3.0, 4.0]]), "bias": torch.tensor([5.0])}
    plan: Any = SimpleNamespace(state={"batch": 0, "epoch": 1, "gradients": {}, "ema": average, "ema_updates": 700})
    GoingOn(plan, position=NOTHING, running=NOTHING).epoch_started(trainer)
    assert (ema.ema.weight.tolist(), ema.updates) == ([[3.0, 4.0]], 700)
