"""Which files a training is of, whatever datasets it has."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from trainmaster.trainer.engines.protocol import EngineTrainer
from trainmaster.trainer.state.same_data import files_of


def trainer_of(dataset: Any) -> EngineTrainer:
    """As much of a trainer as knows its data."""
    loader = SimpleNamespace(dataset=dataset)
    return cast("EngineTrainer", SimpleNamespace(train_loader=loader, args=SimpleNamespace(data="none.yaml")))


@pytest.mark.parametrize(
    ("dataset", "images"),
    [
        (SimpleNamespace(im_files=["a.png", Path("b.png")], label_files=["a.txt"]), ["a.png", "b.png"]),
        (SimpleNamespace(im_files=["a.png"], label_files=None), ["a.png"]),
        (SimpleNamespace(samples=[["a.png", 0, Path("a.npy"), None], ("b.png", 1)]), ["a.png", "b.png"]),
        (
            SimpleNamespace(datasets=[SimpleNamespace(im_files=["a.png"]), SimpleNamespace(im_files=["b.png"])]),
            ["a.png", "b.png"],
        ),
        (SimpleNamespace(samples=[{"image": "a.png"}]), []),
        (SimpleNamespace(samples=[SimpleNamespace(), (), (3, "a.png")]), []),
        (SimpleNamespace(samples=7), []),
        (None, []),
    ],
)
def test_the_files_of_any_dataset_are_listed_as_far_as_it_names_them(dataset: Any, images: list[str]) -> None:
    assert files_of(trainer_of(dataset)).images == images
