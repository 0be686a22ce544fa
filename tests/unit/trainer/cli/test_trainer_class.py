from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ultralytics import YOLO
from ultralytics.models.rtdetr.train import RTDETRTrainer
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils import ROOT, YAML

from trainmaster import GuardedDetectionTrainer, GuardedSegmentationTrainer
from trainmaster.trainer import guard
from trainmaster.trainer.arguments import ArgumentsError
from trainmaster.trainer.cli.trainer_class import KIND_OF_HEAD, OF_ANOTHER_TRAINER, by_name, for_model


class Own(GuardedDetectionTrainer):
    """A class that a run may have been trained by."""


class Unguarded(DetectionTrainer):
    """Put under guard by :func:`trainmaster.guarded`, without a name in a module."""


def test_every_model_that_ultralytics_ships_ends_in_a_module_that_is_known() -> None:
    heads = {YAML.load(path)["head"][-1][2] for path in (ROOT / "cfg" / "models").rglob("*.yaml")}
    assert heads <= KIND_OF_HEAD.keys() | OF_ANOTHER_TRAINER


@pytest.mark.parametrize(
    ("model", "task"),
    [
        ("yolo11n.yaml", "detect"),
        ("yolov10x.yaml", "detect"),
        ("yolo26n-seg.yaml", "segment"),
        ("yolov8m-pose-p6.yaml", "pose"),
        ("yolo11n-cls.yaml", "classify"),
        ("yolo26n-obb.yaml", "obb"),
        ("yolo11n-seg.pt", "segment"),
        ("yolo11n", "detect"),
    ],
)
def test_a_model_is_trained_by_the_class_of_its_task(model: str, task: str) -> None:
    assert for_model(model, None) is guard.TRAINERS[task]


def test_a_model_of_a_name_that_tells_nothing_is_known_by_its_last_module(tmp_path: Path) -> None:
    own = tmp_path / "night.yaml"
    own.write_text("nc: 3\nbackbone:\n  - [-1, 1, Conv, [8, 3, 2]]\nhead:\n  - [[0], 1, Segment, [nc, 8, 16]]\n")
    assert for_model(str(own), None) is GuardedSegmentationTrainer
    assert issubclass(for_model("rtdetr-l.yaml", None), RTDETRTrainer)


@pytest.mark.parametrize(
    ("model", "task", "told"),
    [
        ("nowhere.yaml", None, "model=nowhere.yaml: no such file"),
        ("nowhere.pt", None, "model=nowhere.pt: no such file"),
        ("yolo11m-sge.pt", None, "did you mean 'yolo11m-seg.pt'"),
        ("{data}", None, "is no model: it lacks backbone and head"),
        ("{torn}", None, "is no YAML"),
        ("yolo11n-seg.yaml", "detect", "task=detect, but model=yolo11n-seg.yaml is of task segment"),
        ("yolo11n.yaml", "detct", "did you mean 'detect'"),
        ("yolov8s-worldv2.yaml", None, "ends in WorldDetect"),
        ("yolo26n-sem.yaml", None, "ends in SemanticSegment"),
    ],
)
def test_a_model_that_cannot_be_trained_is_refused_with_the_reason(
    tmp_path: Path, model: str, task: str | None, told: str
) -> None:
    (tmp_path / "data.yaml").write_text("train: images\n", encoding="utf-8")
    (tmp_path / "torn.yaml").write_text("head: [\n", encoding="utf-8")
    with pytest.raises(ArgumentsError) as refused:
        for_model(model.format(data=tmp_path / "data.yaml", torn=tmp_path / "torn.yaml"), task)
    assert told in refused.value.message


def test_a_class_is_found_again_by_its_name() -> None:
    assert by_name(f"{__name__}:Own", "detect") is Own
    assert issubclass(by_name(f"{__name__}:GuardedUnguarded", "detect"), Unguarded)
    rtdetr = by_name("ultralytics.models.rtdetr.train:GuardedRTDETRTrainer", "detect")
    assert issubclass(rtdetr, guard.GuardMixin)
    assert issubclass(rtdetr, RTDETRTrainer)


@pytest.mark.parametrize(
    "name",
    [None, "__main__:Own", "no.such.module:Own", f"{__name__}:Local", f"{__name__}:f.<locals>.Own", "pathlib:Path"],
    ids=str,
)
def test_a_class_that_cannot_be_imported_gives_way_to_that_of_the_task(name: str | None) -> None:
    assert by_name(name, "segment") is GuardedSegmentationTrainer


def test_a_run_of_a_task_without_a_class_of_its_own_is_not_guessed_at() -> None:
    with pytest.raises(ArgumentsError, match="of task semantic and was trained by __main__:Own"):
        by_name("__main__:Own", "semantic")


@pytest.mark.parametrize("given", [YOLO, "detect"], ids=["a model", "a task"])
def test_what_is_no_trainer_class_is_refused_where_it_is_given(given: Any) -> None:
    with pytest.raises(TypeError, match="guarded takes a trainer class such as Ultralytics' DetectionTrainer, not"):
        guard.guarded(given)
