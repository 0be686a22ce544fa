"""What doctor tells of the Ultralytics of each Python that trains."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from trainmaster.bot.core.conversation.message import Item, Mark
from trainmaster.bot.core.run.facts import RunRecord
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.drivers.engines import MAX_PYTHONS, examine_engines
from trainmaster.bot.drivers.trainer_cli import TrainerCli

PYTHON = sys.executable


def row(name: str, status: str = "ok", value: str = "", detail: str = "") -> dict[str, str]:
    return {"part": "Ultralytics", "name": name, "status": status, "value": value, "limit": "", "detail": detail}


def python(folder: Path, *rows: dict[str, str], code: int = 0) -> Path:
    """An interpreter that answers any command with these rows, below what a library prints."""
    folder.mkdir(parents=True, exist_ok=True)
    answer = json.dumps({"passed": not code, "rows": rows}, indent=2)
    path = folder / "python"
    path.write_text(f"#!{PYTHON}\nprint('hello')\nprint({answer!r})\nraise SystemExit({code})\n")
    path.chmod(0o700)
    return path


def run(folder: Path, path: Path | str, name: str = "digits", **changed: object) -> RunView:
    record = {"run": name, "python": str(path), "cwd": str(folder), "state": "running", "ultralytics": "8.4.100"}
    parsed = RunRecord.parse({**record, **changed})
    return RunView(directory=folder / name, name=name, ts=0.0, first_seen_ts=0.0, record=parsed)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The bot's own Python is one that says that all is well."""
    path = python(tmp_path / "own", row("version", value="8.4.190"), row("seams of this Ultralytics"))
    monkeypatch.setattr(sys, "executable", str(path))
    return path


async def told(folder: Path, *views: RunView) -> list[Item]:
    return await examine_engines(TrainerCli(timeout_s=30.0), folder, views)


@pytest.mark.usefixtures("own")
async def test_a_sound_one_is_a_line_a_row(tmp_path: Path) -> None:
    items = await told(tmp_path)
    assert [item.mark for item in items] == [Mark.DONE, Mark.DONE]
    assert items[0].detail == "version: 8.4.190"


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("status", "mark"), [("FAIL", Mark.FAILED), ("i", Mark.WARNING), ("-", Mark.UNKNOWN)], ids=["fail", "told", "open"]
)
async def test_what_is_wrong_with_a_runs_own_is_told_with_the_run(tmp_path: Path, status: str, mark: Mark) -> None:
    theirs = python(tmp_path / "theirs", row("seams", status, "2 missing", "a; b"), code=status == "FAIL")
    item = (await told(tmp_path, run(tmp_path, theirs)))[-1]
    assert (item.mark, item.text, item.detail) == (mark, "Ultralytics of digits", "seams: 2 missing; a; b")


@pytest.mark.parametrize("changed", [{"state": "finished"}, {"ultralytics": "8.4.190"}, {"ultralytics": None}])
async def test_a_run_that_ended_or_has_the_same_version_or_none_is_left_alone(
    own: Path, tmp_path: Path, changed: dict[str, object]
) -> None:
    assert len(await told(tmp_path, run(tmp_path, own, **changed))) == 2


async def test_an_upgrade_under_a_running_training_is_told(own: Path, tmp_path: Path) -> None:
    item = (await told(tmp_path, run(tmp_path, own)))[-1]
    assert item.mark is Mark.WARNING
    assert "digits trains under 8.4.100, and 8.4.190 is installed now" in item.detail
    assert "pip install ultralytics==8.4.100" in item.detail


@pytest.mark.usefixtures("own")
async def test_a_stranger_s_python_is_not_started(tmp_path: Path) -> None:
    theirs = python(tmp_path / "theirs", row("seams", "FAIL"))
    theirs.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    item = (await told(tmp_path, replace(run(tmp_path, theirs), watched_only="a stranger may write to it")))[-1]
    assert item.mark is Mark.UNKNOWN
    assert not (tmp_path / "started").exists()


@pytest.mark.usefixtures("own")
async def test_an_answer_of_an_older_trainer_is_unknown_and_few_are_asked(tmp_path: Path) -> None:
    views = [run(tmp_path, tmp_path / str(number) / "python", f"run{number}") for number in range(5)]
    items = await told(tmp_path, *views)
    assert [item.mark for item in items[2:]] == [Mark.UNKNOWN] * (MAX_PYTHONS - 1)
