"""A disk that dies takes nothing: a run goes on from its copies, bit for bit where it is exact."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.integration.trainer.test_resume import Stopped
from trainmaster import GuardedDetectionTrainer
from trainmaster.trainer.__main__ import main
from trainmaster.trainer.checkpoints.state import load_state
from trainmaster.trainer.contract import ExitCode, RunLayout, read_json
from trainmaster.trainer.copies.following import CopyState, status_of

pytestmark = pytest.mark.training

Settings = Callable[..., dict[str, Any]]


def test_a_run_whose_disk_died_goes_on_from_its_copies_bit_for_bit(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    GuardedDetectionTrainer(overrides=settings(exact=True, name="whole")).train()
    stopped = type("Own", (Stopped,), {"stop_at": 8})(overrides=settings(exact=True))
    with pytest.raises(SystemExit):
        stopped.train()
    root, copies = tmp_path / "runs" / "run", tmp_path / "copies"
    copies.mkdir()
    assert main(["copy", str(root), f"to={copies}"]) == ExitCode.FINISHED
    shutil.rmtree(root)

    assert main(["resume", str(copies / "run")]) == ExitCode.FINISHED
    assert "taken back from" in capsys.readouterr().err
    ends = [load_state(RunLayout(tmp_path / "runs" / name).state_file(2)) for name in ("whole", "run")]
    assert ends[0]["model"].keys() == ends[1]["model"].keys()
    assert all(torch.equal(value, ends[1]["model"][name]) for name, value in ends[0]["model"].items())


@pytest.mark.parametrize("place", ["folder", "one that is gone"])
def test_a_training_copies_by_itself_and_never_waits(
    settings: Settings, tmp_path: Path, ready: Path, place: str
) -> None:
    copies = tmp_path / "copies"
    if place == "folder":
        copies.mkdir()
    words = [f"{key}={value}" for key, value in settings().items()]
    done = subprocess.run(
        [ready, "-P", "-m", "trainmaster.trainer", "train", *words, f"copy_to={copies}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    layout = RunLayout(tmp_path / "runs" / "run")
    ended = time.time()
    assert done.returncode == ExitCode.FINISHED, done.stdout[-2000:] + done.stderr[-2000:]
    deadline = time.monotonic() + 60
    wanted = CopyState.CURRENT if place == "folder" else CopyState.FAILING
    while (status := status_of(layout)) is None or status.state is not wanted:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    finished = (read_json(layout.run_json) or {})["updated_ts"]
    assert ended - finished < 60  # nobody waited for a place that does not answer: it is tried for ten minutes
    if place == "folder":
        names = {path.name.partition("-")[0] for path in (copies / "run" / "files").glob("*.sha256")}
        assert {"epoch0001.pt", "epoch0002.pt"} <= names
    else:
        os.kill(status.pid, 9)  # it would try for ten minutes more
