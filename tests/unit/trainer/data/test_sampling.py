from __future__ import annotations

import random
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch.utils.data import BatchSampler, RandomSampler, SequentialSampler, WeightedRandomSampler
from torch.utils.data.distributed import DistributedSampler
from ultralytics.data.build import InfiniteDataLoader

from trainmaster.trainer.arguments import ArgumentsError
from trainmaster.trainer.data.sampling import (
    GuardedLoader,
    _Order,
    iterators_held,
    random_state,
    set_random_state,
)


def test_random_state_of_more_gpus_than_there_are_now_is_taken_over_as_far_as_it_goes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken: dict[int, torch.Tensor] = {}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, device: taken.update({device: state}))
    first, second = torch.zeros(16, dtype=torch.uint8), torch.ones(16, dtype=torch.uint8)
    set_random_state({**random_state(), "cuda": [first, second]})
    assert taken == {0: first}


@pytest.mark.parametrize("num_samples", [1, 7, 64])
def test_a_shuffled_epoch_leaves_the_generator_where_it_is_foreseen(num_samples: int) -> None:
    """``GuardedLoader._after`` counts on two draws an epoch, which is a detail of torch."""
    generator = torch.Generator().manual_seed(5)
    foreseen = torch.Generator().manual_seed(5)
    list(RandomSampler(range(num_samples), generator=generator))
    for _ in range(2):
        torch.randperm(num_samples, generator=foreseen)
    assert torch.equal(generator.get_state(), foreseen.get_state())


def sampled(sampler: Any) -> Any:
    """Of a loader, what is asked of it."""
    loader = GuardedLoader.__new__(GuardedLoader)
    vars(loader)["order"] = _Order(BatchSampler(sampler, batch_size=2, drop_last=False))
    return loader


@pytest.mark.parametrize(
    ("sampler", "alike"),
    [
        (RandomSampler(range(4), generator=torch.Generator()), True),
        (SequentialSampler(range(4)), True),
        (DistributedSampler(range(4), num_replicas=2, rank=0), True),
        (WeightedRandomSampler([0.1, 0.9], 2), False),
        (RandomSampler(range(4)), False),
    ],
    ids=lambda one: type(one).__name__,
)
def test_which_orders_can_be_drawn_once_more(sampler: Any, alike: bool) -> None:
    assert sampled(sampler).draws_alike is alike


@pytest.mark.parametrize(
    ("workers", "exact_seed", "refused"),
    [(1, 0, True), (0, 0, False), (1, None, False)],
    ids=["workers", "none", "loose"],
)
def test_samples_that_workers_draw_from_what_they_drew_before_are_not_promised_to_be_alike(
    workers: int, exact_seed: int | None, refused: bool
) -> None:
    with iterators_held():
        loader = InfiniteDataLoader([1, 2], batch_size=1, num_workers=workers)
    with pytest.raises(ArgumentsError, match="workers=1 and a list") if refused else nullcontext():
        GuardedLoader.adopt(loader, None, exact_seed=exact_seed)


def test_an_exact_rank_draws_for_each_batch_what_it_would_have_drawn_uninterrupted() -> None:
    def drawn(rank: int, batches_done: int) -> list[float]:
        loader = GuardedLoader.adopt(InfiniteDataLoader(list(range(6)), batch_size=2), None, exact_seed=5, rank=rank)
        loader.go_on(state=None, batches_done=batches_done)
        return [random.random() for _ in loader][batches_done:]

    whole = drawn(1, 0)
    assert drawn(1, 1) == whole[1:]
    assert drawn(2, 0) != whole
    assert drawn(0, 0) != drawn(0, 0)  # what the first draws is in the state
