"""``trainmaster train`` as the README has it typed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from trainmaster.trainer.cli.train import placed
from trainmaster.trainer.settings.inputs import parse_values

ROOT = Path(__file__).parents[4]


@pytest.mark.timeout(120)
def test_a_run_stands_where_project_and_name_say_so_that_the_next_command_finds_it(tmp_path: Path) -> None:
    (tmp_path / "here" / "data" / "torn").mkdir(parents=True)
    (tmp_path / "here" / "data" / "torn" / "0.png").touch()
    data = tmp_path / "here" / "data.yaml"
    data.write_text("path: data\ntrain: torn\nval: torn\nnames: {0: digit}\n", encoding="utf-8")
    kept = {key: value for key, value in os.environ.items() if key in {"PATH", "TMPDIR"}}
    env = {**kept, "HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "YOLO_CONFIG_DIR": str(tmp_path)}
    words = ["train", "model=yolo11n.yaml", "data=data.yaml", "epochs=1", "project=runs", "name=night", "device=cpu"]
    begun = subprocess.run(
        [sys.executable, "-m", "trainmaster", *words],
        cwd=tmp_path / "here",
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert begun.returncode != 0  # its one image is torn
    assert [one.parents[1] for one in tmp_path.rglob("run.json")] == [tmp_path / "here" / "runs" / "night"], (
        begun.stderr
    )


def test_an_empty_project_is_the_folder_that_one_is_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not Ultralytics' own folder for runs, wherever that is."""
    monkeypatch.chdir(tmp_path)
    assert placed(parse_values({"project": "", "name": "night"}))["project"] == str(tmp_path)
    assert "project" not in placed(parse_values({"name": "night"}))
