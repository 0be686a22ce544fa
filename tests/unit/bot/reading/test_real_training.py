"""The console of the installed Ultralytics, read: tells when a new version prints something else."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.tiny_model import write_tiny_model
from trainmaster.bot.reading.results_csv import read_results
from trainmaster.bot.reading.scan.scanner import scan_file

pytestmark = [pytest.mark.training, pytest.mark.timeout(240)]

EPOCHS, IMAGES, BATCH = 3, 8, 4
SCRIPT = """
import sys
import torch
from PIL import Image
from ultralytics import YOLO

root, poisoned = sys.argv[1], sys.argv[2] == "poisoned"
batches = 0

def poison(trainer):
    global batches
    batches += 1
    if poisoned and batches > 4:
        with torch.no_grad():
            for weights in trainer.model.parameters():
                weights.fill_(float("nan"))

model = YOLO(f"{root}/tiny.yaml")
model.add_callback("on_train_batch_start", poison)
model.train(data=f"{root}/data.yaml", epochs=3, imgsz=32, batch=4, workers=0, device="cpu", amp=False, plots=False,
            deterministic=False, project=root, name="run")
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    image = pytest.importorskip("PIL.Image")
    for part in ("train", "val"):
        (tmp_path / "images" / part).mkdir(parents=True)
        (tmp_path / "labels" / part).mkdir(parents=True)
        for number in range(IMAGES):
            image.new("RGB", (32, 32), (number, 9, 9)).save(tmp_path / f"images/{part}/{number}.jpg")
            (tmp_path / f"labels/{part}/{number}.txt").write_text("0 0.5 0.5 0.4 0.4\n")
    write_tiny_model(tmp_path)
    (tmp_path / "data.yaml").write_text(f"path: {tmp_path}\ntrain: images/train\nval: images/val\nnames: [finance]\n")
    return tmp_path


def train(python: Path, data: Path, how: str) -> Path:
    log = data / "train.log"
    environment = {**os.environ, "YOLO_CONFIG_DIR": str(data), "YOLO_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with log.open("wb") as stream:
        command = [python, "-c", SCRIPT, str(data), how]
        subprocess.run(command, stdout=stream, stderr=subprocess.STDOUT, check=False, env=environment, timeout=200)
    return log


def test_a_healthy_run_is_read_to_its_end(data: Path, ready: Path) -> None:
    report = scan_file(train(ready, data, "healthy"))
    assert (report.last_epoch, report.total_epochs, report.last_batch) == (EPOCHS, EPOCHS, IMAGES // BATCH)
    assert (report.completed, report.crashed, report.nan_loss_frames, report.incidents) == (True, False, 0, ())
    rows = read_results(data / "run" / "results.csv").rows
    assert [row.epoch for row in rows] == [1, 2, 3]
    assert list(report.losses or {}) == list(rows[-1].named("train/"))
    assert report.map50 is not None


def test_a_poisoned_run_shows_its_losses_recoveries_and_end(data: Path, ready: Path) -> None:
    report = scan_file(train(ready, data, "poisoned"))
    assert (report.completed, report.crashed, report.crash_kind) == (False, True, "exception")
    assert "NaN" in (report.crash_detail or "")
    kinds = [entry.kind for entry in report.incidents]
    assert (kinds[0], kinds[-1], kinds.count("nan_recovery")) == ("nonfinite_loss", "exception", 3)
