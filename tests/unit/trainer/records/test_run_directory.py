"""What killed trainers leave beside their records."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tests.unit.trainer.checkpoints.test_files import files_limited_to
from trainmaster.trainer.arguments import ArgumentsError
from trainmaster.trainer.checkpoints.archive import alone
from trainmaster.trainer.checkpoints.errors import CheckpointRefusedError
from trainmaster.trainer.contract import RunLayout
from trainmaster.trainer.records.run_directory import RunInUseError, RunLock, sweep_unfinished


def test_half_written_records_of_killed_trainers_go_and_those_of_others_stay(tmp_path: Path) -> None:
    layout = RunLayout(tmp_path / "night")
    (layout.incidents / "0001").mkdir(parents=True)
    (layout.incidents / "0002").mkdir()  # killed before its first word
    left = [
        layout.guard / ".heartbeat.json.a1b2c3d4",
        layout.guard / ".run.json.a1b2c3d4",
        layout.guard / "..environment.json.a1b2c3d4",
        layout.guard / ".data.jsonl.gz.4711",
        layout.incidents / "0001" / ".incident.json.a1b2c3d4",
        layout.incidents / "0001" / ".scene.pt.a1b2c3d4.partial",
        layout.root / ".results.csv.a1b2c3d4.partial",
        layout.drill,  # asked of a trainer that was killed before it took it up
    ]
    others = [
        layout.guard / ".copy.json.a1b2c3d4",
        layout.guard / ".drill.json.a1b2c3d4",
        layout.guard / ".environment.json",
        layout.guard / ".run.json.e5f6a7b8",
        layout.guard / ".heartbeat.json.swp",  # an editor's, as the next one
        layout.root / ".results.csv.swp",
        layout.incidents / "0001" / "incident.json",
    ]
    for path in (*left, *others):
        path.write_text("{")
    os.utime(left[1], (0, 0))  # the other one is a submission's, which holds no lock

    assert set(sweep_unfinished(layout)) == set(left)

    assert [path for path in (*left, *others) if path.exists()] == others
    assert [path.name for path in layout.incidents.iterdir()] == ["0001"]
    assert sweep_unfinished(RunLayout(tmp_path / "none")) == []


def test_a_full_disk_keeps_nobody_from_holding_the_lock(tmp_path: Path) -> None:
    layout = RunLayout(tmp_path / "night")
    with files_limited_to(0):
        lock = RunLock(layout)
    assert not layout.lock.read_text()
    lock.release()


def test_a_trainer_that_was_made_and_thrown_away_holds_nothing(tmp_path: Path) -> None:
    """A cell of a notebook that is run twice makes the second one while the first is still there."""
    layout = RunLayout(tmp_path / "night")
    held = [RunLock(layout)]
    with pytest.raises(RunInUseError) as refused:
        RunLock(layout)
    assert refused.value.hint == "it was made in this process: train with it, or delete it"
    held.append(held)  # as a trainer and its guard hold each other
    del held
    RunLock(layout).release()


def test_disk_without_locks_is_refused_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a Lustre that was mounted without ``flock``."""

    def flock(_descriptor: int, _operation: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", flock)
    layout = RunLayout(tmp_path / "night")
    with pytest.raises(ArgumentsError, match=r"can't be locked \(Function not implemented\)"):
        RunLock(layout)
    with pytest.raises(CheckpointRefusedError, match="has no locks"), alone(layout, owns_lock=False):
        pytest.fail("nobody knows who else is at work")
