"""What an adopted run did while the bot was away, or in a log that is gone, is of the attempt that did it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.unit.bot.reading.test_adopted_attempts import (
    COLUMNS,
    HEADER,
    RESUME,
    START,
    Folder,
    frame,
    nan_keys,
    rows,
    story,
)


class Clocked(Folder):
    """Its files are as old as the bot's clock says, or ``skew_s`` later."""

    skew_s = 0.0

    def write(self, text: str, *, anew: bool = False) -> None:
        super().write(text, anew=anew)
        self._pass(self.log)

    def csv(self, text: str, *, header: bool = True, append: bool = False, age_s: float = 0.0) -> None:
        super().csv(text, header=header, append=append, age_s=age_s)
        self._pass(self.directory / "results.csv")

    def _pass(self, path: Path) -> None:
        self.now += 5
        os.utime(path, (self.now + self.skew_s, self.now + self.skew_s))

    def watch(self) -> None:
        """Three looks: what the first one found is written down."""
        for _ in range(3):
            self.look()


def in_the_third_epoch(tmp_path: Path) -> Clocked:
    """A training whose first two epochs are over, and a bot that knows it."""
    folder = Clocked(tmp_path)
    folder.write(START + frame(1, 10) + "\n" + HEADER + frame(2, 10) + "\n" + HEADER + frame(3, 2) + "\r")
    folder.csv(rows(1, 2))
    folder.watch()
    assert story(folder.look()) == [(1, 1, True), (1, 2, True), (1, 3, False)]
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Clocked:
    return in_the_third_epoch(tmp_path)


def test_an_epoch_that_a_restart_finished_while_the_bot_was_away_is_its_own(folder: Clocked) -> None:
    folder.write(START + frame(1, 10) + "\n")
    folder.csv(rows(1, loss=0.7), append=True)
    folder.write(HEADER + frame(2, 3) + "\r")
    folder.now += 3600
    folder.open()
    view = folder.look()
    assert story(view) == [(2, 1, True), (2, 2, False)]
    assert view.epochs[2, 1].losses == {"box_loss": 0.7}


def test_epochs_of_a_log_that_is_gone_stay_those_of_their_attempt(folder: Clocked) -> None:
    folder.write(RESUME + frame(3, 10) + "\n", anew=True)
    folder.csv(rows(3), append=True)
    folder.watch()
    folder.open()
    assert story(folder.look()) == [(1, 1, True), (1, 2, True), (2, 3, True)]


@pytest.mark.parametrize("seen", [True, False], ids=["seen", "away"])
def test_a_row_that_is_older_than_a_restart_is_not_of_it(folder: Clocked, seen: bool) -> None:
    if not seen:
        folder.open()
    folder.write(START + frame(1, 2) + "\r", anew=True)
    if seen:
        folder.watch()
        folder.open()
    folder.write(frame(1, 10) + "\n")
    assert story(folder.look()) == [(2, 1, False)]


def test_a_restart_gives_up_epochs_whose_beginning_nobody_knows(folder: Clocked) -> None:
    folder.write(RESUME + frame(3, 10) + "\n", anew=True)
    folder.csv(rows(3))
    folder.watch()
    folder.write(START + frame(1, 10) + "\n")
    folder.csv(rows(1, loss=1.5))
    folder.watch()
    folder.open()
    assert story(folder.look()) == [(3, 1, True)]


@pytest.mark.parametrize("emptied", [True, False], ids=["empty", "goes on"])
def test_a_log_that_was_rotated_while_the_bot_was_away_is_of_the_same_attempt(folder: Clocked, emptied: bool) -> None:
    folder.write("" if emptied else frame(3, 6) + "\r", anew=True)
    folder.open()
    view = folder.look()
    running = [] if emptied else [(1, 3, False)]
    assert (view.attempt, story(view)) == (1, [(1, 1, True), (1, 2, True), *running])
    assert view.epochs[1, 2].finished_ts < folder.now  # history, and no news
    folder.write(frame(3, 10) + "\n")
    folder.csv(rows(3), append=True)
    view = folder.look()
    assert (view.attempt, view.epochs[1, 3].finished_ts) == (1, folder.now)


def test_a_restart_in_a_log_that_was_begun_anew_is_told_by_its_start(folder: Clocked) -> None:
    folder.write(START + frame(1, 6) + "\r", anew=True)
    folder.open()
    view = folder.look()
    assert (view.attempt, story(view)) == (2, [(2, 1, False)])


def test_an_earlier_epoch_in_a_log_that_was_begun_anew_is_of_another_attempt(folder: Clocked) -> None:
    folder.write(frame(2, 6) + "\r", anew=True)
    folder.open()
    assert folder.look().attempt == 2


def test_rows_stay_those_of_their_attempts_when_the_log_of_a_resume_was_rotated(folder: Clocked) -> None:
    folder.write(RESUME + frame(3, 10) + "\n" + HEADER + frame(4, 2) + "\r")
    folder.csv(rows(3, loss=0.8), append=True)
    folder.watch()
    folder.write(frame(4, 5) + "\r", anew=True)
    folder.watch()
    folder.open()
    view = folder.look()
    assert story(view) == [(1, 1, True), (1, 2, True), (2, 3, True), (2, 4, False)]
    assert all(one.finished_ts < folder.now for one in view.epochs.values() if one.finished_ts)


def test_a_row_that_nobody_told_before_a_resume_is_of_the_attempt_before_it(folder: Clocked) -> None:
    folder.write(START + frame(1, 4) + "\r")
    folder.watch()
    folder.write(frame(1, 10) + "\n" + HEADER + frame(2, 10) + "\n" + HEADER)
    folder.csv(rows(1, 2, loss=0.7))
    folder.open()
    folder.write(RESUME + frame(3, 2) + "\r", anew=True)
    view = folder.look()
    assert [key for key, one in view.epochs.items() if one.finished_ts] == [(2, 1), (2, 2)]


def test_a_row_of_an_older_attempt_is_not_that_of_a_resume_whose_log_is_gone(folder: Clocked) -> None:
    folder.write(RESUME + frame(3, 4) + "\r")
    folder.watch()
    folder.open()
    folder.write(RESUME + frame(3, 2) + "\r", anew=True)
    view = folder.look()
    assert (view.attempt, [key for key, one in view.epochs.items() if one.finished_ts]) == (3, [(1, 1), (1, 2)])


def test_an_epoch_that_a_resume_did_not_finish_is_not_told_with_the_row_of_another(folder: Clocked) -> None:
    folder.write(frame(3, 10) + "\n")
    folder.csv(rows(1, 2, 3))
    folder.watch()
    folder.write(RESUME + frame(3, 4) + "\r")
    folder.watch()
    folder.write(RESUME.replace("from epoch 3", "from epoch 4") + frame(4, 2) + "\r")
    folder.watch()
    assert (2, 3) in folder.look().epochs
    assert not folder.look().epochs[2, 3].finished


def test_a_disk_that_knows_no_time_hides_no_row(folder: Clocked) -> None:
    results = folder.directory / "results.csv"
    os.utime(results, (0, 0))
    folder.watch()
    folder.write(START + frame(1, 10) + "\n")
    folder.watch()
    folder.csv("1,60,0.7", append=True)
    for rest in ("", ",0.4,nan\n"):
        with results.open("a") as stream:
            stream.write(rest)
        os.utime(results, (0, 0))
        view = folder.look()
        assert nan_keys(view) == (["attempt2/epoch1/figures"] if rest else [])


@pytest.mark.parametrize("skew_s", [-600, 600], ids=["behind", "ahead"])
@pytest.mark.parametrize("reset", [True, False], ids=["csv reset", "csv appended"])
def test_the_clock_of_the_file_system_decides_nothing(folder: Clocked, skew_s: float, reset: bool) -> None:
    folder.skew_s = skew_s
    folder.csv(rows(1, 2))
    folder.watch()
    folder.write(START + frame(1, 4) + "\r")
    folder.watch()
    folder.write(frame(1, 10) + "\n")
    folder.csv(rows(1, loss=0.7), append=not reset)
    view = folder.look()
    assert story(view) == [(2, 1, True)]
    assert view.epochs[2, 1].losses == {"box_loss": 0.7}


def test_rows_of_the_second_training_in_a_log_are_its_own_at_the_first_look(tmp_path: Path) -> None:
    folder = Clocked(tmp_path)
    folder.write(START + frame(1, 10) + "\n" + HEADER + frame(2, 3) + "\n" + START + frame(1, 10) + "\n" + HEADER)
    folder.csv(rows(1, loss=0.7))
    view = folder.look()
    assert (story(view), view.epochs[2, 1].losses) == ([(2, 1, True)], {"box_loss": 0.7})


@pytest.mark.parametrize("gone", ["deleted", "emptied", "another", "there"])
def test_nan_that_was_told_stays_told_when_the_bot_starts_again(tmp_path: Path, gone: str) -> None:
    folder = Clocked(tmp_path)
    folder.write(START + frame(1, 4, "nan") + frame(1, 10, "nan") + "\n" + HEADER + frame(2, 10) + "\n")
    folder.csv(rows(1, loss=float("nan")) + rows(2))
    folder.write(HEADER + frame(3, 6, "nan") + "\r")
    folder.watch()
    before = folder.look()
    assert nan_keys(before) == ["attempt1/epoch1", "attempt1/epoch3"]
    match gone:
        case "deleted":
            folder.log.unlink()
        case "emptied":
            folder.write("", anew=True)
        case "another":
            folder.write(frame(3, 7, "nan") + "\r", anew=True)
    folder.open()
    for _ in range(4):
        view = folder.look()
        assert nan_keys(view) == nan_keys(before)
        assert [one.num_bad for one in view.story()] == [one.num_bad for one in before.story()]
        (bad,) = view.epochs[1, 1].bad_batches
        assert (bad.batch, str(bad.losses["box_loss"])) == (4, "nan")
        folder.open()


def test_nan_of_a_new_attempt_is_news_beside_what_was_told_of_a_log_that_is_gone(tmp_path: Path) -> None:
    folder = Clocked(tmp_path)
    folder.write(START + frame(1, 4, "nan") + frame(1, 10, "nan") + "\n" + HEADER + frame(2, 3) + "\r")
    folder.watch()
    folder.write(START + frame(1, 3, "nan") + "\r", anew=True)
    folder.open()
    view = folder.look()
    assert nan_keys(view) == ["attempt2/epoch1"]
    assert [view.epochs[attempt, 1].num_bad for attempt in (1, 2)] == [1, 1]


@pytest.mark.parametrize("noted", [None, 7, ["x"], [{"attempt": 1}], [{"attempt": "1", "epoch": 2}]])
def test_what_was_noted_of_nan_may_be_anything(folder: Clocked, noted: object) -> None:
    path = folder.record.with_suffix(".heard")
    path.write_text(json.dumps({**json.loads(path.read_text()), "bad": noted}))
    folder.open()
    assert story(folder.look()) == [(1, 1, True), (1, 2, True), (1, 3, False)]


@pytest.mark.parametrize("skew_s", [-600, 0, 600], ids=["behind", "alike", "ahead"])
@pytest.mark.parametrize("loss", [0.51237, float("nan"), float("inf")])
def test_a_row_with_the_losses_that_the_log_shows_of_an_attempt_is_of_that_one(
    tmp_path: Path, skew_s: float, loss: float
) -> None:
    folder = Clocked(tmp_path)
    folder.write(START + frame(1, 10, f"{loss:.4g}") + "\n" + HEADER + frame(2, 10, "0.7503") + "\n" + START)
    folder.write(frame(1, 4, "0.9") + "\r")
    folder.skew_s = skew_s
    folder.csv(rows(1, loss=loss) + rows(2, loss=0.75032))
    assert story(folder.look()) == [(2, 1, False)]
    assert [key for key, one in folder.reader.view.epochs.items() if one.finished] == [(1, 1), (1, 2)]
    folder.write(frame(1, 10, "0.6543") + "\n")
    folder.csv(rows(1, loss=0.65432))
    assert story(folder.look()) == [(2, 1, True)]


def test_a_row_that_a_lagging_log_does_not_show_is_of_the_newest_attempt(tmp_path: Path) -> None:
    folder = Clocked(tmp_path)
    folder.write(START + frame(1, 10, "0.5") + "\n" + START + frame(1, 4, "0.9") + "\r")
    folder.csv(rows(1, loss=0.65432))
    assert story(folder.look()) == [(2, 1, True)]


@pytest.mark.parametrize("restarted", [False, True], ids=["", "bot restarted"])
@pytest.mark.parametrize("lags", [True, False], ids=["log lags", "log stays behind"])
def test_a_row_of_a_restart_with_the_same_seed_is_its_own(tmp_path: Path, lags: bool, restarted: bool) -> None:
    folder = Clocked(tmp_path)
    folder.write(START + frame(1, 10, "0.5") + "\n" + HEADER + frame(2, 4) + "\r")
    folder.csv(rows(1))
    folder.watch()
    folder.write(START + frame(1, 4, "0.6") + "\r")
    folder.watch()
    folder.csv(rows(1).replace("60,", "61,").replace("0.9", "nan"))
    if restarted:
        folder.open()
        folder.look()
    if lags or restarted:
        folder.write(frame(1, 10, "0.5") + "\n")
    view = folder.look()
    assert (story(view), nan_keys(view)) == ([(2, 1, True)], ["attempt2/epoch1/figures"])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(COLUMNS + "1,60,0.5,,\n", COLUMNS + "1,60,0.5,0.4,nan\n", id="filled"),
        pytest.param("epoch,time,train/box_loss\n1,60,0.5\n", COLUMNS + "1,60,0.5,0.4,nan\n", id="added"),
        pytest.param(
            COLUMNS + "1,60,0.5,0.4,0.9\n", COLUMNS[:-1] + ",x\n1,60,0.5,0.4,0.9,inf\n", id="of somebody's own"
        ),
    ],
)
def test_figures_that_come_late_are_of_the_same_epoch_and_told(tmp_path: Path, before: str, after: str) -> None:
    folder = Clocked(tmp_path)
    folder.write(START + frame(1, 10) + "\n" + HEADER + frame(2, 4) + "\r")
    folder.csv(before, header=False)
    folder.watch()
    folder.csv(after, header=False)
    view = folder.look()
    assert (story(view), nan_keys(view)) == ([(1, 1, True), (1, 2, False)], ["attempt1/epoch1/figures"])
    assert view.epochs[1, 1].finished_ts == folder.now


@pytest.mark.parametrize("reopened", [False, True], ids=["", "bot restarted"])
@pytest.mark.parametrize("written", ["2,6", ""], ids=["half a row", "touched"])
def test_rows_that_are_as_before_are_not_of_a_resume(folder: Clocked, written: str, reopened: bool) -> None:
    folder.csv(rows(1, 2, 3))
    folder.write(frame(3, 10) + "\n" + HEADER + frame(4, 2) + "\r")
    folder.watch()
    folder.write(RESUME.replace("from epoch 3", "from epoch 2") + frame(2, 3) + "\r", anew=True)
    folder.watch()
    folder.write(frame(2, 10) + "\n")
    folder.csv(written, append=True)
    if reopened:
        folder.open()
    told = [key for key, one in folder.look().epochs.items() if one.finished]
    assert [key for key in told if key[0] == 2] == []
    folder.csv("2,61,0.7,0.4,0.9\n".removeprefix(written), append=True)
    view = folder.look()
    assert (view.attempt, view.epochs[2, 2].losses) == (2, {"box_loss": 0.7})


@pytest.mark.parametrize("resumed", [False, True])
@pytest.mark.parametrize("reopened", [False, True], ids=["", "bot restarted"])
def test_a_row_that_was_written_twice_hides_none_before_it(folder: Clocked, reopened: bool, resumed: bool) -> None:
    if resumed:
        folder.write(frame(3, 10) + "\n")
        folder.watch()
        folder.write(RESUME + frame(3, 10, "0.5") + "\n" + HEADER + frame(4, 2) + "\r", anew=True)
        folder.csv(rows(3), append=True)
        folder.watch()
    folder.csv(rows(1, 2, 3, 3) if resumed else rows(1, 2, 2))
    folder.watch()
    if reopened:
        folder.open()
    told = sorted(key for key, one in folder.look().epochs.items() if one.finished)
    assert told == [(1, 1), (1, 2), (2, 3)][: 2 + resumed]


def test_a_file_that_somebody_only_added_columns_to_tells_nothing_anew(folder: Clocked) -> None:
    before = folder.look()
    folder.csv(COLUMNS[:-1] + ",x\n" + rows(1, 2).replace("\n", ",7\n"), header=False)
    view = folder.look()
    assert (story(view), view.epochs[1, 2]) == (story(before), before.epochs[1, 2])


def test_a_row_that_a_bot_before_had_told_stays_that_of_its_attempt(folder: Clocked) -> None:
    folder.write(START + frame(1, 2) + "\r")
    folder.watch()
    folder.write(START + frame(1, 2) + "\r", anew=True)
    folder.watch()
    folder.csv("", append=True)  # touched, so that it is newer than the log
    folder.open()
    finished = {key: one.finished_ts for key, one in folder.look().epochs.items() if one.finished}
    assert finished == dict.fromkeys([(1, 1), (1, 2)], folder.adoption.adopted_ts)


def test_a_row_of_another_training_is_not_taken_for_one_that_a_bot_before_had_told(folder: Clocked) -> None:
    folder.write(START, anew=True)
    (folder.directory / "results.csv").unlink()
    folder.watch()
    folder.open()
    folder.csv(rows(1, loss=0.7))
    assert (1, 1) not in folder.look().epochs
    folder.write(frame(1, 10) + "\n")
    view = folder.look()
    assert (view.epochs[2, 1].losses, (1, 1) in view.epochs) == ({"box_loss": 0.7}, False)


def test_an_epoch_that_only_a_log_before_the_rotation_showed_is_told(folder: Clocked) -> None:
    folder.write(START)
    folder.watch()
    folder.csv(rows(1, loss=0.7))
    folder.write("", anew=True)
    folder.watch()
    folder.csv(rows(2, loss=0.6), append=True)
    folder.write(frame(2, 10) + "\n", anew=True)
    assert [(one.attempt, one.losses["box_loss"]) for one in folder.look().story() if one.finished] == [
        (2, 0.7), (2, 0.6),
    ]  # fmt: skip
