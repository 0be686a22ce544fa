from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.trainer.checkpoints.hidden_files import hidden_files
from tests.unit.trainer.checkpoints.odd_files import odd_files
from trainmaster.trainer.checkpoints.forensics import judge
from trainmaster.trainer.checkpoints.history import cut_results
from trainmaster.trainer.checkpoints.ledger import attestations
from trainmaster.trainer.cli.sbatch import longest_save_s
from trainmaster.trainer.contract import RunLayout, Verdict
from trainmaster.trainer.data.inventory import _lines as inventory_lines
from trainmaster.trainer.pictures.story import read_story

LIMIT_S = 2.0

ODD = [*odd_files(), *hidden_files()]


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


@pytest.mark.timeout(20)
@pytest.mark.parametrize("made", [os.mkfifo, os.mkdir], ids=["pipe", "folder"])
@pytest.mark.parametrize(
    "read",
    [
        lambda path: attestations(RunLayout(path.parents[1])),
        lambda path: cut_results(path, 1),
        lambda path: list(inventory_lines(path)),
    ],
    ids=["ledger", "history", "inventory"],
)
def test_a_pipe_where_a_record_belongs_is_not_waited_for(
    tmp_path: Path, made: Callable[[Path], None], read: Callable[[Path], object]
) -> None:
    path = RunLayout(tmp_path).checkpoints
    path.parent.mkdir()
    made(path)
    with pytest.raises(OSError, match="is no regular file"):
        read(path)


@pytest.mark.timeout(20)
def test_a_pipe_in_place_of_events_or_results_is_a_run_without_them(tmp_path: Path) -> None:
    layout = RunLayout(tmp_path)
    layout.guard.mkdir()
    for path in (layout.events, layout.results_csv, layout.guard / "series.jsonl"):
        os.mkfifo(path)
    assert longest_save_s(layout) is None
    assert read_story(tmp_path).rows == ()
