"""Whether an epoch that was cut through goes on with the very batches that are left of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, WeightedRandomSampler
from torch.utils.data.sampler import SequentialSampler

from trainmaster.trainer.data.sampling import GuardedLoader, _Order
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
