from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.unit.trainer.checkpoints.odd_files import odd_files
from trainmaster.trainer.checkpoints.forensics import judge
from trainmaster.trainer.contract import Verdict

LIMIT_S = 2.0

ODD = list(odd_files())


def test_two_hundred_kinds_are_made() -> None:
    assert len({name for name, _ in ODD}) >= 200


@pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in ODD])
def test_no_odd_file_is_called_clean_nor_takes_long(tmp_path: Path, make) -> None:
    path = tmp_path / "last.pt"
    make(path)
    began = time.process_time()
    found = judge(path)
    assert found.verdict is not Verdict.CLEAN
    assert time.process_time() - began < LIMIT_S
