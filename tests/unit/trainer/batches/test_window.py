from __future__ import annotations

from typing import Any

import pytest
import torch

from trainmaster.trainer.batches.window import MicroBatch, Window


def micro(index: int) -> MicroBatch:
    batch: dict[str, Any] = {}
    return MicroBatch(epoch=0, index=index, batch=batch, drawn_from=None)


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


@pytest.mark.parametrize(("num_good", "empty"), [(2, False), (0, True)])
def test_a_window_of_which_batches_were_lost_before_its_end_goes_on_with_the_others(num_good: int, empty: bool) -> None:
    window = Window(cut=False)
    window.micros = [micro(index) for index in range(3)]
    for _ in window.micros:
        window.count(skipped=False)
    window.keep(window.micros[:num_good])
    window.count(skipped=True)
    assert [one.index for one in window.micros] == list(range(num_good))
    assert window.is_empty(gradients=False) is empty


@pytest.mark.parametrize(
    ("skipped", "cut", "gradients", "empty"),
    [
        ([True, True], False, False, True),
        ([True], False, True, True),
        ([True, False], False, True, False),
        ([True, False], False, False, False),
        ([], False, False, False),
        ([True], True, True, False),
        ([True], True, False, True),
    ],
    ids=["all", "zeros left", "one good", "used up", "none judged", "an earlier process's", "cut, and nothing left"],
)
def test_a_window_is_empty_when_every_batch_of_it_was_skipped(
    skipped: list[bool], cut: bool, gradients: bool, empty: bool
) -> None:
    window = Window(cut=cut)
    for one in skipped:
        window.count(skipped=one)
    assert window.is_empty(gradients=gradients) is empty
    assert not window.is_empty(gradients=gradients)
