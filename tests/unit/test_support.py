"""What tests share is made once."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.clocks import SetClock

TESTS = Path(__file__).parents[1]


def test_clocks_are_made_in_one_place() -> None:
    found = {
        str(path.relative_to(TESTS))
        for path in TESTS.rglob("*.py")
        if re.search(r"^class \w*Clock\b", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert found == {"support/clocks.py"}


def test_a_set_clock_moves_only_when_told() -> None:
    clock = SetClock(10.0)
    assert (clock.now(), clock()) == (10.0, 10.0)
    clock.pass_s(2.5)
    assert (clock.now(), clock()) == (12.5, 12.5)
