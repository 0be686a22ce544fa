"""Images and labels that nothing can be trained on are named and counted, and cost nobody the run."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.integration.trainer.runs import events, layout_of, nonfinite
from trainmaster import GuardedDetectionTrainer
from trainmaster.trainer.arguments import ArgumentsError

pytestmark = pytest.mark.training

Settings = Callable[..., dict[str, Any]]


@pytest.fixture
def own_digits(digits: Path, tmp_path: Path) -> Path:
    """A copy of the data set, to be spoiled."""
    shutil.copytree(digits.parent, tmp_path / "own", ignore=shutil.ignore_patterns("*.cache"))
    text = digits.read_text(encoding="utf-8").replace(str(digits.parent), str(tmp_path / "own"))
    (tmp_path / "own" / "data.yaml").write_text(text, encoding="utf-8")
    return tmp_path / "own" / "data.yaml"


def images(data: Path, split: str = "train") -> list[Path]:
    return sorted((data.parent / "images" / split).iterdir())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Pillow leaves a cut file open
def test_corrupt_images_and_labels_are_named_and_counted(settings: Settings, own_digits: Path) -> None:
    empty, garbage, cut = images(own_digits)[:3]
    empty.write_bytes(b"")
    garbage.write_bytes(b"no image")
    cut.write_bytes(cut.read_bytes()[:200])
    not_a_number, no_such_class = sorted((own_digits.parent / "labels" / "train").glob("*.txt"))[3:5]
    not_a_number.write_text("1 nan 0.5 0.2 0.2\n", encoding="utf-8")
    no_such_class.write_text("77 0.5 0.5 0.2 0.2\n", encoding="utf-8")
    images(own_digits, "val")[0].write_bytes(b"no image")

    trainer = GuardedDetectionTrainer(overrides=settings(data=str(own_digits), epochs=1))
    trainer.train()

    layout = layout_of(trainer)
    train, val = events(layout, "data_fault")
    assert (train["where"], train["count"], val["where"], val["count"]) == ("train", 5, "val", 1)
    named = {Path(file).stem for file in train["files"]}
    assert named == {path.stem for path in (empty, garbage, cut, not_a_number, no_such_class)}
    assert len((layout.root / train["list"]).read_text(encoding="utf-8").splitlines()) == 5
    assert "data-fault: 5 files left out of train" in layout.train_log.read_text(encoding="utf-8")


def test_a_data_set_without_one_good_label_is_refused_in_words(settings: Settings, own_digits: Path) -> None:
    for path in (own_digits.parent / "labels" / "train").glob("*.txt"):
        path.write_text("77 0.5 0.5 0.2 0.2\n", encoding="utf-8")
    trainer = GuardedDetectionTrainer(overrides=settings(data=str(own_digits)))

    with pytest.raises(ArgumentsError, match=r"cannot be trained on: No valid images found .* exceeds dataset class"):
        trainer.train()


@pytest.mark.parametrize(
    ("setting", "words"),
    [({"freeze": 99}, "froze the entire model"), ({"batch": 23}, "final batch=1 .* change batch")],
    ids=["frozen whole", "a last batch of one image"],
)
def test_what_no_model_can_be_trained_with_is_refused_in_words(
    settings: Settings, setting: dict[str, int], words: str
) -> None:
    trainer = GuardedDetectionTrainer(overrides=settings(**setting))

    with pytest.raises(ArgumentsError, match=words):
        trainer.train()


@pytest.mark.parametrize("fault", ["missing", "corrupt", "of numbers that are none"])
@pytest.mark.parametrize("mosaic", [0.0, 1.0], ids=["alone", "as a partner"])
def test_an_image_that_goes_bad_during_training_has_a_stand_in(
    settings: Settings, own_digits: Path, fault: str, mosaic: float
) -> None:
    trainer = GuardedDetectionTrainer(overrides=settings(data=str(own_digits), epochs=1, mosaic=mosaic))
    victim = images(own_digits)[2]

    def spoil(_: Any) -> None:
        if fault == "missing":
            victim.unlink()
        elif fault == "corrupt":
            victim.write_bytes(b"no image")
        else:
            pixels = cv2.imread(str(victim)).astype(np.float32)
            np.save(victim.with_suffix(".npy"), pixels * np.nan)

    trainer.add_callback("on_train_start", spoil)
    trainer.train()

    assert not nonfinite(trainer)
    (told,) = events(layout_of(trainer), "data_fault")
    assert (told["where"], told["count"], told["files"]) == ("batch", 1, [str(victim)])
    assert not events(layout_of(trainer), "bad_batch")
    assert events(layout_of(trainer), "epoch_finished")[0]["batches_done"] == 6


def test_a_lost_disk_is_no_bad_file(settings: Settings, own_digits: Path) -> None:
    trainer = GuardedDetectionTrainer(overrides=settings(data=str(own_digits), epochs=1))
    trainer.add_callback("on_train_start", lambda _: shutil.rmtree(own_digits.parent / "images"))
    with pytest.raises(FileNotFoundError):
        trainer.train()
    (crashed,) = events(layout_of(trainer), "run_crashed")
    assert "Image Not Found" in crashed["error"]


def test_a_disk_lost_at_validation_is_no_bad_file(settings: Settings, own_digits: Path) -> None:
    held_out = images(own_digits, "val")
    for number, path in enumerate(held_out * 3):
        shutil.copy(path, path.with_stem(f"more{number}"))
    trainer = GuardedDetectionTrainer(overrides=settings(data=str(own_digits), epochs=1))
    trainer.add_callback("on_train_start", lambda _: shutil.rmtree(own_digits.parent / "images" / "val"))
    with pytest.raises(FileNotFoundError):
        trainer.train()
    (crashed,) = events(layout_of(trainer), "run_crashed")
    assert "Image Not Found" in crashed["error"]


def test_a_good_data_set_is_not_spoken_of(settings: Settings) -> None:
    trainer = GuardedDetectionTrainer(overrides=settings(epochs=1))
    trainer.train()
    assert not events(layout_of(trainer), "data_fault")
