"""The audit log: what was written stays, and whoever changes it is found out."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from trainmaster.bot.errors import StoreError
from trainmaster.bot.storage import audit
from trainmaster.bot.storage.audit import TORN_ACTION, AuditLog


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "audit.jsonl"


def written(path: Path, num_entries: int = 4) -> AuditLog:
    log = AuditLog(path)
    for number in range(num_entries):
        log.append("U0BOB", "approval.yes", "run-1", {"number": number, "why": "sprüht\nFunken"}, 100.0 + number)
    return log


def test_entries_follow_each_other_from_the_first_on(path: Path) -> None:
    log = written(path)
    report = log.verify()
    assert report.intact
    assert report.num_entries == 4
    assert [entry.seq for entry in log.entries()] == [1, 2, 3, 4]
    assert log.entries(1)[0].detail == {"number": 3, "why": "sprüht\nFunken"}


def test_log_without_entries_is_intact(path: Path) -> None:
    assert AuditLog(path).verify().intact
    assert AuditLog(path).entries() == ()


def test_another_process_goes_on_with_the_same_chain(path: Path) -> None:
    written(path)
    written(path)
    assert AuditLog(path).verify().num_entries == 8
    assert AuditLog(path).verify().intact


def change_word(lines: list[str]) -> list[str]:
    return [lines[0], lines[1].replace("U0BOB", "U0EVE"), *lines[2:]]


def change_with_new_digest(lines: list[str]) -> list[str]:
    record = json.loads(lines[1])
    record["actor"] = "U0EVE"
    record["digest"] = "0" * 64
    return [lines[0], json.dumps(record), *lines[2:]]


TAMPERINGS: dict[str, Callable[[list[str]], list[str]]] = {
    "a word changed": change_word,
    "a record made up": change_with_new_digest,
    "a line left out": lambda lines: [lines[0], *lines[2:]],
    "two lines swapped": lambda lines: [lines[1], lines[0], *lines[2:]],
    "a line doubled": lambda lines: [lines[0], lines[0], *lines[1:]],
    "the first line cut off": lambda lines: lines[1:],
    "the last line cut off": lambda lines: lines[:-1],
    "a line of noise put in": lambda lines: [lines[0], "noise", *lines[1:]],
    "everything cut off": lambda lines: [],
}


@pytest.mark.parametrize("tamper", TAMPERINGS.values(), ids=TAMPERINGS.keys())
def test_tampering_is_found(path: Path, tamper: Callable[[list[str]], list[str]]) -> None:
    log = written(path)
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("".join(line + "\n" for line in tamper(lines)), encoding="utf-8")
    assert not log.verify().intact


def test_missing_head_is_told(path: Path) -> None:
    log = written(path)
    path.with_name("audit.jsonl.head").unlink()
    assert log.verify().faults == ("audit.jsonl.head is missing",)


def test_crash_between_line_and_head_is_no_tampering(path: Path) -> None:
    log = written(path, 3)
    head = path.with_name("audit.jsonl.head")
    before = head.read_bytes()
    written(path, 1)
    head.write_bytes(before)
    assert log.verify().intact


def test_entries_that_another_process_writes_meanwhile_are_no_tampering(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, read_json = AuditLog(path), audit.read_json

    def at_last(head: Path) -> dict[str, object] | None:
        log.append("U0BEN", "stop.begin", "run-1", {}, 5.0)
        found = read_json(head)
        log.append("U0BEN", "stop.yes", "run-1", {}, 6.0)
        return found

    monkeypatch.setattr(audit, "read_json", at_last)
    assert log.verify().faults == ()


def test_line_cut_off_by_a_crash_is_closed_and_sworn_to(path: Path) -> None:
    log = written(path, 2)
    with path.open("ab") as stream:
        stream.write(b'{"seq":3,"act')
    assert log.verify().intact
    written(path, 1)
    assert [entry.action for entry in log.entries()] == ["approval.yes", "approval.yes", TORN_ACTION, "approval.yes"]
    assert log.verify().intact


def test_first_line_cut_off_by_a_crash_does_not_end_the_log(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b'{"seq":1')
    assert written(path, 1).verify().intact


@pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), OSError(5, "Input/output error")])
def test_entry_that_cannot_be_synced_is_refused_and_leaves_no_part(
    path: Path, monkeypatch: pytest.MonkeyPatch, fault: OSError
) -> None:
    log = written(path, 2)
    before = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _descriptor: (_ for _ in ()).throw(fault))
        with pytest.raises(StoreError, match="cannot be written"):
            log.append("U0BOB", "rollback.begin", "run-1", {}, 1.0)
    assert path.read_bytes() == before
    assert log.verify().intact


def test_short_write_is_refused_and_leaves_no_part(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = written(path, 2)
    before, write = path.read_bytes(), os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:7]))
        with pytest.raises(StoreError):
            log.append("U0BOB", "rollback.begin", "run-1", {}, 1.0)
    assert path.read_bytes() == before


def test_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    with pytest.raises(StoreError, match="cannot be written"):
        AuditLog(tmp_path / "state" / "audit.jsonl").append("U", "a", "s", {}, 1.0)


def test_detail_that_is_no_json_is_refused(path: Path) -> None:
    with pytest.raises(StoreError):
        AuditLog(path).append("U", "a", "s", {"number": float("nan")}, 1.0)
    with pytest.raises(StoreError):
        AuditLog(path).append("U", "a", "s", {"path": Path()}, 1.0)


def test_act_of_an_operation_is_told_once_however_often_it_is_written(path: Path) -> None:
    log = AuditLog(path)
    for operation in ("a", "b", "a"):
        log.append_once("U1", "rollback.begin", "digits", {"operation": operation}, 1.0)
    log.append_once("U1", "rollback.end", "digits", {"operation": "a"}, 2.0)
    told = [(entry.action, entry.detail["operation"]) for entry in log.entries()]
    assert told == [("rollback.begin", "a"), ("rollback.begin", "b"), ("rollback.end", "a")]
