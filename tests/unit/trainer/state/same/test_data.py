"""Which files a training is of, whatever datasets it has."""

from __future__ import annotations

import re
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from trainmaster.trainer.arguments import ArgumentsError
from trainmaster.trainer.contract import RunLayout
from trainmaster.trainer.engines.protocol import EngineTrainer
from trainmaster.trainer.state.same.data import (
    KnownData,
    files_of,
    note_of_validation,
    record_of,
    require_same_classes,
    require_same_data,
)


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
        (SimpleNamespace(dataset=SimpleNamespace(datasets=[SimpleNamespace(im_files=["a.png"])])), ["a.png"]),
        (
            SimpleNamespace(dataset=SimpleNamespace(im_files=["a.png", "b.png", "c.png"]), indices=[2, 0]),
            ["c.png", "a.png"],
        ),
        (
            SimpleNamespace(
                dataset=SimpleNamespace(datasets=[SimpleNamespace(), SimpleNamespace(im_files=["a.png"])]), indices=[7]
            ),
            ["a.png"],
        ),
        (SimpleNamespace(samples=["a.png", Path("b.png")]), ["a.png", "b.png"]),
        (SimpleNamespace(samples=[{"image": "a.png"}]), []),
        (SimpleNamespace(samples=[SimpleNamespace(), (), (3, "a.png")]), []),
        (SimpleNamespace(samples=7), []),
        (None, []),
    ],
)
def test_the_files_of_any_dataset_are_listed_as_far_as_it_names_them(dataset: Any, images: list[str]) -> None:
    assert files_of(trainer_of(dataset)).images == images


def trainer_with(validation: SimpleNamespace | None) -> EngineTrainer:
    """One whose training set stays the same."""
    loaders = {"train_loader": SimpleNamespace(dataset=SimpleNamespace(samples=[("/d/train/a/1.png", 0)]))}
    if validation is not None:
        loaders["test_loader"] = SimpleNamespace(dataset=validation)
    args = SimpleNamespace(data="d.yaml", single_cls=False)
    return cast("EngineTrainer", SimpleNamespace(**loaders, args=args, data={"names": {0: "a"}, "flip_idx": [1, 0]}))


VALIDATION = SimpleNamespace(samples=[("/d/val/a/1.png", 0), ("/d/val/b/2.png", 1)])


@pytest.mark.parametrize(
    ("validation", "word"),
    [
        (SimpleNamespace(samples=[("/d/val/a/1.png", 0), ("/d/val/b/2.png", 0)]), "the labels are other ones"),
        (SimpleNamespace(samples=[("/d/val/a/1.png", 0), ("/d/val/b/3.png", 1)]), "other names"),
        (SimpleNamespace(samples=[("/d/val/a/1.png", 0)]), "there are 1 images and were 2"),
    ],
    ids=["label", "name", "fewer"],
)
def test_other_validation_images_are_told_and_an_exact_run_refuses_them(
    tmp_path: Path, validation: SimpleNamespace, word: str
) -> None:
    state = {"data": record_of(trainer_with(VALIDATION), KnownData())}
    layout, other = RunLayout(tmp_path / "run"), trainer_with(validation)
    note = note_of_validation(state, other) or ""
    assert note.startswith("in the validation set, ")
    assert word in note
    assert require_same_data(layout, state, other, exact=False) is None, "the epoch that was cut goes on"
    with pytest.raises(ArgumentsError, match=f"in the validation set, .*{word}"):
        require_same_data(layout, state, other, exact=True)


@pytest.mark.parametrize(
    "left_out", [{"val"}, {"val", "names", "files", "labels", "count"}, set()], ids=["validation", "all", "nothing"]
)
def test_what_a_state_does_not_know_is_not_judged(tmp_path: Path, left_out: set[str]) -> None:
    record = record_of(trainer_with(VALIDATION), KnownData())
    state = {"data": {key: value for key, value in record.items() if key not in left_out}}
    for trainer in (trainer_with(None), trainer_with(VALIDATION if "val" not in left_out else SimpleNamespace())):
        assert note_of_validation(state, trainer) is None
        assert require_same_data(RunLayout(tmp_path / "run"), state, trainer, exact=True) is None


def test_an_exact_run_is_of_images_that_are_known(tmp_path: Path) -> None:
    trainer = trainer_with(None)
    trainer.train_loader.dataset = SimpleNamespace()
    state, layout = {"data": record_of(trainer, KnownData())}, RunLayout(tmp_path / "run")
    assert require_same_data(layout, state, trainer, exact=False) is None
    with pytest.raises(ArgumentsError, match="nobody knows which images a SimpleNamespace has"):
        require_same_data(layout, state, trainer, exact=True)


def test_a_description_that_makes_other_samples_is_other_data(tmp_path: Path) -> None:
    state, layout = {"data": record_of(trainer_with(None), KnownData())}, RunLayout(tmp_path / "run")
    other = trainer_with(None)
    other.data.update(flip_idx=[0, 1], download="elsewhere")
    said = "flip_idx is [0, 1] and was [1, 0]"
    assert require_same_data(layout, state, other, exact=False) == said
    with pytest.raises(ArgumentsError, match=re.escape(said)):
        require_same_data(layout, state, other, exact=True)


@pytest.mark.parametrize(
    ("task", "num_names", "num_outputs", "refused"),
    [("detect", 2, 2, False), ("detect", 3, 3, True), ("detect", 2, 1, False), ("semantic", 3, 3, False)],
    ids=["the same", "one less now", "names beyond the model's outputs", "a background of its own"],
)
def test_classes_are_told_from_the_description_as_far_as_it_tells_them(
    tmp_path: Path, task: str, num_names: int, num_outputs: int, refused: bool
) -> None:
    data = tmp_path / "data.yaml"
    data.write_text("names: [a, b]\n", encoding="utf-8")
    names = [[number, name] for number, name in enumerate("abc"[:num_names])]
    state = {"task": task, "data": {"names": names}, "model_yaml": {"nc": num_outputs}}
    with pytest.raises(ArgumentsError, match="has 2 classes") if refused else nullcontext():
        require_same_classes(RunLayout(tmp_path / "run"), state, {"data": str(data)})


def test_a_folder_with_its_description_in_it_is_no_folder_of_classes(tmp_path: Path) -> None:
    (tmp_path / "train" / "images").mkdir(parents=True)
    state = {"task": "detect", "data": {"names": [[0, "a"]]}, "model_yaml": {"nc": 1}}
    require_same_classes(RunLayout(tmp_path / "run"), state, {"data": str(tmp_path)})
    with pytest.raises(ArgumentsError, match="is 'images'"):
        require_same_classes(RunLayout(tmp_path / "run"), {**state, "task": "classify"}, {"data": str(tmp_path)})
