"""Tiny trainings: a real data set of digits, a model of five convolutions, a second or two a run."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("YOLO_CONFIG_DIR", tempfile.mkdtemp(prefix="yolo-config-"))

TINY_MODEL = """
nc: 10
backbone:
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, Conv, [24, 3, 2]]
  - [-1, 1, Conv, [32, 3, 2]]
head:
  - [[2, 3, 4], 1, Detect, [nc]]
"""


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from trainmaster.trainer.data.digits import make

    return make(tmp_path_factory.mktemp("data") / "digits", images=30, imgsz=64, digits=60, progress=False)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.yaml"
    path.write_text(TINY_MODEL, encoding="utf-8")
    return path


@pytest.fixture
def settings(digits: Path, tiny_model: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Overrides of a tiny training: 24 images, 6 batches an epoch."""

    def make(**changes: Any) -> dict[str, Any]:
        return {
            "model": str(tiny_model),
            "data": str(digits),
            "imgsz": 32,
            "epochs": 2,
            "batch": 4,
            "nbs": 4,
            "project": str(tmp_path / "runs"),
            "name": "run",
            "device": "cpu",
            "plots": False,
            "level": "standard",
            "lr0": 0.01,
            "warmup_epochs": 0.5,
            "snapshot_s": 0,
            **changes,
        }

    return make
