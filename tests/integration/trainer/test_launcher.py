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

pytestmark = [pytest.mark.training, pytest.mark.timeout(400)]

HERE = Path(__file__).parent / "two_ranks"
ROOT = Path(__file__).parents[3]
END_S = 120.0


def launched(arguments: list[str], **faults: Any) -> int:
    """The exit code of a launcher whose ranks have ``faults``."""
    path = os.pathsep.join([str(HERE), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, "TWO_RANKS": "1", "OMP_NUM_THREADS": "1"}
    environment["FAULTS"] = json.dumps({name.replace("_", " "): place for name, place in faults.items()})
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
        environment.pop(name, None)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    print(done.stdout[-6000:])
    return done.returncode


def train(overrides: dict[str, Any], **faults: Any) -> int:
    given = {**overrides, "device": "0,1", "batch": 8, "nbs": 8}  # 3 batches an epoch
    return launched([str(HERE / "faulty.py"), json.dumps(given)], **faults)


def states(layout: RunLayout) -> tuple[Any, Any]:
    record = read_json(layout.run_json) or {}
    return record.get("state"), record.get("attempt")


def test_nan_in_one_rank_is_told_by_it_and_a_stopped_launcher_goes_on_as_one_attempt(
    settings: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    layout = RunLayout(tmp_path / "runs" / "run")
    code = train(settings(epochs=3, level="strict"), nan=[1, 1], term_parent=[0, 4])
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

    assert launched(["-m", "trainmaster.trainer", "resume", str(layout.root)]) == ExitCode.FINISHED
    assert states(layout) == ("finished", 2)
    assert [(row["attempt"], row["from_epoch"]) for row in events(layout, "run_started")] == [(1, None), (2, 2)]


def test_a_nan_of_one_rank_that_does_not_come_again_is_replayed_by_that_rank_alone(
    settings: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    layout = RunLayout(tmp_path / "runs" / "run")
    assert train(settings(epochs=1), once=[1, 1]) == ExitCode.FINISHED
    (bad,) = events(layout, "bad_batch")
    assert (bad["batch"], bad["ranks"], bad["replay"]) == (2, [1], "not_reproducible")
    assert [path.name for path in layout.incidents.iterdir()] == [bad["incident"]]


def test_a_signal_to_the_first_rank_alone_stops_all(settings: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    layout = RunLayout(tmp_path / "runs" / "run")
    assert train(settings(epochs=2), term=[0, 1]) == ExitCode.STOPPED
    assert states(layout) == ("stopped", 1)
    assert events(layout, "run_stopped")[-1]["resumable"]


def test_a_killed_rank_ends_all_and_the_run_can_go_on(settings: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    layout = RunLayout(tmp_path / "runs" / "run")
    code = train(settings(epochs=3), kill=[1, 4])
    assert code not in {ExitCode.FINISHED, ExitCode.GAVE_UP, ExitCode.REFUSED}
    assert launched(["-m", "trainmaster.trainer", "resume", str(layout.root)]) == ExitCode.FINISHED
    assert states(layout) == ("finished", 2)


def test_ranks_whose_launcher_was_killed_save_and_end(settings: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    layout = RunLayout(tmp_path / "runs" / "run")
    assert train(settings(epochs=400), kill_parent=[0, 1]) == -9
    deadline = time.monotonic() + END_S
    while states(layout)[0] == "running" and time.monotonic() < deadline:
        time.sleep(0.5)
    assert states(layout) == ("stopped", 1)
    pid = (read_json(layout.run_json) or {})["pid"]
    while psutil.pid_exists(pid) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert not psutil.pid_exists(pid)
