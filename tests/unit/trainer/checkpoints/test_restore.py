from __future__ import annotations

import fcntl
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.unit.trainer.checkpoints.making import attest, checkpoint_dict, launder, make_run, save, stripped, tree
from tests.unit.trainer.checkpoints.test_archive import Killed, contents, killed_at_call
from trainmaster.trainer.checkpoints import archive
from trainmaster.trainer.checkpoints.catalog import catalog
from trainmaster.trainer.checkpoints.errors import CheckpointError, CheckpointRefusedError
from trainmaster.trainer.checkpoints.files import digest_of
from trainmaster.trainer.checkpoints.forensics import judge
from trainmaster.trainer.checkpoints.ledger import attestations, latest_by_file
from trainmaster.trainer.checkpoints.restore import mend_best, restore
from trainmaster.trainer.checkpoints.retention import ultralytics_copy
from trainmaster.trainer.contract import RunLayout, Verdict


@pytest.fixture
def layout(tmp_path: Path) -> RunLayout:
    return make_run(tmp_path / "runs" / "digits", epochs=4, fitness={2: 0.9})


def test_last_is_the_attested_checkpoint_of_that_epoch(layout: RunLayout) -> None:
    restored = restore(layout, 3)
    last = layout.weights / "last.pt"
    assert digest_of(last) == restored.last == digest_of(ultralytics_copy(layout, 3))
    found = judge(last, attestations=attestations(layout))
    assert (found.verdict, found.epoch, found.resumable, found.attested) == (Verdict.CLEAN, 3, True, True)
    assert latest_by_file(attestations(layout))["weights/last.pt"].saved == restored.last
    assert restored.source == "guard/states/epoch0003.ultralytics.pt"


def test_history_ends_there_and_all_that_came_after_is_archived(layout: RunLayout) -> None:
    before = contents(layout.root)
    restored = restore(layout, 3)
    assert layout.results_csv.read_text().splitlines()[-1].startswith("3,")
    assert before <= contents(layout.root.parent)
    assert {one.file for one in restored.archive.moved} == {
        *("guard/states/epoch0004.pt", "guard/states/epoch0004.ultralytics.pt", "weights/last.pt")
    }


@pytest.mark.parametrize(
    ("fitness", "best_before", "epoch", "best_after"),
    [
        ({2: 0.9}, 2, 3, 2),
        ({4: 0.9}, 4, 3, 3),
        ({1: 0.8, 4: 0.9}, 4, 3, 1),
        ({1: 0.8, 3: 0.8, 4: 0.9}, 4, 3, 3),
        ({4: 0.9}, 1, 3, 3),
    ],
    ids=["stays", "later one replaced", "by the best left", "of equals the latest", "not the best of what is left"],
)
def test_best_is_the_best_of_what_is_left(
    tmp_path: Path, fitness: dict, best_before: int, epoch: int, best_after: int
) -> None:
    layout = make_run(tmp_path / "run", epochs=4, fitness=fitness, best=best_before)
    restored = restore(layout, epoch)
    assert restored.best_epoch == best_after
    assert digest_of(layout.weights / "best.pt") == digest_of(ultralytics_copy(layout, best_after))


def test_contaminated_epoch_is_never_best(tmp_path: Path) -> None:
    layout = make_run(tmp_path / "run", epochs=4, fitness={2: 0.95, 4: 0.96})
    for path in (layout.state_file(2), ultralytics_copy(layout, 2)):
        attest(layout, path, epoch=2, verdict="contaminated", reasons=["nan"], fitness=0.95)
    assert restore(layout, 3).best_epoch == 3


def test_asked_again_it_changes_nothing(layout: RunLayout) -> None:
    first = restore(layout, 3)
    after = tree(layout.root.parent)
    assert restore(layout, 3) == first
    assert tree(layout.root.parent) == after


def test_going_back_further_works_too(layout: RunLayout) -> None:
    restore(layout, 3)
    restored = restore(layout, 1)
    assert judge(layout.weights / "last.pt").epoch == 1
    assert restored.best_epoch == 1


def poison_copy(layout: RunLayout) -> None:
    content = checkpoint_dict(3)
    launder(content["ema"])
    attest(layout, save(ultralytics_copy(layout, 3), content), epoch=3)


def attest_contaminated(layout: RunLayout) -> None:
    attest(layout, ultralytics_copy(layout, 3), epoch=3, verdict="contaminated", reasons=["nan"])


def rot(layout: RunLayout) -> None:
    path = ultralytics_copy(layout, 3)
    path.write_bytes(path.read_bytes()[:-100])


def rot_state(layout: RunLayout) -> None:
    layout.state_file(3).write_bytes(b"PK\x03\x04")


def another_epoch(layout: RunLayout) -> None:
    shutil.copy(ultralytics_copy(layout, 1), ultralytics_copy(layout, 3))


def strip(layout: RunLayout) -> None:
    attest(layout, save(ultralytics_copy(layout, 3), stripped(checkpoint_dict(3))), epoch=3)


def remove(layout: RunLayout) -> None:
    ultralytics_copy(layout, 3).unlink()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (poison_copy, "is contaminated: .*zero everywhere"),
        (attest_contaminated, "is contaminated: attested contaminated"),
        (rot, "is contaminated: wrong digest"),
        (rot_state, r"epoch0003\.pt is contaminated"),
        (another_epoch, "is of epoch 1, not 3"),
        (strip, "is not resumable"),
        (remove, "has no checkpoint of epoch 3"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_checkpoint_that_is_not_clean_is_refused_and_the_nearest_clean_named(
    layout: RunLayout, spoil, message: str
) -> None:
    spoil(layout)
    before = tree(layout.root.parent)
    with pytest.raises(CheckpointRefusedError, match=message) as caught:
        restore(layout, 3)
    assert caught.value.hint == f"the nearest clean one is epoch 2: trainmaster restore {layout.root} epoch=2"
    assert tree(layout.root.parent) == before


def test_no_clean_checkpoint_at_all_is_said(tmp_path: Path) -> None:
    layout = make_run(tmp_path / "run", epochs=1)
    attest(layout, ultralytics_copy(layout, 1), verdict="contaminated", reasons=["nan"])
    with pytest.raises(CheckpointRefusedError) as caught:
        restore(layout, 1)
    assert "no other epoch" in caught.value.hint


def test_unguarded_run_is_restored_from_its_own_numbered_file(tmp_path: Path) -> None:
    layout = RunLayout(tmp_path / "stock")
    for epoch in (1, 2, 3):
        save(layout.weights / f"epoch{epoch - 1}.pt", checkpoint_dict(epoch, fitness=0.1 * epoch))
    save(layout.weights / "last.pt", checkpoint_dict(3))
    restored = restore(layout, 2)
    assert restored.source == "weights/epoch1.pt"
    assert judge(layout.weights / "last.pt").epoch == judge(layout.weights / "best.pt").epoch == 2
    assert not layout.guard.exists()


def test_run_with_a_trainer_at_work_is_left_alone(layout: RunLayout) -> None:
    before = tree(layout.root.parent)
    with layout.lock.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        with pytest.raises(CheckpointRefusedError, match="a trainer is at work"):
            restore(layout, 3)
    assert tree(layout.root.parent) == before


def test_kill_at_any_moment_loses_nothing_and_asking_again_finishes(layout: RunLayout, tmp_path: Path) -> None:
    everything = contents(layout.root)
    shutil.copytree(layout.root.parent, tmp_path / "pristine")
    restore(layout, 1)
    expected = tree(layout.root.parent)
    number = 0
    while True:
        number += 1
        shutil.rmtree(layout.root.parent)
        shutil.copytree(tmp_path / "pristine", layout.root.parent)
        try:
            with killed_at_call(number, Killed):
                restore(layout, 1)
        except Killed:
            assert everything <= contents(layout.root.parent)
            restore(layout, 1)
            assert tree(layout.root.parent) == expected
        else:
            break
    assert number > 25


def test_catalog_is_coherent_afterwards(layout: RunLayout) -> None:
    restore(layout, 3)
    assert {entry.epoch for entry in catalog(layout)} == {1, 2, 3}
    assert {entry.verdict for entry in catalog(layout, full=True)} == {Verdict.CLEAN}


def test_a_best_checkpoint_that_holds_is_left_alone(layout: RunLayout) -> None:
    before = contents(layout.root.parent)
    assert mend_best(layout, 4) is None
    assert contents(layout.root.parent) == before


@pytest.mark.parametrize(
    ("epoch", "damage", "from_epoch"),
    [
        (1, lambda best: None, 1),
        (3, lambda best: best.write_bytes(best.read_bytes()[:500]), 2),
        (3, lambda best: best.unlink(), 2),
    ],
    ids=["later", "torn", "missing"],
)
def test_a_best_checkpoint_that_does_not_hold_is_put_back_from_the_copy(
    layout: RunLayout, epoch: int, damage, from_epoch: int
) -> None:
    damage(layout.weights / "best.pt")
    before = contents(layout.weights) - contents(layout.states)

    mended = mend_best(layout, epoch)

    assert mended is not None
    assert mended.epoch == from_epoch
    found = judge(layout.weights / "best.pt", attestations=attestations(layout))
    assert (found.verdict, found.epoch) == (Verdict.CLEAN, from_epoch)
    assert before <= contents(layout.root.parent)  # what lay there is in the archive


def unguarded_run(root: Path) -> RunLayout:
    """What stock Ultralytics leaves: ``best.pt`` of epoch 2, and a ``last.pt`` of epoch 4 that was poisoned."""
    layout = RunLayout(root)
    save(layout.weights / "best.pt", checkpoint_dict(epoch=2, fitness=0.9))
    poisoned = checkpoint_dict(epoch=4)
    launder(poisoned["ema"])
    save(layout.weights / "last.pt", poisoned)
    layout.results_csv.write_text("epoch,loss\n1,1.0\n2,0.9\n3,nan\n4,nan\n")
    return layout


def test_run_without_a_guard_goes_back_to_its_best_and_keeps_what_was_last(tmp_path: Path) -> None:
    layout = unguarded_run(tmp_path / "runs" / "train")
    before, poisoned = contents(layout.root), digest_of(layout.weights / "last.pt")
    restored = restore(layout, 2)
    assert digest_of(layout.weights / "last.pt") == digest_of(layout.weights / "best.pt") == restored.last
    assert [one.saved for one in restored.archive.moved] == [poisoned]
    assert layout.results_csv.read_text().splitlines()[-1] == "2,0.9"
    assert before <= contents(layout.root.parent)
    assert not layout.guard.exists()
    assert restore(layout, 2) == restored


@pytest.mark.parametrize("epoch", [3, 4], ids=["no file of it", "poisoned"])
def test_run_without_a_guard_goes_to_no_other_epoch(tmp_path: Path, epoch: int) -> None:
    layout = unguarded_run(tmp_path / "runs" / "train")
    before = tree(layout.root.parent)
    with pytest.raises(CheckpointRefusedError):
        restore(layout, epoch)
    assert tree(layout.root.parent) == before


def test_without_space_nothing_is_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = make_run(tmp_path / "run", epochs=3)
    before = tree(tmp_path)
    monkeypatch.setattr(archive, "SPARE_BYTES", 0)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2000))  # enough to put files aside
    with pytest.raises(CheckpointError, match="are needed"):
        restore(layout, 1)
    assert tree(tmp_path) == before
