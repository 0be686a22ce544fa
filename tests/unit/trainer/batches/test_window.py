from __future__ import annotations

from typing import Any

import torch

from trainmaster.trainer.batches.window import MicroBatch, Window


def micro(index: int) -> MicroBatch:
    batch: dict[str, Any] = {}
    return MicroBatch(epoch=0, index=index, batch=batch, python_random=None, rng=None)


def test_a_window_that_was_cut_is_whole_again_by_its_saved_gradients() -> None:
    window = Window(cut=True)
    saved = {"layer.weight": torch.ones(2)}
    window.mend(saved)
    assert (window.cut, window.before) == (False, saved)


def test_a_window_that_was_not_cut_begins_with_no_gradients_of_another() -> None:
    window = Window(cut=False)
    window.mend({"layer.weight": torch.ones(2)})
    assert window.before == {}


def test_a_new_window_holds_nothing_of_the_one_before() -> None:
    window = Window(cut=True)
    window.mend({"layer.weight": torch.ones(2)})
    window.micros.append(micro(0))
    window.open()
    assert (window.micros, window.cut, window.before) == ([], False, {})
