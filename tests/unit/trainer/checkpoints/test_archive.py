from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.unit.trainer.checkpoints.making import make_run, tree, write_state
from trainmaster.trainer.checkpoints.archive import archive_after, unarchive
from trainmaster.trainer.checkpoints.errors import CheckpointError, CheckpointRefusedError, NoSuchRunError
from trainmaster.trainer.checkpoints.files import digest_of
from trainmaster.trainer.checkpoints.manifest import ArchiveState, archives, read_manifest
from trainmaster.trainer.contract import RunLayout


@pytest.fixture
def layout(tmp_path: Path) -> RunLayout:
    """Four epochs and a stop; the best is the third."""
    layout = make_run(tmp_path / "runs" / "digits", epochs=4, fitness={3: 0.9})
    write_state(layout, 4, fitness=0.4, name="stop.pt")
    return layout


def contents(*roots: Path) -> set[str]:
    return {digest for root in roots if root.exists() for digest in tree(root).values()}


def names(layout: RunLayout) -> list[str]:
    return [name for name in tree(layout.root) if name.startswith(("guard/states", "weights"))]


def test_everything_later_moves_and_the_rest_stays(layout: RunLayout) -> None:
    before = tree(layout.root)
    record = archive_after(layout, 2, attempt=1)
    assert names(layout) == [
        f"guard/states/epoch000{epoch}{end}" for epoch in (1, 2) for end in (".pt", ".ultralytics.pt")
    ]
    assert record.folder.parent == layout.root.parent / "archive" / "digits"
    assert {one.file for one in record.moved} == {
        *(f"guard/states/epoch000{epoch}{end}" for epoch in (3, 4) for end in (".pt", ".ultralytics.pt")),
        *("guard/states/stop.pt", "weights/last.pt", "weights/best.pt"),
    }
    assert {one.file: one.saved.sha256 for one in record.moved} == {one.file: before[one.file] for one in record.moved}
    assert (record.state, record.after_epoch, record.attempt) == (ArchiveState.ARCHIVED, 2, 1)
    assert read_manifest(record.folder) == record == archives(layout)[0]


def test_the_newest_state_is_not_put_aside_as_later_than_an_epoch_that_never_was(layout: RunLayout) -> None:
    """A typing error in the number, and a resume would have begun an epoch earlier without a word."""
    before = tree(layout.root.parent)
    with pytest.raises(CheckpointRefusedError, match="no checkpoint of epoch 40 or later: its newest is of epoch 4"):
        archive_after(layout, 40)
    assert tree(layout.root.parent) == before


def test_history_is_cut_and_kept_whole_in_the_archive(layout: RunLayout) -> None:
    whole = layout.results_csv.read_text()
    record = archive_after(layout, 2)
    assert layout.results_csv.read_text().splitlines() == whole.splitlines()[:3]
    assert (record.folder / "results.csv").read_text() == whole


def test_records_stay_and_their_sizes_are_noted(layout: RunLayout) -> None:
    record = archive_after(layout, 2)
    assert record.kept_bytes == {
        "guard/events.jsonl": layout.events.stat().st_size,
        "guard/checkpoints.jsonl": layout.checkpoints.stat().st_size,
    }


@pytest.mark.parametrize(
    ("epoch", "last_stays", "best_stays"),
    [(4, True, True), (3, False, True), (2, False, False), (0, False, False)],
    ids=["nothing later", "best is not later", "both later", "to the start"],
)
def test_last_and_best_move_when_they_belong_to_a_later_epoch(
    layout: RunLayout, epoch: int, last_stays: bool, best_stays: bool
) -> None:
    archive_after(layout, epoch)
    assert (layout.weights / "last.pt").exists() is last_stays
    assert (layout.weights / "best.pt").exists() is best_stays


def test_asked_again_it_changes_nothing(layout: RunLayout) -> None:
    first = archive_after(layout, 2)
    after = tree(layout.root.parent)
    assert archive_after(layout, 2) == first
    assert tree(layout.root.parent) == after
    assert len(archives(layout)) == 1


def test_files_of_the_next_attempt_go_to_a_folder_of_their_own(layout: RunLayout) -> None:
    first = archive_after(layout, 2)
    write_state(layout, 3, fitness=0.7)
    second = archive_after(layout, 2)
    assert [one.file for one in second.moved] == ["guard/states/epoch0003.pt"]
    assert first.folder != second.folder
    assert archives(layout) == [first, second]


def test_unguarded_run_is_archived_by_its_own_numbers(tmp_path: Path, layout: RunLayout) -> None:
    stock = RunLayout(tmp_path / "runs" / "stock")
    stock.weights.mkdir(parents=True)
    for epoch in (1, 2, 3):
        source = layout.states / f"epoch000{epoch}.ultralytics.pt"
        shutil.copy(source, stock.weights / f"epoch{epoch - 1}.pt")
        shutil.copy(source, stock.weights / "last.pt")
    record = archive_after(stock, 2)
    assert sorted(one.file for one in record.moved) == ["weights/epoch2.pt", "weights/last.pt"]
    assert not stock.guard.exists()


def test_torn_weights_move_too(layout: RunLayout) -> None:
    (layout.weights / "last.pt").write_bytes(b"PK\x03\x04torn")
    assert "weights/last.pt" in {one.file for one in archive_after(layout, 4).moved}


def test_no_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NoSuchRunError):
        archive_after(RunLayout(tmp_path / "none"), 1)


def test_run_with_a_trainer_at_work_is_left_alone(layout: RunLayout) -> None:
    before = tree(layout.root.parent)
    with layout.lock.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        with pytest.raises(CheckpointRefusedError, match="a trainer is at work"):
            archive_after(layout, 2)
        assert tree(layout.root.parent) == before
        archive_after(layout, 2, owns_lock=True)
    archive_after(layout, 1)


def test_too_little_space_changes_nothing(layout: RunLayout, monkeypatch: pytest.MonkeyPatch) -> None:
    before = tree(layout.root.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 1000))
    with pytest.raises(CheckpointError, match=r"0\.0 MB free"):
        archive_after(layout, 2)
    assert tree(layout.root.parent) == before


class Killed(BaseException):
    """Stands for kill -9: nothing in the code may catch it to tidy up."""


CALLS = [(Path, "replace"), (Path, "mkdir"), (Path, "unlink"), (os, "fsync"), (shutil, "disk_usage")]


@contextmanager
def killed_at_call(number: int, error: Callable[[], BaseException], *, once: bool = False) -> Iterator[None]:
    """The ``number``-th (from 1) call that changes the file system fails before it acts; every one after it too,
    unless ``once``."""
    counted = [0]
    with pytest.MonkeyPatch.context() as patch:
        for owner, name in CALLS:
            original = getattr(owner, name)

            def counting(*args, _original=original, **kwargs):
                counted[0] += 1
                if counted[0] == number or (counted[0] > number and not once):
                    raise error()
                return _original(*args, **kwargs)

            patch.setattr(owner, name, counting)
        yield


@contextmanager
def another_file_system() -> Iterator[None]:
    """Renames between the run and its archive fail as they do across a mount."""
    original = Path.replace

    def replace(self: Path, target: Path) -> Path:
        if ("archive" in self.parts) != ("archive" in Path(target).parts):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        return original(self, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "replace", replace)
        yield


def wanted(layout: RunLayout, tmp_path: Path) -> dict[str, str]:
    """The tree after an archiving that nothing disturbs."""
    twin = RunLayout(tmp_path / "twin" / layout.name)
    shutil.copytree(layout.root, twin.root)
    archive_after(twin, 2)
    return tree(twin.root.parent)


@pytest.mark.parametrize("crossing", [False, True], ids=["one file system", "two file systems"])
def test_kill_at_any_moment_loses_nothing_and_asking_again_finishes(
    layout: RunLayout, tmp_path: Path, crossing: bool
) -> None:
    expected, everything = wanted(layout, tmp_path), contents(layout.root)
    pristine = tmp_path / "pristine"
    shutil.copytree(layout.root.parent, pristine)
    number = kills = 0
    while True:
        number += 3 if crossing else 1
        shutil.rmtree(layout.root.parent)
        shutil.copytree(pristine, layout.root.parent)
        with another_file_system() if crossing else pytest.MonkeyPatch.context():
            try:
                with killed_at_call(number, Killed):
                    archive_after(layout, 2)
            except Killed:
                kills += 1
            else:
                break
            assert everything <= contents(layout.root.parent)
            archive_after(layout, 2)
        assert tree(layout.root.parent) == expected
    assert kills > 20


@pytest.mark.parametrize("crossing", [False, True], ids=["one file system", "two file systems"])
def test_disk_that_fails_midway_leaves_the_run_as_it_was(layout: RunLayout, tmp_path: Path, crossing: bool) -> None:
    before = tree(layout.root)
    shutil.copytree(layout.root.parent, tmp_path / "pristine")
    number = failures = 0
    while True:
        number += 1
        shutil.rmtree(layout.root.parent)
        shutil.copytree(tmp_path / "pristine", layout.root.parent)
        with another_file_system() if crossing else pytest.MonkeyPatch.context():
            try:
                with killed_at_call(number, lambda: OSError(errno.ENOSPC, "No space left on device"), once=True):
                    archive_after(layout, 2)
            except OSError:
                failures += 1
            else:
                break
        assert tree(layout.root) == before
        assert {one.state for one in archives(layout)} <= {ArchiveState.RETURNED}
        archive_after(layout, 2)
        assert len(names(layout)) == 4
    assert failures > 15


class TestUnarchive:
    def test_brings_everything_back(self, layout: RunLayout) -> None:
        before = tree(layout.root)
        record = archive_after(layout, 1)
        assert tree(layout.root) != before
        back = unarchive(layout, record.folder.name)
        assert tree(layout.root) == before
        assert back.state is ArchiveState.RETURNED
        assert unarchive(layout, record.folder) == back

    def test_kill_at_any_moment_loses_nothing_and_asking_again_finishes(
        self, layout: RunLayout, tmp_path: Path
    ) -> None:
        before = tree(layout.root)
        record = archive_after(layout, 2)
        shutil.copytree(layout.root.parent, tmp_path / "pristine")
        number = 0
        while True:
            number += 1
            shutil.rmtree(layout.root.parent)
            shutil.copytree(tmp_path / "pristine", layout.root.parent)
            try:
                with killed_at_call(number, Killed):
                    unarchive(layout, record.folder.name)
            except Killed:
                assert set(before.values()) <= contents(layout.root.parent)
                unarchive(layout, record.folder.name)
                assert tree(layout.root) == before
            else:
                break
        assert number > 15

    def test_unknown_name_is_an_error_that_names_the_known(self, layout: RunLayout) -> None:
        archive_after(layout, 2)
        with pytest.raises(NoSuchRunError) as caught:
            unarchive(layout, "after-epoch-0009")
        assert caught.value.hint == "its archives: after-epoch-0002"

    def test_run_that_went_on_is_left_alone(self, layout: RunLayout) -> None:
        record = archive_after(layout, 2)
        write_state(layout, 3, fitness=0.123)
        layout.state_file(3).write_bytes(b"another attempt")
        before = tree(layout.root.parent)
        with pytest.raises(CheckpointRefusedError, match="the run has gone on"):
            unarchive(layout, record.folder.name)
        assert tree(layout.root.parent) == before

    def test_history_that_went_on_is_left_alone(self, layout: RunLayout) -> None:
        record = archive_after(layout, 2)
        with layout.results_csv.open("a") as stream:
            stream.write("3,9.9,0.9\n")
        with pytest.raises(CheckpointRefusedError, match=r"results\.csv has rows of a later attempt"):
            unarchive(layout, record.folder.name)

    def test_damaged_archive_is_told_before_anything_moves(self, layout: RunLayout) -> None:
        record = archive_after(layout, 2)
        (record.folder / "weights" / "last.pt").write_bytes(b"rot")
        before = tree(layout.root.parent)
        with pytest.raises(CheckpointRefusedError, match="not the file that was archived"):
            unarchive(layout, record.folder.name)
        assert tree(layout.root.parent) == before

    def test_archiving_waits_until_bringing_back_is_finished(self, layout: RunLayout) -> None:
        record = archive_after(layout, 2)
        with pytest.raises(Killed), killed_at_call(8, Killed):
            unarchive(layout, record.folder.name)
        with pytest.raises(CheckpointRefusedError, match="cut short"):
            archive_after(layout, 2)

    @pytest.mark.parametrize("place", ["../../escape.pt", "/etc/escape.pt"])
    def test_forged_manifest_cannot_reach_out_of_the_run(self, layout: RunLayout, place: str) -> None:
        record = archive_after(layout, 2)
        manifest = record.folder / "manifest.json"
        manifest.write_text(manifest.read_text().replace("weights/last.pt", place))
        with pytest.raises(NoSuchRunError):
            unarchive(layout, record.folder.name)


def test_moved_files_keep_their_bytes(layout: RunLayout) -> None:
    record = archive_after(layout, 0)
    assert all(digest_of(record.folder / one.file) == one.saved for one in record.moved)
