"""A part that goes wrong is a row, and nothing of it is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from trainmaster.trainer.selfcheck import runner
from trainmaster.trainer.selfcheck.report import PREFIX, Status
from trainmaster.trainer.selfcheck.runner import Part, run

ROW = PREFIX + '{"part": "A part", "name": "one", "status": "ok", "value": "", "limit": "", "detail": ""}'


@pytest.fixture
def scripted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The parts run what the test writes into ``scripted.py``; their folders are made below ``tmp``."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.setattr(runner, "MODULE", "scripted")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path / "scripted.py"


def found(timeout_s: float = 30.0) -> list[tuple[str, Status]]:
    rows = run(None, lambda _: None, (Part(name="part", title="A part", timeout_s=timeout_s),))
    return [(row.name, row.status) for row in rows]


def test_rows_are_taken_from_between_what_libraries_print(scripted: Path) -> None:
    scripted.write_text(f"print('hello'); print({ROW!r}); print('bye')")
    assert found() == [("one", Status.OK)]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (f"print({ROW!r}, flush=True); raise SystemExit('disk on fire')", ["one", "ended in order"]),
        ("pass", ["ended in order"]),
        ("import os; os.kill(os.getpid(), 9)", ["ended in order"]),
        ("import nowhere", ["ended in order"]),
    ],
    ids=["failed half way", "said nothing", "killed", "not importable"],
)
def test_a_part_that_ends_badly_has_failed(scripted: Path, text: str, names: list[str]) -> None:
    scripted.write_text(text)
    rows = found()
    assert [name for name, _ in rows] == names
    assert rows[-1][1] is Status.FAILED


def test_a_part_that_hangs_is_ended_with_its_children(scripted: Path) -> None:
    pids = scripted.with_name("pids")
    scripted.write_text(
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(pids)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}')\n"
        "time.sleep(600)\n"
    )
    assert found(timeout_s=5.0) == [("in time", Status.FAILED)]
    for pid in map(int, pids.read_text().split()):
        deadline = time.monotonic() + 10
        while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_nothing_is_left_on_disk(scripted: Path) -> None:
    scripted.write_text(f"import tempfile; tempfile.mkdtemp(); open('here', 'w').write('x'); print({ROW!r})")
    found()
    assert os.listdir(scripted.with_name("tmp")) == []  # noqa: PTH208 - names are enough


WHOLE = """
import sys, tempfile
from trainmaster.trainer.selfcheck import runner
from trainmaster.trainer.cli import selfcheck
from trainmaster.trainer.arguments import Arguments
tempfile.tempdir = sys.argv[1]
runner.MODULE = "scripted"
raise SystemExit(selfcheck.main(Arguments(words=(), settings={"parts": "traces"}, flags=("json",))))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_given_twice_leaves_no_process_and_no_folder(scripted: Path, number: int) -> None:
    pids, temporary = scripted.with_name("pids"), scripted.with_name("tmp")
    scripted.write_text(
        "import os, subprocess, sys, time\n"
        "given = [sys.executable, '-c', 'import time; time.sleep(600)']\n"
        "near, far = subprocess.Popen(given), subprocess.Popen(given, start_new_session=True)\n"
        f"open({str(pids)!r}, 'w').write(f'{{os.getpid()}} {{near.pid}} {{far.pid}} .')\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-P", "-c", WHOLE, str(temporary)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(scripted.parent), *filter(None, sys.path)])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as whole:
        try:
            deadline = time.monotonic() + 30
            while not (pids.exists() and pids.read_text().endswith(".")):
                assert time.monotonic() < deadline
                time.sleep(0.05)
            whole.send_signal(number)
            time.sleep(0.02)
            whole.send_signal(number)
            out, err = whole.communicate(timeout=30)
        finally:
            whole.kill()
    assert (whole.returncode, out) == (1, "")
    assert "nothing is left behind" in err
    assert os.listdir(temporary) == []  # noqa: PTH208 - names are enough
    for pid in map(int, pids.read_text().split()[:3]):
        assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
