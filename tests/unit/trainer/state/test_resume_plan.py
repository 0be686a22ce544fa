"""What to go on from, asked of a run directory without a training."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainmaster.trainer.contract import RunLayout
from trainmaster.trainer.records.run_directory import RunLock
from trainmaster.trainer.state.resume_plan import ResumeRefusedError, make_plan


def test_what_kills_left_half_written_takes_no_room_until_the_epoch_ends(tmp_path: Path) -> None:
    layout = RunLayout(tmp_path / "night")
    layout.states.mkdir(parents=True)
    layout.weights.mkdir()
    half = [layout.states / ".snapshot.pt.a1b2.partial", layout.weights / ".last.pt.c3d4.partial"]
    for path in (*half, layout.states / ".mine"):
        path.write_bytes(b"x")
    lock = RunLock(layout)
    try:
        with pytest.raises(ResumeRefusedError, match="nothing to resume from"):
            make_plan(layout, lock, from_epoch=None, given={})
    finally:
        lock.release()
    assert [path.exists() for path in half] == [False, False]
    assert (layout.states / ".mine").exists()
