from __future__ import annotations

import errno
import json
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.unit.trainer.copies.written import Attested, copied, folder_of, spoil
from trainmaster.trainer.arguments import ArgumentsError
from trainmaster.trainer.checkpoints.archive import archive_after
from trainmaster.trainer.checkpoints.files import digest_of
from trainmaster.trainer.checkpoints.ledger import attestations, latest_by_file
from trainmaster.trainer.contract import MODULE_ARGV
from trainmaster.trainer.copies.copying import DIGEST, FILES, LEDGER, Copying, copies_in
from trainmaster.trainer.copies.place import (
    CopyError,
    Folder,
    NotOursError,
    check_place,
    has_password,
    shown,
    shown_within,
)
from trainmaster.trainer.copies.taking_back import take_back


def test_what_is_clean_is_copied_and_nothing_else(run: Attested, place: str) -> None:
    run.epoch(1)
    run.epoch(2, verdict="contaminated")
    run.epoch(3, verdict="unknown")
    run.save("weights/best.pt", 1)
    run.save("weights/last.pt", 3)
    (run.layout.states / "epoch0009.pt").write_bytes(b"never attested")
    assert copied(run, place) == ["best.pt", "epoch0001.pt", "epoch0001.ultralytics.pt"]


def test_a_second_look_copies_nothing_again(run: Attested, place: str) -> None:
    run.epoch(1)
    folder = folder_of(run, place)
    copying = Copying(run.layout, folder, keep=3)
    assert [copying.look(), copying.look(), Copying(run.layout, folder, keep=3).look()] == [2, 0, 0]


def test_the_newest_and_the_best_are_kept(run: Attested, place: str) -> None:
    for epoch in range(1, 7):
        run.epoch(epoch, fitness=0.9 if epoch == 2 else 0.1)
        names = copied(run, place, keep=2)
    assert names == [f"epoch000{epoch}.{kind}pt" for epoch in (2, 5, 6) for kind in ("", "ultralytics.")]


def test_a_state_within_an_epoch_is_copied_until_the_epoch_is(run: Attested, place: str) -> None:
    run.epoch(1)
    run.save("guard/states/snapshot.pt", 2)
    assert "snapshot.pt" in copied(run, place)
    run.save("guard/states/snapshot.pt", 2)
    assert copied(run, place).count("snapshot.pt") == 1
    run.epoch(2)
    assert "snapshot.pt" not in copied(run, place)


def test_what_the_run_lost_stays_in_its_copies(run: Attested, place: str) -> None:
    run.epoch(1)
    before = copied(run, place)
    shutil.rmtree(run.layout.states)
    assert copied(run, place) == before


def test_what_a_rollback_put_aside_is_taken_out_of_the_copies(run: Attested, place: str) -> None:
    for epoch in (1, 2, 3):
        run.epoch(epoch)
    copied(run, place)
    archive_after(run.layout, 1)
    assert copied(run, place) == ["epoch0001.pt", "epoch0001.ultralytics.pt"]


def test_a_file_without_its_digest_was_never_finished(run: Attested, place: str) -> None:
    run.epoch(1)
    copied(run, place)
    folder = folder_of(run, place)
    name = next(name for name in folder.names(FILES) if name.startswith("epoch0001.pt") and name.endswith(DIGEST))
    folder.remove(f"{FILES}/{name}")
    assert [one.row.file for one in copies_in(folder)] == ["guard/states/epoch0001.ultralytics.pt"]
    assert "epoch0001.pt" in copied(run, place)


def test_a_source_that_is_not_what_was_attested_is_not_copied(run: Attested, place: str) -> None:
    run.epoch(1)
    run.layout.state_file(1).write_bytes(b"rotten")
    assert copied(run, place) == ["epoch0001.ultralytics.pt"]


@pytest.mark.parametrize("content", ["another run", "something else"])
def test_a_folder_of_somebody_else_is_refused_and_left_alone(run: Attested, place: str, content: str) -> None:
    run.epoch(1)
    folder = folder_of(run, place)
    if content == "another run":
        folder.write("owner.json", json.dumps({"format": "trainmaster-copy", "id": "other", "root": "/x"}).encode())
    else:
        folder.write("holiday.jpg", b"jpg")
    before = folder.names()
    with pytest.raises(NotOursError):
        Copying(run.layout, folder, keep=3).look()
    assert folder.names() == before
    assert folder.names(FILES) == {}


def test_a_disk_that_is_not_mounted_is_no_place(run: Attested, tmp_path: Path) -> None:
    run.epoch(1)
    with pytest.raises(CopyError, match="is its disk mounted"):
        Copying(run.layout, Folder(str(tmp_path / "mnt" / "copies" / "night")), keep=3).look()
    assert not (tmp_path / "mnt").exists()


def test_a_broken_copy_is_continued_where_it_broke(
    run: Attested, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "copies").mkdir()
    monkeypatch.setattr("trainmaster.trainer.copies.place.CHUNK_BYTES", 1000)
    run.save("guard/states/epoch0001.pt", 1)
    folder = folder_of(run, str(tmp_path / "copies"))
    row = latest_by_file(attestations(run.layout))["guard/states/epoch0001.pt"]
    chunks = iter(range(100))

    def breaks() -> None:
        if next(chunks) == 2:
            raise OSError(errno.ENOSPC, "no space left on device")

    with pytest.raises(CopyError, match="no space left"):
        folder.put(run.layout.state_file(1), f"{FILES}/x", expected=row.saved, progress=breaks)
    (part,) = (tmp_path / "copies" / "night" / FILES).iterdir()
    begun = part.stat().st_size
    left = []
    assert begun >= 2000
    assert folder.put(run.layout.state_file(1), f"{FILES}/x", expected=row.saved, progress=lambda: left.append(1))
    assert len(left) == -(-(row.bytes - begun) // 1000)
    assert digest_of(part.with_name("x")) == row.saved


def test_a_place_that_is_full_is_told_and_the_next_look_copies_the_rest(run: Attested, tmp_path: Path) -> None:
    """What is full stands for here: no file may grow beyond 2,000 bytes."""
    (tmp_path / "copies").mkdir()
    run.save("guard/states/epoch0001.pt", 1, size=1500)
    run.save("guard/states/epoch0002.pt", 2, size=5000)
    # -B: Python would keep what it compiled, cut at the limit, for whoever comes next.
    argv = (sys.executable, "-B", *MODULE_ARGV, "copy", str(run.layout.root), f"to={tmp_path / 'copies'}")

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))

    full = subprocess.run(argv, capture_output=True, text=True, check=False, preexec_fn=limit)
    assert full.returncode == 1
    assert "File too large" in full.stderr
    folder = folder_of(run, str(tmp_path / "copies"))
    assert "epoch0002.pt" not in {one.row.file.rpartition("/")[2] for one in copies_in(folder)}
    assert copied(run, str(tmp_path / "copies")) == ["epoch0001.pt", "epoch0002.pt"]


def test_a_begun_copy_of_other_bytes_is_begun_anew(run: Attested, tmp_path: Path) -> None:
    (tmp_path / "copies").mkdir()
    run.save("guard/states/epoch0001.pt", 1)
    folder = folder_of(run, str(tmp_path / "copies"))
    row = latest_by_file(attestations(run.layout))["guard/states/epoch0001.pt"]
    target = tmp_path / "copies" / "night" / FILES / "x"
    target.parent.mkdir(parents=True)
    target.with_name("x.part").write_bytes(b"torn by a power cut")
    assert folder.put(run.layout.state_file(1), f"{FILES}/x", expected=row.saved, progress=lambda: None)
    assert digest_of(target) == row.saved


def test_a_torn_copy_is_made_again(run: Attested, tmp_path: Path) -> None:
    copies = tmp_path / "copies"
    copies.mkdir()
    run.save("guard/states/epoch0001.pt", 1)
    copied(run, str(copies))
    spoil(copies / "night", 1, torn=True)
    folder = folder_of(run, str(copies))
    assert Copying(run.layout, folder, keep=3).look() == 1
    shutil.rmtree(run.layout.root)
    assert take_back(folder.url).files[0] == "guard/states/epoch0001.pt"


def test_copies_whose_order_nobody_wrote_down_are_as_old_as_they_say(run: Attested, place: str) -> None:
    """As an earlier version made them."""
    run.epoch(1)
    run.epoch(2)
    copied(run, place)
    folder = folder_of(run, place)
    folder.remove(LEDGER)
    assert [one.row.epoch for one in copies_in(folder)] == [1, 1, 2, 2]


def test_what_was_broken_off_of_a_state_that_is_wanted_no_more_goes(run: Attested, tmp_path: Path) -> None:
    (tmp_path / "copies").mkdir()
    run.epoch(1)
    copied(run, str(tmp_path / "copies"))
    files = tmp_path / "copies" / "night" / FILES
    for name in (f"snapshot.pt-{'0' * 16}.part", f"epoch0001.pt-{'a' * 16}{DIGEST}.part", "mine.part"):
        (files / name).write_bytes(b"begun")
    copied(run, str(tmp_path / "copies"))
    assert [path.name for path in files.glob("*.part")] == ["mine.part"]


def test_what_was_broken_off_takes_no_room_of_what_is_wanted_now(
    run: Attested, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk with room for 8,000 bytes, of which a state that is gone meanwhile has 4,000: the next one needs 5,000."""
    (tmp_path / "copies").mkdir()
    files = tmp_path / "copies" / "night" / FILES
    run.save("guard/states/snapshot.pt", 1)
    folder = folder_of(run, str(tmp_path / "copies"))
    Copying(run.layout, folder, keep=3).look()
    for path in files.iterdir():
        path.unlink()
    (files / f"snapshot.pt-{'0' * 16}.part").write_bytes(b"x" * 4000)
    put = Folder.put

    def full(self: Folder, source: Path, name: str, **about: Any) -> bool:
        if sum(path.stat().st_size for path in files.iterdir()) + source.stat().st_size > 8000:
            raise CopyError("no space left")
        return put(self, source, name, **about)

    monkeypatch.setattr(Folder, "put", full)
    assert copied(run, str(tmp_path / "copies")) == ["snapshot.pt"]


@pytest.mark.parametrize("inside", ["", "guard", "weights/copies"])
def test_the_run_itself_is_no_place_for_its_copies(run: Attested, inside: str) -> None:
    run.epoch(1)
    (run.layout.root / inside).mkdir(exist_ok=True)
    with pytest.raises(CopyError, match="lies in the run itself"):
        copied(run, str(run.layout.root / inside))


@pytest.mark.parametrize(
    ("url", "said", "secret"),
    [
        ("sftp://anna:hunter2@host/copies", "sftp://***@host/copies", True),
        ("https://host/copies?token=hunter2", "https://host/copies", True),
        ("ftp://anna:hunter2@hunter2@host/copies", "ftp://***@host/copies", True),
        ("ftp://anna:hunter2/hunter2@host/copies", "ftp://***@host/copies", True),
        ("filecache::ftp://anna:hunter2@host/copies", "filecache::ftp://***@host/copies", True),
        ("s3://bucket/copies", "s3://bucket/copies", False),
        ("s3://bucket/at@home/a:b@c", "s3://bucket/at@home/a:b@c", False),
        ("/mnt/copies", "/mnt/copies", False),
    ],
)
def test_a_password_is_never_shown(url: str, said: str, secret: bool) -> None:
    assert (shown(url), has_password(url)) == (said, secret)
    assert "hunter2" not in shown_within(f"could not open {url}: refused")


@pytest.mark.parametrize(
    ("place", "is_one"),
    [
        ("/mnt/copies", True),
        ("s3://bucket", True),
        ("simplecache::s3://bucket/copies", True),
        ("file:///mnt/copies", True),
        ("s3://", False),
        ("s3:///?token=hunter2", False),
        ("file://", False),
        ("file://copies/here", False),
        ("memory://copies", False),
        ("simplecache::copies", False),
        ("copies", False),
    ],
)
def test_a_place_names_a_bucket_or_a_folder_that_stays(place: str, is_one: bool) -> None:
    """``s3://`` was a folder called ``s3:`` where the training began, ``memory://`` was gone with who copied."""
    if is_one:
        assert check_place(place) == place
    else:
        with pytest.raises(ArgumentsError) as told:
            check_place(place)
        assert "hunter2" not in told.value.message


def test_an_error_of_a_library_behind_it_tells_no_password(run: Attested) -> None:
    with pytest.raises(CopyError) as told:
        Folder("nosuchprotocol://anna:hunter2@host/copies?key=hunter2")
    assert "hunter2" not in str(told.value)
