"""The five tasks and the optimizers: each loses one bad batch and nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.trainer.runs import NAN, events, layout_of, nonfinite
from trainer import guarded
from trainer.guard import TRAINERS

pytestmark = pytest.mark.training

MODELS = {
    "detect": "yolo11n.yaml",
    "segment": "yolo11n-seg.yaml",
    "pose": "yolo11n-pose.yaml",
    "classify": "yolo11n-cls.yaml",
    "obb": "yolo11n-obb.yaml",
}


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


def poisoned(base: type, at: int = 3) -> type:
    """``base`` with a NaN in an image of batch ``at`` (from 0)."""

    class Run(base):  # type: ignore[misc]
        def preprocess_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
            batch = super().preprocess_batch(batch)
            if self.guard.position.ni == at:
                batch["img"][0, 0, 0, 0] = NAN
            return batch

    return Run


@pytest.mark.parametrize("task", MODELS)
def test_every_task_loses_one_batch_and_names_its_images(
    settings: Callable[..., dict[str, Any]], data_of: Callable[[str], Path], task: str
) -> None:
    overrides = settings(model=MODELS[task], data=str(data_of(task)), epochs=1, imgsz=32)
    trainer = poisoned(TRAINERS[task])(overrides=overrides)
    trainer.train()

    assert not nonfinite(trainer)
    (bad,) = events(layout_of(trainer), "bad_batch")
    assert (bad["batch"], bad["cause"], bad["skipped_total"]) == (4, "data", 1)
    assert len(bad["images"]) >= 4
    assert "nan" not in trainer.csv.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "changes",
    [{"optimizer": "AdamW"}, {"optimizer": "MuSGD"}, {"optimizer": "AdamW", "nbs": 12}],
    ids=["adamw", "musgd", "adamw accumulating"],
)
def test_every_optimizer_loses_one_batch(settings: Callable[..., dict[str, Any]], changes: dict[str, Any]) -> None:
    trainer = poisoned(TRAINERS["detect"], at=8)(overrides=settings(**changes))
    trainer.train()

    assert type(trainer.optimizer).__name__ == changes.get("optimizer", "SGD")
    assert not nonfinite(trainer)
    assert events(layout_of(trainer), "epoch_finished")[-1]["skipped"] == 1


def test_end_to_end_heads_go_through_their_gains(settings: Callable[..., dict[str, Any]]) -> None:
    trainer = poisoned(TRAINERS["detect"])(overrides=settings(model="yolo26n.yaml", epochs=2, imgsz=32))
    trainer.train()
    assert trainer.model.criterion.updates == 2
    assert not nonfinite(trainer)


def test_any_trainer_class_can_be_guarded(settings: Callable[..., dict[str, Any]]) -> None:
    from ultralytics.models.yolo.detect import DetectionTrainer

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
