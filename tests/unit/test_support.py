"""What tests share is made once."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.support.clocks import SetClock
from tests.support.ready_python import _tell, ready_python

TESTS = Path(__file__).parents[1]
THE_ATTACKED_OFFICE = "attack/office.py"
"""Wired of the real parts."""


def test_clocks_are_made_in_one_place() -> None:
    found = {
        str(path.relative_to(TESTS))
        for path in TESTS.rglob("*.py")
        if re.search(r"^class \w*Clock\b", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert found == {"support/clocks.py"}


@pytest.mark.parametrize(
    ("pattern", "place"),
    [
        pytest.param(r"^    def now\(self\) -> float", "support/clocks.py", id="clocks, whatever they are called"),
        pytest.param(r"^class (Fake|Paper)(Outbox|Chat|Audit)\b", "support/outboxes.py", id="outboxes and the like"),
        pytest.param(
            r"^class Fake(Runs|Alerts|Operations|Roles|Selection)\b", "support/worlds.py", id="the rest of a world"
        ),
        pytest.param(r"\bContext\($", "support/worlds.py", id="the wiring of commands"),
    ],
)
def test_stand_ins_are_made_in_one_place(pattern: str, place: str) -> None:
    found = {
        str(path.relative_to(TESTS))
        for path in TESTS.rglob("*.py")
        if re.search(pattern, path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert found - {THE_ATTACKED_OFFICE} == {place}


def test_a_set_clock_moves_only_when_told() -> None:
    clock = SetClock(10.0)
    assert (clock.now(), clock()) == (10.0, 10.0)
    clock.pass_s(2.5)
    assert (clock.now(), clock()) == (12.5, 12.5)


def collected(folder: Path, *words: str, worker: str = "") -> list[str]:
    """The tests of ``folder`` that would run, in that order; in a process of that name beside others."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "-p", "tests.conftest"]
    environment = {**os.environ, "PYTEST_XDIST_WORKER": worker}
    told = subprocess.run(
        [*command, f"--rootdir={folder}", "-c", str(TESTS.parent / "pyproject.toml"), *words, str(folder)],
        capture_output=True,
        text=True,
        cwd=TESTS.parent,
        env=environment,
        check=True,
    ).stdout
    return re.findall(r"::test_(\w+)", told)


@pytest.mark.parametrize(
    ("words", "left"),
    [
        pytest.param([], {"quick", "story", "faults"}, id="all"),
        pytest.param(["--leave-out", "cluster"], {"quick", "faults"}, id="left out"),
        pytest.param(["--leave-out", "cluster", "-m", "cluster or generations"], {"faults"}, id="left out, -m or not"),
        pytest.param(["--only", "cluster"], {"story"}, id="only"),
        pytest.param(["--only", "generations", "-m", "not cluster"], {"faults"}, id="only, and -m"),
    ],
)
def test_what_make_chooses_holds_beside_a_choice_of_marks(tmp_path: Path, words: list[str], left: set[str]) -> None:
    (tmp_path / "test_three.py").write_text(
        "import pytest\n"
        "def test_quick(): pass\n"
        "@pytest.mark.cluster\ndef test_story(): pass\n"
        "@pytest.mark.generations\ndef test_faults(): pass\n"
    )
    assert set(collected(tmp_path, *words)) == left


@pytest.mark.parametrize(
    ("worker", "order"),
    [
        pytest.param("gw0", ["waits", "late", "computes", "waits_too", "quick"], id="side by side"),
        pytest.param("", ["waits_too", "waits", "late", "computes", "quick"], id="alone"),
    ],
)
def test_side_by_side_files_that_wait_and_compute_take_turns_the_longest_first_and_the_quick_ones_end_it(
    tmp_path: Path, worker: str, order: list[str]
) -> None:
    files = {
        "attack/test_a.py": "def test_waits_too(): pass\n",
        "attack/test_b.py": "import pytest\n@pytest.mark.timeout(300)\ndef test_waits(): pass\ndef test_late(): pass\n",
        "integration/trainer/test_c.py": "def test_computes(): pass\n",
        "unit/test_d.py": "def test_quick(): pass\n",
    }
    for name, text in files.items():
        path = tmp_path / "tests" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert collected(tmp_path, worker=worker) == order


def test_every_target_of_make_chooses_in_that_way() -> None:
    lines = re.findall(r"^\t.*-m pytest.*$", (TESTS.parent / "Makefile").read_text(), re.MULTILINE)
    assert lines
    assert not [line for line in lines if " -m " in line.partition("-m pytest")[2]]


def test_stories_on_a_cluster_stand_where_make_looks_for_them() -> None:
    tests = Path(__file__).resolve().parents[1]
    marked = {one for one in tests.rglob("test_*.py") if "pytest.mark.cluster" in one.read_text(encoding="utf-8")}
    assert marked - {Path(__file__).resolve()}
    assert [one for one in marked if not one.is_relative_to(tests / "integration")] == [Path(__file__).resolve()]


def test_make_runs_every_file_with_a_test_of_older_generations() -> None:
    root = Path(__file__).parents[2]
    named = re.search(
        r"^OLD := .*/test_%\.py,([a-z ]+)\)$", (root / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert named is not None
    marked = {
        path.stem.removeprefix("test_")
        for path in (root / "tests" / "integration").rglob("test_*.py")
        if "pytest.mark.generations" in path.read_text(encoding="utf-8")
    }
    assert marked == {"faults", *named[1].split()}


def test_a_python_that_is_ready_is_as_one_that_was_started(tmp_path: Path) -> None:
    environment = {**os.environ, "WORD": "yes"}
    (tmp_path / "beside.py").write_text("word = 'beside'\n")
    (tmp_path / "script.py").write_text(
        "import beside, os, sys\nprint(beside.word, os.environ['WORD'], *sys.argv[1:])\n"
    )
    with ready_python(tmp_path) as python:

        def ran(*words: str, said: str = "") -> tuple[int, str, str]:
            done = subprocess.run(
                [python, *words], cwd=tmp_path, env=environment, input=said, capture_output=True, text=True, check=False
            )
            return done.returncode, done.stdout, done.stderr

        assert ran("-u", str(tmp_path / "script.py"), "a", "b") == (0, "beside yes a b\n", "")
        assert ran("-m", "script") == (0, "beside yes\n", "")
        assert ran("-P", "-m", "script")[0] == 1
        assert ran("-c", "import sys; print(input(), sys.argv, sys.executable)", "a", said="heard") == (
            0,
            f"heard ['-c', 'a'] {python}\n",
            "",
        )
        assert ran("-c", "raise SystemExit(7)")[0] == 7
        assert ran("-c", "raise SystemExit('no')") == (1, "", "no\n")
        assert "ZeroDivisionError" in ran("-c", "1 / 0")[2]
        assert ran("-c", "import os; os.kill(os.getpid(), 9)")[0] == -signal.SIGKILL


def test_a_python_that_is_ready_passes_signals_on_and_takes_what_it_stands_for_along(tmp_path: Path) -> None:
    hears = "import signal, sys; signal.signal(15, lambda *_: sys.exit(5)); print('up', flush=True); signal.pause()"
    deaf = "import os, signal; print(os.getpid(), flush=True); signal.pause()"
    with ready_python(tmp_path) as python:
        with subprocess.Popen([python, "-c", hears], stdout=subprocess.PIPE) as one:
            assert one.stdout is not None
            one.stdout.readline()
            one.terminate()
            assert one.wait(10) == 5
        with subprocess.Popen([python, "-c", deaf], stdout=subprocess.PIPE) as other:
            assert other.stdout is not None
            stands_for = int(other.stdout.readline())
            other.kill()
        deadline = time.monotonic() + 10
        while psutil.pid_exists(stands_for) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not psutil.pid_exists(stands_for)


def test_a_ready_python_outlives_programs_that_are_killed_at_any_moment(tmp_path: Path) -> None:
    with ready_python(tmp_path) as python:
        (name,) = re.findall(r'connect\("\\0(trainmaster-\w+)"\)', python.read_text())
        for said in (b"", (64).to_bytes(8, "big"), (2).to_bytes(8, "big") + b"[]"):
            with socket.socket(socket.AF_UNIX) as killed:
                killed.connect(f"\0{name}")
                killed.sendall(said)
        left, asked = socket.socketpair()
        asked.close()
        _tell(left, 0)  # what it stood for has ended at the same moment
        left.close()
        done = subprocess.run([python, "-c", "print(6 * 7)"], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == "42\n"
