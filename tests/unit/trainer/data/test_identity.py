from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from torch.utils.data import Subset

from trainmaster.trainer.data.identity import DataIdentity, class_names, folder_names, names_difference
from trainmaster.trainer.data.inventory import TAKE_S


def dataset(root: str = "/data/digits/images", **changes: Any) -> SimpleNamespace:
    boxes = [np.array([[0.5, 0.5, 0.1, 0.1]], dtype=np.float32), np.zeros((0, 4), dtype=np.float32)]
    labels = [
        {"cls": np.array([[3.0]], dtype=np.float32), "bboxes": boxes[0], "segments": [], "keypoints": None},
        {"cls": np.zeros((0, 1), dtype=np.float32), "bboxes": boxes[1], "segments": [], "keypoints": None},
    ]
    found = {"im_files": [f"{root}/a/1.png", f"{root}/b/2.png"], "labels": labels, **changes}
    return SimpleNamespace(**found)


def test_the_same_data_elsewhere_is_the_same() -> None:
    record = DataIdentity.of(dataset()).as_record()
    assert DataIdentity.of(dataset("/mnt/copy")).difference(record) is None


def relabelled(key: str, value: Any) -> SimpleNamespace:
    found = dataset()
    found.labels[0][key] = value
    return found


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        (dataset(im_files=["/data/digits/images/a/1.png", "/data/digits/images/b/3.png"]), "other names"),
        (dataset(im_files=["/data/digits/images/b/2.png", "/data/digits/images/a/1.png"]), "another order"),
        (dataset(im_files=["/data/digits/images/a/1.png"]), "there are 1 images and were 2"),
        (relabelled("cls", np.array([[4.0]], dtype=np.float32)), "labels are other ones"),
        (relabelled("bboxes", np.array([[0.5, 0.5, 0.1, 0.2]], dtype=np.float32)), "labels are other ones"),
        (relabelled("segments", [np.zeros((3, 2), dtype=np.float32)]), "labels are other ones"),
        (relabelled("keypoints", np.zeros((1, 2, 3), dtype=np.float32)), "labels are other ones"),
        (relabelled("texts", [["a cat", "kitten"], ["a dog"]]), "labels are other ones"),
    ],
    ids=["renamed", "another order", "fewer", "class", "box", "outline", "keypoints", "phrases"],
)
def test_other_data_is_told(other: SimpleNamespace, difference: str) -> None:
    assert difference in (DataIdentity.of(other).difference(DataIdentity.of(dataset()).as_record()) or "")
    first = dataset("/data/digits/more")
    before = DataIdentity.of(SimpleNamespace(datasets=[first, dataset()])).as_record()
    concatenated = DataIdentity.of(SimpleNamespace(datasets=[first, other]))
    assert (difference if len(other.im_files) == 2 else "there are 3 images") in (concatenated.difference(before) or "")


def test_a_selection_is_of_the_images_that_it_picks() -> None:
    joined = SimpleNamespace(datasets=[dataset("/data/digits/more"), dataset()])
    before = DataIdentity.of(Subset(joined, [3, 0])).as_record()
    assert DataIdentity.of(Subset(joined, [3, 0])).difference(before) is None
    told = DataIdentity.of(Subset(joined, [3, 1])).difference(before)
    assert told == "the images have other names, or another order"


@pytest.mark.parametrize("labels", [None, [b"of all of them"]], ids=["unlabelled", "labels of another kind"])
def test_a_selection_of_images_is_known_whatever_their_labels_are(labels: Any) -> None:
    before = DataIdentity.of(Subset(dataset(labels=labels), [0]))
    assert before.count == 1
    told = DataIdentity.of(Subset(dataset(labels=labels), [1])).difference(before.as_record())
    assert told == "the images have other names, or another order"


@pytest.mark.parametrize("samples", [7, [{"image": "a.png"}], [SimpleNamespace()], [()], None])
def test_of_what_names_no_images_nothing_is_known(samples: Any) -> None:
    own = SimpleNamespace(samples=samples, im_files=None)
    known = DataIdentity.of(dataset())
    for unknown in (DataIdentity.of(own), DataIdentity.of(SimpleNamespace(datasets=[dataset(), own]))):
        assert unknown.count == 0
        assert unknown.difference(known.as_record()) == "nobody knows which images there are"
        assert known.difference(unknown.as_record()) == "nobody knows which images there were"


def test_a_sample_of_another_class_is_told() -> None:
    samples = [("/data/train/cat/1.png", 0, None, None), ("/data/train/dog/2.png", 1, None, None)]
    before = DataIdentity.of(SimpleNamespace(samples=samples)).as_record()
    assert DataIdentity.of(SimpleNamespace(samples=samples)).difference(before) is None
    moved = [samples[0], ("/data/train/dog/2.png", 0, None, None)]
    assert DataIdentity.of(SimpleNamespace(samples=moved)).difference(before) == "the labels are other ones"


@pytest.mark.parametrize(
    ("name", "content", "difference"),
    [
        ("1.png", b"other", None),
        ("1.png", b"longer", "images of the same names have other sizes on the disk"),
        ("1_mask.png", b"longer", "images of the same names have other sizes on the disk"),
    ],
    ids=["as large", "an image", "a mask"],
)
def test_images_of_another_size_are_told(name: str, content: bytes, difference: str | None, tmp_path: Path) -> None:
    for file in ("1.png", "1_mask.png"):
        (tmp_path / file).write_bytes(b"bytes")
    masked = SimpleNamespace(im_files=[tmp_path / "1.png"], labels=[], mask_files=[str(tmp_path / "1_mask.png")])
    record = DataIdentity.of(masked).as_record()
    (tmp_path / name).write_bytes(content)
    assert DataIdentity.of(masked).difference(record) == difference
    assert DataIdentity.of(masked).difference({**record, "sizes": None}) is None, "a state of before"


def test_sizes_that_took_too_long_to_look_at_are_not_known() -> None:
    found = DataIdentity.of(dataset(), clock=iter([0.0, TAKE_S, TAKE_S + 1]).__next__)
    assert found.sizes is None
    assert found.difference(DataIdentity.of(dataset()).as_record()) is None


def test_a_state_that_knows_nothing_of_its_data_says_nothing() -> None:
    assert DataIdentity.of(dataset()).difference({}) is None


@pytest.mark.parametrize(
    ("before", "now", "difference"),
    [
        (["cat", "dog"], {0: "cat", 1: "dog"}, None),
        (["cat", "dog"], ["dog", "cat"], "class 0 was 'cat' and is 'dog'; class 1 was 'dog' and is 'cat'"),
        ({0: "cat"}, ["cat", "dog"], "class 1 was none and is 'dog'"),
        (list("abcdefg"), list("tuvwxyz"), "class 4 was 'e' and is 'x' and 2 more"),
        (None, ["cat"], None),
        ({}, ["cat"], None),
    ],
    ids=["same", "swapped", "one more", "many", "unknown", "none known"],
)
def test_other_class_names_are_shown(before: Any, now: Any, difference: str | None) -> None:
    found = names_difference(before, now)
    assert found is None if difference is None else difference in (found or "")


def test_class_names_of_folders_are_numbered_as_ultralytics_does(tmp_path: Path) -> None:
    for name in ("dog", "cat"):
        (tmp_path / "train" / name).mkdir(parents=True)
    assert folder_names(tmp_path) == {0: "cat", 1: "dog"}
    assert folder_names(tmp_path / "nowhere") == {}
    assert class_names(3) == {}


def test_the_order_of_a_validation_set_says_nothing() -> None:
    found = dataset()
    other = dataset(im_files=found.im_files[::-1], labels=found.labels[::-1])
    record = DataIdentity.of(found, sampled=False).as_record()
    assert DataIdentity.of(other, sampled=False).difference(record) is None
    swapped = dataset(labels=found.labels[::-1])
    assert DataIdentity.of(swapped, sampled=False).difference(record) == "the labels are other ones"
    samples = [("/data/a/1.png", 0, None, None), ("/data/b/2.png", 1, None, None)]
    classified = DataIdentity.of(SimpleNamespace(samples=samples), sampled=False).as_record()
    assert DataIdentity.of(SimpleNamespace(samples=samples[::-1]), sampled=False).difference(classified) is None
    assert DataIdentity.of(SimpleNamespace(samples=samples[::-1])).difference(classified) is not None
