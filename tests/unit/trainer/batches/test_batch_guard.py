from __future__ import annotations

import copy
import math
import pickle
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from trainmaster.trainer.batches.batch_guard import BatchGuard
from trainmaster.trainer.batches.batchnorm import BatchNormStatistics
from trainmaster.trainer.batches.budget import SkipBudget, SkipLimit
from trainmaster.trainer.batches.labels import bad_labels, without_bad_labels
from trainmaster.trainer.batches.loss_seam import LossSeam
from trainmaster.trainer.batches.spikes import SpikeWatch
from trainmaster.trainer.contract import SkipReason
from trainmaster.trainer.settings.guard_settings import GuardSettings

NAN, INF = float("nan"), float("inf")


class Net(nn.Module):
    """A linear layer and a batch-norm, with a loss of two items."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)
        self.norm = nn.BatchNorm1d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.layer(x))

    def loss(self, batch: dict[str, Any], preds: Any = None) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        out = self.forward(batch["img"])
        parts = torch.stack([out.square().sum(), out.abs().sum()])
        return parts, {"square": parts[0].detach(), "absolute": parts[1].detach()}


def guard_of(model: Net, *, skip: bool = True) -> tuple[BatchGuard, BatchNormStatistics]:
    statistics = BatchNormStatistics(model)
    return BatchGuard(model, statistics, skip=skip, agree=False, spikes=None), statistics


def good_batch() -> dict[str, Any]:
    return {"img": torch.randn(4, 3)}


def test_a_good_batch_passes_unchanged() -> None:
    model = Net()
    guard, _ = guard_of(model)
    (loss, items), verdict = guard.judge(good_batch())
    assert verdict.reason is None
    assert loss.grad_fn is not None
    assert {name: float(value) for name, value in items.items()} == verdict.losses
    assert all(value.device.type == "cpu" for value in guard.host_items.values())


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_a_bad_batch_adds_no_gradient_and_leaves_no_statistics(value: float) -> None:
    model = Net()
    guard, _ = guard_of(model)
    (loss, _), _ = guard.judge(good_batch())
    loss.sum().backward()
    gradients = [parameter.grad.clone() for parameter in model.parameters()]
    buffers = [buffer.clone() for buffer in model.buffers()]

    batch = good_batch()
    batch["img"][0, 0] = value
    (loss, items), verdict = guard.judge(batch)
    loss.sum().backward()

    assert verdict.reason is SkipReason.NONFINITE_LOSS
    assert float(loss.detach()) == 0
    assert set(items) == {"square", "absolute"}
    assert all(torch.equal(p.grad, was) for p, was in zip(model.parameters(), gradients, strict=True))
    assert all(torch.equal(buffer, was) for buffer, was in zip(model.buffers(), buffers, strict=True))


def test_statistics_that_were_bad_before_the_batch_are_put_right() -> None:
    model = Net()
    guard, _ = guard_of(model)
    guard.judge(good_batch())
    before = model.norm.running_mean.clone()
    model.norm.running_mean[1] = NAN

    _, verdict = guard.judge(good_batch())

    assert verdict.reason is SkipReason.NONFINITE_BATCHNORM
    assert torch.equal(model.norm.running_mean, before)


def test_observing_changes_nothing() -> None:
    model = Net()
    guard, _ = guard_of(model, skip=False)
    batch = good_batch()
    batch["img"][0, 0] = NAN
    (loss, _), verdict = guard.judge(batch)
    assert verdict.reason is SkipReason.NONFINITE_LOSS
    assert not bool(torch.isfinite(loss).all())
    assert not bool(torch.isfinite(model.norm.running_mean).all())


@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))], ids=["copy", "file"]
)
def test_a_copy_of_the_model_has_its_own_loss(duplicate: Callable[[Net], Net]) -> None:
    model = Net()
    LossSeam.attach(model, lambda batch, preds=None: "guarded")
    twin = duplicate(model)
    assert model.loss({}) == "guarded"
    assert set(vars(twin)) == set(vars(Net()))
    loss, _ = twin.loss(good_batch())
    assert loss.shape == (2,)
    assert twin.loss.__self__ is twin

    LossSeam.detach(model)
    assert set(vars(model)) == set(vars(Net()))


@pytest.mark.parametrize(
    ("batch", "bad"),
    [
        ({"cls": torch.zeros(2, 1), "bboxes": torch.ones(2, 4)}, False),
        ({"cls": torch.tensor([[0.0], [NAN]])}, True),
        ({"bboxes": torch.tensor([[0.0, INF, 0, 0]])}, True),
        ({"img": torch.ones(2, 3), "batch_idx": torch.tensor([0.0, NAN])}, True),
        ({"cls": torch.tensor([1, 2])}, False),
        ({}, False),
    ],
    ids=["good", "class", "box", "image of a box", "whole numbers", "none"],
)
def test_labels_are_checked_before_they_index(batch: dict[str, Any], bad: bool) -> None:
    assert bad_labels(batch) is bad


def test_bad_boxes_are_left_out_with_all_that_belongs_to_them() -> None:
    batch = {
        "cls": torch.tensor([[1.0], [NAN], [3.0]]),
        "bboxes": torch.ones(3, 4),
        "batch_idx": torch.tensor([0.0, 0.0, 1.0]),
        "im_file": ("a", "b"),
    }
    left = without_bad_labels(batch)
    assert left["cls"].flatten().tolist() == [1.0, 3.0]
    assert left["batch_idx"].tolist() == [0.0, 1.0]
    assert len(left["bboxes"]) == 2


def spend_at(bad: set[int], *, batches: int, per_epoch: int, limit: SkipLimit) -> int | None:
    """The batch (from 1) at which the budget was spent; None when it lasted."""
    budget = SkipBudget(limit)
    for number in range(1, batches + 1):
        why = budget.spend(batches_per_epoch=per_epoch) if number in bad else None
        if why:
            return number
        budget.batch_over()
    return None


LIMIT = SkipLimit(streak=10, count=10, window=2000)


@pytest.mark.parametrize(
    ("bad", "batches", "per_epoch", "spent_at"),
    [
        (set(range(100, 109)), 2000, 7550, None),
        (set(range(100, 110)), 2000, 7550, 109),
        (set(range(103, 7550, 103)), 7550, 7550, 1133),
        ({100, 7000}, 7550, 7550, None),
        ({5, 17}, 30, 30, None),
        (set(range(10, 2000, 20)), 2000, 20, None),
        (set(range(1, 60, 3)), 60, 10, 31),
    ],
    ids=[
        "nine in a row",
        "ten in a row",
        "73 in 7550",
        "two far apart",
        "two in a tiny run",
        "one image of a tiny set",
        "every third",
    ],
)
def test_the_budget_is_spent_by_streak_or_rate(
    bad: set[int], batches: int, per_epoch: int, spent_at: int | None
) -> None:
    assert spend_at(bad, batches=batches, per_epoch=per_epoch, limit=LIMIT) == spent_at


@pytest.mark.parametrize("seed", range(20))
def test_73_bad_batches_in_7550_are_too_many_wherever_they_fall(seed: int) -> None:
    draw = random.Random(seed)
    begin = draw.randrange(1, 20_000)
    limit = SkipLimit(streak=10**6, count=GuardSettings().bad_count, window=GuardSettings().bad_window)
    for bad in (
        {begin + place for place in draw.sample(range(7550), 73)},
        {begin + place * 7550 // 73 for place in range(73)},
    ):
        assert spend_at(bad, batches=begin + 7550, per_epoch=draw.choice([2000, 7550, 40_000]), limit=limit) is not None


def test_a_spike_is_told_from_noise_and_nan_does_not_blind_it() -> None:
    watch = SpikeWatch()
    losses = [5 + (index % 7) * 0.1 for index in range(200)]
    assert not any(watch.is_spike(loss) for loss in losses)
    assert not any(watch.is_spike(NAN) for _ in range(100))
    assert watch.is_spike(60.0)
    assert not watch.is_spike(5.5)


def test_a_new_level_of_the_loss_is_no_spike_for_long() -> None:
    watch = SpikeWatch()
    for index in range(200):
        watch.is_spike(1 + (index % 5) * 0.01)
    assert [watch.is_spike(9.0) for _ in range(6)] == [True, True, True, False, False, False]


def test_level_that_two_losses_have_reached_is_no_spike() -> None:
    """Batches of two images of which some hold no object: a loss of 0.2 mostly, of 8 now and then."""
    watch = SpikeWatch()
    losses = [8.0 + (index % 3) if index % 12 == 5 else 0.2 + (index % 5) * 0.01 for index in range(300)]
    assert not any(watch.is_spike(loss) for loss in losses)
    assert watch.is_spike(80.0)
    once = SpikeWatch()
    assert not any(once.is_spike(9.0 if index == 5 else 0.2 + (index % 5) * 0.01) for index in range(100))
    assert once.is_spike(9.0), "one of them may have been a spike"


@pytest.mark.parametrize("seed", range(3))
def test_losses_of_batches_with_few_objects_are_no_spikes(seed: int) -> None:
    """As measured where one image of thirty holds an object: 0.15 mostly, 5 to 50 else."""
    draw, watch = random.Random(seed), SpikeWatch()
    losses = [draw.uniform(5, 50) if draw.random() < 0.15 else draw.gauss(0.15, 0.02) for _ in range(2000)]
    assert not any(watch.is_spike(loss) for loss in losses)
    assert watch.is_spike(500.0)


def test_losses_that_scatter_widely_are_no_spikes() -> None:
    """As measured of a classifier that has learned its data: 0.02 mostly, 0.5 for a hard image."""
    draw, watch = random.Random(0), SpikeWatch()
    assert not any(watch.is_spike(0.02 * math.exp(draw.gauss(0, 1.2))) for _ in range(5000))
    assert watch.is_spike(50.0)


def test_losses_below_zero_have_a_level_too() -> None:
    watch = SpikeWatch()
    assert not any(watch.is_spike(-1.0 - (index % 5) * 0.01) for index in range(100))
    assert watch.is_spike(5.0)


def batch_of(loss: float, num_objects: int) -> dict[str, Any]:
    return {"img": torch.full((1, 1), loss), "cls": torch.zeros(num_objects, 1)}


def judged_by(guard: BatchGuard, batch: dict[str, Any]) -> SkipReason | None:
    guard.maker.raw = lambda batch, _: (batch["img"].sum(), {"loss": batch["img"].sum()})  # type: ignore[method-assign]
    return guard.judge(batch)[1].reason


def test_the_first_batch_with_an_object_after_many_without_is_no_spike() -> None:
    model = Net()
    made = [
        BatchGuard(model, BatchNormStatistics(model), skip=True, agree=False, spikes=SpikeWatch()) for _ in range(2)
    ]
    for index in range(100):
        assert judged_by(made[0], batch_of(0.1 + (index % 5) * 0.01, 0)) is None
    for index in range(100):
        assert judged_by(made[0], batch_of(8.0 + index % 5, 1)) is None
    made[1].know_spikes(made[0].spikes)
    for guard in made:
        assert judged_by(guard, batch_of(9.0, 1)) is None
        assert judged_by(guard, batch_of(9.0, 0)) is SkipReason.LOSS_SPIKE
        assert judged_by(guard, batch_of(90.0, 1)) is SkipReason.LOSS_SPIKE


def test_watch_that_goes_on_from_its_record_judges_as_the_one_that_went_on() -> None:
    draw = random.Random(7)
    losses = [abs(draw.gauss(3, 1)) * (9 if draw.random() < 0.03 else 1) for _ in range(600)]
    whole = SpikeWatch()
    judged = [whole.is_spike(loss) for loss in losses]
    assert any(judged)
    for cut in range(0, 600, 37):
        before, after = SpikeWatch(), SpikeWatch()
        found = [before.is_spike(loss) for loss in losses[:cut]]
        after.load(before.as_record())
        assert found + [after.is_spike(loss) for loss in losses[cut:]] == judged


def test_the_first_losses_of_a_run_are_no_spikes() -> None:
    watch = SpikeWatch()
    assert not any(watch.is_spike(loss) for loss in (1.0, 50.0, 1.0, 80.0))
