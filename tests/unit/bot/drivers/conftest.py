"""Real processes, ended after each test."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from trainmaster.bot.core.run.launch_spec import LaunchSpec
from trainmaster.bot.drivers.local.driver import LocalDriver


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[LocalDriver]:
    """A driver whose launched processes are ended, with all that belongs to them."""
    driver = LocalDriver(tmp_path / "launches")
    yield driver
    for process, child in driver._children.items():
        driver.signal(process, signal.SIGKILL, group=True)
        child.wait(10)


@pytest.fixture
def spec(tmp_path: Path) -> Callable[..., LaunchSpec]:
    """A launch of Python code that says "ready" in its log once it runs."""

    def make(code: str, *, key: str = "op-1", log: str = "train.log") -> LaunchSpec:
        argv = (sys.executable, "-c", code)
        return LaunchSpec(key=key, argv=argv, cwd=tmp_path, log=tmp_path / log, env={})

    return make


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A process that the driver did not launch."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True)
    yield child
    child.kill()
    child.communicate()


def wait_for_text(path: Path, text: str, *, timeout_s: float = 20.0) -> None:
    """``path`` contains ``text``."""
    wait_until(lambda: path.exists() and text in path.read_text(), timeout_s=timeout_s)


def wait_until(holds: Callable[[], bool], *, timeout_s: float = 20.0) -> None:
    """``holds``, or the test fails. A pipe would be an event, but the process must not inherit one."""
    done = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < done, "waited in vain"
        time.sleep(0.005)
