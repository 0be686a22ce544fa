"""What tests share is made once."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.clocks import SetClock

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
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "-p", "tests.conftest"]
    told = subprocess.run(
        [*command, f"--rootdir={tmp_path}", "-c", str(TESTS.parent / "pyproject.toml"), *words, str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=TESTS.parent,
        check=True,
    ).stdout
    assert set(re.findall(r"::test_(\w+)", told)) == left


def test_every_target_of_make_chooses_in_that_way() -> None:
    lines = re.findall(r"^\t.*-m pytest.*$", (TESTS.parent / "Makefile").read_text(), re.MULTILINE)
    assert lines
    assert not [line for line in lines if " -m " in line.partition("-m pytest")[2]]
