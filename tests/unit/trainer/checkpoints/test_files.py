from __future__ import annotations

import copy
import hashlib
import os
import pickle
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from trainmaster.trainer.checkpoints.files import (
    AttestedPath,
    DigestError,
    SavedFile,
    copy_verified,
    digest_of,
    replacing,
    write_atomically,
)

FULL = "File too large|No space left"


@contextmanager
def files_limited_to(num_bytes: int) -> Iterator[None]:
    """No file of this process can grow beyond ``num_bytes``: the kernel refuses as it would on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # Python keeps what it compiled even if it is cut
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        sys.dont_write_bytecode = writes


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_written_file_holds_the_content_and_its_digest_is_returned(tmp_path: Path) -> None:
    saved = write_atomically(tmp_path / "a", b"content")
    assert (tmp_path / "a").read_bytes() == b"content"
    assert saved == SavedFile(sha256=hashlib.sha256(b"content").hexdigest(), bytes=7) == digest_of(tmp_path / "a")


def test_full_disk_leaves_the_old_file_and_no_temporary(tmp_path: Path) -> None:
    target = tmp_path / "a"
    target.write_bytes(b"old")
    with files_limited_to(1000), pytest.raises(OSError, match=FULL):
        write_atomically(target, b"n" * 2000)
    assert target.read_bytes() == b"old"
    assert names_in(tmp_path) == ["a"]


def test_what_a_file_is_about_to_hold_is_announced_before_it_does(tmp_path: Path) -> None:
    target = AttestedPath(tmp_path / "a")
    target.write_bytes(b"old")
    heard = []
    target.announce = lambda saved, at: heard.append((saved, at.read_bytes(), Path(target).read_bytes()))
    target.write_bytes(b"content")
    assert heard == [(digest_of(target), b"content", b"old")]


def test_a_file_that_cannot_be_announced_is_not_replaced(tmp_path: Path) -> None:
    def no_space(_: SavedFile, __: Path) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(OSError, match="No space"):
        write_atomically(tmp_path / "a", b"new", announce=no_space)
    assert (tmp_path / "a").read_bytes() == b"old"
    assert names_in(tmp_path) == ["a"]


def test_error_while_writing_leaves_the_old_file_and_no_temporary(tmp_path: Path) -> None:
    target = tmp_path / "a"
    target.write_bytes(b"old")

    def torn() -> None:
        with replacing(target) as writer:
            writer.write(b"new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        torn()
    assert target.read_bytes() == b"old"
    assert names_in(tmp_path) == ["a"]


def test_replacing_leaves_an_open_or_linked_old_file_alone(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a", b"old")
    os.link(tmp_path / "a", tmp_path / "link")
    write_atomically(tmp_path / "a", b"new")
    assert (tmp_path / "link").read_bytes() == b"old"


def test_copy_is_refused_when_the_source_is_not_as_attested(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"changed")
    (tmp_path / "target").write_bytes(b"old")
    with pytest.raises(DigestError, match="attested"):
        copy_verified(tmp_path / "source", tmp_path / "target", expected=SavedFile(sha256="0" * 64, bytes=7))
    assert (tmp_path / "target").read_bytes() == b"old"
    assert names_in(tmp_path) == ["source", "target"]


def test_copy_survives_its_source_being_rewritten_in_place(tmp_path: Path) -> None:
    (tmp_path / "last.pt").write_bytes(b"whole")
    saved = copy_verified(tmp_path / "last.pt", tmp_path / "kept.pt")
    with (tmp_path / "last.pt").open("wb") as stream:  # as strip_optimizer does
        stream.write(b"stripped")
    assert digest_of(tmp_path / "kept.pt") == saved


class TestAttestedPath:
    def test_remembers_what_was_written_while_it_was_in_memory(self, tmp_path: Path) -> None:
        path = AttestedPath(tmp_path / "last.pt")
        assert path.written is None
        assert path.write_bytes(b"abc") == 3
        assert path.written == digest_of(tmp_path / "last.pt")

    def test_failed_write_keeps_file_and_memory(self, tmp_path: Path) -> None:
        path = AttestedPath(tmp_path / "last.pt")
        path.write_bytes(b"old")
        before = path.written
        with files_limited_to(1000), pytest.raises(OSError, match=FULL):
            path.write_bytes(b"n" * 2000)
        assert path.written == before == digest_of(tmp_path / "last.pt")

    def test_is_a_path_like_any_other(self, tmp_path: Path) -> None:
        path = AttestedPath(tmp_path / "last.pt")
        assert path == tmp_path / "last.pt"
        assert hash(path) == hash(tmp_path / "last.pt")
        assert {path: 1}[tmp_path / "last.pt"] == 1
        assert str(path) == os.fspath(path) == str(tmp_path / "last.pt")

    def test_joined_path_writes_atomically_with_a_memory_of_its_own(self, tmp_path: Path) -> None:
        folder = AttestedPath(tmp_path)
        joined = folder / "epoch3.pt"
        joined.write_bytes(b"abc")
        assert isinstance(joined, AttestedPath)
        assert joined.written is not None
        assert (folder / "epoch3.pt").written is None

    @pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy], ids=["copy", "deepcopy"])
    def test_copy_remembers(self, tmp_path: Path, duplicate) -> None:
        path = AttestedPath(tmp_path / "last.pt")
        path.write_bytes(b"abc")
        assert type(duplicate(path)) is AttestedPath
        assert duplicate(path).written == path.written

    def test_pickle_needs_nothing_of_this_package(self, tmp_path: Path) -> None:
        content = pickle.dumps(AttestedPath(tmp_path / "last.pt"))
        assert b"trainer" not in content
        assert pickle.loads(content) == tmp_path / "last.pt"
