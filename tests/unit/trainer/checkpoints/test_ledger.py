from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.trainer.checkpoints.test_files import FULL, files_limited_to
from trainmaster.trainer.checkpoints.ledger import attestations, latest_by_file, record
from trainmaster.trainer.contract import RunLayout, Verdict


@pytest.fixture
def layout(tmp_path: Path) -> RunLayout:
    layout = RunLayout(tmp_path)
    layout.guard.mkdir()
    return layout


def row(**changes) -> dict:
    return {
        "v": 1,
        "ts": 12.5,
        "attempt": 2,
        "epoch": 3,
        "file": "weights/last.pt",
        "sha256": "ab",
        "bytes": 7,
        "verdict": "clean",
        "reasons": [],
        "fitness": 0.5,
        "kind": "ultralytics",
        "level": "strict",
        **changes,
    }


def test_rows_come_back_in_order(layout: RunLayout) -> None:
    record(layout, row())
    record(layout, row(epoch=4, verdict="contaminated", reasons=["why"]))
    first, second = attestations(layout)
    assert (first.epoch, first.verdict, first.level, first.saved.bytes) == (3, Verdict.CLEAN, "strict", 7)
    assert (second.epoch, second.reasons) == (4, ("why",))
    assert latest_by_file([first, second]) == {"weights/last.pt": second}


def test_no_ledger_is_no_rows(tmp_path: Path) -> None:
    assert attestations(RunLayout(tmp_path / "none")) == []


def test_fitness_that_is_not_finite_is_written_as_text(layout: RunLayout) -> None:
    record(layout, row(fitness=float("nan")))
    assert json.loads(layout.checkpoints.read_text())["fitness"] == "nan"
    assert attestations(layout)[0].fitness != attestations(layout)[0].fitness


@pytest.mark.parametrize("change", [{"sha256": None}, {"more": 1}], ids=["lacks a key", "a key too many"])
def test_row_of_other_keys_is_a_mistake_of_the_caller(layout: RunLayout, change: dict) -> None:
    given = {key: value for key, value in row(**change).items() if value is not None}
    with pytest.raises(ValueError, match="attestation"):
        record(layout, given)
    assert not layout.checkpoints.exists()


@pytest.mark.parametrize(
    "line",
    [b'{"file":"x","sha2', b"[]", b"\xff\xfe", b"", b'{"file":1,"sha256":"a","bytes":1}', b"null", b'{"file":"x"}'],
    ids=["torn", "list", "not text", "empty", "wrong type", "null", "keys missing"],
)
def test_line_that_cannot_be_read_is_passed_over(layout: RunLayout, line: bytes) -> None:
    record(layout, row())
    with layout.checkpoints.open("ab") as stream:
        stream.write(line + b"\n")
    record(layout, row(epoch=4))
    assert [one.epoch for one in attestations(layout)] == [3, 4]


def test_torn_last_line_does_not_swallow_the_next(layout: RunLayout) -> None:
    layout.checkpoints.write_bytes(b'{"file":"x","sha2')
    record(layout, row())
    assert [one.epoch for one in attestations(layout)] == [3]


def test_row_of_a_newer_version_is_read_as_far_as_known(layout: RunLayout) -> None:
    newer = row(v=2, verdict="spotless", reasons="none", epoch="three") | {"colour": "red"}
    layout.checkpoints.write_text(json.dumps(newer) + "\n")
    (found,) = attestations(layout)
    assert (found.verdict, found.reasons, found.epoch, found.sha256) == (Verdict.UNKNOWN, (), None, "ab")


def test_full_disk_leaves_the_ledger_as_it_was(layout: RunLayout) -> None:
    record(layout, row())
    before = layout.checkpoints.read_bytes()
    with files_limited_to(len(before) + 20), pytest.raises(OSError, match=FULL):
        record(layout, row(epoch=4))
    assert layout.checkpoints.read_bytes() == before
