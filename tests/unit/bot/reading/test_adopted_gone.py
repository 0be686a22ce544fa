"""The log of an adopted run is gone, or is not there yet, when the bot starts again: how the run ended stays known."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.bot.reading.test_adopted_attempts import HEADER, RESUME, START, Folder, frame, nan_keys, rows, story
from tests.unit.bot.reading.test_adopted_away import Clocked, in_the_third_epoch
from trainmaster.bot.checks.lifecycle import check_lifecycle
from trainmaster.bot.checks.limits import CheckLimits
from trainmaster.bot.core.run.adoption import AdoptedAttempt
from trainmaster.bot.core.run.state import RunState
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.reading import epoch_rows
from trainmaster.bot.reading.results_csv import Results

ENDS = {
    "crashed": (
        'Traceback (most recent call last):\n  File "x", line 1, in <module>\nRuntimeError: x\n',
        RunState.CRASHED,
    ),
    "stopped": ("\n^C\n", RunState.STOPPED),
    "finished": ("5 epochs completed in 0.1 hours.\n", RunState.FINISHED),
}


def ends(view: RunView) -> list[str]:
    return [found.fingerprint for found in check_lifecycle(view, CheckLimits(), view.ts)]


def _gone(folder: Folder, how: str) -> None:
    match how:
        case "deleted":
            folder.log.unlink()
        case "emptied":
            folder.write("", anew=True)
        case "another":
            folder.log.unlink()
            folder.write("hello\n")


def _trained(folder: Folder, end: str) -> RunView:
    folder.write(START + frame(1, 10) + "\n")
    folder.csv(rows(1))
    folder.look()
    folder.write(HEADER + frame(2, 4, "nan") + "\n" + end)
    folder.watch()  # type: ignore[attr-defined]
    return folder.look()


@pytest.mark.parametrize("gone", ["deleted", "emptied", "another", "there"])
@pytest.mark.parametrize(("end", "state"), ENDS.values(), ids=ENDS)
def test_how_a_run_ended_is_known_and_not_told_anew_when_its_log_is_gone(
    tmp_path: Path, end: str, state: RunState, gone: str
) -> None:
    folder = Clocked(tmp_path)
    before = _trained(folder, end)
    assert before.state is state
    _gone(folder, gone)
    for _ in range(3):
        folder.open()
        folder.watch()
        view = folder.look()
        assert (view.state, ends(view), nan_keys(view)) == (state, ends(before), ["attempt1/epoch2"])


@pytest.mark.parametrize("gone", ["deleted", "emptied", "another"])
def test_a_training_begun_behind_a_log_that_is_gone_is_another_attempt(tmp_path: Path, gone: str) -> None:
    folder = Clocked(tmp_path)
    _trained(folder, ENDS["crashed"][0])
    _gone(folder, gone)
    folder.open()
    folder.watch()
    folder.write(START + frame(1, 10) + "\n" + HEADER + frame(2, 4, "nan") + "\r")
    folder.csv(rows(1, loss=0.77))
    view = folder.look()
    assert (view.attempt, story(view), nan_keys(view)) == (2, [(2, 1, True), (2, 2, False)], ["attempt2/epoch2"])


def test_a_log_that_comes_back_is_history_and_goes_on(tmp_path: Path) -> None:
    folder = Clocked(tmp_path)
    before = _trained(folder, ENDS["crashed"][0])
    away = folder.log.rename(tmp_path / "away")
    folder.open()
    folder.watch()
    away.rename(folder.log)
    view = folder.look()
    assert (view.attempt, story(view), nan_keys(view)) == (1, story(before), nan_keys(before))
    (bad,) = view.epochs[1, 2].bad_batches
    assert {bad.ts, *(one.ts for one in view.notable)} == {folder.adoption.adopted_ts}
    assert ends(view) == ends(before)
    folder.write(frame(3, 2, "nan") + "\r")
    assert nan_keys(folder.look()) == ["attempt1/epoch2", "attempt1/epoch3"]


def test_without_the_log_of_its_first_attempt_that_of_the_second_is_history_still(tmp_path: Path) -> None:
    folder = Clocked(tmp_path)
    _trained(folder, ENDS["crashed"][0])
    log = tmp_path / "second.out"
    log.write_text(RESUME + frame(3, 4, "nan") + "\r")
    folder.adoption = replace(folder.adoption, later=(AdoptedAttempt(log=log, process=None, from_epoch=3),))
    folder.record.write_text(json.dumps(folder.adoption.to_json()))
    folder.watch()
    folder.log.unlink()
    folder.open()
    folder.watch()
    view = folder.look()
    (bad,) = view.epochs[2, 3].bad_batches
    assert {bad.ts, *(one.ts for one in view.notable)} == {folder.adoption.adopted_ts}


def test_history_is_as_old_as_ever_when_the_run_was_adopted_anew(tmp_path: Path) -> None:
    folder = Clocked(tmp_path)
    before = _trained(folder, ENDS["crashed"][0])
    folder.now += 7200
    folder.adoption = replace(folder.adoption, adopted_ts=folder.now)
    folder.record.write_text(json.dumps(folder.adoption.to_json()))
    folder.watch()
    folder.open()
    view = folder.look()
    assert ends(view) == ends(before)
    times = [one.ts for one in (*view.notable, *view.epochs[1, 2].bad_batches)]
    assert max(*times, view.epochs[1, 1].finished_ts or 0.0) <= view.first_seen_ts


def test_what_happened_once_has_one_number_for_every_bot(folder: Clocked) -> None:
    folder.write(frame(3, 10, "nan") + "\n" + HEADER + frame(4, 2) + "\n" + ENDS["crashed"][0])
    folder.csv(rows(3), append=True)
    folder.watch()
    folder.write(START + frame(1, 10) + "\n")
    folder.csv(rows(1))
    folder.watch()
    folder.write(HEADER + frame(2, 3) + "\n" + ENDS["crashed"][0])
    before = ends(folder.look())
    folder.watch()
    folder.open()
    assert ends(folder.look()) == before


@pytest.fixture
def folder(tmp_path: Path) -> Clocked:
    return in_the_third_epoch(tmp_path)


@pytest.mark.parametrize("seen", ["frames", "start", "nothing"])
def test_a_row_of_an_epoch_whose_end_a_new_log_has_hidden_is_told(folder: Clocked, seen: str) -> None:
    resume = RESUME.replace("from epoch 3", "from epoch {}").format
    folder.write(resume(4) + (frame(4, 2) if seen == "frames" else ""), anew=True)
    folder.csv(rows(3), append=True)
    if seen != "nothing":
        folder.watch()
    folder.csv(rows(4, loss=float("nan")), append=True)
    folder.write(resume(5), anew=True)
    os.utime(folder.directory / "results.csv", (folder.now - 60, folder.now - 60))
    view = folder.look()
    told = {epoch: one.losses for (_, epoch), one in view.epochs.items() if one.finished}
    assert str(told.get(4)) == "{'box_loss': nan}"


def test_a_row_behind_whose_time_the_log_lags_is_told_when_that_comes(folder: Clocked) -> None:
    folder.write(RESUME, anew=True)
    folder.watch()
    folder.csv(rows(3, loss=float("nan")), append=True)
    os.utime(folder.directory / "results.csv", (folder.now - 3600, folder.now - 3600))
    folder.watch()
    folder.write(frame(3, 10, "nan") + "\n" + HEADER + frame(4, 2) + "\r")
    assert folder.look().epochs[2, 3].finished


@pytest.mark.parametrize("reopened", [False, True], ids=["bot runs on", "bot was restarted"])
def test_a_row_of_an_attempt_that_had_drawn_no_frame_before_its_log_was_emptied_is_told(
    folder: Clocked, reopened: bool
) -> None:
    folder.write(START, anew=True)
    folder.watch()
    folder.csv(rows(1, loss=float("nan")))
    folder.write("", anew=True)
    if reopened:
        folder.open()
    assert folder.look().epochs[2, 1].finished


def test_rows_before_a_resume_that_was_adopted_as_it_began_are_of_its_run(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.csv(rows(1, 2))
    folder.write(RESUME)
    folder.look()
    folder.write(frame(3, 3) + "\r")
    assert story(folder.look()) == [(1, 1, True), (1, 2, True), (1, 3, False)]


def test_rows_from_before_two_resumes_are_not_of_the_first_whose_log_is_gone(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.write(START + "".join(frame(epoch, 10) + "\n" + HEADER for epoch in (1, 2, 3)))
    folder.csv("epoch,train/box_loss,val/box_loss\n1,0.5,0.9\n2,0.5,0.9\n3,0.5,0.9\n", header=False)  # of 8.2: no time
    assert story(folder.look()) == [(1, 1, True), (1, 2, True), (1, 3, True)]
    folder.write(RESUME, anew=True)
    folder.look()
    folder.write(frame(3, 10) + "\n")
    folder.look()
    folder.look()
    folder.write(RESUME, anew=True)
    folder.open()
    assert (folder.look().attempt, (2, 3) in folder.look().epochs) == (3, False)


def test_a_row_whose_bytes_a_network_file_system_has_later_is_told(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.write(START + frame(1, 10) + "\n")
    folder.csv("\0" * len(rows(1)))
    assert story(folder.look()) == [(1, 1, False)]
    folder.csv(rows(1))  # as large and as old as before
    assert story(folder.look()) == [(1, 1, True)]


@pytest.mark.parametrize("noted", [None, 7, ["x"], [[1, "run_crashed"]], [["1", "x", {}]], [[1, "phase", {}]]])
def test_what_was_noted_of_an_end_may_be_anything(folder: Clocked, noted: object) -> None:
    path = folder.record.with_suffix(".heard")
    path.write_text(json.dumps({**json.loads(path.read_text()), "ends": noted}))
    folder.log.unlink()
    folder.open()
    assert folder.look().state is RunState.UNKNOWN


def test_epochs_of_a_log_that_was_emptied_are_those_of_its_run_also_the_last_one(folder: Clocked) -> None:
    folder.csv(rows(3), append=True)
    folder.write(frame(3, 10) + "\n" + HEADER + frame(4, 2) + "\r")
    folder.open()
    folder.write("", anew=True)
    view = folder.look()
    assert story(view) == [(1, 1, True), (1, 2, True), (1, 3, True)]


def test_a_row_that_nobody_saw_hides_none_before_it(folder: Clocked) -> None:
    resume = RESUME.replace("from epoch 3", "from epoch 4")
    folder.write(resume + frame(4, 10) + "\n", anew=True)
    folder.csv(rows(3, 4, 4), append=True)
    for _ in range(3):
        folder.open()
        folder.watch()
        assert story(folder.look()) == [(1, 1, True), (1, 2, True), (1, 3, True), (2, 4, True)]


def test_a_file_that_a_dead_mount_hides_is_not_missing(folder: Clocked, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.stat

    def dead(self: Path, **given: bool) -> os.stat_result:
        if self.name == "results.csv":
            raise OSError(errno.EIO, "Input/output error", str(self))
        return real(self, **given)

    with monkeypatch.context() as away:
        away.setattr(Path, "stat", dead)
        folder.write(START + frame(1, 2) + "\n", anew=True)
        folder.watch()
        folder.write(frame(1, 10) + "\n" + HEADER + frame(2, 10) + "\n")
        folder.watch()
    folder.open()
    assert [key for key, one in folder.look().epochs.items() if one.finished] == [(1, 1), (1, 2)]


def test_rows_that_could_not_be_read_before_a_restart_are_of_the_attempt_whose_log_is_gone(
    folder: Clocked, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> Results:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    with monkeypatch.context() as away:
        away.setattr(epoch_rows, "read_results", refuse)
        folder.write(START + frame(1, 10) + "\n" + HEADER + frame(2, 10) + "\n" + HEADER + frame(3, 2), anew=True)
        folder.csv(rows(1, 2, loss=0.7))
        folder.watch()
        folder.write(RESUME + frame(3, 2) + "\n", anew=True)
        folder.watch()
        folder.open()
        folder.watch()
    told = {key: one.losses for key, one in folder.look().epochs.items() if one.finished and key[0] > 1}
    assert told == {(2, 1): {"box_loss": 0.7}, (2, 2): {"box_loss": 0.7}}


def test_rows_that_were_there_before_a_lagging_console_showed_their_attempt_are_its_own(tmp_path: Path) -> None:
    folder = Clocked(tmp_path)
    folder.write(START)
    folder.look()
    folder.csv("1,60,1.5,0.4,nan\n")
    assert story(folder.look()) == []
    folder.write(START + frame(1, 10) + "\n" + HEADER + frame(2, 1) + "\n")
    assert story(folder.look()) == [(2, 1, True), (2, 2, False)]
    assert nan_keys(folder.look()) == ["attempt2/epoch1/figures"]
