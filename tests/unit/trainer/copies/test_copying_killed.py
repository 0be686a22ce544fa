"""kill -9 of who copies at every operation on the place of copies, on a place that is bad, and beside another one."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.trainer.copies.written import Attested, copied, folder_of
from trainmaster.trainer.checkpoints.archive import archive_after
from trainmaster.trainer.contract import RunLayout
from trainmaster.trainer.copies.copying import DIGEST, FILES, Copying, copies_in
from trainmaster.trainer.copies.place import CopyError, Folder, NotOursError, OwnDiskError
from trainmaster.trainer.copies.taking_back import take_back

_OPERATIONS = ("_make_room_for", "_unfinished", "_open", "_settle", "_replace", "remove")


class KilledError(BaseException):
    """The process is no more: whatever it would do next does not happen."""


class Deadly:
    """Ends the process before its operation number ``last`` on a place, and after it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.passed, self.last = 0, 0
        for name in _OPERATIONS:
            monkeypatch.setattr(Folder, name, self._mortal(getattr(Folder, name)))
        monkeypatch.setattr(os, "fsync", lambda _: None)  # what a kill leaves; a power cut is no part of this

    def __call__(self, copying: Copying, last: int) -> bool:
        """Whether it was killed."""
        self.passed, self.last = 0, last
        try:
            copying.look(lambda _: self._point())
        except KilledError:
            return True
        finally:
            self.last = 0
        return False

    def _point(self) -> None:
        self.passed += 1
        if self.last and self.passed >= self.last:
            raise KilledError

    def _mortal(self, operation: Callable[..., Any]) -> Callable[..., Any]:
        def called(*words: Any, **more: Any) -> Any:
            self._point()
            found = operation(*words, **more)
            if found is None:  # what it opened would stay open, which a kill does not leave
                self._point()
            return found

        return called


def _content(folder: Folder) -> dict[str, bytes]:
    return {name: folder.read_bytes(f"{FILES}/{name}", 1 << 20) for name in folder.names(FILES)}


def _newest_whole(folder: Folder) -> int:
    """Every digest is of bytes that are there; the newest epoch of them."""
    held = _content(folder)
    rows = {name.removesuffix(DIGEST): json.loads(held[name]) for name in held if name.endswith(DIGEST)}
    for name, row in rows.items():
        assert hashlib.sha256(held[name]).hexdigest() == row["sha256"], name
    return max(row["epoch"] for row in rows.values())


def test_killed_at_any_operation_nothing_is_lost_untrue_or_left_behind(
    run: Attested, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    deadly, folder = Deadly(monkeypatch), folder_of(run, place)
    run.save("guard/states/epoch0001.pt", 1)
    copied(run, place, keep=1)
    epoch = newest = last = 1
    stride = 2 if folder.is_local else 3  # every point is two seconds
    while True:
        epoch += 1
        run.save(f"guard/states/epoch{epoch:04d}.pt", epoch)
        was_killed = deadly(Copying(run.layout, folder, keep=1), last)
        assert _newest_whole(folder) in {newest, epoch}, last
        epoch += 1
        run.save(f"guard/states/epoch{epoch:04d}.pt", epoch)
        assert f"epoch{epoch:04d}.pt" in copied(run, place, keep=1)
        assert sorted(_content(folder)) == sorted(
            name for one in copies_in(folder) for name in (one.name, one.name + DIGEST)
        ), last
        newest, last = epoch, last + stride
        if not was_killed:
            break
    assert last > 25


def test_a_copy_that_only_lacks_its_digest_is_not_copied_once_more(run: Attested, tmp_path: Path) -> None:
    """On a disk with room for one of them, it would not fit a second time."""
    (tmp_path / "copies").mkdir()
    run.save("guard/states/epoch0001.pt", 1)
    copied(run, str(tmp_path / "copies"))
    (digest,) = (tmp_path / "copies" / "night" / FILES).glob(f"*{DIGEST}")
    digest.unlink()
    written: list[int] = []
    folder = folder_of(run, str(tmp_path / "copies"))
    Copying(run.layout, folder, keep=3).look(written.append)
    assert written == [1, 0], "no chunk of it was written"
    assert digest.exists()


def test_what_a_listing_does_not_show_yet_is_not_copied_again(run: Attested, place: str) -> None:
    run.epoch(1)
    copied(run, place)
    folder = folder_of(run, place)

    def lagging(_inside: str = "") -> dict[str, int | None]:
        return {}

    folder.names = lagging  # type: ignore[method-assign]
    assert Copying(run.layout, folder, keep=3).look() == 0
    assert len(copies_in(folder_of(run, place))) == 2


def test_a_digest_that_a_listing_does_not_show_yet_keeps_its_file(run: Attested, place: str) -> None:
    run.epoch(1)
    copied(run, place)
    shutil.rmtree(run.layout.states)  # so that nothing of it is wanted any more
    folder, shown = folder_of(run, place), folder_of(run, place)
    folder.names = lambda inside="": {  # type: ignore[method-assign]
        name: size for name, size in shown.names(inside).items() if not name.endswith(DIGEST)
    }
    Copying(run.layout, folder, keep=3).look()
    assert len(copies_in(shown)) == 2


def test_a_state_that_is_pruned_before_its_turn_is_no_fault_of_the_place(
    run: Attested, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow place is hours behind."""
    run.epoch(1)
    run.epoch(2)
    put = Folder.put

    def slow(self: Folder, source: Path, name: str, **about: Any) -> bool:
        run.layout.state_file(1).unlink(missing_ok=True)
        return put(self, source, name, **about)

    monkeypatch.setattr(Folder, "put", slow)
    assert "epoch0002.pt" in copied(run, place)


def test_a_state_that_the_runs_own_disk_cannot_read_costs_no_other(
    run: Attested, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.epoch(1)
    run.epoch(2)

    def damaged(origin: Any, size: int) -> bytes:
        if origin.name.endswith("epoch0002.pt"):
            raise OwnDiskError(errno.EIO, os.strerror(errno.EIO), origin.name)
        content: bytes = origin.read(size)
        return content

    monkeypatch.setattr("trainmaster.trainer.copies.place._read", damaged)
    folder = folder_of(run, place)
    with pytest.raises(OwnDiskError, match="error"):
        Copying(run.layout, folder, keep=3).look()
    assert len(copies_in(folder)) == 3


def test_an_empty_mount_point_where_copies_lay_is_not_written_to(
    run: Attested, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk of the copies is gone, and ``COPY_TO`` names the very folder where it was mounted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    run.epoch(1)
    mounted = [str(disk)]
    ismount = os.path.ismount
    monkeypatch.setattr(os.path, "ismount", lambda path: str(path) in mounted or ismount(path))
    copied(run, str(disk))
    shutil.rmtree(disk / "night")
    copied(run, str(disk))  # another disk is mounted there: it is begun anew
    shutil.rmtree(disk / "night")
    mounted.clear()
    with pytest.raises(CopyError, match="not mounted"):
        copied(run, str(disk))
    assert not list(disk.iterdir())


@pytest.mark.parametrize(
    ("error", "said"),
    [
        pytest.param(errno.ENOENT, "is its disk mounted", id="a link that leads nowhere"),
        pytest.param(errno.EACCES, "Permission denied", id="somebody else's"),
        pytest.param(errno.ESTALE, "Stale file handle", id="a server that was restarted"),
    ],
)
def test_why_a_folder_is_no_place_is_said(
    run: Attested, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int, said: str
) -> None:
    stat = os.stat

    def refused(path: Any, **more: Any) -> os.stat_result:
        if str(path) == str(tmp_path / "copies"):
            raise OSError(error, os.strerror(error), str(path))
        return stat(path, **more)

    monkeypatch.setattr(os, "stat", refused)
    with pytest.raises(CopyError, match=said):
        copied(run, str(tmp_path / "copies"))


def test_an_emptied_folder_of_the_same_disk_is_filled_again(run: Attested, tmp_path: Path) -> None:
    (tmp_path / "copies").mkdir()
    run.epoch(1)
    before = copied(run, str(tmp_path / "copies"))
    shutil.rmtree(tmp_path / "copies" / "night")
    assert copied(run, str(tmp_path / "copies")) == before


def test_two_runs_that_take_a_folder_in_one_moment_mix_nothing(run: Attested, place: str, tmp_path: Path) -> None:
    """Each saw it empty; the one that wrote its name last has it."""
    other = Attested(tmp_path / "elsewhere" / "night")
    run.epoch(1)
    other.epoch(7)
    mine, theirs = folder_of(run, place), folder_of(other, place)
    empty = mine.is_empty

    def overtaken(*, but: str) -> bool:
        found = empty(but=but)
        Copying(other.layout, theirs, keep=3).look()
        return found

    mine.is_empty = overtaken  # type: ignore[method-assign]
    Copying(run.layout, mine, keep=3).look()
    assert {one.row.epoch for one in copies_in(mine)} == {1}
    with pytest.raises(NotOursError):
        Copying(other.layout, theirs, keep=3).look()
    shutil.rmtree(run.layout.root)
    assert all("epoch0007" not in file for file in take_back(mine.url).files)


def test_a_run_directory_that_somebody_copied_shares_no_place_with_its_copy(
    run: Attested, place: str, tmp_path: Path
) -> None:
    """Each would take the other's states for old ones of its own, and delete them."""
    run.epoch(1)
    before = copied(run, place)
    twin = RunLayout(tmp_path / "tried" / "night")
    shutil.copytree(run.layout.root, twin.root)
    folder = folder_of(run, place)
    with pytest.raises(NotOursError, match="was copied from"):
        Copying(twin, folder, keep=3).look()
    assert copied(run, place) == before
    shutil.rmtree(run.layout.root)  # it was moved, then
    Copying(twin, folder, keep=3).look()


def test_a_full_place_is_relieved_of_what_was_never_finished(
    run: Attested, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even the list of what the run saved fits beside it."""
    run.epoch(1)
    copied(run, place)
    folder = folder_of(run, place)
    bare = f"{FILES}/snapshot.pt-{'0' * 16}"
    folder.write(bare, b"x" * 1000)
    write = Folder.write

    def full(self: Folder, name: str, content: bytes) -> None:
        if folder.size_of(bare) is not None:
            raise CopyError("no space left")
        write(self, name, content)

    monkeypatch.setattr(Folder, "write", full)
    run.epoch(2)
    with pytest.raises(CopyError):
        copied(run, place)
    assert "epoch0002.pt" in copied(run, place)


def test_what_is_too_many_makes_room_before_anything_new_is_copied(
    run: Attested, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for epoch in (1, 2, 3):
        run.epoch(epoch, fitness=None)
    copied(run, place, keep=3)
    run.epoch(4, fitness=None)
    put = Folder.put

    def full(self: Folder, source: Path, name: str, **about: Any) -> bool:
        if len(self.names(FILES)) > 4:
            raise CopyError("no space left")
        return put(self, source, name, **about)

    monkeypatch.setattr(Folder, "put", full)
    with pytest.raises(CopyError):
        copied(run, place, keep=1)
    assert {one.row.epoch for one in copies_in(folder_of(run, place))} >= {3}


def test_what_a_rollback_put_aside_goes_only_when_what_it_left_is_there(
    run: Attested, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for epoch in (1, 2):
        run.epoch(epoch, fitness=None)
    copied(run, place, keep=1)
    archive_after(run.layout, 1)

    def full(*_: object, **__: object) -> bool:
        raise CopyError("no space left")

    with monkeypatch.context() as while_full:
        while_full.setattr(Folder, "put", full)
        with pytest.raises(CopyError):
            copied(run, place, keep=1)
    assert copies_in(folder_of(run, place)), "the only copies that there are"
    assert copied(run, place, keep=1) == ["epoch0001.pt", "epoch0001.ultralytics.pt"]


def test_a_connection_that_is_dead_is_not_used_again(run: Attested, place: str) -> None:
    """fsspec hands on the one that it made first: a server that was restarted would be gone for good."""
    folder = folder_of(run, place)
    if folder.is_local:
        pytest.skip("a folder has no connection")
    first = folder._fs

    def cut(*_: object, **__: object) -> None:
        raise EOFError("connection closed")

    first.ls = cut
    with pytest.raises(CopyError):
        folder.names()
    assert folder_of(run, place)._fs is not first
