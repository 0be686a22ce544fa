from __future__ import annotations

import random

import numpy as np
import torch

from trainmaster.trainer.data.tracing import seeded, sources_of, sources_of_samples


def test_the_sources_of_a_batch_and_of_some_of_its_samples() -> None:
    batch = {"im_file": ("a", "b"), "source_files": [["a", "c"], ["b", "c", "d"]]}
    assert sources_of(batch) == ["a", "b", "c", "d"]
    assert sources_of_samples(batch, [0]) == ["a", "c"]
    assert sources_of_samples({"im_file": ("a", "b")}, [1]) == ["b"]


def test_seeded_draws_depend_on_their_key_only_and_leave_no_trace() -> None:
    def draws(*key: int) -> tuple[float, float, float]:
        with seeded(*key):
            return random.random(), float(np.random.rand()), float(torch.rand(()))

    random.seed(1)
    before = random.getstate()
    first = draws(0, 1, 2)
    assert random.getstate() == before
    random.random()
    assert draws(0, 1, 2) == first
    assert draws(0, 1, 3) != first
