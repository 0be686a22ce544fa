"""Ultralytics' own launcher of several ranks, with two of them on the CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.integration.trainer.runs import events
from trainmaster.trainer.contract import ExitCode, RunLayout, read_json

pytestmark = [pytest.mark.training, pytest.mark.timeout(600)]

HERE = Path(__file__).parent / "two_ranks"
ROOT = Path(__file__).parents[3]
END_S = 120.0


def launched(python: str | Path, arguments: list[str], **faults: Any) -> int:
    """The exit code of a launcher that ``python`` runs, and whose ranks have ``faults``."""
    path = os.pathsep.join([str(HERE), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, "TWO_RANKS": "1", "OMP_NUM_THREADS": "1"}
    environment["FAULTS"] = json.dumps({name.replace("_", " "): place for name, place in faults.items()})
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
        environment.pop(name, None)
    done = subprocess.run(
        [python, "-W", "ignore", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    print(done.stdout[-6000:])
    return done.returncode


def train(python: str | Path, overrides: dict[str, Any], **faults: Any) -> int:
    # 3 batches an epoch. No bits are compared here, and torch takes a second to prepare for that.
    given = {**overrides, "device": "0,1", "batch": 8, "nbs": 8, "deterministic": False}
    return launched(python, [str(HERE / "faulty.py"), json.dumps(given)], **faults)


def states(layout: RunLayout) -> tuple[Any, Any]:
    record = read_json(layout.run_json) or {}
    return record.get("state"), record.get("attempt")


def resume(python: Path, layout: RunLayout, **faults: Any) -> int:
    """The trainer's class is found again on the path, with ``faults`` of its own."""
    return launched(python, ["-m", "trainmaster.trainer", "resume", str(layout.root)], **faults)


def test_a_run_of_two_ranks_goes_on_whatever_befalls_one_of_them_or_their_launcher(
    settings: Callable[..., dict[str, Any]], tmp_path: Path, ready: Path
) -> None:
    """NaN in a rank and a launcher told to stop, a killed rank, NaN for once and a signal to the first rank alone.

    One run for all four, as each start of two ranks takes longer than the rest of most tests.
    """
    layout = RunLayout(tmp_path / "runs" / "run")
    code = train(ready, settings(epochs=3, level="strict"), nan=[1, 1], term_parent=[0, 4])
    assert code == ExitCode.STOPPED
    assert states(layout) == ("stopped", 1)
    (started,) = events(layout, "run_started")
    assert started["level"] == "strict"  # what Ultralytics would not have passed on
    (bad,) = events(layout, "bad_batch")
    assert (bad["epoch"], bad["batch"], bad["reason"]) == (1, 2, "nonfinite_loss")
    assert (bad["ranks"], bad["cause"], bad["replay"]) == ([1], "data", "deterministic")
    assert bad["images"]
    assert not events(layout, "storage_fault")
    incident = json.loads((layout.incidents / bad["incident"] / "incident.json").read_text())
    assert (incident["rank"], incident["cause"], incident["images"]) == (1, "data", bad["images"])
    assert [path.name for path in layout.incidents.iterdir()] == [bad["incident"]]

    code = resume(ready, layout, kill=[1, 7])  # in the last epoch
    assert code not in {ExitCode.FINISHED, ExitCode.STOPPED, ExitCode.GAVE_UP, ExitCode.REFUSED}
    (crashed,) = events(layout, "run_crashed")
    assert crashed["error"].startswith("rank 1: DistError: it is gone")

    assert resume(ready, layout, once=[1, 6], term=[0, 7]) == ExitCode.STOPPED
    assert states(layout) == ("stopped", 3)
    assert events(layout, "run_stopped")[-1]["resumable"]
    _, once = events(layout, "bad_batch")
    assert (once["epoch"], once["ranks"], once["replay"]) == (3, [1], "not_reproducible")
    # The first batch of this attempt: the first stop reaches the ranks a batch or three after the launcher.
    assert once["batch"] in {1, 2}
    assert {path.name for path in layout.incidents.iterdir()} == {bad["incident"], once["incident"]}

    assert resume(ready, layout) == ExitCode.FINISHED
    assert states(layout) == ("finished", 4)
    starts = [(row["attempt"], row["from_epoch"]) for row in events(layout, "run_started")]
    assert starts in ([(1, None), (2, epoch), (3, 3), (4, 3)] for epoch in (2, 3))
    assert not [row["text"] for row in events(layout, "notice") if "final evaluation failed" in row["text"]]


def test_ranks_whose_launcher_was_killed_save_and_end(settings: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    layout = RunLayout(tmp_path / "runs" / "run")
    assert train(sys.executable, settings(epochs=400), kill_parent=[0, 1]) == -9
    deadline = time.monotonic() + END_S
    while states(layout)[0] == "running" and time.monotonic() < deadline:
        time.sleep(0.5)
    assert states(layout) == ("stopped", 1)
    pid = (read_json(layout.run_json) or {})["pid"]
    while psutil.pid_exists(pid) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert not psutil.pid_exists(pid)
