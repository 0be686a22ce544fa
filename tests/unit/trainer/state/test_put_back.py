"""Whether an epoch that was cut through goes on with the very batches that are left of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, WeightedRandomSampler
from torch.utils.data.sampler import SequentialSampler

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


@pytest.mark.parametrize(("rank", "taken"), [(-1, True), (0, True), (1, False)], ids=["alone", "first", "another"])
def test_ranks_do_not_all_draw_what_the_first_draws(monkeypatch: pytest.MonkeyPatch, rank: int, taken: bool) -> None:
    monkeypatch.setattr(put_back, "RANK", rank)
    trainer: Any = SimpleNamespace(
        train_time_start=0.0, model=torch.nn.Linear(1, 1), train_loader=SimpleNamespace(dataset=None)
    )
    state = {"batch": 0, "epoch": 1, "gradients": {}, "rng": random_state()}
    saved = torch.rand(1)
    torch.rand(1)
    plan: Any = SimpleNamespace(state=state)
    GoingOn(plan, position=NOTHING, running=NOTHING).epoch_started(trainer)
    assert bool(torch.rand(1) == saved) is taken
