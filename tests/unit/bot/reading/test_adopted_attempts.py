"""An adopted run that somebody starts again in its folder: a new attempt, whatever shows it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.run_dirs import START_TS
from trainmaster.bot.checks.limits import CheckLimits
from trainmaster.bot.checks.nonfinite import check_nonfinite
from trainmaster.bot.core.run.adoption import Adoption
from trainmaster.bot.core.run.facts import ProcessFact, ProcessIdentity, ProcessStatus
from trainmaster.bot.core.run.state import RunState
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.reading.adopted import AdoptedReader
from trainmaster.bot.storage.adoptions import find_adoptions, write_adoption

HEADER = "\n      Epoch    GPU_mem   box_loss   cls_loss   dfl_loss  Instances       Size\n"
BANNER = "Ultralytics 8.3.100 🚀 Python-3.11.4 torch-2.5.1 CUDA:0 (A100, 81920MiB)\n"
START = (
    f"{BANNER}engine/trainer: task=detect\nImage sizes 640 train, 640 val\nStarting training for 5 epochs...\n{HEADER}"
)
RESUME = (
    f"{BANNER}engine/trainer: task=detect\nResuming training last.pt from epoch 3 to 5 total epochs\n"
    f"Image sizes 640 train, 640 val\nStarting training for 5 epochs...\n{HEADER}"
)
COLUMNS = "epoch,time,train/box_loss,metrics/mAP50(B),val/box_loss\n"


def frame(epoch: int, batch: int, box: str = "1.5", *, epochs: int = 5) -> str:
    return (
        f"\r\x1b[K{f'{epoch}/{epochs}':>11}{'2.1G':>11}{box:>11}{'2.5':>11}{'1.25':>11}{12:>11}{640:>11}: "
        f"{batch * 10}% ━━━━━━────── {batch}/10 2.5it/s {batch}.0s<4.0s"
    )


def rows(*epochs: int, loss: float = 0.5) -> str:
    return "".join(f"{epoch},{60 * epoch},{loss},0.4,0.9\n" for epoch in epochs)


class Folder:
    """A run's folder with its log, and the bot that watches it."""

    def __init__(self, root: Path) -> None:
        self.directory, self.log, self.state = root / "exp", root / "nohup.out", root / "state"
        self.directory.mkdir()
        self.log.write_text("", encoding="utf-8")
        self.adoption = Adoption(
            name="exp", directory=self.directory, log=self.log, process=None, adopted_ts=START_TS - 5
        )
        write_adoption(self.adoption, self.state)
        (self.record,) = find_adoptions(self.state)
        self.now = START_TS
        self.open()

    def open(self) -> None:
        """A bot begins, or begins again."""
        self.reader = AdoptedReader(self.adoption, first_seen_ts=START_TS, record=self.record)

    def write(self, text: str, *, anew: bool = False) -> None:
        with self.log.open("w" if anew else "a", encoding="utf-8") as stream:
            stream.write(text)

    def csv(self, text: str, *, header: bool = True, append: bool = False, age_s: float = 0.0) -> None:
        """Its content from now on; ``age_s`` older than the log."""
        path = self.directory / "results.csv"
        with path.open("a" if append else "w", encoding="utf-8") as stream:
            stream.write((COLUMNS if header and not append else "") + text)
        when = self.log.stat().st_mtime - age_s
        os.utime(path, (when, when))

    def look(self) -> RunView:
        self.now += 30
        return self.reader.read(self.now)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def story(view: RunView) -> list[tuple[int, int, bool]]:
    return [(one.attempt, one.epoch, one.finished) for one in view.story()]


def nan_keys(view: RunView) -> list[str]:
    return [finding.key for finding in check_nonfinite(view, CheckLimits(), view.ts)]


def first_training(folder: Folder) -> RunView:
    """Two epochs and a part of the third, with a NaN in the first."""
    folder.write(START + frame(1, 4, "nan") + frame(1, 10, "nan") + "\n" + HEADER + frame(2, 10) + "\n")
    folder.write(HEADER + frame(3, 6) + "\n")
    folder.csv(rows(1, 2))
    view = folder.look()
    assert story(view) == [(1, 1, True), (1, 2, True), (1, 3, False)]
    assert nan_keys(view) == ["attempt1/epoch1"]
    return view


RESTARTS = {
    "appended": lambda folder, text: folder.write(text),
    "truncated": lambda folder, text: folder.write(text, anew=True),
}


@pytest.mark.parametrize("restart", RESTARTS.values(), ids=RESTARTS.keys())
@pytest.mark.parametrize("reset", [True, False], ids=["csv reset", "csv appended"])
@pytest.mark.parametrize("reopened", [False, True], ids=["bot runs on", "bot was restarted"])
def test_a_restart_is_a_new_attempt_with_alerts_and_reports_of_its_own(
    folder: Folder, restart, reset: bool, reopened: bool
) -> None:
    first_training(folder)
    folder.look()
    folder.look()
    if reopened:
        folder.open()
    restart(folder, START + frame(1, 3, "nan") + "\r")
    view = folder.look()
    assert (view.attempt, story(view)) == (2, [(2, 1, False)])
    assert nan_keys(view) == ["attempt2/epoch1"]
    assert view.beat is not None
    assert (view.beat.epoch, view.beat.batch) == (1, 3)
    folder.write(frame(1, 10, "nan") + "\n" + HEADER + frame(2, 1) + "\r")
    folder.csv(rows(1, loss=0.7), append=not reset)
    view = folder.look()
    assert story(view) == [(2, 1, True), (2, 2, False)]
    assert view.epochs[2, 1].losses == {"box_loss": 0.7}
    assert view.epochs[2, 1].finished_ts == folder.now


def test_a_resume_from_an_older_checkpoint_gives_up_what_came_behind_it(folder: Folder) -> None:
    first_training(folder)
    folder.write(frame(3, 10) + "\n" + HEADER + frame(4, 2) + "\n")
    folder.csv(rows(1, 2, 3))
    assert story(folder.look())[-1] == (1, 4, False)
    folder.write(RESUME + frame(3, 1) + "\r")
    view = folder.look()
    assert story(view) == [(1, 1, True), (1, 2, True), (2, 3, False)]
    assert view.record is not None
    assert (view.record.from_epoch, view.attempt) == (3, 2)
    assert [event.integer("from_epoch") for event in view.notable if event.kind == "run_started"] == [3]
    folder.write(frame(3, 10) + "\n" + HEADER + frame(4, 1, "nan") + "\r")
    folder.csv(rows(1, 2, 3) + rows(3, loss=0.8))
    view = folder.look()
    assert view.epochs[2, 3].losses == {"box_loss": 0.8}
    assert nan_keys(view) == ["attempt1/epoch1", "attempt2/epoch4"]


def test_an_attempt_without_a_word_shows_by_an_earlier_epoch(folder: Folder) -> None:
    first_training(folder)
    folder.write(HEADER + frame(1, 2) + "\r")
    assert story(folder.look()) == [(2, 1, False)]


def test_the_engine_going_back_is_no_new_attempt_but_its_nan_is_told_again(folder: Folder) -> None:
    first_training(folder)
    folder.write(frame(3, 7, "nan") + "\nWARNING ⚠️ Loss NaN/Inf detected (attempt 1/3), recovering from last.pt...\n")
    folder.write(HEADER + frame(2, 1) + frame(2, 10) + HEADER + frame(3, 2, "nan") + "\r")
    view = folder.look()
    assert view.attempt == 1
    assert view.epochs[1, 3].num_bad == 2


def test_a_rotated_log_of_a_run_that_goes_on_is_the_same_attempt(folder: Folder) -> None:
    first_training(folder)
    folder.write(frame(3, 7) + frame(3, 8) + "\r", anew=True)
    view = folder.look()
    assert (view.attempt, story(view)[-1]) == (1, (1, 3, False))


def test_a_log_begun_anew_within_the_same_epoch_is_a_new_attempt(folder: Folder) -> None:
    folder.write(START + frame(1, 6) + "\r")
    folder.look()
    folder.write(frame(1, 2, "nan") + "\r", anew=True)
    assert nan_keys(folder.look()) == ["attempt2/epoch1"]


def test_a_log_written_anew_and_longer_is_a_new_attempt(folder: Folder) -> None:
    """Both begin with the same arguments and layers."""
    start = START.replace("task=detect\n", f"task=detect\n{'  0   -1  1   464  Conv  [3, 16, 3, 2]' * 160}\n")
    folder.write(start + frame(1, 4) + "\r")
    folder.look()
    folder.write(start + frame(1, 10, "nan") + "\n" + HEADER + frame(2, 3, "nan") + "\r", anew=True)
    view = folder.look()
    assert nan_keys(view) == ["attempt2/epoch1", "attempt2/epoch2"]


def test_the_end_of_a_log_that_powershell_wrote_can_be_read(folder: Folder) -> None:
    folder.log.write_bytes(("\ufeff" + START + "Killed\n").encode("utf-16-le"))
    assert folder.reader.log_tail()[-1] == "Killed"


@pytest.mark.parametrize("append", [False, True], ids=["reset", "appended"])
def test_a_restart_that_only_the_csv_shows_is_a_new_attempt(folder: Folder, append: bool) -> None:
    first_training(folder)
    folder.csv(rows(1, loss=0.9), append=append, age_s=-60)
    view = folder.look()
    assert view.attempt == 2
    assert view.epochs[2, 1].losses == {"box_loss": 0.9}


@pytest.mark.parametrize("append", [False, True], ids=["reset", "appended"])
def test_a_restart_that_only_the_csv_showed_is_found_again_by_the_next_bot(folder: Folder, append: bool) -> None:
    first_training(folder)
    folder.csv(rows(1, loss=0.9), append=append, age_s=-60)
    for _ in range(3):
        before = folder.look()
    folder.open()
    view = folder.look()
    assert (view.attempt, before.attempt) == (2, 2)
    assert view.epochs[2, 1].losses == {"box_loss": 0.9}
    assert view.epochs[2, 1].finished_ts < START_TS  # history, and no news
    assert nan_keys(view) == nan_keys(before)


@pytest.mark.parametrize(("older", "drawn"), [((1, 2, 3, 4, 5), frame(1, 3) + "\r"), ((1,), "")])
def test_rows_of_a_training_before_the_adoption_are_not_this_ones(folder: Folder, older: list[int], drawn: str) -> None:
    folder.csv(rows(*older), age_s=3600)
    folder.write(START + drawn)
    assert story(folder.look()) == ([(1, 1, False)] if drawn else [])
    folder.write(frame(1, 10) + "\n")
    assert story(folder.look()) == [(1, 1, False)]
    folder.write(HEADER + frame(2, 1) + "\r")
    folder.csv(rows(1, loss=0.7))
    view = folder.look()
    assert story(view) == [(1, 1, True), (1, 2, False)]
    assert view.epochs[1, 1].losses == {"box_loss": 0.7}


def test_rows_before_a_log_that_begins_in_the_middle_are_this_ones(folder: Folder) -> None:
    folder.csv(rows(1, 2, 3))
    folder.write(frame(4, 3) + "\r")
    assert story(folder.look()) == [(1, 1, True), (1, 2, True), (1, 3, True), (1, 4, False)]


def test_a_row_that_is_ahead_of_the_console_waits_for_it(folder: Folder) -> None:
    folder.write(START + frame(1, 8) + "\r")
    folder.csv(rows(1), age_s=5)
    assert story(folder.look()) == [(1, 1, False)]
    folder.write(frame(1, 10) + "\n")
    assert story(folder.look()) == [(1, 1, True)]


def test_an_ended_process_is_not_that_of_an_attempt_that_somebody_began(folder: Folder) -> None:
    process = ProcessIdentity(pid=7, create_time=START_TS, host="here")
    folder.adoption = replace(folder.adoption, process=process)
    write_adoption(folder.adoption, folder.state)
    folder.open()
    first_training(folder)
    gone = ProcessFact(status=ProcessStatus.GONE, ts=START_TS)
    assert replace(folder.look(), process=gone).state is RunState.DIED
    folder.write(START + frame(1, 3) + "\r")
    assert replace(folder.look(), process=gone).state is RunState.UNKNOWN
    folder.look()
    folder.look()
    folder.open()
    assert replace(folder.look(), process=gone).state is RunState.UNKNOWN


@pytest.mark.parametrize("moved", [False, True], ids=["same log", "another log"])
def test_a_run_that_is_adopted_anew_is_a_new_attempt(folder: Folder, moved: bool) -> None:
    first_training(folder)
    log = folder.log.with_name("second.out") if moved else folder.log
    process = ProcessIdentity(pid=8, create_time=START_TS + 60, host="here")
    write_adoption(replace(folder.adoption, log=log, process=process, adopted_ts=START_TS + 60), folder.state)
    with log.open("a", encoding="utf-8") as stream:
        stream.write(START + frame(1, 2, "nan") + "\r")
    view = folder.look()
    assert (view.attempt, nan_keys(view)) == (2, ["attempt2/epoch1"])
    assert view.record is not None
    assert (view.record.process, view.record.log, view.record.process_is_older) == (process, str(log), False)


def test_telling_more_of_a_run_begins_no_attempt(folder: Folder) -> None:
    first_training(folder)
    write_adoption(replace(folder.adoption, adopted_ts=START_TS + 60), folder.state)
    view = folder.look()
    assert (view.attempt, len(story(view))) == (1, 3)


@pytest.mark.parametrize("lines", [0, 1200, 3000])
@pytest.mark.parametrize("reopened", [False, True], ids=["bot runs on", "bot was restarted"])
def test_a_log_that_an_editor_wrote_anew_is_of_the_same_attempt(folder: Folder, reopened: bool, lines: int) -> None:
    folder.write("layers\n" * lines)
    first_training(folder)
    for _ in range(2):
        folder.look()
    copied = folder.log.with_name("copied")
    copied.write_bytes(folder.log.read_bytes())
    copied.replace(folder.log)
    if reopened:
        folder.open()
    folder.write(frame(3, 10) + "\n" + HEADER + frame(4, 2, "nan") + "\r")
    view = folder.look()
    assert (view.attempt, nan_keys(view)) == (1, ["attempt1/epoch1", "attempt1/epoch4"])


def test_what_happens_after_the_clock_was_put_back_is_news(folder: Folder) -> None:
    folder.write(START + frame(1, 4) + "\r")
    folder.look()
    folder.now -= 7200
    folder.write(frame(1, 10) + "\n")
    folder.csv(rows(1))
    view = folder.look()
    assert (view.epochs[1, 1].finished_ts or 0.0) >= view.news_from_ts


@pytest.mark.parametrize(
    ("began_s", "behind_s", "attempt"),
    [(-600, 0, 1), (10, 600, 1), (3600, 0, 2)],
    ids=["there before", "clock of the disk is behind", "begun since"],
)
@pytest.mark.parametrize("reopened", [False, True], ids=["bot runs on", "bot was restarted"])
def test_a_process_that_is_told_at_last_is_of_the_attempt_that_it_began(
    folder: Folder, began_s: float, behind_s: float, attempt: int, reopened: bool
) -> None:
    folder.look()
    first_training(folder)
    folder.write(frame(3, 6) + "\r")
    os.utime(folder.log, (START_TS - behind_s, START_TS - behind_s))
    for _ in range(2):
        folder.look()
    if reopened:
        folder.open()
        folder.look()
    process = ProcessIdentity(pid=8, create_time=START_TS + began_s, host="here")
    write_adoption(replace(folder.adoption, process=process, adopted_ts=START_TS + 7200), folder.state)
    folder.write(frame(3, 7, "nan") + "\r")
    view = folder.look()
    assert (view.attempt, nan_keys(view)[-1]) == (attempt, f"attempt{attempt}/epoch3")
    assert view.record is not None
    assert (view.record.process, view.record.process_is_older) == (process, False)
    folder.reader.stored()
    folder.open()
    assert (folder.look().attempt, nan_keys(folder.look())[-1]) == (attempt, f"attempt{attempt}/epoch3")


def test_a_start_behind_one_that_drew_no_frame_is_of_another_attempt(folder: Folder) -> None:
    folder.write(START)
    assert folder.look().attempt == 1
    folder.write(START + frame(1, 2) + "\r")
    assert story(folder.look()) == [(2, 1, False)]


def test_a_start_that_two_loggers_write_is_one(folder: Folder) -> None:
    folder.write("".join(2 * f"{line}\n" for line in START.split("\n")) + frame(1, 2) + "\r")
    assert story(folder.look()) == [(1, 1, False)]


@pytest.mark.parametrize(
    "said",
    [
        "^C\nTraceback (most recent call last):\n  File x\nKeyboardInterrupt\n",
        "\nTraceback (most recent call last):\n  File x\nx.api.SignalException: Process 9 got signal: 2\n",
        "\nzsh: interrupt  python train.py\n",
        "\n⚠️ Training interrupted by user\n",
    ],
    ids=["traceback", "torchrun", "zsh", "script"],
)
def test_control_c_is_a_stop(folder: Folder, said: str) -> None:
    first_training(folder)
    folder.write(said)
    view = folder.look()
    assert view.state is RunState.STOPPED
    assert [event.kind for event in view.notable] == ["run_stopped"]


@pytest.mark.parametrize("said", ["Traceback (most recent call last):\n  File x\nValueError: y", "Training failed: y"])
def test_an_error_that_training_outlives_is_no_end(folder: Folder, said: str) -> None:
    first_training(folder)
    folder.write(f"\n{said}\n")
    assert folder.look().state is RunState.CRASHED
    folder.write(frame(3, 7) + frame(3, 8) + "\r")
    view = folder.look()
    assert (view.attempt, view.state) == (1, RunState.UNKNOWN)


ALL_COLUMNS = ("epoch", "time", "train/box_loss", "metrics/mAP50(B)", "val/box_loss", "lr/pg0", "lr/pg1", "my/figure")


@pytest.mark.parametrize("spoilt", ALL_COLUMNS[1:])
def test_nan_in_any_column_is_told(folder: Folder, spoilt: str) -> None:
    folder.write(START + frame(1, 10) + "\n" + HEADER + frame(2, 10) + "\n" + HEADER + frame(3, 10) + "\n")
    good = "".join(f"{epoch},{60 * epoch},1.5,0.4,0.9,0.01,0.01,1\n" for epoch in (1, 2, 3)).splitlines()
    cells = good[1].split(",")
    cells[ALL_COLUMNS.index(spoilt)] = "nan"
    (folder.directory / "results.csv").write_text(
        "\n".join([",".join(ALL_COLUMNS), good[0], ",".join(cells), good[2], ""])
    )
    view = folder.look()
    assert nan_keys(view) == ["attempt1/epoch2/figures"]
    assert view.epochs[1, 2].nonfinite_columns == (spoilt,)
    unknown = (None, None) if spoilt == "time" else (60.0, 60.0)
    assert (view.epochs[1, 2].seconds, view.epochs[1, 3].seconds) == unknown
    assert view.epochs[1, 2].lr == (None if spoilt == "lr/pg0" else 0.01)
