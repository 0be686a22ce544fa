"""What the words name, while files come and go and some can't be read."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.support.run_dirs import START_TS
from tests.unit.bot.terminal.pictures import Living, picture, trained
from trainmaster.bot.errors import CommandError
from trainmaster.bot.terminal.canvas import Shown
from trainmaster.bot.terminal.sources import Sources

LOG = """\
      Epoch    GPU_mem   box_loss   cls_loss   dfl_loss  Instances       Size
        {epoch}/9      1.2G      1.5      2.25      0.9        12       640: 100%|####| 4/4 [00:04<00:00,  1.0it/s]
"""
NOBODY = 65_534


def sources(*words: str) -> Sources:
    """Of RUNS_DIR ``runs`` in the working directory."""
    return Sources(words=words, runs_dir=Path("runs"), adoptions=list, inspector=Living())


def text(runs: Sequence[Shown]) -> str:
    return "\n".join(picture(runs))


@contextlib.contextmanager
def as_somebody_else() -> Iterator[None]:
    """Who may not read everything, as the one who tests often may."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if before == 0:
            os.seteuid(before)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path)


def test_a_log_that_is_rotated_is_watched_on(tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    log.write_text(LOG.format(epoch=2), encoding="utf-8")
    watched = sources(str(log))
    assert "epoch 2 of 9" in text(watched.look(START_TS))
    log.rename(tmp_path / "train.log.1")
    gone = text(watched.look(START_TS + 2))
    assert "epoch 2 of 9" in gone
    assert "! train.log is not there" in gone
    log.write_text(LOG.format(epoch=5), encoding="utf-8")
    assert "epoch 5 of 9" in text(watched.look(START_TS + 4))


@pytest.mark.parametrize("word", ["runs/night", "night", "runs"])
def test_a_run_that_goes_away_is_shown_with_that_and_comes_back(tmp_path: Path, word: str) -> None:
    run = trained(tmp_path / "runs").layout.root
    watched = sources(word)
    watched.look(START_TS)
    run.rename(tmp_path / "moved")
    assert "run.json is gone" in text(watched.look(START_TS + 2))
    (tmp_path / "moved").rename(run)
    assert "is gone" not in text(watched.look(START_TS + 4))


def test_of_many_runs_that_which_cannot_be_read_is_said_below_them(tmp_path: Path) -> None:
    runs = [trained(tmp_path / "runs", f"run-{number}").layout.root for number in range(6)]
    watched = sources()
    assert "!" not in text(watched.look(START_TS))
    runs[0].rename(tmp_path / "moved")
    assert "! run-0: run.json is gone" in text(watched.look(START_TS + 2))
    for run in runs[1:]:
        run.rename(tmp_path / f"moved-{run.name}")
    assert "! and 4 more that can't be read" in text(watched.look(START_TS + 4))


def test_a_folder_that_nobody_lets_us_into_is_said(tmp_path: Path) -> None:
    trained(tmp_path / "runs", "mine")
    closed = trained(tmp_path / "runs", "closed").layout.root
    closed.chmod(0o000)
    try:
        with as_somebody_else():
            watched = sources()
            runs = watched.look(START_TS)
            assert [one.view.name for one in runs] == ["mine"]
            assert watched.closed == [Path("runs/closed")]
            for word in ("closed", "runs/closed"):
                with pytest.raises(CommandError, match="closed can't be read: Permission denied"):
                    sources(word).look(START_TS)
            named = sources("mine")
            named.look(START_TS)
            assert named.closed == []  # nobody asked for it
    finally:
        closed.chmod(0o755)
    assert "! closed can't be read: permission denied" in "\n".join(picture(runs, closed=["closed"]))


def test_a_wrong_word_is_no_answer_to_itself(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CommandError) as refused:
        sources("pipe").look(START_TS)
    assert "Nearest" not in refused.value.message


def test_runs_of_one_name_are_told_apart_by_where_they_are(tmp_path: Path) -> None:
    for folder in ("runs/anna", "runs/ben"):
        trained(tmp_path / folder, "night")
    trained(tmp_path / "runs", "day")
    assert [one.view.name for one in sources().look(START_TS)] == ["anna/night", "ben/night", "day"]
    assert "anna/night: " in text(sources("night").look(START_TS))
    logs = [tmp_path / folder / "train.log" for folder in ("one", "two")]
    for log in logs:
        log.parent.mkdir()
        log.write_text(LOG.format(epoch=2), encoding="utf-8")
    assert [one.view.name for one in sources(*map(str, logs)).look(START_TS)] == list(map(str, logs))
