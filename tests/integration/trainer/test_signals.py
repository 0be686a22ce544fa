"""Signals to a real process with data-loader workers: how it ends, what it leaves."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.integration.trainer.runs import events
from trainmaster import GuardedDetectionTrainer
from trainmaster.trainer.contract import ExitCode, RunLayout, RunRecordState, read_json

pytestmark = pytest.mark.training

TRAINED = """
import json, os, sys
if os.getsid(0) != os.getpid():
    os.setsid()  # forked
from trainmaster import GuardedDetectionTrainer
from trainmaster.trainer.cli.on_the_record import on_the_record

def train():
    trainer = GuardedDetectionTrainer(overrides=json.loads(sys.argv[1]))
    trainer.add_callback(sys.argv[2], lambda _: print("HERE", os.getpid(), file=sys.__stdout__, flush=True))
    trainer.train()
    return 0

sys.exit(on_the_record(train))
"""
ROOT = Path(__file__).parents[3]


def started(*command: str, python: str | Path = sys.executable) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [python, *command],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def read_until(process: subprocess.Popen[str], word: str) -> str:
    """The line that has it."""
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        seen.append(line)
        if word in line:
            return line
    pytest.fail("".join(seen[-30:]))


def of_session(leader: int) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == leader and process.pid != leader:
                found.append(process)
        except OSError:
            continue
    return found


@pytest.mark.parametrize(
    ("number", "moment"),
    [
        (signal.SIGINT, "on_train_batch_end"),
        (signal.SIGHUP, "on_val_start"),
        (signal.SIGTERM, "on_train_batch_start"),
    ],
    ids=["a terminal, training", "a closed terminal, validating", "a service manager, training"],
)
def test_a_signal_to_the_whole_session_saves_the_state_and_leaves_no_worker_behind(
    settings: Callable[..., dict[str, Any]], ready: Path, number: signal.Signals, moment: str
) -> None:
    overrides = settings(workers=2, exact=True, epochs=50)
    process = started("-W", "ignore", "-c", TRAINED, json.dumps(overrides), moment, python=ready)
    leader = int(read_until(process, "HERE").split("HERE")[1])
    workers = of_session(leader)
    assert len(workers) >= 2

    os.killpg(leader, number)

    output, _ = process.communicate(timeout=60)
    assert process.returncode == ExitCode.STOPPED, output[-3000:]
    assert not psutil.wait_procs(workers, timeout=10)[1]
    layout = RunLayout(Path(overrides["project"]) / overrides["name"])
    (stopped,) = events(layout, "run_stopped")
    assert stopped["resumable"]
    assert output.count(f"Next: trainmaster resume {shlex.quote(str(layout.root))}\n") == 1
    assert not events(layout, "run_crashed")
    assert (read_json(layout.run_json) or {})["state"] == RunRecordState.STOPPED


class Scanning(GuardedDetectionTrainer):
    """Is asked for its stacks while it looks through the data set, when there is no training yet."""

    def get_dataset(self) -> Any:
        os.kill(os.getpid(), signal.SIGUSR1)
        return super().get_dataset()


def test_stacks_of_a_start_that_hangs_are_written_beside_its_records(settings: Callable[..., dict[str, Any]]) -> None:
    trainer = Scanning(overrides=settings())

    assert "in get_dataset" in trainer.guard.layout.stacks.read_text(encoding="utf-8")


SLOW_START = """
import signal, sys
from trainmaster.trainer.cli.on_the_record import on_the_record

def load():
    print("LOADING", file=sys.__stdout__, flush=True)
    while True:
        signal.pause()

sys.exit(on_the_record(load))
"""


def test_before_anything_was_created_stacks_are_shown_and_a_stop_is_no_crash() -> None:
    process = started("-c", SLOW_START)
    read_until(process, "LOADING")
    process.send_signal(signal.SIGUSR1)
    read_until(process, "in load")
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == ExitCode.STOPPED
    assert "stopped before training began" in output
