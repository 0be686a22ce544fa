"""Generated hostile run directories beside a bot as a process; ``make bench ARGS=hostile`` has two thousand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.attack.beside import beside
from tests.attack.harms import HARMS, plant
from tests.attack.hostile import Canaries

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can plant directories of somebody else"),
]
NUM = 80
DELAY_S = 2.0
"""Looser than the bench's second, and counted in what this machine has left: other tests run beside this one."""


async def test_hostile_runs_bring_nothing_about_and_delay_no_other(tmp_path: Path) -> None:
    outcome = await beside(tmp_path, range(NUM), "suite")
    assert outcome.harm == ()
    assert outcome.faults == ()
    assert outcome.delay_s < DELAY_S * outcome.slowness, outcome


def test_every_harm_is_among_the_generated_ones_and_the_series_is_always_the_same(tmp_path: Path) -> None:
    canaries = Canaries(folder=tmp_path / "operator", token="hush")
    canaries.lay()

    def planted(number: int, made: str) -> list[str]:
        return plant(tmp_path / "runs", number, "suite", canaries, made_in=tmp_path / made).harms

    first = [planted(number, "one") for number in range(50)]
    assert [planted(number, "two") for number in range(5)] == first[:5]
    assert {harm.__name__ for harm in HARMS} <= {name for harms in first for name in harms}
    assert {"of a stranger", "world-writable"} <= {name for harms in first for name in harms}


def test_the_canaries_sing(tmp_path: Path) -> None:
    canaries = Canaries(folder=tmp_path / "operator", token="hush")
    canaries.lay()
    assert not canaries.mark.exists()
    assert os.system(str(canaries.program)) == 0
    assert canaries.mark.exists()
    assert "hush" in canaries.secret.read_text()
    assert "hush" in canaries.secret_log.read_text()
