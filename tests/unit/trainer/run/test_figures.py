"""A callback may write to what the run compares with, counts by and was started with."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from trainmaster.trainer.run.figures import Figures

NAN, INF = float("nan"), float("inf")


class Scene:
    """A trainer after an epoch, whose figures are known."""

    def __init__(self) -> None:
        self.trainer: Any = SimpleNamespace(
            best_fitness=0.4,
            fitness=0.3,
            epochs=10,
            accumulate=4,
            train_time_start=1e9,
            stopper=SimpleNamespace(best_fitness=0.4, best_epoch=2, patience=INF),
            args=SimpleNamespace(lr0=0.01, momentum=0.9, time=None, classes=[0, 1], model="yolo11n.pt"),
        )
        self.told: list[str] = []
        self.figures = Figures(self.trainer, self.told.append)

    def holder(self, place: str) -> tuple[Any, str]:
        holder, _, name = place.rpartition(".")
        return (getattr(self.trainer, holder) if holder else self.trainer), name


@pytest.mark.parametrize(
    ("place", "value"),
    [
        *((place, NAN) for place in ("best_fitness", "fitness", "epochs", "accumulate", "train_time_start")),
        *((f"stopper.{name}", NAN) for name in ("best_fitness", "best_epoch", "patience")),
        *((f"args.{name}", NAN) for name in ("lr0", "momentum", "time", "classes", "model")),
        *((place, INF) for place in ("best_fitness", "stopper.best_fitness", "accumulate", "args.lr0")),
        *((place, 1e30) for place in ("best_fitness", "fitness", "stopper.best_fitness")),
        ("best_fitness", np.float64(-1e30)),
        ("args.classes", [0, NAN]),
        ("best_fitness", np.float64(NAN)),
        ("best_fitness", np.array([NAN])),
        ("best_fitness", torch.tensor(NAN)),
    ],
    ids=lambda one: repr(one) if not isinstance(one, str) else one,
)
def test_a_figure_that_none_can_be_is_what_it_was_and_told_once(place: str, value: Any) -> None:
    scene = Scene()
    holder, name = scene.holder(place)
    good = getattr(holder, name)
    for _ in range(2):
        setattr(holder, name, value)
        scene.figures.put_right()
        assert getattr(holder, name) is good
    assert len(scene.told) == 1
    assert scene.told[0].startswith(f"{place} was ")


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("best_fitness", 0.0),
        ("best_fitness", None),
        ("epochs", INF),
        ("accumulate", 64),
        ("stopper.patience", 5),
        ("args.time", INF),
        ("args.lr0", 1e9),
        ("args.augmentations", [object()]),
    ],
)
def test_a_figure_that_somebody_has_changed_is_left_alone(place: str, value: Any) -> None:
    scene = Scene()
    holder, name = scene.holder(place)
    setattr(holder, name, value)
    with scene.figures.to_save():
        assert getattr(holder, name) is value
    assert not scene.told


def test_an_argument_of_a_callback_s_own_is_in_no_file_where_it_is_no_number() -> None:
    scene = Scene()
    scene.trainer.args.smallest = INF
    for _ in range(2):
        with scene.figures.to_save():
            assert scene.trainer.args.smallest is None
        assert scene.trainer.args.smallest == INF
    assert scene.told == ["args.smallest is inf and is saved as None"]


def test_an_early_stopping_of_somebody_s_own_needs_no_figures() -> None:
    scene = Scene()
    scene.trainer.stopper = len
    with scene.figures.to_save():
        pass
    assert not scene.told


@pytest.mark.parametrize("value", [NAN, INF, np.float32(NAN), torch.tensor(NAN)], ids=repr)
def test_a_rate_that_none_can_be_reaches_no_row(value: Any) -> None:
    scene = Scene()
    scene.trainer.lr = {"lr/pg0": 0.01, "lr/pg1": value}
    scene.figures.put_right()
    assert scene.trainer.lr == {"lr/pg0": 0.01, "lr/pg1": 0.0}
    scene.trainer.lr = {"lr/pg0": value, "lr/pg1": 0.02}
    scene.figures.put_right()
    assert scene.trainer.lr == {"lr/pg0": 0.01, "lr/pg1": 0.02}
    assert scene.told == [
        f"lr/pg1 was {value}, which it can't be, and is 0.0 in results.csv",
        f"lr/pg0 was {value}, which it can't be, and is 0.01 in results.csv",
    ]
