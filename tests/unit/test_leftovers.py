"""A test that goes wrong takes its processes with it. Each case is a suite of its own, run by a pytest of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
CONFTEST = "from tests.conftest import *\n"
START = """
import os, subprocess, sys, time
from pathlib import Path
import pytest

def start(name, **settings):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"], **settings)
    Path(name).write_text(str(child.pid))
    return child
"""

CASES = {
    "runs out of time": "def test_it():\n    start('child.pid')\n    time.sleep(60)\n",
    "fails": "def test_it():\n    start('child.pid', start_new_session=True)\n    raise ValueError\n",
    "orphaned": (
        "def test_it():\n"
        '    code = \'import subprocess, sys; child = subprocess.Popen([sys.executable, "-c", '
        '"import time; time.sleep(300)"], start_new_session=True); open("child.pid", "w").write(str(child.pid))\'\n'
        "    subprocess.run([sys.executable, '-c', code], check=True)\n"
    ),
    "in its folder, without its environment and orphaned": (
        "def test_it(tmp_path):\n"
        '    code = \'import subprocess, sys; child = subprocess.Popen([sys.executable, "-c", '
        '"import time; time.sleep(300)"], start_new_session=True, env={}, cwd=sys.argv[1]); '
        'open("child.pid", "w").write(str(child.pid))\'\n'
        "    subprocess.run([sys.executable, '-c', code, str(tmp_path)], check=True)\n"
    ),
    "without its environment": "def test_it():\n    start('child.pid', env={})\n",
}
WIDE = """
@pytest.fixture(scope="module")
def server():
    child = start("child.pid")
    yield child
    assert child.poll() is None
    child.kill()
    child.wait()

def test_first(server):
    assert server.poll() is None

def test_second(server):
    assert server.poll() is None
"""
SIGNALS = """
import signal

def test_a_child_hears():
    for number in (signal.SIGINT, signal.SIGHUP):
        child = start("child.pid")
        time.sleep(0.5)
        child.send_signal(number)
        assert child.wait(20) == -number or child.returncode == 1 or child.returncode == 130
"""


def run_suite(folder: Path, source: str, *words: str) -> subprocess.CompletedProcess[str]:
    """What pytest says about ``source``, run in ``folder`` under this suite's conftest."""
    (folder / "conftest.py").write_text(CONFTEST, encoding="utf-8")
    (folder / "test_it.py").write_text(START + source, encoding="utf-8")
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "TRAINMASTER_"))
    }
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir", ".", *words],
        cwd=folder,
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def has_ended(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


AT_ONCE = """
def test_each_had_ended_with_its_test():
    import psutil
    for path in sorted(Path.cwd().glob("*.pid")):
        pid = int(path.read_text())
        assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE, path
"""


@pytest.mark.parametrize("workers", ["0", "1"], ids=["one process", "a worker"])
def test_a_test_leaves_no_process_behind(tmp_path: Path, workers: str) -> None:
    """One suite with a test of each kind, and a last one that looks for what they started."""
    cases = [
        source.replace("test_it", f"test_{number}")
        .replace("child.pid'", f"{number}.pid'")
        .replace('"child.pid"', f'"{number}.pid"')
        for number, source in enumerate(CASES.values())
    ]
    said = run_suite(tmp_path, "\n".join([*cases, AT_ONCE]), "--timeout=3", "-n", workers)
    pids = [int(path.read_text()) for path in tmp_path.glob("*.pid")]
    assert len(pids) == len(CASES), said.stdout
    assert all(map(has_ended, pids)), said.stdout
    assert f"2 failed, {len(CASES) - 1} passed" in said.stdout, said.stdout


def test_a_killed_workers_processes_end_with_the_session(tmp_path: Path) -> None:
    said = run_suite(tmp_path, "def test_it():\n    start('child.pid')\n    os.kill(os.getpid(), 9)\n", "-n", "1")
    pid = int((tmp_path / "child.pid").read_text())
    assert has_ended(pid), said.stdout
    assert "1 failed" in said.stdout


def test_what_a_wider_fixture_started_lives_as_long_as_it(tmp_path: Path) -> None:
    said = run_suite(tmp_path, WIDE)
    assert "2 passed" in said.stdout, said.stdout


def test_a_process_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
    run_suite(tmp_path, "def test_it():\n    start('child.pid')\n")
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


def test_children_hear_signals_that_the_parent_of_the_suite_ignored(tmp_path: Path) -> None:
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGHUP)}
    try:
        said = run_suite(tmp_path, SIGNALS)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert "1 passed" in said.stdout, said.stdout
