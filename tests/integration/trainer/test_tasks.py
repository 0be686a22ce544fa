"""The five tasks and the optimizers: each loses one bad batch and nothing else."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ultralytics.models.yolo.classify import ClassificationTrainer
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.models.yolo.obb import OBBTrainer
from ultralytics.models.yolo.pose import PoseTrainer
from ultralytics.models.yolo.segment import SegmentationTrainer

from tests.integration.trainer.runs import NAN, differing, events, layout_of, nonfinite, without_batch
from trainmaster import guarded
from trainmaster.trainer.guard import TRAINERS

pytestmark = pytest.mark.training

HEADS = {
    "detect": "[[1, 2], 1, Detect, [nc]]",
    "segment": "[[1, 2], 1, Segment, [nc, 8, 16]]",
    "pose": "[[1, 2], 1, Pose, [nc, [4, 3]]]",
    "classify": "[-1, 1, Classify, [nc]]",
    "obb": "[[1, 2], 1, OBB, [nc, 1]]",
}

STOCK = {
    "detect": DetectionTrainer,
    "segment": SegmentationTrainer,
    "pose": PoseTrainer,
    "classify": ClassificationTrainer,
    "obb": OBBTrainer,
}


@pytest.fixture
def model_of(tiny_model: Path, tmp_path: Path) -> Callable[[str], str]:
    """The tiny model with the head of another task."""

    def of(task: str) -> str:
        text = tiny_model.read_text(encoding="utf-8").replace(HEADS["detect"], HEADS[task])
        path = tmp_path / f"tiny-{task}.yaml"
        path.write_text(text + ("kpt_shape: [4, 3]\n" if task == "pose" else ""), encoding="utf-8")
        return str(path)

    return of


@pytest.fixture(scope="session")
def data_of(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The digits with labels of another task: corners as polygon, as key points, as oriented box; crops as classes."""
    made: dict[str, Path] = {"detect": digits}

    def of(task: str) -> Path:
        if task not in made:
            root = tmp_path_factory.mktemp(task)
            made[task] = _classes(digits.parent, root) if task == "classify" else _relabelled(digits.parent, root, task)
        return made[task]

    return of


def _relabelled(source: Path, root: Path, task: str) -> Path:
    shutil.copytree(source / "images", root / "images")
    for path in source.glob("labels/*/*.txt"):
        lines = [_line(task, *map(float, line.split())) for line in path.read_text().splitlines()]
        target = root / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text("\n".join(lines) + "\n")
    text = (source / "data.yaml").read_text()
    if task == "pose":
        text += "kpt_shape: [4, 3]\nflip_idx: [1, 0, 3, 2]\n"
    (root / "data.yaml").write_text(text)
    return root / "data.yaml"


def _line(task: str, digit: float, x: float, y: float, w: float, h: float) -> str:
    corners = [(x - w / 2, y - h / 2), (x + w / 2, y - h / 2), (x + w / 2, y + h / 2), (x - w / 2, y + h / 2)]
    if task == "pose":
        points = " ".join(f"{left:.6f} {top:.6f} 2" for left, top in corners)
        return f"{int(digit)} {x:.6f} {y:.6f} {w:.6f} {h:.6f} {points}"
    return f"{int(digit)} " + " ".join(f"{left:.6f} {top:.6f}" for left, top in corners)


def _classes(source: Path, root: Path) -> Path:
    for split in ("train", "val"):
        for number, path in enumerate(sorted((source / "images" / split).iterdir())):
            folder = root / split / str(number % 2)
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, folder / path.name)
    return root


def poisoned(base: type, at: int = 3, key: str = "img") -> type:
    """``base`` with a NaN, or a class that is none, in ``key`` of batch ``at`` (from 0)."""

    class Run(base):  # type: ignore[misc]
        def preprocess_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
            batch = super().preprocess_batch(batch)
            if self.guard.position.ni == at:
                batch[key].view(-1)[0] = NAN if batch[key].is_floating_point() else 99
            return batch

    return Run


@pytest.mark.parametrize(
    ("task", "key", "changes"),
    [
        ("detect", "img", {"optimizer": "MuSGD", "nbs": 12}),
        ("detect", "cls", {"optimizer": "AdamW"}),
        ("segment", "bboxes", {"optimizer": "AdamW", "nbs": 12}),
        ("segment", "cls", {"overlap_mask": False}),
        ("pose", "keypoints", {"optimizer": "MuSGD"}),
        ("classify", "img", {"nbs": 12, "dropout": 0.3}),
        ("classify", "cls", {}),
        ("obb", "bboxes", {"optimizer": "auto"}),
    ],
    ids=[
        *("detect musgd accumulating", "detect adamw", "segment", "a mask a box", "pose", "classify and drop out"),
        *("class of an image", "obb"),
    ],
)
def test_every_task_and_optimizer_loses_one_batch_without_a_trace_and_names_its_images(
    settings: Callable[..., dict[str, Any]],
    data_of: Callable[[str], Path],
    model_of: Callable[[str], str],
    task: str,
    key: str,
    changes: dict[str, Any],
) -> None:
    overrides = settings(model=model_of(task), data=str(data_of(task)), epochs=1, **changes)
    trainer = poisoned(TRAINERS[task], key=key)(overrides=overrides)
    trainer.train()

    assert not nonfinite(trainer)
    (bad,) = events(layout_of(trainer), "bad_batch")
    assert (bad["batch"], bad["cause"], bad["skipped_total"]) == (4, "data", 1)
    assert len(bad["images"]) >= 4
    assert "nan" not in trainer.csv.read_text(encoding="utf-8")
    assert not differing(trainer, without_batch(trainer, 3, stock=STOCK[task]))


def test_end_to_end_heads_go_through_their_gains(settings: Callable[..., dict[str, Any]]) -> None:
    trainer = poisoned(TRAINERS["detect"])(overrides=settings(model="yolo26n.yaml", epochs=2, imgsz=32))
    trainer.train()
    assert trainer.model.criterion.updates == 2
    assert not nonfinite(trainer)


def test_any_trainer_class_can_be_guarded(settings: Callable[..., dict[str, Any]]) -> None:
    steps: list[float] = []

    class Own(DetectionTrainer):
        def optimizer_step(self) -> None:
            steps.append(self.epoch)
            super().optimizer_step()

    trainer = poisoned(guarded(Own))(overrides=settings(epochs=1))
    trainer.train()

    assert len(steps) == 5
    assert not nonfinite(trainer)
    assert guarded(type(trainer)) is type(trainer)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, while it traces
@pytest.mark.filterwarnings("ignore::UserWarning")  # as above
def test_a_compiled_model_loses_one_batch(
    settings: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def traced_only(model: torch.nn.Module, **_: Any) -> torch.nn.Module:
        return torch.compile(model, backend="eager")  # what inductor makes of it takes a minute and is not at stake

    monkeypatch.setattr("ultralytics.engine.trainer.attempt_compile", traced_only)
    trainer = poisoned(TRAINERS["detect"])(overrides=settings(epochs=1, compile=True))
    trainer.train()

    assert not nonfinite(trainer)
    assert [row["batch"] for row in events(layout_of(trainer), "bad_batch")] == [4]


@pytest.mark.parametrize(("task", "fault"), [*((task, "missing") for task in HEADS), ("detect", "corrupt")])
def test_a_validation_image_that_goes_bad_has_a_stand_in(
    settings: Callable[..., dict[str, Any]],
    data_of: Callable[[str], Path],
    model_of: Callable[[str], str],
    task: str,
    fault: str,
) -> None:
    data = data_of(task)
    folder = data if data.is_dir() else data.parent / "images"
    victim = sorted(path for path in (folder / "val").rglob("*") if path.is_file())[1]
    pixels = victim.read_bytes()
    trainer = TRAINERS[task](overrides=settings(model=model_of(task), data=str(data), epochs=1))

    def spoil(_: Any) -> None:
        victim.unlink()
        if fault == "corrupt":
            victim.write_bytes(b"no image")

    trainer.add_callback("on_train_start", spoil)
    try:
        trainer.train()
    finally:
        victim.write_bytes(pixels)

    (told,) = events(layout_of(trainer), "data_fault")
    assert (told["where"], told["count"], told["files"]) == ("val_batch", 1, [str(victim)])
    (finished,) = events(layout_of(trainer), "epoch_finished")
    assert all(math.isfinite(value) for value in finished["metrics"].values())
    assert events(layout_of(trainer), "run_finished")


def test_a_student_of_another_model_loses_one_bad_batch_alike(settings: Callable[..., dict[str, Any]]) -> None:
    teacher = TRAINERS["detect"](overrides=settings(epochs=1, name="teacher"))
    teacher.train()
    student = TRAINERS["detect"](
        overrides=settings(epochs=1, distill_model=str(teacher.last), drill="nan-image@1:3", name="student")
    )
    student.train()

    assert not nonfinite(student)
    (bad,) = events(layout_of(student), "bad_batch")
    assert "dis_loss" in bad["losses"]
    assert "dis_loss" in events(layout_of(student), "epoch_finished")[0]["losses"]
