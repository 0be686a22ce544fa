"""An Ultralytics that lacks a seam is refused in words, before anything is made; one that takes more trains."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import ultralytics

from trainmaster.trainer.contract import ExitCode

pytestmark = pytest.mark.training


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Of a process that finds a version from before everything that the guard knows."""
    package = tmp_path / "older" / "ultralytics"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("__version__ = '0.1'\n")
    path = [str(package.parent), *filter(None, sys.path)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path)}


def carried_out(
    environment: dict[str, str], folder: Path, *words: str, python: str | Path = sys.executable
) -> subprocess.CompletedProcess[str]:
    command = [python, "-P", "-m", "trainmaster.trainer", *words]
    return subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )


def test_training_is_refused_in_words(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    done = carried_out(environment, tmp_path / "here", "train", "model=yolo11n.yaml", "data=coco8.yaml")
    assert done.returncode == ExitCode.BAD_ARGUMENTS
    assert "can't be imported, so nothing can be guarded" in done.stderr
    assert "Traceback" not in done.stderr
    assert list((tmp_path / "here").iterdir()) == []


def test_selfcheck_tells_which_one_it_is(environment: dict[str, str], tmp_path: Path) -> None:
    done = carried_out(environment, tmp_path, "selfcheck", "parts=engine", "--json")
    (row,) = json.loads(done.stdout)["rows"]
    assert done.returncode == 1
    assert (row["name"], row["status"]) == ("can be imported", "FAIL")
    assert str(tmp_path / "older" / "ultralytics") in row["value"]


LOOP = "engine/trainer.py"


@pytest.mark.parametrize(
    ("file", "before", "after", "words"),
    [
        pytest.param(LOOP, "import gc", "import gc and", "can't be imported", id="a file that is torn"),
        pytest.param(
            "models/yolo/detect/train.py", "class DetectionTrainer", "class Trainer", "can't be imported", id="a class"
        ),
        pytest.param(LOOP, "def final_eval", "def last_eval", "it lacks: BaseTrainer.final_eval", id="a seam"),
        pytest.param(LOOP, "def save_model(self", "def save_model(self, stem", "save_model takes stem too", id="asks"),
        pytest.param(LOOP, "def validate(self", "def validate(self, epoch", "validate takes epoch too", id="asks more"),
        pytest.param(
            LOOP, "self.optimizer_step()", "self.optimizer_step(1.0)", "the line 'self.optimizer_step()'", id="a scale"
        ),
        pytest.param(LOOP, "= loss.sum()", "= loss.sum() * 2", "the line 'self.loss = loss.sum()'", id="another loss"),
        pytest.param(
            "data/base.py",
            "def get_image_and_label(self, index: int",
            "def get_image_and_label(self, index: int, rect: bool = False",
            "get_image_and_label takes rect too",
            id="more where the stand-in takes no more",
        ),
    ],
)
def test_an_ultralytics_made_to_break_is_refused_in_words(
    tmp_path: Path, ready: Path, file: str, before: str, after: str, words: str
) -> None:
    environment = edited(tmp_path / "broken", {file: [(re.escape(before), after)]})
    (tmp_path / "here").mkdir()
    done = carried_out(environment, tmp_path / "here", "train", "model=yolo11n.yaml", "data=x.yaml", python=ready)
    assert done.returncode == ExitCode.BAD_ARGUMENTS, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert list((tmp_path / "here").iterdir()) == []


METHODS = (
    "train|_setup_train|_build_train_pipeline|_get_warmup_iterations|_handle_nan_recovery|_close_dataloader_mosaic"
    "|run_callbacks|optimizer_step|preprocess_batch|validate|save_model|save_metrics|plot_metrics|final_eval"
    "|setup_model|get_dataset|check_resume|resume_training|get_dataloader|plot_training_samples|build_dataset"
)
TAKES_MORE = (rf"(def ({METHODS})\(self[^)]*)\)", r"\1, hint=None)")


def test_an_ultralytics_whose_methods_take_more_trains_and_is_said_to_be_edited(
    settings: Callable[..., dict[str, Any]], tmp_path: Path, ready: Path
) -> None:
    edits = [
        TAKES_MORE,
        (r"self\.(validate|plot_metrics|final_eval)\(\)", r"self.\1(hint=1)"),
        (r"self\.run_callbacks\((\"on_train_end\")\)", r"self.run_callbacks(\1, 1)"),
        (r"self\.plot_training_samples\(batch, ni\)", "self.plot_training_samples(batch, ni, 1)"),
        (r"(self\.save_metrics\(metrics=.*)\)\n", r"\1, hint=1)\n"),
    ]
    environment = edited(tmp_path / "newer", {LOOP: edits, "models/yolo/detect/train.py": [TAKES_MORE]})
    words = [f"{name}={value}" for name, value in settings(plots=True).items()]
    done = carried_out(environment, tmp_path, "train", *words, python=ready)
    assert done.returncode == ExitCode.FINISHED, done.stderr
    told = [line for line in (done.stdout + done.stderr).splitlines() if "is not as published" in line]
    assert len(told) == 1
    assert f"ultralytics/{LOOP} and 1 more" in told[0]


def edited(folder: Path, edits: Mapping[str, list[tuple[str, str]]]) -> dict[str, str]:
    """The environment of a process that finds a copy of the installed Ultralytics, edited, with pip's record of it."""
    (installed,) = ultralytics.__path__
    package = folder / "ultralytics"
    shutil.copytree(
        installed, package, ignore=shutil.ignore_patterns("assets")
    )  # what is compiled fits: times are kept
    record = next(Path(installed).parent.glob("ultralytics-*.dist-info"), None)
    if record is not None:
        shutil.copytree(record, folder / record.name)
    for file, changes in edits.items():
        text = (package / file).read_text(encoding="utf-8")
        for pattern, after in changes:
            text, num_places = re.subn(pattern, after, text)
            assert num_places, pattern
        (package / file).write_text(text, encoding="utf-8")
    path = os.pathsep.join([str(folder), *filter(None, sys.path)])
    return {**os.environ, "PYTHONPATH": path}
