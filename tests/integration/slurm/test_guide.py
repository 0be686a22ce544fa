"""``docs/slurm.md``, tried: its commands in their order on a real cluster, with a real small training."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.slurm import Cluster, environment, needs_slurm, until
from tests.support.tiny_model import write_tiny_model
from trainmaster.trainer.contract import RunLayout, read_json

pytestmark = [pytest.mark.slurm, pytest.mark.cluster, pytest.mark.training, needs_slurm, pytest.mark.timeout(600)]

GUIDE = Path(__file__).resolve().parents[3] / "docs" / "slurm.md"
ROOT = GUIDE.parents[1]


def commands() -> list[str]:
    """The lines of the guide's ``sh`` blocks."""
    blocks = re.findall(r"```sh\n(.*?)```", GUIDE.read_text(encoding="utf-8"), flags=re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.strip()]


def test_guide_from_submission_to_a_requeue(slurm: Cluster, tmp_path: Path) -> None:
    from trainmaster.trainer.data.digits import make

    make(tmp_path / "digits", images=160, imgsz=64, digits=160, progress=False)
    write_tiny_model(tmp_path)
    small = "imgsz=64 batch=16 device=cpu amp=False plots=False workers=0 snapshot_s=2 level=observe"
    mine = {
        "trainmaster ": f"{sys.executable} -P -m trainmaster ",
        "model=yolo11n.yaml": f"model={tmp_path / 'tiny.yaml'}",
        "data=data.yaml": f"data={tmp_path / 'digits' / 'data.yaml'}",
        "epochs=100": f"epochs=100 {small}",
    }
    env = environment(
        slurm,
        {
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "RUNS_DIR": str(tmp_path / "runs"),
            "STATE_DIR": str(tmp_path),
        },
    )
    (tmp_path / "runs").mkdir()
    said = {}
    for command in commands():
        line = command
        for shown, own in mine.items():
            line = line.replace(shown, own)
        done = subprocess.run(line, shell=True, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
        said[command.split()[0] + " " + command.split()[1]] = done.stdout
        if "doctor" not in command:  # which has no Slack here
            assert done.returncode == 0, done.stderr
    assert "one of two nodes got it" in said["trainmaster doctor"]
    layout = RunLayout(tmp_path / "runs" / "first")
    run = (read_json(layout.run_json) or {})["run"]
    assert "tm-" + run[:5] in said["squeue --me"]

    def epoch() -> int:
        return (read_json(layout.heartbeat) or {}).get("epoch") or 0

    until(lambda: epoch() >= 2, what="the second epoch", timeout_s=180)
    record = read_json(layout.run_json) or {}
    assert record["job"]["options"] == ["--partition=main", "--mem-per-cpu=900", "--time=1-0"]
    slurm.ask("scontrol", "requeue", record["job"]["id"])
    until(lambda: slurm.job(record["job"]["id"])["State"] == "PENDING", what="the queue")
    slurm.ask("scontrol", "update", f"JobId={record['job']['id']}", "StartTime=now")
    until(lambda: (read_json(layout.run_json) or {})["attempt"] == 2, what="the second attempt", timeout_s=120)
    again = read_json(layout.run_json) or {}
    assert (again["run"], again["job"]["restart"]) == (run, 1)
    assert again["from_epoch"] >= 2
    assert sorted(path.name for path in (tmp_path / "runs").iterdir() if path.is_dir()) == ["first"]
    drill = [sys.executable, "-P", "-m", "trainmaster", "drill", "runs/first", "fault=nan-image"]
    subprocess.run(drill, cwd=tmp_path, env=env, check=True, capture_output=True)
    until(lambda: '"drill":true' in layout.events.read_text(), what="the spoilt batch", timeout_s=120)
    assert (tmp_path / "runs" / "first.slurm.log").stat().st_size > 0
    slurm.clear()
