"""The gate before a start where the disk of the run, or the one above it, answers with errors or is full of files."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.unit.bot.drivers.test_start_gate import COPIES, Place, with_copies
from trainmaster.bot.core.decisions.gate import GateCheck, GateOutcome
from trainmaster.bot.drivers import start_gate


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ENODEV])
async def test_disk_that_died_is_told_with_what_its_copies_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    place, stat = Place(tmp_path), Path.stat
    with_copies(place, COPIES)

    def dead(path: Path, **about: bool) -> os.stat_result:
        if path.is_relative_to(place.run):
            raise OSError(number, os.strerror(number), str(path))
        return stat(path, **about)

    monkeypatch.setattr(Path, "stat", dead)
    fact = (await place.against())[GateCheck.DIRECTORY]
    assert fact.outcome is GateOutcome.FAIL
    assert os.strerror(number) in fact.text
    assert "hold clean states up to epoch 12; once its disk is well" in fact.text
    assert fact.text.endswith(COPIES.command)
    assert "Resume anyway" not in fact.text, "nothing can be written there"


async def test_folder_above_a_lost_run_that_answers_with_an_error_ends_no_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, is_dir = Place(tmp_path), Path.is_dir
    with_copies(place, COPIES)
    shutil.rmtree(place.run)

    def dead(path: Path) -> bool:
        if path == place.run.parent:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return is_dir(path)

    monkeypatch.setattr(Path, "is_dir", dead)
    text = (await place.against())[GateCheck.DIRECTORY].text
    assert "runs can't be used either: Input/output error" in text
    assert "Resume anyway" not in text
    assert COPIES.command in text


async def test_disk_without_room_for_more_files_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(tmp_path)
    told = SimpleNamespace(f_bavail=10**9, f_frsize=4096, f_files=10**6, f_favail=3)
    monkeypatch.setattr(start_gate.os, "statvfs", lambda _: told)
    assert "room for 3 more files, limit 100" in (await place.against())[GateCheck.DIRECTORY].text
    told.f_files = told.f_favail = 0  # Btrfs makes them as it needs them
    assert await place.against() == {}
