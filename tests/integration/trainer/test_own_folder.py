"""Resumed in the user's own folder: their trainer class is found there, and none of their files hides ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trainmaster.trainer.contract import ExitCode, RunLayout, read_json

pytestmark = pytest.mark.training

ROOT = Path(__file__).parents[3]
HIDING = ("trainer", "bot", "commands", "json", "types", "logging", "torch", "ultralytics", "psutil")
HOSTILE = """
from pathlib import Path
Path(__file__).with_suffix(".ran").touch()
raise SystemExit(9)
"""
OWN = """
from trainmaster import GuardedDetectionTrainer

class Own(GuardedDetectionTrainer):
    pass
"""
TRAINED = """
import json, sys
sys.path.append(".")
from own import Own
Own(overrides=json.loads(sys.argv[1])).train()
"""
SCRIPT = """
import sys
from trainmaster.__main__ import main
sys.exit(main())
"""


def ran(folder: Path, *command: str, python: str | Path = sys.executable) -> int:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [python, *command],
        cwd=folder,
        env=environment,
        timeout=110,
        check=False,
        capture_output=True,
        text=True,
    )
    print(done.stdout[-2000:], done.stderr[-4000:])
    return done.returncode


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where somebody works: a class of their own, and files by the names of modules."""
    path = tmp_path / "work"
    path.mkdir()
    (path / "own.py").write_text(OWN, encoding="utf-8")
    for name in HIDING:
        (path / f"{name}.py").write_text(HOSTILE, encoding="utf-8")
    return path


@pytest.fixture
def script(tmp_path: Path) -> str:
    """What an installation puts into ``bin/``."""
    path = tmp_path / "bin" / "trainmaster"
    path.parent.mkdir()
    path.write_text(SCRIPT, encoding="utf-8")
    return str(path)


def test_a_class_of_the_user_s_own_goes_on_and_no_file_beside_it_hides_a_module(
    settings: Callable[..., dict[str, Any]], folder: Path, script: str, ready: Path
) -> None:
    assert ran(folder, "-P", "-c", TRAINED, json.dumps(settings(epochs=1)), python=ready) == ExitCode.FINISHED
    root = Path(settings()["project"]) / "run"
    for name in HIDING:  # in the run's own directory, too
        (root / f"{name}.py").write_text(HOSTILE, encoding="utf-8")

    by_bot = ran(folder, "-P", "-m", "trainmaster.trainer", "resume", str(root), "epochs=2")
    first = read_json(RunLayout(root).run_json) or {}
    by_hand = ran(folder, script, "resume", str(root), "epochs=3")
    second = read_json(RunLayout(root).run_json) or {}

    assert (by_bot, by_hand) == (ExitCode.FINISHED, ExitCode.FINISHED)
    assert [(record["trainer_class"], record["epochs"]) for record in (first, second)] == [
        ("own:Own", 2),
        ("own:Own", 3),
    ]
    assert sorted(path.name for place in (folder, root) for path in place.glob("*.ran")) == []


@pytest.mark.parametrize("verb", ["verify", "resume", "drill", "train", "--help"])
def test_no_file_of_the_current_folder_is_run_by_a_verb(folder: Path, script: str, verb: str) -> None:
    words = [verb] if verb in {"train", "--help"} else [verb, str(folder)]
    expected = ExitCode.FINISHED if verb == "--help" else ExitCode.BAD_ARGUMENTS
    assert ran(folder, script, *words) == expected
    assert ran(folder, "-P", "-m", "trainmaster.trainer", *words) == expected
    assert list(folder.glob("*.ran")) == []
