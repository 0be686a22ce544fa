"""Files that are damaged, hostile, or no checkpoint at all."""

from __future__ import annotations

import os
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.trainer.checkpoints.making import (
    checkpoint_dict,
    hostile_legacy,
    hostile_pickle,
    hostile_zip,
    said,
    save,
)
from trainmaster.trainer.checkpoints import pickle_walk
from trainmaster.trainer.checkpoints.forensics import judge
from trainmaster.trainer.contract import Verdict

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


def packed(path: Path, pickled: bytes, numbers: bytes = b"") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", b"\x80\x02" + pickled + b".")
        archive.writestr("x/data/0", numbers)
    return path


def text(word: str) -> bytes:
    return b"X" + struct.pack("<I", len(word)) + word.encode()


def tensor_at(offset: int) -> bytes:
    """A tensor of 1,000 numbers from ``offset`` on in a storage of 2,000."""
    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + b"M\xd0\x07tQ"
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"M%b(M\xe8\x03t(K\x01t\x89}tR" % struct.pack("<H", offset)
    )


def under(*keys: str) -> bytes:
    """A tensor below ``keys``."""
    return b"".join(b"}" + text(key) for key in keys) + tensor_at(0) + b"s" * len(keys)


LAUGHS = b"](K\x01K\x01e" + b"".join(b"q%c0](h%ch%ce" % (i, i, i) for i in range(60))
"""Lists in lists: two to the sixty numbers, if anybody writes them out."""
GIANT = b"\x8b" + struct.pack("<i", 2500) + b"\x7f" * 2500
REBUILD = b"ctorch._utils\n_rebuild_from_type_v2\n"

EXHAUSTING = {
    "recursion": (REBUILD + b"q\x000h\x00" + b"(h\x00N" * 5000 + b")" + b"}t" * 5000 + b"R", "rebuilding"),
    "name of laughs": (LAUGHS + text("x") + b"\x93", "no text"),
    "base of laughs": (b"ccopyreg\n_reconstructor\n(ctorch.nn.modules.conv\nConv2d\n" + LAUGHS + b"NtR", "would run"),
    "key of laughs": (
        b"(" + text("storage") + b"ctorch\nFloatStorage\n" + LAUGHS + b"NK\x01tQ",
        "refers to its storages",
    ),
    "giant number": (b"}(" + text("model") + tensor_at(0) + text("fitness") + GIANT + b"u", "19999 bits"),
    "long name": (under("model", "a" * 2000), "a name of 2000"),
    "tensors over tensors": (
        b"}" + text("model") + b"](" + b"".join(map(tensor_at, range(40))) + b"es",
        "over one another",
    ),
    "many dimensions": (
        b"ctorch._utils\n_rebuild_tensor_v2\n(" + b"K\x00K\x00(" + b"K\x01" * 99 + b"t)tR",
        "99 dimensions",
    ),
    "more steps than any": (b"0".join([b"K\x01"] * 2000), "more than 3000 steps"),
    "escapes": (b"(" + text("os\x1b[2J") + text("system\nfine") + b"\x93)R", "os\\x1b[2J.system\\nfine"),
    "a wall of text": (text("o" * 900) + text("system") + b"\x93)R", "ooo..."),
}


@pytest.mark.parametrize(("pickled", "reason"), EXHAUSTING.values(), ids=EXHAUSTING)
def test_a_file_made_to_exhaust_its_reader_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pickled: bytes, reason: str
) -> None:
    if "steps" in reason:
        monkeypatch.setattr(pickle_walk, "MAX_STEPS", 3000)
    found = judge(packed(tmp_path / "x.pt", pickled, struct.pack("<f", 1.0) * 2000))
    verdict = Verdict.UNKNOWN if "steps" in reason else CONTAMINATED  # an honest file may be as long
    assert (found.verdict, reason in said(found)) == (verdict, True), said(found)[:200]
    assert len(said(found)) < 500


def test_entries_that_share_bytes_are_refused(tmp_path: Path) -> None:
    path = packed(tmp_path / "x.pt", b"}", bytes(5000))
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        start = archive.start_dir
    directory, end = content[start:-22], bytearray(content[-22:])
    more = b"".join(directory[len(directory) // 2 + 1 :].replace(b"data/0", b"data/%c" % (49 + i)) for i in range(9))
    struct.pack_into("<2HI", end, 8, 11, 11, len(directory) + len(more))
    path.write_bytes(content[:start] + directory + more + end)
    found = judge(path)
    assert (found.verdict, "over one another" in said(found)) == (CONTAMINATED, True), said(found)


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


@pytest.mark.parametrize("names", [("m/data.pkl", "m/constants.pkl", "m/code/x.py"), ("images/a.jpg", "labels/a.txt")])
def test_another_kind_of_zip_is_no_damaged_checkpoint(tmp_path: Path, names: tuple[str, ...]) -> None:
    path = tmp_path / "x.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, b"x" * 99)
    assert (judge(path).verdict, said(judge(path))) == (UNKNOWN, "a zip, but no checkpoint of torch.save")


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


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean file without attestation, with an empty tensor in it."""
    content = {**checkpoint_dict(), "nothing": torch.zeros(0)}
    path = save(tmp_path_factory.mktemp("whole") / "whole.pt", content)
    assert judge(path).verdict is CLEAN, judge(path).reasons
    return path


@given(data=st.data())
@settings(max_examples=150)
def test_no_flipped_bit_leaves_a_file_clean(whole: Path, data: st.DataObject) -> None:
    content = bytearray(whole.read_bytes())
    place = data.draw(st.integers(0, 8 * len(content) - 1))
    content[place // 8] ^= 1 << place % 8
    damaged = whole.with_name("flipped.pt")
    damaged.write_bytes(content)
    assert judge(damaged).verdict is not CLEAN


def test_no_flipped_bit_around_the_numbers_leaves_a_file_clean(whole: Path) -> None:
    """Bytes that no CRC-32 covers: headers, names, padding, the directory."""
    content = whole.read_bytes()
    with zipfile.ZipFile(whole) as archive:
        covered: set[int] = set()
        for info in archive.infolist():
            name, extra = struct.unpack_from("<2H", content, info.header_offset + 26)
            start = info.header_offset + 30 + name + extra
            covered.update(range(start, start + info.file_size))
    damaged = whole.with_name("around.pt")
    clean = []
    for place in sorted(set(range(len(content))) - covered)[::13]:
        damaged.write_bytes(content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :])
        if judge(damaged).verdict is CLEAN:
            clean.append(place)
    assert not clean


@given(data=st.data())
@settings(max_examples=150)
def test_a_damaged_pickle_in_an_intact_zip_is_judged_and_never_an_error(whole: Path, data: st.DataObject) -> None:
    mangled = whole.with_name("mangled.pt")
    with zipfile.ZipFile(whole) as archive, zipfile.ZipFile(mangled, "w") as out:
        for info in archive.infolist():
            content = bytearray(archive.read(info))
            if info.filename.endswith("data.pkl"):
                for _ in range(data.draw(st.integers(1, 6))):
                    place = data.draw(st.integers(0, len(content) - 1))
                    width = data.draw(st.integers(0, 4))
                    content[place : place + width] = data.draw(st.binary(max_size=4))
            out.writestr(info.filename, bytes(content))
    assert judge(mangled).verdict in set(Verdict)


def test_text_with_an_odd_escape_is_read_without_a_word() -> None:
    assert pickle_walk.walk(b"S'\\ '\n.").value == "\\ "


def test_a_file_packed_anew_is_not_called_clean(whole: Path) -> None:
    packed = whole.with_name("packed.pt")
    with zipfile.ZipFile(whole) as archive, zipfile.ZipFile(packed, "w") as out:
        for info in archive.infolist():
            out.writestr(info.filename, archive.read(info))
    found = judge(packed)
    assert (found.verdict, "packed anew" in said(found)) == (UNKNOWN, True)


def test_a_file_that_claims_more_than_it_holds_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "bomb.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", bytes(50_000_000))
    found = judge(path)
    assert (found.verdict, "compressed" in said(found)) == (CONTAMINATED, True)
    huge = save(tmp_path / "huge.pt", checkpoint_dict())
    with zipfile.ZipFile(huge) as archive, zipfile.ZipFile(tmp_path / "claims.pt", "w") as out:
        for info in archive.infolist():
            content = archive.read(info)
            if info.filename.endswith("data.pkl"):  # a storage of two to the thirty numbers
                content = content.replace(b"K\x08tq", b"J\x00\x00\x00\x40tq", 1)
            out.writestr(info.filename, content)
    assert judge(tmp_path / "claims.pt").verdict is CONTAMINATED


def test_a_save_that_was_begun_twice_is_contaminated(tmp_path: Path) -> None:
    path = save(tmp_path / "x.pt", checkpoint_dict())
    path.write_bytes(path.read_bytes()[:3000] + path.read_bytes())
    found = judge(path)
    assert (found.verdict, "before its first entry" in said(found)) == (CONTAMINATED, True)
    with pytest.raises(RuntimeError, match="zip archive"):
        torch.load(path, weights_only=False)


def test_a_file_without_check_sums_is_neither_clean_nor_damaged(whole: Path) -> None:
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(checkpoint_dict(), plain := whole.with_name("plain.pt"))
    finally:
        torch.serialization.set_crc32_options(before)
    found = judge(plain)
    assert (found.verdict, found.doubt_stands, said(found)) == (
        UNKNOWN,
        False,
        "saved without the check sums by which damage shows",
    )
