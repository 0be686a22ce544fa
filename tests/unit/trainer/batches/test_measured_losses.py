"""What a criterion measures its losses by, and a module its outputs, batch after batch."""

from __future__ import annotations

from collections import Counter, deque
from enum import StrEnum
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from tests.unit.trainer.batches.test_batch_guard import NAN, good_batch
from tests.unit.trainer.batches.test_judging import Criterion, Scene, bad_batch
from trainmaster.trainer.batches.noting import MAX_COPIED
from trainmaster.trainer.batches.outcomes import StateHealed


class Wise:
    """Of a criterion that keeps its mean in a class of its own, as Wise-IoU does."""

    mean = 1.0
    seen: ClassVar[list[float]] = []


class History(list[float]):
    """A container of somebody's own."""


class Reduction(StrEnum):
    """Beside it, what can't be written to."""

    MEAN = "mean"


class Measured(Criterion):
    """Measures each loss by what it knows of those before it."""

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene)
        self.mean, self.seen, self.sizes, self.shares = 1.0, 0, torch.ones(2), np.ones(2)
        self.begun, self.first, self.unit = False, None, ""
        self.counts, self.places = torch.zeros(2, dtype=torch.int64), np.zeros(2, dtype=np.int64)
        Wise.mean, Wise.seen, self.sums = 1.0, [], set[float]()
        self.history, self.recent, self.long = History([1.0]), deque([1.0], maxlen=2), [1.0] * (MAX_COPIED + 1)
        self.of_each: dict[str, list[float]] = {}
        self.carried: Any = scene.model.layer
        self.carried.seen = Counter[str]()
        self.carried.mean, self.carried.size, self.carried.means = 1.0, torch.ones(1), {"of": 1.0}

    def _loss(self, batch: dict[str, Any], preds: Any = None) -> Any:
        loss, items = super()._loss(batch, preds)
        size = float(loss.detach().sum()) / 10
        self.seen += 1
        self.counts += 1
        self.places += 1
        if not self.begun:
            self.begun, self.first, self.unit = True, loss.detach().sum() / 10, str(loss.dtype)
        for filled in (self.history, self.recent, self.long, self.of_each.setdefault(f"{size:.6g}", [])):
            filled.append(size)
        Wise.seen.append(size)
        self.sums.add(size)
        self.carried.seen[f"{size:.6g}"] += 1
        self.mean = 0.9 * self.mean + 0.1 * size
        Wise.mean = 0.9 * Wise.mean + 0.1 * size
        self.sizes.mul_(0.9).add_(0.1 * size)
        self.shares = 0.9 * self.shares + 0.1 * size
        self.carried.mean = self.carried.means["of"] = 0.9 * self.carried.mean + 0.1 * size
        self.carried.size = 0.9 * self.carried.size + 0.1 * size
        loss = loss / self.carried.mean / self.carried.size
        loss = loss / self.first / np.mean(self.history) / np.mean(self.recent) / np.mean(self.long[-3:])
        return loss / self.mean / Wise.mean / self.sizes.mean() / self.shares.mean() * (1 + 0.01 * self.seen), items

    __call__ = _loss

    @property
    def known(self) -> list[Any]:
        carried = [self.carried.mean, self.carried.size.tolist(), dict(self.carried.means)]
        begun = [self.begun, self.first, self.unit, self.counts.tolist(), self.places.tolist()]
        filled = [
            self.history[:],
            list(self.recent),
            len(self.long),
            {key: one[:] for key, one in self.of_each.items()},
        ]
        begun += [*filled, Wise.seen.copy(), self.sums.copy(), self.carried.seen.copy()]
        return [self.mean, self.seen, self.sizes.tolist(), self.shares.tolist(), Wise.mean, *carried, *begun]


def test_what_a_criterion_measures_losses_by_keeps_no_trace_of_a_bad_batch() -> None:
    known, losses = [], []
    for bad in ((), (0, 3, 5), (1, 2)):
        torch.manual_seed(3)
        scene = Scene()
        criterion = Measured(scene)
        batch = good_batch()
        losses.append([])
        for number in range(6):
            if number in bad:
                criterion.train(bad_batch())
            losses[-1].append(criterion.train(batch))
        known.append(criterion.known)
        assert [verdict.reason is not None for verdict in scene.verdicts].count(True) == len(bad)
    assert known[0] == known[1] == known[2]
    assert losses[0] == losses[1] == losses[2]
    assert not [one for one in scene.told if isinstance(one, StateHealed)]


@pytest.mark.parametrize("num_before", [0, 1, 3])
def test_a_window_that_runs_again_is_measured_as_if_it_had_not_run_before(num_before: int) -> None:
    scene = Scene()
    criterion = Measured(scene)
    for _ in range(num_before):
        criterion.train(good_batch())
    scene.judging._position.window_open = False
    scene.judging.before_batch(good_batch())
    known = criterion.known
    for _ in range(3):
        criterion.train(good_batch())
    assert criterion.known != known
    numbers = scene.judging._numbers
    if num_before:
        after = criterion.known
        with numbers.without_trace():
            criterion._loss(good_batch())
        assert criterion.known == after
    numbers.rewind()
    assert criterion.known == known


def test_a_mean_that_somebody_poisons_is_put_right_and_stays_so() -> None:
    scene = Scene()
    criterion = Measured(scene)
    criterion.pair = (torch.ones(2), 1.0)  # type: ignore[attr-defined]
    for _ in range(3):
        criterion.train(good_batch())
    Wise.mean = NAN
    assert np.isfinite(criterion.train(good_batch()))
    assert np.isfinite(Wise.mean)
    assert [one.tensors for one in scene.told if isinstance(one, StateHealed)] == [1]
