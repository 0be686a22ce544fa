"""Real trainings, as small as they come, made once for all tests of this folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.support.pictures import noise

EPOCHS = 2


@pytest.fixture(scope="session")
def data_yaml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight images of noise with a box each."""
    os.environ.setdefault("YOLO_CONFIG_DIR", str(tmp_path_factory.mktemp("config")))
    return noise(tmp_path_factory.mktemp("data"))


def train(data: Path, project: Path, name: str, trainer_class: type, **settings: Any) -> Path:
    """The run directory of a stock training; a training that dies of its NaN leaves what it saved."""
    overrides = {
        "model": "yolo11n.yaml",
        "data": str(data),
        "epochs": EPOCHS,
        "imgsz": 32,
        "batch": 4,
        "workers": 0,
        "device": "cpu",
        "amp": False,
        "plots": False,
        "verbose": False,
        "save_period": 1,
        "seed": 1,
        "project": str(project),
        "name": name,
        "optimizer": "SGD",
        **settings,
    }
    trainer = trainer_class(overrides=overrides)
    try:
        trainer.train()
    except RuntimeError as error:
        assert "NaN" in str(error)  # noqa: PT017 - any other death is a failed test
    return Path(trainer.save_dir)


@pytest.fixture(scope="session")
def clean_run(data_yaml: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stock run that went well: numbered checkpoints, last and best stripped."""
    from ultralytics.models.yolo.detect import DetectionTrainer

    return train(data_yaml, tmp_path_factory.mktemp("runs"), "clean", DetectionTrainer)


@pytest.fixture(scope="session")
def poisoned_run(data_yaml: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stock run with NaN in every image of the first epoch: saved, scrubbed, and called best."""
    from ultralytics.models.yolo.detect import DetectionTrainer

    class PoisonedTrainer(DetectionTrainer):
        def preprocess_batch(self, batch):
            batch = super().preprocess_batch(batch)
            batch["img"] = batch["img"] * float("nan")
            return batch

    return train(data_yaml, tmp_path_factory.mktemp("runs"), "poisoned", PoisonedTrainer, epochs=1)


@pytest.fixture(scope="session")
def poisoned_buffer_run(data_yaml: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stock run without validation, where one number of one batch-norm buffer went bad before the last save."""
    from ultralytics.models.yolo.detect import DetectionTrainer

    class PoisonedTrainer(DetectionTrainer):
        def save_model(self):
            for model in (self.model, self.ema.ema):
                model.model[0].bn.running_var[2] = float("nan")
            return super().save_model()

    run = tmp_path_factory.mktemp("runs")
    return train(data_yaml, run, "buffer", PoisonedTrainer, epochs=1, val=False)
