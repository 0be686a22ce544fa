"""What a stalled trainer is doing, without ending it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.run_dirs import START_TS, WrittenRun
from trainmaster.bot.core.run.facts import ProcessFact, ProcessIdentity, ProcessStatus
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.drivers.local.driver import LocalDriver
from trainmaster.bot.drivers.local.stacks import Stacks, _telling
from trainmaster.bot.reading.run_files import RunReader

GUARDED = """
import faulthandler, signal, sys
stream = open(sys.argv[1], "a")
faulthandler.register(signal.SIGUSR1, file=stream, all_threads=True)
def waits_for_a_batch():
    print("ready", flush=True)
    sys.stdin.readline()
waits_for_a_batch()
"""


@pytest.fixture
def written(tmp_path: Path) -> WrittenRun:
    return WrittenRun(tmp_path / "runs")


def _start(written: WrittenRun, code: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(written.layout.stacks)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    written.record(pid=process.pid)
    return process


@pytest.fixture
def guarded(written: WrittenRun) -> Iterator[subprocess.Popen[bytes]]:
    process = _start(written, GUARDED)
    yield process
    process.kill()
    process.communicate()


@pytest.fixture
def deaf(written: WrittenRun) -> Iterator[subprocess.Popen[bytes]]:
    """A run that does not handle the signal, and would be ended by it."""
    written.layout.stacks.write_text("")
    process = _start(written, "import sys; print('ready', flush=True); sys.stdin.readline()")
    yield process
    process.kill()
    process.communicate()


def _view(written: WrittenRun, status: ProcessStatus = ProcessStatus.ALIVE) -> RunView:
    view = RunReader(written.layout.root, first_seen_ts=START_TS).read(START_TS)
    return replace(view, process=ProcessFact(status=status, ts=START_TS))


class Counted:
    """A way to send signals that counts them."""

    def __init__(self, driver: LocalDriver) -> None:
        self._driver = driver
        self.num_sent = 0

    def __call__(self, process: ProcessIdentity, signum: int) -> bool:
        self.num_sent += 1
        return self._driver.signal(process, signum)


@pytest.fixture
def send(driver: LocalDriver) -> Counted:
    return Counted(driver)


def test_a_guarded_trainer_tells_what_it_does_and_goes_on(
    written: WrittenRun, guarded: subprocess.Popen[bytes], send: Counted
) -> None:
    lines = Stacks(send, py_spy="").take(_view(written), 5.0)
    assert any("waits_for_a_batch" in line for line in lines)
    assert guarded.poll() is None


def test_stacks_are_taken_once_a_stall(written: WrittenRun, guarded: subprocess.Popen[bytes], send: Counted) -> None:
    stacks = Stacks(send, py_spy="")
    first = stacks.take(_view(written), 5.0)
    assert stacks.take(_view(written), 5.0) == first
    assert send.num_sent == 1
    assert stacks.take(_view(written), 900.0)
    assert send.num_sent == 2


def test_a_process_that_does_not_handle_the_signal_gets_none(
    written: WrittenRun, deaf: subprocess.Popen[bytes], send: Counted
) -> None:
    assert Stacks(send, py_spy="").take(_view(written), 5.0) == ()
    assert send.num_sent == 0
    assert deaf.poll() is None


def test_a_stopped_process_keeps_nobody_waiting(
    written: WrittenRun, guarded: subprocess.Popen[bytes], send: Counted
) -> None:
    guarded.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    assert Stacks(send, py_spy="").take(_view(written), 5.0) == ()
    assert time.monotonic() - began < 20  # it gave up, rather than wait for ever


@pytest.mark.parametrize("status", [ProcessStatus.GONE, ProcessStatus.ZOMBIE, ProcessStatus.REPLACED])
def test_the_dead_are_not_asked(written: WrittenRun, send: Counted, status: ProcessStatus) -> None:
    written.layout.stacks.write_text("")
    assert Stacks(send, py_spy="").take(_view(written, status), 5.0) == ()
    assert send.num_sent == 0


def test_a_pid_that_belongs_to_somebody_else_gets_no_signal(
    written: WrittenRun, guarded: subprocess.Popen[bytes], send: Counted
) -> None:
    written.record(pid=guarded.pid, create_time=START_TS)
    before = written.layout.stacks.read_text()
    assert Stacks(send, py_spy="").take(_view(written), 5.0) == ()
    assert written.layout.stacks.read_text() == before


def test_py_spy_is_asked_where_the_signal_is_not_handled(
    written: WrittenRun, deaf: subprocess.Popen[bytes], send: Counted, tmp_path: Path
) -> None:
    program = tmp_path / "py-spy"
    program.write_text('#!/bin/sh\necho "Process $4: by $1"\n')
    program.chmod(0o755)
    assert Stacks(send, py_spy=str(program)).take(_view(written), 5.0) == (f"Process {deaf.pid}: by dump",)


def test_the_innermost_calls_of_the_main_thread_come_first() -> None:
    other = [
        f'Thread 0x{index} (most recent call first):\n  File "wait.py", line 1 in wait\n  File "b"'
        for index in range(9)
    ]
    calls = "\n".join(f'  File "/venv/lib/site-packages/torch/{index}.py", line 1 in f' for index in range(50))
    text = "\n\n".join([*other, f"Current thread 0x9 (most recent call first):\n{calls}"])
    lines = _telling(text.splitlines())
    assert lines[0].startswith("Current thread")
    assert lines[1] == '  File "torch/0.py", line 1 in f'
    assert len(lines) <= 30
    assert sum("in wait" in line for line in lines) == 4
