from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.trainer.copies.written import Attested, copied, everything, folder_of, spoil
from trainmaster.trainer.arguments import ArgumentsError
from trainmaster.trainer.checkpoints.files import HashingWriter, digest_of
from trainmaster.trainer.checkpoints.ledger import CHECKS, attestations, latest_by_file
from trainmaster.trainer.cli.copy import recovered
from trainmaster.trainer.cli.main import main
from trainmaster.trainer.copies import taking_back
from trainmaster.trainer.copies.copying import DIGEST, FILES
from trainmaster.trainer.copies.held import HeldCopies, held_of
from trainmaster.trainer.copies.place import CopyError, NotOursError, below
from trainmaster.trainer.copies.taking_back import is_address, take_back, take_back_if_lost


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


def test_a_verdict_that_knew_fewer_checks_comes_back_as_what_it_was(run: Attested, place: str) -> None:
    run.epoch(1)
    text = run.layout.checkpoints.read_text(encoding="utf-8")
    run.layout.checkpoints.write_text(text.replace(f'"checks":{CHECKS}', '"checks":1'), encoding="utf-8")
    assert {row.checks for row in attestations(run.layout)} == {1}
    copied(run, place)
    shutil.rmtree(run.layout.root)
    assert take_back_if_lost(run.layout.root, {"COPY_TO": place}) is not None
    assert {row.checks for row in attestations(run.layout)} == {1}


def test_a_run_that_is_gone_takes_nothing_of_another_one_of_its_name(run: Attested, place: str, tmp_path: Path) -> None:
    """Two that share a place: the second was refused there, and so has no copies."""
    run.epoch(1)
    copied(run, place)
    (tmp_path / "others").mkdir()
    gone = tmp_path / "others" / "night"
    with pytest.raises(NotOursError, match="another run"):
        take_back_if_lost(gone, {"COPY_TO": place})
    assert not gone.exists()
    assert take_back(below(place, "night"), into=gone).files  # who names it wants it


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


@pytest.mark.parametrize("name", ["owner.json", "checkpoints.jsonl", "owner.json.part", "run.json"])
def test_a_pipe_among_the_copies_is_waited_for_by_nobody(run: Attested, tmp_path: Path, name: str) -> None:
    pytest.importorskip("fsspec")
    (tmp_path / "copies").mkdir()
    run.epoch(1)
    if name != "owner.json.part":
        copied(run, str(tmp_path / "copies"))
    folder = tmp_path / "copies" / run.layout.name
    folder.mkdir(exist_ok=True)
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    if name == "run.json":
        shutil.rmtree(run.layout.root)
        assert f"guard/{name}" not in take_back(str(folder)).files
        return
    with pytest.raises(CopyError, match="is no regular file" if name != "owner.json.part" else "no copies"):
        held_of(run.layout.root, str(tmp_path / "copies"))
    if name == "checkpoints.jsonl":
        return  # the next copy replaces it
    with pytest.raises(CopyError, match=rf"{name} is no regular file"):
        copied(run, str(tmp_path / "copies"))
    assert not is_address(str(folder))
