"""Tiny trainings: a real data set of digits, a model of three convolutions and a head, a second or two a run."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.made_once import made_once
from tests.support.tiny_model import write_tiny_model

os.environ.setdefault("YOLO_CONFIG_DIR", tempfile.mkdtemp(prefix="yolo-config-"))


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy for this process: Ultralytics writes its cache beside the labels."""
    made = made_once(tmp_path_factory, "digits", make_digits)
    return Path(shutil.copytree(made / "digits", tmp_path_factory.mktemp("data") / "digits")) / "data.yaml"


def make_digits(folder: Path) -> None:
    from trainmaster.trainer.data.digits import make

    make(folder / "digits", images=30, imgsz=64, digits=60, progress=False)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("model"))


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
