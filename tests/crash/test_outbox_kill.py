from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.unit.bot.alerting.fakes import RUN, finding

ROOT = Path(__file__).resolve().parents[2]
NUM_LOOKS = 120
MAX_KILLS = 20


@contextmanager
def worker(directory: Path) -> Iterator[subprocess.Popen[str]]:
    """A worker that is at work."""
    command = [sys.executable, "-m", "tests.crash.outbox_worker", str(directory), str(NUM_LOOKS)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


@pytest.mark.timeout(180)
def test_killed_at_any_moment_no_alert_is_lost_and_none_doubled(tmp_path: Path) -> None:
    chance = random.Random(7)
    num_killed = 0
    while num_killed < MAX_KILLS:
        with worker(tmp_path) as process:
            time.sleep(chance.uniform(0.0, 0.12))
            if process.poll() is not None:
                break
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            num_killed += 1
    assert num_killed >= 5
    with worker(tmp_path) as process:
        assert process.wait(60) == 0

    lines = [json.loads(line) for line in (tmp_path / "channel.jsonl").read_text(encoding="utf-8").splitlines()]
    posts = [line for line in lines if line["op"] == "post"]
    _assert_nothing_lost(lines, posts)
    keys = [line["key"] for line in posts]
    assert len(keys) == len(set(keys)), "a message was posted twice"


def _assert_nothing_lost(lines: list[dict[str, Any]], posts: list[dict[str, Any]]) -> None:
    wanted = {f"{RUN}/run_crashed/{number}" for number in range(NUM_LOOKS)} | {finding("stalled").fingerprint}
    assert {line["key"] for line in posts} == wanted
    stalled = [line["ts"] for line in posts if line["key"] == finding("stalled").fingerprint][-1]
    assert [line["title"] for line in lines if line["ts"] == stalled][-1] == f"look {NUM_LOOKS - 1}"
