"""An Ultralytics that lacks whole modules is refused in words, before anything is made."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

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


def carried_out(environment: dict[str, str], folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "trainmaster.trainer", *words]
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
    assert str(tmp_path / "older" / "ultralytics") in row["detail"]


@pytest.mark.parametrize(
    ("file", "before", "after", "words"),
    [
        pytest.param("engine/trainer.py", "import gc", "import gc and", "can't be imported", id="a file that is torn"),
        pytest.param(
            "models/yolo/detect/train.py", "class DetectionTrainer", "class Trainer", "can't be imported", id="a class"
        ),
        pytest.param(
            "engine/trainer.py", "def final_eval", "def last_eval", "it lacks: BaseTrainer.final_eval", id="a seam"
        ),
    ],
)
def test_an_ultralytics_made_to_break_is_refused_in_words(
    tmp_path: Path, file: str, before: str, after: str, words: str
) -> None:
    (installed,) = ultralytics.__path__
    package = tmp_path / "broken" / "ultralytics"
    shutil.copytree(installed, package, ignore=shutil.ignore_patterns("__pycache__", "assets"))
    text = (package / file).read_text(encoding="utf-8")
    (package / file).write_text(text.replace(before, after), encoding="utf-8")
    path = os.pathsep.join([str(package.parent), *filter(None, sys.path)])
    (tmp_path / "here").mkdir()
    done = carried_out(
        {**os.environ, "PYTHONPATH": path}, tmp_path / "here", "train", "model=yolo11n.yaml", "data=x.yaml"
    )
    assert done.returncode == ExitCode.BAD_ARGUMENTS, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert list((tmp_path / "here").iterdir()) == []
