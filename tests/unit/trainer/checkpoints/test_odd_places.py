"""Pipes, devices, files without end and strangers where a run's checkpoints and its ledger lie."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.trainer.checkpoints.making import attest, checkpoint_dict, make_run, said, save
from trainmaster.trainer.checkpoints import forensics
from trainmaster.trainer.checkpoints.catalog import catalog, last_clean
from trainmaster.trainer.checkpoints.cli import main
from trainmaster.trainer.checkpoints.forensics import judge
from trainmaster.trainer.checkpoints.ledger import attestations
from trainmaster.trainer.contract import RunLayout, Verdict

ENDLESS_BYTES = 2**41


@pytest.fixture
def layout(tmp_path: Path) -> RunLayout:
    return make_run(tmp_path / "run", epochs=2)


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _endless(path: Path) -> None:
    os.truncate(path, ENDLESS_BYTES)


@pytest.mark.parametrize("make", [_pipe, _device, _folder, _endless])
def test_a_ledger_that_is_none_is_an_error_and_keeps_nobody_waiting(
    layout: RunLayout, make: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    make(layout.checkpoints)
    with pytest.raises(OSError, match=r"checkpoints\.jsonl"):
        attestations(layout)
    assert main("verify", [str(layout.weights / "last.pt"), "--json"]) == 1
    assert "checkpoints.jsonl" in capsys.readouterr().out


def test_a_line_of_brackets_is_passed_over(layout: RunLayout) -> None:
    known = attestations(layout)
    with layout.checkpoints.open("ab") as stream:
        stream.write(b"[" * 200_000 + b"\n")
    assert attestations(layout) == known


@pytest.mark.parametrize("make", [_pipe, _device])
def test_what_is_no_file_is_not_opened(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = save(tmp_path / "last.pt", {})
    make(path)
    with pytest.raises(OSError, match="no regular file"):
        judge(path)


def test_a_file_beyond_any_checkpoint_is_not_read(layout: RunLayout) -> None:
    stray = save(layout.weights / "epoch7.pt", checkpoint_dict(8))
    last = layout.weights / "last.pt"
    for path in (stray, last):
        os.truncate(path, ENDLESS_BYTES)
    verdicts = {entry.file: entry.verdict for entry in catalog(layout)}
    assert verdicts["weights/epoch7.pt"] is Verdict.UNKNOWN
    assert verdicts["weights/last.pt"] is Verdict.CONTAMINATED  # it was attested with fewer bytes


def test_a_file_that_is_written_to_meanwhile_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "last.pt", checkpoint_dict())
    format_of = forensics.format_of

    def written_then(content: bytes) -> object:
        with path.open("ab") as stream:
            stream.write(b"more")
        return format_of(content)

    monkeypatch.setattr(forensics, "format_of", written_then)
    found = judge(path)
    assert (found.verdict, found.resumable, "while it was read" in said(found)) == (Verdict.UNKNOWN, False, True)


def test_a_file_that_another_takes_the_place_of_is_judged_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path / "last.pt", checkpoint_dict())
    format_of = forensics.format_of

    def replaced_then(content: bytes) -> object:
        save(tmp_path / "new.pt", {}).replace(path)
        return format_of(content)

    monkeypatch.setattr(forensics, "format_of", replaced_then)
    assert judge(path).verdict is Verdict.CLEAN


def test_one_file_that_cannot_be_read_leaves_the_others_to_choose_from(layout: RunLayout) -> None:
    (layout.weights / "stray.pt").symlink_to("/proc/self/mem")
    entries = {entry.file: entry for entry in catalog(layout)}
    stray = entries["weights/stray.pt"]
    assert (stray.verdict, stray.resumable) == (Verdict.UNKNOWN, False)
    assert "can't be read" in stray.reasons[0]
    clean = last_clean(layout)
    assert clean is not None
    assert clean.epoch == 2


def test_a_row_of_the_future_does_not_answer_for_a_file(layout: RunLayout) -> None:
    """By a clock that was ahead, whatever was put there since is older than its row."""
    path = layout.states / "epoch0002.ultralytics.pt"
    rows = [json.loads(line) for line in layout.checkpoints.read_text().splitlines()]
    ahead = [{**row, "ts": time.time() + 1e6} for row in rows]
    layout.checkpoints.write_text("".join(f"{json.dumps(row)}\n" for row in ahead))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    verdicts = {entry.file: entry.verdict for entry in catalog(layout)}
    assert verdicts["guard/states/epoch0002.ultralytics.pt"] is Verdict.CONTAMINATED


@pytest.mark.parametrize("attested", [False, True])
def test_a_file_that_no_resume_takes_is_listed_and_not_offered(layout: RunLayout, attested: bool) -> None:
    path = save(layout.weights / "other.pt", checkpoint_dict(90, seed=9))
    if attested:
        attest(layout, path, epoch=90)
    assert {entry.file: entry.verdict for entry in catalog(layout)}["weights/other.pt"] is Verdict.CLEAN
    clean = last_clean(layout)
    assert clean is not None
    assert clean.epoch == 2
