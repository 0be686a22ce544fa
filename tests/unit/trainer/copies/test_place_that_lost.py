"""Places that lost something, or were never there: nothing is called a copy that is none, and nothing stays behind."""

from __future__ import annotations

import contextlib
import datetime
import errno
import shutil
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.trainer.copies.written import Attested, copied, everything, folder_of, spoil
from trainmaster.trainer.arguments import ArgumentsError
from trainmaster.trainer.checkpoints.ledger import attestations, latest_by_file, record
from trainmaster.trainer.cli.copy import recovered
from trainmaster.trainer.contract import CHECKPOINT_KEYS, RunLayout
from trainmaster.trainer.copies import mounts
from trainmaster.trainer.copies.copying import DIGEST, FILES, copies_in
from trainmaster.trainer.copies.place import PART, CopyError, Folder, NotOursError, below
from trainmaster.trainer.copies.taking_back import is_address, take_back


def test_an_epoch_whose_fitness_is_no_number_is_copied_and_is_not_the_best(run: Attested, place: str) -> None:
    run.epoch(1, fitness=float("nan"))
    for epoch in (2, 3):
        run.epoch(epoch, fitness=0.2)
        names = copied(run, place, keep=1)
    assert names == ["epoch0003.pt", "epoch0003.ultralytics.pt"]
    run.epoch(4, fitness=float("inf"))
    assert "epoch0003.pt" in copied(run, place, keep=1)


def test_what_the_run_has_now_outlives_older_copies_of_later_epochs(run: Attested, place: str) -> None:
    """Epoch 2 was trained again, and is not clean this time; its full state was never copied."""
    run.epoch(1)
    run.save("guard/states/epoch0002.ultralytics.pt", 2)
    copied(run, place, keep=1)
    run.epoch(2, verdict="contaminated")
    assert "epoch0001.pt" in copied(run, place, keep=1)


def test_a_state_that_is_found_to_be_bad_later_has_no_copy_any_more(run: Attested, place: str) -> None:
    run.epoch(1)
    run.epoch(2)
    copied(run, place)
    row = asdict(latest_by_file(attestations(run.layout))["guard/states/epoch0002.pt"]) | {"v": 1}
    record(run.layout, {key: row[key] for key in CHECKPOINT_KEYS} | {"verdict": "contaminated", "reasons": ["nan"]})
    assert "epoch0002.pt" not in copied(run, place)
    assert not [name for name in folder_of(run, place).names(FILES) if name.startswith("epoch0002.pt")]


@pytest.mark.parametrize("how", ["torn", "without its digest", "only its digest", "its digest is torn"])
def test_what_is_no_copy_any_more_and_is_not_wanted_takes_no_room(run: Attested, tmp_path: Path, how: str) -> None:
    copies = tmp_path / "copies"
    copies.mkdir()
    run.save("guard/states/epoch0001.pt", 1)
    copied(run, str(copies))
    (digest,) = (copies / "night" / FILES).glob(f"*{DIGEST}")
    file = digest.with_name(digest.name.removesuffix(DIGEST))
    if how == "torn":
        spoil(copies / "night", 1, torn=True)
    elif how == "its digest is torn":
        digest.write_bytes(digest.read_bytes()[:20])
    else:
        (digest if how == "without its digest" else file).unlink()
    run.layout.state_file(1).unlink()
    run.save("guard/states/epoch0002.pt", 2)
    assert copied(run, str(copies)) == ["epoch0002.pt"]
    assert len(folder_of(run, str(copies)).names(FILES)) == 2


def test_a_place_that_lost_the_name_of_its_owner_is_known_by_its_copies(
    run: Attested, place: str, tmp_path: Path
) -> None:
    run.epoch(1)
    before = copied(run, place)
    folder_of(run, place).remove("owner.json")
    other = Attested(tmp_path / "others" / "night")
    other.epoch(1)
    with pytest.raises(NotOursError):
        copied(other, place)
    run.epoch(2)
    assert set(before) < set(copied(run, place))
    assert (folder_of(run, place).read_record("owner.json") or {})["root"] == str(run.layout.root)


def test_a_run_comes_back_from_a_place_that_lost_the_name_of_its_owner(run: Attested, tmp_path: Path) -> None:
    copies = tmp_path / "copies"
    copies.mkdir()
    run.epoch(1)
    copied(run, str(copies))
    before = everything(run.layout)
    (copies / "night" / "owner.json").unlink()
    shutil.rmtree(run.layout.root)
    assert is_address(str(copies / "night"))
    with pytest.raises(ArgumentsError, match="where the run was, is not known"):
        take_back(str(copies / "night"))
    recovered(str(copies / "night"), str(run.layout.root))
    assert everything(run.layout) == before


@pytest.mark.parametrize("name", ["a*b", "n?q", "run[1]", "a::b", "memory::x"])
def test_a_run_whose_name_looks_like_many_names_is_copied(place: str, tmp_path: Path, name: str) -> None:
    run = Attested(tmp_path / "runs" / name)
    run.epoch(1)
    assert len(copied(run, place)) == 2
    assert not [one for one in folder_of(run, place).names(FILES) if one.endswith(PART)]
    run.epoch(2)
    shutil.rmtree(run.layout.root)
    assert take_back(below(place, name), into=run.layout.root).files


@pytest.mark.parametrize("mounted", [True, False], ids=["mounted", "not mounted"])
def test_a_mount_point_that_the_host_has_a_disk_for_gets_no_copy_before_it_is_there(
    run: Attested, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, mounted: bool
) -> None:
    disk = tmp_path / "other disk"
    (disk / "copies").mkdir(parents=True)
    row = f"UUID=1 {str(disk).replace(' ', chr(92) + '040')} ext4 nofail 0 2\n"
    (tmp_path / "fstab").write_text(f"# disks\n/dev/sda1 / ext4\n{row}server:/x {tmp_path}/elsewhere nfs 0 0\n")
    (tmp_path / "mounts").write_text(row if mounted else "")
    monkeypatch.setattr(mounts, "FSTAB", tmp_path / "fstab")
    monkeypatch.setattr(mounts, "MOUNTED", tmp_path / "mounts")
    run.epoch(1)
    if mounted:
        assert copied(run, str(disk / "copies"))
        return
    with pytest.raises(CopyError, match=r"/etc/fstab has for .*/other disk, which is not mounted"):
        copied(run, str(disk / "copies"))
    assert not list((disk / "copies").iterdir())


def test_an_upload_that_was_given_up_long_ago_is_ended_and_no_other_is(run: Attested, place: str) -> None:
    folder = folder_of(run, place)
    ended: list[str] = []

    def begun(key: str, hours: float) -> dict[str, Any]:
        then = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=hours)
        return {"Key": key, "UploadId": key[-1], "Initiated": then}

    found = [begun("x/night/files/a", 25), begun("x/night/files/b", 1), begun("x/nightly/files/c", 99)]
    folder._root = "bucket/x/night"
    folder._fs = SimpleNamespace(
        list_multipart_uploads=lambda bucket: found, call_s3=lambda _, **one: ended.append(one["UploadId"])
    )
    folder.drop_abandoned_uploads(FILES)
    assert ended == ["a"]
    folder._fs = SimpleNamespace()  # any other store
    folder.drop_abandoned_uploads(FILES)


@pytest.mark.parametrize("whose", ["another run's", "its own"])
def test_copies_are_not_mixed_with_checkpoints_of_another_training(run: Attested, tmp_path: Path, whose: str) -> None:
    """Stock, say, which has no ``guard`` folder that tells which run it is."""
    copies = tmp_path / "copies"
    copies.mkdir()
    run.epoch(1)
    run.save("weights/best.pt", 1)
    copied(run, str(copies))
    best, before = (run.layout.weights / "best.pt").read_bytes(), everything(run.layout)
    other = tmp_path / "other"
    (other / "weights").mkdir(parents=True)
    (other / "weights" / "best.pt").write_bytes(best if whose == "its own" else b"stock")
    if whose == "its own":
        take_back(str(copies / "night"), into=other)
        assert everything(RunLayout(other)) == before
        return
    with pytest.raises(NotOursError, match=r"best\.pt is not of the run"):
        take_back(str(copies / "night"), into=other)
    assert [path.name for path in other.rglob("*.pt")] == ["best.pt"]
    assert not (other / "guard").exists()


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_a_place_that_has_room_for_no_more_epochs_gets_the_newest_all_the_same(
    run: Attested, place: str, monkeypatch: pytest.MonkeyPatch, keep: int
) -> None:
    """A new one comes before an old one goes, for which there is no room here. Of one alone there is none to give."""
    put = Folder.put

    def full(self: Folder, source: Path, name: str, **about: Any) -> bool:
        with self._told():
            if len(self.names(FILES)) >= 4 * keep:
                raise OSError(errno.ENOSPC, "No space left on device")
        return put(self, source, name, **about)

    monkeypatch.setattr(Folder, "put", full)
    for epoch in range(1, 7):
        run.epoch(epoch, fitness=None)
        for _ in range(2):
            with contextlib.suppress(CopyError):
                copied(run, place, keep=keep)
            assert copies_in(folder_of(run, place)), "never without any"
    epochs = {one.row.epoch for one in copies_in(folder_of(run, place))}
    assert max(filter(None, epochs)) == (1 if keep == 1 else 6)
