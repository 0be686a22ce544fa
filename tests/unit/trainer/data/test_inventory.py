"""What a run's files are compared with: a real folder of images and labels."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from trainmaster.trainer.cli import data as verb
from trainmaster.trainer.cli.main import main
from trainmaster.trainer.contract import RunLayout
from trainmaster.trainer.data import inventory
from trainmaster.trainer.data.inventory import NAME, DataFiles, DataVerdict, compare, take_inventory


class Set:
    """Six images, of which the last has no label, and a run that began to train on them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.images, self.labels = folder / "digits/images/train", folder / "digits/labels/train"
        for place in (self.images, self.labels):
            place.mkdir(parents=True)
        for number in range(6):
            (self.images / f"{number}.png").write_bytes(bytes(100 + number))
            if number < 5:
                (self.labels / f"{number}.txt").write_text(f"{number} 0.5 0.5 0.1 0.1\n")
        self.yaml = folder / "digits/data.yaml"
        self.yaml.write_text("train: images/train\nnames: [a, b]\n")
        self.layout = RunLayout(folder / "runs" / "night")
        self.layout.guard.mkdir(parents=True)

    @property
    def files(self) -> DataFiles:
        return DataFiles(
            images=[str(self.images / f"{number}.png") for number in range(6)],
            labels=[str(self.labels / f"{number}.txt") for number in range(6)],
            settings=(str(self.yaml),),
            suffixes=frozenset({"png", "jpg"}),
        )


@pytest.fixture
def digits(tmp_path: Path) -> Set:
    made = Set(tmp_path)
    assert take_inventory(made.layout, made.files)
    return made


@pytest.mark.parametrize("kept", ["byte", "row", "depth"])
def test_a_record_that_was_damaged_is_unknown(digits: Set, kept: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = digits.layout.guard / NAME
    if kept == "byte":
        damaged = bytearray(path.read_bytes())
        damaged[damaged.index(0, 10) + 1] |= 0b110  # behind the name: a kind of block that zlib does not know
        path.write_bytes(damaged)
    else:
        row = {"folder": str(digits.images), "kind": "images", "files": [["0.png"]]}
        with gzip.open(path, "wt") as stream:
            head = json.dumps({"format": "trainmaster-data", "v": 1, "images": 1})
            stream.write(f"{head}\n{json.dumps(row) if kept == 'row' else 200_000 * '['}\n")
    assert compare(digits.layout).verdict is DataVerdict.UNKNOWN
    assert main(["data", str(digits.layout.root), "--json"]) == verb.NOT_THE_SAME
    assert json.loads(capsys.readouterr().out)["verdict"] == "unknown"


def test_nothing_is_recorded_where_no_image_is_known_and_the_record_before_goes(digits: Set) -> None:
    assert not take_inventory(digits.layout, DataFiles(images=[]))
    assert compare(digits.layout).verdict is DataVerdict.UNRECORDED


def test_what_is_as_it_was_is_the_same(digits: Set) -> None:
    found = compare(digits.layout)
    assert (found.verdict, found.text) == (DataVerdict.SAME, "6 images and their labels are as they were")


def _swap_class(digits: Set) -> None:
    path = digits.labels / "2.txt"
    path.write_text(path.read_text().replace("2 0.5", "3 0.5"))
    os.utime(path, ns=(1, 1))


CHANGES: dict[str, tuple[Callable[[Set], object], str]] = {
    "an image is gone": (lambda one: (one.images / "3.png").unlink(), "1 image is gone ("),
    "all images are gone": (lambda one: one.images.rename(one.folder / "moved"), "1 folder of images is gone ("),
    "an image is cut short": (lambda one: os.truncate(one.images / "3.png", 50), "1 image is of another size ("),
    "images joined": (lambda one: (one.images / "7.JPG").touch(), "1 image joined ("),
    "a label is gone": (lambda one: (one.labels / "3.txt").unlink(), "1 label file is gone ("),
    "a label is empty": (lambda one: (one.labels / "3.txt").write_text(""), "1 label file is of another size ("),
    "a background got a label": (lambda one: (one.labels / "5.txt").touch(), "1 label file is new ("),
    "a label has another class": (_swap_class, "1 label file is changed ("),
    "the YAML names other classes": (lambda one: one.yaml.write_text("names: [b, a]"), "settings file"),
    "the YAML is gone": (lambda one: one.yaml.unlink(), "1 settings file is gone ("),
}


@pytest.mark.parametrize(("change", "text"), CHANGES.values(), ids=CHANGES)
def test_what_is_no_longer_as_it_was_is_named(digits: Set, change: Callable[[Set], object], text: str) -> None:
    change(digits)
    found = compare(digits.layout)
    assert found.verdict is DataVerdict.CHANGED
    assert text in found.text


def test_only_the_first_few_of_many_are_named(digits: Set) -> None:
    for path in digits.images.iterdir():
        path.unlink()
    text = compare(digits.layout).text
    assert text.startswith("6 images are gone (")
    assert text.count(".png") == 3


def test_labels_written_anew_with_the_same_words_are_the_same(digits: Set) -> None:
    """As a data set that was unpacked once more has them."""
    for path in digits.labels.iterdir():
        os.utime(path, (1, 1))
    for path in digits.images.iterdir():
        os.utime(path, (1, 1))
    assert compare(digits.layout).verdict is DataVerdict.SAME


def test_files_beside_the_images_that_are_no_images_are_nobodys_business(digits: Set) -> None:
    (digits.images / "3.npy").touch()
    (digits.images.parent / "train.cache").touch()
    assert compare(digits.layout).verdict is DataVerdict.SAME


def test_images_of_a_folder_that_the_run_left_out_do_not_join_later(tmp_path: Path) -> None:
    """A list of images, a quarantine, a fraction: what lay beside them then may go on doing so."""
    digits = Set(tmp_path)
    some = DataFiles(images=digits.files.images[:3], suffixes=frozenset({"png"}))
    take_inventory(digits.layout, some)
    assert compare(digits.layout).verdict is DataVerdict.SAME
    (digits.images / "new.png").touch()
    assert "1 image joined" in compare(digits.layout).text


def test_label_that_nobody_read_and_that_was_written_anew_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digits = Set(tmp_path)
    monkeypatch.setattr(inventory, "CONTENT_S", -1.0)
    take_inventory(digits.layout, digits.files)
    assert compare(digits.layout).verdict is DataVerdict.SAME
    os.utime(digits.labels / "2.txt", (1, 1))
    found = compare(digits.layout)
    assert found.verdict is DataVerdict.UNKNOWN
    assert "1 label file is written anew" in found.text


def test_folder_that_can_not_be_read_is_unknown(digits: Set, monkeypatch: pytest.MonkeyPatch) -> None:
    def stale(_: object) -> object:
        raise OSError(116, "Stale file handle")

    monkeypatch.setattr(inventory.os, "scandir", stale)
    assert compare(digits.layout).verdict is DataVerdict.UNKNOWN


def test_run_of_an_older_trainer_has_no_record(tmp_path: Path) -> None:
    assert compare(Set(tmp_path).layout).verdict is DataVerdict.UNRECORDED


@pytest.mark.parametrize(
    "content",
    [b"", b"no gzip", gzip.compress(b"[]\n"), gzip.compress(b'{"format":"trainmaster-data","v":9}\n')],
    ids=["empty", "no gzip", "no record", "of a later version"],
)
def test_record_that_nobody_can_read_is_unknown(digits: Set, content: bytes) -> None:
    (digits.layout.guard / NAME).write_bytes(content)
    assert compare(digits.layout).verdict is DataVerdict.UNKNOWN


def test_torn_record_is_unknown(digits: Set) -> None:
    path = digits.layout.guard / NAME
    path.write_bytes(path.read_bytes()[:-20])
    assert compare(digits.layout).verdict is DataVerdict.UNKNOWN


def test_set_that_takes_too_long_is_not_recorded_and_the_old_record_is_gone(digits: Set) -> None:
    seconds = iter(range(100))
    assert not take_inventory(digits.layout, digits.files, clock=lambda: float(next(seconds)))
    assert list(digits.layout.guard.iterdir()) == []


def test_twenty_thousand_images_are_recorded_and_compared_in_time(tmp_path: Path) -> None:
    """The trainer allows 10 s for the one, the bot's gate 30 s for the other."""
    images = tmp_path / "images"
    images.mkdir()
    for number in range(20_000):
        (images / f"{number:012}.jpg").touch()
    layout = RunLayout(tmp_path / "run")
    layout.guard.mkdir(parents=True)
    began_s = time.monotonic()
    assert take_inventory(layout, DataFiles(images=[str(path) for path in images.iterdir()]))
    assert compare(layout).verdict is DataVerdict.SAME
    assert time.monotonic() - began_s < 8.0


def test_verb_answers_people_and_the_bot(digits: Set, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", str(digits.layout.root)]) == 0
    assert capsys.readouterr().out == "same: 6 images and their labels are as they were\n"
    shutil.rmtree(digits.images)
    assert main(["data", str(digits.layout.root), "--json"]) == verb.NOT_THE_SAME
    assert json.loads(capsys.readouterr().out)["verdict"] == "changed"
    for no_run in ("nowhere", "."):
        assert main(["data", str(digits.folder / no_run)]) == 2
        assert "Hint: name the folder that the training made" in capsys.readouterr().err
