"""An Ultralytics that lacks whole modules is refused in words, before anything is made."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

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
