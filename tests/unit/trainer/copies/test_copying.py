from __future__ import annotations

import errno
import json
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.trainer.copies.written import Attested
from trainmaster.trainer.arguments import ArgumentsError
from trainmaster.trainer.checkpoints.archive import archive_after
from trainmaster.trainer.checkpoints.files import HashingWriter, digest_of
from trainmaster.trainer.checkpoints.ledger import attestations, latest_by_file
from trainmaster.trainer.cli.copy import recovered
from trainmaster.trainer.cli.main import main
from trainmaster.trainer.contract import MODULE_ARGV, RunLayout
from trainmaster.trainer.copies import taking_back
from trainmaster.trainer.copies.copying import DIGEST, FILES, LEDGER, Copying, copies_in
from trainmaster.trainer.copies.held import HeldCopies, held_of
from trainmaster.trainer.copies.place import CopyError, Folder, NotOursError, below, has_password, shown, shown_within
from trainmaster.trainer.copies.taking_back import take_back, take_back_if_lost


@pytest.fixture
def run(tmp_path: Path) -> Attested:
    return Attested(tmp_path / "runs" / "night")


@pytest.fixture(params=["file", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    pytest.importorskip("fsspec")
    if request.param == "file":
        (tmp_path / "copies").mkdir()
        yield str(tmp_path / "copies")
    else:
        import fsspec

        yield "memory://copies"
        memory = fsspec.filesystem("memory")
        memory.store.clear()
        memory.pseudo_dirs[:] = [""]


def folder_of(run: Attested, place: str) -> Folder:
    return Folder(below(place, run.layout.name))


def copied(run: Attested, place: str, *, keep: int = 3) -> list[str]:
    folder = folder_of(run, place)
    Copying(run.layout, folder, keep=keep).look()
    return sorted(one.row.file.rpartition("/")[2] for one in copies_in(folder))


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
    argv = (sys.executable, *MODULE_ARGV, "copy", str(run.layout.root), f"to={tmp_path / 'copies'}")

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


def everything(layout: RunLayout) -> dict[str, bytes]:
    names = ("guard/states/*.pt", "weights/*.pt", "results.csv", "guard/run.json")
    return {
        path.relative_to(layout.root).as_posix(): path.read_bytes() for name in names for path in layout.root.glob(name)
    }


@pytest.mark.parametrize("lost", ["all", "weights"])
def test_a_run_whose_disk_died_gets_its_files_back(
    run: Attested, place: str, lost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.epoch(1)
    run.epoch(2)
    run.save("weights/best.pt", 2)
    copied(run, place)
    before = everything(run.layout)
    shutil.rmtree(run.layout.root if lost == "all" else run.layout.states)
    if lost == "weights":
        shutil.rmtree(run.layout.weights)
    found = take_back_if_lost(run.layout.root, {"COPY_TO": place})
    assert found is not None
    assert everything(run.layout) == before
    rows = latest_by_file(attestations(run.layout))
    assert all(rows[name].saved == digest_of(run.layout.root / name) for name in before if name.endswith(".pt"))
    assert copied(run, place)  # its copies are its own still


@pytest.mark.parametrize("lacks", ["nothing", "copies", "a place"])
def test_nothing_is_taken_back_where_nothing_is_lost_or_copied(run: Attested, place: str, lacks: str) -> None:
    if lacks == "nothing":
        run.epoch(1)
        copied(run, place)
    assert take_back_if_lost(run.layout.root, {} if lacks == "a place" else {"COPY_TO": place}) is None


@pytest.mark.parametrize("gone", [False, True], ids=["the run is there", "the run is gone"])
def test_what_its_copies_hold_is_told_with_the_way_back_and_nothing_is_touched(
    run: Attested, place: str, capsys: pytest.CaptureFixture[str], *, gone: bool
) -> None:
    run.epoch(1)
    run.epoch(2)
    copied(run, place)
    if gone:
        shutil.rmtree(run.layout.root)
    assert main(["copy", str(run.layout.root), f"to={place}", "--list", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["files"], found["epoch"]) == (4, 2)
    where = folder_of(run, place)
    assert found["command"] == f"trainmaster resume {where.url} into={run.layout.root}"
    assert run.layout.root.exists() is not gone


def test_json_of_what_is_copied_there_is_none_and_it_says_so(
    run: Attested, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run.epoch(1)
    assert main(["copy", str(run.layout.root), f"to={place}", "--json"]) == 2
    told = capsys.readouterr()
    assert (told.out, "json" in told.err) == ("", True)


def test_way_back_to_copies_behind_a_password_does_not_hold_it(run: Attested) -> None:
    held = HeldCopies(url="ftp://me:pw@host/night", shown="x", root=run.layout.root, num_files=1, epoch=1, ts=1.0)
    assert held.command == f"COPY_TO=... trainmaster resume {run.layout.root}"


def test_copies_of_another_run_or_none_are_no_way_back(run: Attested, place: str, tmp_path: Path) -> None:
    with pytest.raises(CopyError, match="no copies"):
        held_of(run.layout.root, place)
    run.epoch(1)
    copied(run, place)
    shutil.rmtree(run.layout.root)
    with pytest.raises(NotOursError):
        held_of(tmp_path / "elsewhere" / "night", place)
    assert main(["copy", str(run.layout.root), f"to={below(place, 'nowhere')}", "--list"]) == 1


def test_nothing_is_taken_back_onto_the_mount_point_of_a_disk_that_is_not_there(run: Attested, place: str) -> None:
    run.epoch(1)
    copied(run, place)
    shutil.rmtree(run.layout.root.parent)
    with pytest.raises(ArgumentsError, match="where the run was, is not there"):
        take_back_if_lost(run.layout.root, {"COPY_TO": place})
    assert not run.layout.root.parent.exists()


def test_a_new_run_of_an_old_name_takes_nothing_of_the_old_one(run: Attested, place: str, tmp_path: Path) -> None:
    run.epoch(1)
    copied(run, place)
    shutil.rmtree(run.layout.root)
    begun = Attested(run.layout.root)
    assert take_back_if_lost(begun.layout.root, {"COPY_TO": place}) is None
    with pytest.raises(NotOursError):
        take_back(below(place, "night"), into=begun.layout.root)


def spoil(copies: Path, number: int, *, torn: bool) -> str:
    """The copy of that epoch's state is another one now; its name in the run."""
    (file,) = [path for path in (copies / FILES).iterdir() if path.name.startswith(f"epoch{number:04d}.pt-")
               and path.suffix != DIGEST]  # fmt: skip
    content = file.read_bytes()
    file.write_bytes(content[:100] if torn else content[:-1] + b"?")
    return f"guard/states/epoch{number:04d}.pt"


@pytest.mark.parametrize("torn", [False, True], ids=["a byte is another", "torn"])
@pytest.mark.parametrize("number", [1, 2, 3], ids=["the oldest", "the middle", "the newest"])
def test_a_copy_that_rotted_is_left_out_and_all_others_come_back(
    run: Attested, tmp_path: Path, number: int, *, torn: bool
) -> None:
    copies = tmp_path / "copies"
    copies.mkdir()
    for epoch in (1, 2, 3):
        run.save(f"guard/states/epoch{epoch:04d}.pt", epoch)
    copied(run, str(copies))
    before = everything(run.layout)
    spoiled = spoil(copies / "night", number, torn=torn)
    shutil.rmtree(run.layout.root)
    back = take_back_if_lost(run.layout.root, {"COPY_TO": str(copies)})
    assert back is not None
    assert back.rotten == (() if torn else (spoiled,))  # one of another size was never called a copy
    assert (spoiled in back.text) is not torn
    before.pop(spoiled)
    assert everything(run.layout) == before
    assert take_back_if_lost(run.layout.root, {"COPY_TO": str(copies)}) is None


def test_a_full_disk_of_the_run_is_not_said_of_the_copies(
    run: Attested, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.epoch(1)
    copied(run, place)
    shutil.rmtree(run.layout.root)

    class Full(HashingWriter):
        def write(self, _content: Any) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("trainmaster.trainer.checkpoints.files.HashingWriter", Full)
    with pytest.raises(OSError, match="No space left"):
        take_back_if_lost(run.layout.root, {"COPY_TO": place})


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


@pytest.mark.parametrize("after", [1, 2, 3, 5])
def test_a_way_back_that_was_broken_off_is_gone_on_with(
    run: Attested, place: str, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed behind any of its files, the same call brings the rest; without a place it is told that there is one."""
    for epoch in (1, 2, 3):
        run.save(f"guard/states/epoch{epoch:04d}.pt", epoch)
    copied(run, place)
    before = everything(run.layout)
    shutil.rmtree(run.layout.root)
    left = [after]

    def until(real: Callable[..., bool]) -> Callable[..., bool]:
        def fetched(*given: Any) -> bool:
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            return real(*given)

        return fetched

    with monkeypatch.context() as patch:
        for name in ("_fetched", "_record_fetched"):
            patch.setattr(taking_back, name, until(getattr(taking_back, name)))
        with pytest.raises(KeyboardInterrupt):
            take_back_if_lost(run.layout.root, {"COPY_TO": place})
    with pytest.raises(ArgumentsError, match=r"not all of .* has come back from"):
        recovered(str(run.layout.root), None)
    assert take_back_if_lost(run.layout.root, {"COPY_TO": place}) is not None
    assert everything(run.layout) == before
    assert take_back_if_lost(run.layout.root, {"COPY_TO": place}) is None
    assert recovered(str(run.layout.root), None) == run.layout.root


def test_a_clock_that_was_set_back_stops_no_copy_and_the_newest_comes_back(run: Attested, place: str) -> None:
    for epoch in range(1, 4):
        run.epoch(epoch)
    copied(run, place)
    run.set_back(86_400)
    for epoch in range(4, 7):
        run.epoch(epoch, fitness=0.05)
        copied(run, place)
    run.save("guard/states/snapshot.pt", 7)
    assert copied(run, place) == [
        *("epoch0003.pt", "epoch0003.ultralytics.pt"),  # the best, the newest of those that are as good
        *(f"epoch{epoch:04d}{kind}.pt" for epoch in range(4, 7) for kind in ("", ".ultralytics")),
        "snapshot.pt",
    ]
    assert held_of(run.layout.root, place).epoch == 7
    shutil.rmtree(run.layout.root)
    back = take_back_if_lost(run.layout.root, {"COPY_TO": place})
    assert back is not None
    assert "guard/states/snapshot.pt" in back.files
    rows = attestations(run.layout)
    assert rows[-1].file == "guard/states/snapshot.pt"


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


@pytest.mark.parametrize("inside", ["", "guard", "weights/copies"])
def test_the_run_itself_is_no_place_for_its_copies(run: Attested, inside: str) -> None:
    run.epoch(1)
    (run.layout.root / inside).mkdir(exist_ok=True)
    with pytest.raises(CopyError, match="lies in the run itself"):
        copied(run, str(run.layout.root / inside))


def test_a_copy_that_rotted_is_not_taken_for_a_state(run: Attested, tmp_path: Path) -> None:
    from trainmaster.trainer.checkpoints.files import DigestError

    (tmp_path / "copies").mkdir()
    run.save("guard/states/epoch0001.pt", 1)
    copied(run, str(tmp_path / "copies"))
    file = next(path for path in (tmp_path / "copies" / "night" / FILES).iterdir() if path.suffix != DIGEST)
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    shutil.rmtree(run.layout.root)
    with pytest.raises((CopyError, DigestError)):
        take_back(str(tmp_path / "copies" / "night"))
    assert not run.layout.state_file(1).exists()


@pytest.mark.parametrize(
    ("url", "said", "secret"),
    [
        ("sftp://anna:hunter2@host/copies", "sftp://***@host/copies", True),
        ("https://host/copies?token=hunter2", "https://host/copies", True),
        ("s3://bucket/copies", "s3://bucket/copies", False),
        ("/mnt/copies", "/mnt/copies", False),
    ],
)
def test_a_password_is_never_shown(url: str, said: str, secret: bool) -> None:
    assert (shown(url), has_password(url)) == (said, secret)
    assert "hunter2" not in shown_within(f"could not open {url}: refused")


def test_an_error_of_a_library_behind_it_tells_no_password(run: Attested) -> None:
    with pytest.raises(CopyError) as told:
        Folder("nosuchprotocol://anna:hunter2@host/copies?key=hunter2")
    assert "hunter2" not in str(told.value)


def test_a_planted_digest_writes_nothing_outside_the_run(run: Attested, tmp_path: Path) -> None:
    (tmp_path / "copies").mkdir()
    run.epoch(1)
    copied(run, str(tmp_path / "copies"))
    files = tmp_path / "copies" / "night" / FILES
    planted: dict[str, Any] = {"file": "../../evil.pt", "sha256": "a" * 64, "bytes": 1, "verdict": "clean", "ts": 9e9}
    (files / f"evil.pt-{'a' * 16}").write_bytes(b"x")
    (files / f"evil.pt-{'a' * 16}{DIGEST}").write_text(json.dumps(planted), encoding="utf-8")
    shutil.rmtree(run.layout.root)
    take_back(str(tmp_path / "copies" / "night"))
    assert not (tmp_path / "evil.pt").exists()
    assert not (tmp_path / "runs" / "evil.pt").exists()


def test_a_catalog_of_a_run_that_lost_its_files_finds_them_again(
    run: Attested, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "copies").mkdir()
    run.save("weights/best.pt", 1)
    copied(run, str(tmp_path / "copies"))
    shutil.rmtree(run.layout.weights)
    assert main(["catalog", str(run.layout.root), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["checkpoints"] == []
    monkeypatch.setenv("COPY_TO", str(tmp_path / "copies"))
    assert main(["catalog", str(run.layout.root), "--json"]) == 0
    told = capsys.readouterr()
    assert [row["file"] for row in json.loads(told.out)["checkpoints"]] == ["weights/best.pt"]
    assert "taken back from" in told.err
