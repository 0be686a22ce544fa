"""What to go on from, asked of a run directory without a training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.trainer.checkpoints.making import checkpoint_dict, hostile_zip, save, write_state
from trainmaster.trainer.arguments import ArgumentsError
from trainmaster.trainer.checkpoints.forensics import Judgement, judge
from trainmaster.trainer.contract import RunLayout
from trainmaster.trainer.records.run_directory import RunLock
from trainmaster.trainer.state import resume_plan
from trainmaster.trainer.state.resume_plan import (
    ResumeRefusedError,
    _only_the_end_is_missing,
    _require_trainable,
    make_plan,
)


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


def test_a_run_keeps_its_classes_where_a_script_asks_for_one(tmp_path: Path) -> None:
    state = {"task": "detect", "args": {"single_cls": False}}
    with pytest.raises(ArgumentsError, match="single_cls=True can't be changed"):
        _require_trainable(RunLayout(tmp_path), state, {"data": str(tmp_path), "single_cls": True}, exact=False)


@pytest.mark.parametrize(("given", "ends"), [({"imgsz": 32, "level": "guard"}, True), ({"imgsz": 64}, False)])
def test_what_is_asked_for_as_it_was_leaves_only_the_end_to_come(
    tmp_path: Path, given: dict[str, Any], ends: bool
) -> None:
    """``YOLO.train`` passes the image size of the checkpoint along."""
    state = {
        "args": {"imgsz": 32},
        "guard": {"level": "guard"},
        "batch": 0,
        "batches": 6,
        "running": {},
        "run_ends": True,
    }
    assert _only_the_end_is_missing(RunLayout(tmp_path), state, given) is ends


@pytest.mark.parametrize("name", ["weights/last.pt", "guard/states/epoch2.pt"])
def test_a_checkpoint_that_is_swapped_once_it_was_judged_is_neither_run_nor_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    layout = RunLayout(tmp_path / "night")
    path, victim = save(layout.root / name, checkpoint_dict(2)), tmp_path / "victim"
    if name.startswith("guard"):
        write_state(layout, 2, fitness=0.5)

    def judged_and_swapped(path: Path, **known: Any) -> Judgement:
        found = judge(path, **known)
        hostile_zip(path, victim)
        return found

    monkeypatch.setattr(resume_plan, "judge", judged_and_swapped)
    lock = RunLock(layout)
    try:
        with pytest.raises(ResumeRefusedError, match="is not what was judged a moment ago"):
            make_plan(layout, lock, from_epoch=None, given={})
    finally:
        lock.release()
    assert path.is_file()
    assert not victim.exists()
