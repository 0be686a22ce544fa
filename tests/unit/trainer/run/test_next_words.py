"""What a person types when a training has ended, ready to be pasted."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from trainmaster.trainer.batches.position import Position
from trainmaster.trainer.contract import RunLayout, RunRecordState
from trainmaster.trainer.jobs.ownership import anything_saved
from trainmaster.trainer.levels import LayerRow, table
from trainmaster.trainer.run.ending import ended, next_words
from trainmaster.trainer.run.open_run import OpenRun

ROOT = Path("/data/runs/night")


@pytest.mark.parametrize(
    ("state", "saved", "job", "said"),
    [
        (RunRecordState.STOPPED, True, False, "Next: trainmaster resume /data/runs/night"),
        (RunRecordState.CRASHED, True, False, "Next: trainmaster resume /data/runs/night"),
        (RunRecordState.STOPPED, True, True, "Next: trainmaster sbatch -- resume /data/runs/night"),
        (RunRecordState.STOPPED, False, False, "Next: the same command begins again; nothing had been saved yet"),
    ],
    ids=["stopped", "crashed", "of a job", "nothing saved"],
)
def test_a_run_that_can_go_on_says_how(state: RunRecordState, saved: bool, job: bool, said: str) -> None:
    assert next_words(ROOT, state, saved=saved, job=job) == said


def test_a_run_that_gave_up_names_the_clean_checkpoints_before_a_resume() -> None:
    said = next_words(ROOT, RunRecordState.GAVE_UP, saved=True, job=False)
    assert said.index("catalog /data/runs/night") < said.index("resume /data/runs/night from=EPOCH level=next")


def test_a_finished_run_is_not_to_be_resumed() -> None:
    said = next_words(ROOT, RunRecordState.FINISHED, saved=True, job=False)
    assert "resume" not in said
    assert "trainmaster plot /data/runs/night" in said


def test_a_path_with_a_blank_can_be_pasted() -> None:
    said = next_words(Path("/data/my runs/n"), RunRecordState.STOPPED, saved=True, job=False)
    assert said == "Next: trainmaster resume '/data/my runs/n'"


class Kept:
    """A run whose directory can't be looked into, and what its record takes."""

    def __init__(self, root: Path) -> None:
        self.layout = RunLayout(root)
        self.recorder = self
        self.errors: list[BaseException] = []

    def crashed(self, error: BaseException, *, epoch: int | None, batch: int | None) -> None:
        assert (epoch, batch) == (1, 0)
        self.errors.append(error)


def test_a_disk_that_died_is_no_second_error_at_the_end_of_a_run(tmp_path: Path) -> None:
    run = Kept(tmp_path / ("n" * 300))  # no file system answers for such a name
    with pytest.raises(OSError, match="too long"):
        anything_saved(run.layout)
    crash = RuntimeError("CUDA error")
    ended(cast("OpenRun", run), Position(), crash)
    assert run.errors == [crash]


def test_the_table_of_the_layers_fits_a_narrow_terminal() -> None:
    rows = (LayerRow(layer=1, setting="max_norm", value=10.0, source="Ultralytics default"),)
    assert max(map(len, table(rows, 40).splitlines())) <= 40
    assert table(rows, 80) == table(rows)
    assert "max_norm" in table(rows, 40)
