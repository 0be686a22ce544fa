"""What a bad batch drew is as if it had not been drawn."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from trainmaster.trainer.batches.in_work import BatchInWork

NOTHING: Any = SimpleNamespace(epoch=0, index=0, num_steps=0)


def in_work(*, skip: bool = True) -> BatchInWork:
    return BatchInWork(NOTHING, NOTHING, NOTHING, skip=skip, prepare=lambda micro: micro.batch, emit=lambda _: None)


def drawn() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def test_a_layer_may_draw_from_any_generator() -> None:
    work = in_work()
    work.begin({}, may_run_again=False)
    random.random()  # as a size is drawn while the batch is prepared
    work.meets_the_model({})
    first = drawn()
    work.draw_again()
    assert drawn() == first


def test_a_batch_whose_loss_alone_is_made_has_drawn_before() -> None:
    work = in_work()
    work.begin({}, may_run_again=True)
    first = drawn()
    work.meets_the_model({}, again=True)
    work.draw_again()
    assert drawn() == first


def test_a_batch_that_never_meets_the_model_here_draws_from_torch_again() -> None:
    work = in_work()
    work.begin({}, may_run_again=False)
    first = torch.rand(())
    work.draw_again()
    assert torch.equal(torch.rand(()), first)


@pytest.mark.parametrize("skip", [True, False], ids=["not begun", "observed"])
def test_nothing_is_drawn_again_without_need(skip: bool) -> None:
    work = in_work(skip=skip)
    if not skip:
        work.begin({}, may_run_again=False)
        work.meets_the_model({})
    state = random.getstate()
    random.random()
    work.draw_again()
    assert random.getstate() != state
