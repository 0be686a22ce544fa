"""Files that are damaged, hostile, or no checkpoint at all."""

from __future__ import annotations

import os
import tarfile
import zipfile
from pathlib import Path

import pytest
import torch

from tests.unit.trainer.checkpoints.making import (
    checkpoint_dict,
    hostile_legacy,
    hostile_pickle,
    hostile_zip,
    said,
    save,
)
from trainer.checkpoints.forensics import judge
from trainer.contract import Verdict

NAN, INF = float("nan"), float("inf")
CLEAN, CONTAMINATED, UNKNOWN = Verdict.CLEAN, Verdict.CONTAMINATED, Verdict.UNKNOWN


@pytest.mark.parametrize("make", [hostile_zip, hostile_legacy, hostile_pickle], ids=lambda make: make.__name__)
def test_hostile_file_is_told_and_not_run(tmp_path: Path, make) -> None:
    victim = tmp_path / "victim"
    make(tmp_path / "x.pt", victim)
    found = judge(tmp_path / "x.pt")
    assert found.verdict is CONTAMINATED
    assert "would run code when loaded: " in said(found)
    assert "system" in said(found)
    assert not victim.exists()
    if make is not hostile_pickle:
        torch.load(tmp_path / "x.pt", weights_only=False)
        assert victim.exists(), "the file was harmless, so the test proves nothing"


def test_two_entries_of_one_name_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "x.pt", checkpoint_dict())
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("x/data.pkl", b"\x80\x02N.")
    assert "two entries" in said(judge(path))
    assert judge(path).verdict is CONTAMINATED


def test_second_root_folder_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "x.pt", checkpoint_dict())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("other/data.pkl", b"\x80\x02N.")
    assert judge(path).verdict is CONTAMINATED


@pytest.mark.parametrize(
    ("content", "verdict"),
    [
        (b"", CONTAMINATED),
        (bytes(5000), CONTAMINATED),
        (b"PK\x03\x04" + bytes(100), CONTAMINATED),
        (b"PK", CONTAMINATED),
        (b"#!/bin/sh\n", UNKNOWN),
        (b"\x89PNG\r\n", UNKNOWN),
        (os.urandom(64).hex().encode(), UNKNOWN),
    ],
    ids=["empty", "zeros", "torn zip", "two bytes", "script", "picture", "text"],
)
def test_what_is_no_checkpoint_is_never_clean(tmp_path: Path, content: bytes, verdict: Verdict) -> None:
    path = tmp_path / "x.pt"
    path.write_bytes(content)
    assert judge(path).verdict is verdict


def test_formats_before_zip_are_unknown(tmp_path: Path) -> None:
    torch.save(checkpoint_dict(), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert judge(tmp_path / "old.pt").verdict is UNKNOWN
    with tarfile.open(tmp_path / "tar.pt", "w") as archive:
        archive.add(tmp_path / "old.pt", "x")
    assert judge(tmp_path / "tar.pt").verdict is UNKNOWN


@pytest.mark.parametrize("share", [0.01, 0.3, 0.9, 0.999], ids=lambda share: f"{share:.1%} left")
def test_truncated_file_is_contaminated(tmp_path: Path, share: float) -> None:
    path = save(tmp_path / "x.pt", checkpoint_dict())
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    found = judge(path)
    assert found.verdict is CONTAMINATED
    assert "truncated" in said(found)


def test_storage_shorter_than_its_tensor_is_contaminated(tmp_path: Path) -> None:
    path = save(tmp_path / "x.pt", checkpoint_dict())
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(tmp_path / "y.pt", "w") as out:
        for info in archive.infolist():
            content = archive.read(info)
            out.writestr(info.filename, content[:-2] if info.filename.endswith("data/0") else content)
    found = judge(tmp_path / "y.pt")
    assert found.verdict is CONTAMINATED
    assert "should hold" in said(found)
