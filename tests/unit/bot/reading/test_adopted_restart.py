"""The bot is started again while it watches an adopted run: what it had told is history, the rest is news."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.run_dirs import START_TS
from tests.unit.bot.reading.test_adopted_attempts import RESUME, START, frame, rows
from tests.unit.bot.reading.test_adopted_away import Clocked, in_the_third_epoch
from trainmaster.bot.checks.lifecycle import check_lifecycle
from trainmaster.bot.checks.limits import CheckLimits
from trainmaster.bot.checks.nonfinite import check_nonfinite
from trainmaster.bot.checks.progress import check_progress
from trainmaster.bot.core.alerts.finding import Nature
from trainmaster.bot.core.run.adoption import Adoption
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.reading.adopted import AdoptedReader
from trainmaster.bot.storage.adoptions import find_adoptions, write_adoption

HEADER = "      Epoch    GPU_mem   box_loss   cls_loss   dfl_loss  Instances       Size\n"
DAY_S = 86_400.0


def _frame(epoch: int, batch: int, box: str = "1.5") -> str:
    return (
        f"\r\x1b[K{f'{epoch}/5':>11}{'2.1G':>11}{box:>11}{'2.5':>11}{'1.25':>11}{12:>11}{640:>11}: "
        f"{batch * 10}% ━━━━━━────── {batch}/10 2.5it/s {batch}.0s<4.0s"
    )


@pytest.fixture
def record(tmp_path: Path) -> Path:
    """An adoption on disk; its log holds a NaN in epoch 1, and ``results.csv`` that epoch."""
    log = tmp_path / "nohup.out"
    log.write_text("Starting training for 5 epochs...\n" + HEADER + _frame(1, 4, "nan") + _frame(1, 10) + "\n")
    (tmp_path / "exp").mkdir()
    (tmp_path / "exp" / "results.csv").write_text("epoch,time,train/box_loss\n1,100,0.5\n")
    adoption = Adoption(name="exp", directory=tmp_path / "exp", log=log, process=None, adopted_ts=START_TS)
    write_adoption(adoption, tmp_path / "state")
    (path,) = find_adoptions(tmp_path / "state")
    return path


def _open(record: Path) -> AdoptedReader:
    log = record.parent.parent.parent / "nohup.out"
    adoption = Adoption(name="exp", directory=log.parent / "exp", log=log, process=None, adopted_ts=START_TS)
    return AdoptedReader(adoption, first_seen_ts=START_TS, record=record)


def _write(record: Path, text: str) -> None:
    with (record.parent.parent.parent / "nohup.out").open("a", encoding="utf-8") as stream:
        stream.write(text)


def _watched(record: Path) -> None:
    """A bot looked at the run for a while and ended."""
    reader = _open(record)
    for look in range(3):
        reader.read(START_TS + 60 + 30 * look)


def _bad_ts(view: RunView, epoch: int) -> list[float]:
    return [bad.ts - START_TS for one in view.story() if one.epoch == epoch for bad in one.bad_batches]


def test_what_was_told_before_keeps_an_old_time(record: Path) -> None:
    _watched(record)
    view = _open(record).read(START_TS + DAY_S)
    assert _bad_ts(view, 1) == [0.0]
    assert view.epochs[1, 1].finished_ts == START_TS
    assert view.beat is not None
    assert view.beat.batch == 10


def test_what_came_while_the_bot_was_away_is_news(record: Path) -> None:
    _watched(record)
    _write(record, HEADER + _frame(2, 3, "nan") + "\n")
    with (record.parent.parent.parent / "exp" / "results.csv").open("a") as stream:
        stream.write("2,250,0.4\n")
    view = _open(record).read(START_TS + DAY_S)
    assert (_bad_ts(view, 1), _bad_ts(view, 2)) == ([0.0], [DAY_S])
    assert view.epochs[1, 2].finished_ts == START_TS + DAY_S


def test_the_first_look_at_an_adopted_run_is_all_news(record: Path) -> None:
    assert _bad_ts(_open(record).read(START_TS + 60), 1) == [60.0]


def test_what_the_last_look_found_is_told_again_rather_than_lost(record: Path) -> None:
    _watched(record)
    reader = _open(record)
    reader.read(START_TS + 200)
    _write(record, HEADER + _frame(2, 3, "nan") + "\n")
    reader.read(START_TS + 230)  # found, and nobody knows whether it was told
    assert _bad_ts(_open(record).read(START_TS + DAY_S), 2) == [DAY_S]


def test_what_is_stored_is_history_at_once(record: Path) -> None:
    reader = _open(record)
    reader.read(START_TS + 60)
    reader.stored()
    view = _open(record).read(START_TS + DAY_S)
    assert (_bad_ts(view, 1), view.epochs[1, 1].finished_ts) == ([0.0], START_TS)


def test_epochs_stay_known_while_their_file_cannot_be_read(record: Path) -> None:
    _watched(record)
    results = record.parent.parent.parent / "exp" / "results.csv"
    away = results.rename(results.with_name("away"))
    _write(record, HEADER + _frame(2, 3, "nan") + "\n")
    reader = _open(record)
    reader.read(START_TS + 200)
    reader.stored()
    away.rename(results)
    assert _open(record).read(START_TS + DAY_S).epochs[1, 1].finished_ts == START_TS


@pytest.mark.parametrize("text", ["", HEADER + _frame(1, 4, "nan") + "\n" * 500])
def test_another_log_of_that_name_is_news_and_what_was_told_of_the_one_before_is_history(
    record: Path, text: str
) -> None:
    _watched(record)
    log = record.parent.parent.parent / "nohup.out"
    log.rename(log.with_suffix(".old"))
    log.write_text(text)
    assert _bad_ts(_open(record).read(START_TS + DAY_S), 1) == ([DAY_S] if text else [0.0])


def test_a_log_that_is_begun_anew_under_the_bot_is_news(record: Path) -> None:
    _watched(record)
    reader = _open(record)
    reader.read(START_TS + 200)
    log = record.parent.parent.parent / "nohup.out"
    log.write_text(HEADER * 9 + _frame(2, 2, "nan") + "\n")  # longer than what was read of the old one
    assert _bad_ts(reader.read(START_TS + 230), 2) == [230.0]


def test_a_damaged_note_of_what_was_heard_costs_a_repetition_only(record: Path) -> None:
    _watched(record)
    record.with_suffix(".heard").write_text('{"attempt": "one", "offset": [], "epochs": 7, "running": {}}')
    assert _bad_ts(_open(record).read(START_TS + DAY_S), 1) == [DAY_S]


@pytest.mark.parametrize(
    "damage",
    [{"head_bytes": 10**12}, {"running": [1, 1]}, {"bad": [{"attempt": 1, "epoch": 1, "losses": {"box": math.inf}}]}],
    ids=lambda damage: next(iter(damage)),
)
def test_a_damaged_note_ends_no_look(record: Path, damage: dict[str, object]) -> None:
    _watched(record)
    path = record.with_suffix(".heard")
    path.write_text(json.dumps(json.loads(path.read_text()) | damage))
    reader = _open(record)
    for look in range(2):
        assert reader.read(START_TS + DAY_S + 30 * look).epochs[1, 1].finished
        reader.stored()


def test_epochs_that_a_bot_of_before_noted_are_not_those_of_a_later_attempt(tmp_path: Path) -> None:
    folder = in_the_third_epoch(tmp_path)
    path = folder.record.with_suffix(".heard")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"epochs": [1, 2]}))
    folder.open()
    assert folder.look().epochs[1, 2].finished_ts == START_TS - 5
    folder.write(START + frame(1, 10, "0.7") + "\n" + HEADER)
    folder.csv(rows(1, loss=0.7), append=True)
    assert folder.look().epochs[2, 1].finished_ts == folder.now


def test_the_running_epoch_keeps_its_age_over_a_restart(record: Path) -> None:
    reader = _open(record)
    _write(record, HEADER + _frame(2, 1) + "\n")
    for look in range(3):
        reader.read(START_TS + 100 + 30 * look)
    _write(record, _frame(2, 2) + "\n")
    view = _open(record).read(START_TS + 1100)
    assert view.beat is not None
    assert view.beat.epoch_elapsed_s == 1000


def test_epochs_take_what_their_csv_says(record: Path) -> None:
    with (record.parent.parent.parent / "exp" / "results.csv").open("a") as stream:
        stream.write("2,250,0.4\n3,30,0.4\n4,70,0.3\n")  # resumed after epoch 2
    view = _open(record).read(START_TS + 60)
    assert [epoch.seconds for epoch in view.story()] == [100.0, 150.0, 30.0, 40.0]


def test_a_halved_batch_is_told(record: Path) -> None:
    _write(record, "WARNING ⚠️ CUDA out of memory with batch=16. Reducing to batch=8 and retrying (1/3).\n")
    (event,) = [one for one in _open(record).read(START_TS + 60).notable if one.kind == "out_of_memory"]
    assert (event.integer("batch_size_before"), event.integer("batch_size_after")) == (16, 8)


CRASH = 'Traceback (most recent call last):\n  File "x", line 1, in <module>\nRuntimeError: x\n'
LIVES = {
    "stopped in a log that was empty": ["", "\n^C\n", START + frame(1, 2) + "\r", frame(1, 10) + "\n" + HEADER],
    "begun anew with half a start": [START + frame(1, 10) + "\n", "ANEW", START[:90], START[90:], frame(1, 2) + "\r"],
    "resumed with half a start": [START + frame(1, 10) + "\n" + HEADER, RESUME[:90], RESUME[90:], frame(3, 2) + "\r"],
    "started up twice": [START, "ANEW", START[:90], START[90:] + frame(1, 2, "nan") + "\r", frame(1, 10) + "\n"],
    "ended behind a rotation": [
        *(START + frame(1, 3) + "\r", "ANEW", CRASH, "hello\n", START + frame(1, 2, "nan") + "\r"),
        *(frame(1, 10) + "\n", CRASH),
    ],
    "went on and crashed again": [
        *(START + frame(1, 3) + "\r" + CRASH, frame(1, 4) + "\r", "ANEW", frame(1, 5) + "\r", "\n" + CRASH),
    ],
    "a row without a word": [START + frame(1, 10) + "\n" + HEADER, "ROW", "x\n", "y\n"],
}


def news(folder: Clocked, life: Sequence[str], *, reopened: bool) -> list[str]:
    """What each look at the ``life`` finds that has just happened, each found once."""
    found: list[str] = []
    for piece in life:
        if piece == "ROW":
            folder.csv(rows(1, loss=float("nan")))
        else:
            folder.write("" if piece == "ANEW" else piece, anew=piece == "ANEW")
        view = folder.look()
        findings = (*check_lifecycle(view, CheckLimits(), view.ts), *check_nonfinite(view, CheckLimits(), view.ts))
        found += [one.fingerprint for one in findings if one.ts == folder.now]
        folder.reader.stored()
        if reopened:
            folder.open()
    return found


@pytest.mark.parametrize("life", LIVES.values(), ids=LIVES)
def test_a_bot_that_begins_again_at_every_look_finds_the_same_once(tmp_path: Path, life: Sequence[str]) -> None:
    (tmp_path / "on").mkdir()
    told = news(Clocked(tmp_path / "on"), life, reopened=False)
    assert told
    assert len(told) == len(set(told))
    (tmp_path / "again").mkdir()
    assert news(Clocked(tmp_path / "again"), life, reopened=True) == told


def test_a_resume_whose_log_was_emptied_before_its_first_frame_has_no_row_of_before(tmp_path: Path) -> None:
    folder = in_the_third_epoch(tmp_path)
    folder.write(RESUME, anew=True)
    folder.look()
    folder.reader.stored()
    folder.write("", anew=True)
    for piece in ("", frame(3, 2) + "\r", frame(3, 10) + "\n" + HEADER):
        folder.open()
        folder.write(piece)
        folder.look()
        folder.reader.stored()
    folder.open()
    folder.csv(rows(3), append=True)
    assert sorted(key for key, one in folder.look().epochs.items() if one.finished) == [(1, 1), (1, 2), (2, 3)]


def test_what_a_rotated_log_begins_with_is_not_of_all_epochs_before_it(tmp_path: Path) -> None:
    folder = in_the_third_epoch(tmp_path)
    folder.write(RESUME)
    for text, anew in (("", False), ("", True), (frame(3, 2) + "\n" + RESUME + frame(3, 3) + "\r", False)):
        folder.write(text, anew=anew)
        folder.look()
        folder.reader.stored()
        folder.open()
    folder.write(frame(3, 10) + "\n" + HEADER)
    folder.csv(rows(3), append=True)
    told = sorted(key for key, one in folder.look().epochs.items() if one.finished)
    assert told == [(1, 1), (1, 2), (3, 3)]


def test_a_phase_is_as_old_as_it_was_when_the_bot_starts_again(tmp_path: Path) -> None:
    folder = in_the_third_epoch(tmp_path)
    folder.now += 86_400
    folder.write(RESUME, anew=True)
    folder.look()
    folder.reader.stored()
    folder.write("", anew=True)
    folder.open()
    assert check_progress(folder.look(), CheckLimits(), folder.now) == ()


@pytest.mark.parametrize("away", [True, False], ids=["file away", "file there"])
@pytest.mark.parametrize("by_s", [0, -7200], ids=["", "clock put back"])
def test_nan_of_an_epoch_that_is_over_is_told_once_whatever_was_put_back_or_away(
    tmp_path: Path, by_s: float, away: bool
) -> None:
    folder = Clocked(tmp_path)
    folder.look()
    folder.now += by_s
    folder.write(START + frame(1, 4, "nan") + "\r")
    (told,) = check_nonfinite(folder.look(), CheckLimits(), folder.now)
    folder.write(frame(1, 10, "nan") + "\n")
    folder.csv(rows(1, loss=float("nan")))
    folder.look()
    folder.reader.stored()
    if away:
        (folder.directory / "results.csv").unlink()
    folder.now += 3600
    folder.open()
    (found,) = check_nonfinite(folder.look(), CheckLimits(), folder.now)
    assert (found.nature, found.fingerprint, found.ts <= told.ts) == (Nature.OCCURRENCE, told.fingerprint, True)
    assert [str(one.losses) for one in folder.look().story()] == ["{'box_loss': nan}"]


def test_a_row_that_turns_out_to_be_of_a_later_attempt_is_told_once(tmp_path: Path) -> None:
    folder = Clocked(tmp_path)
    folder.write(START + frame(1, 10) + "\n")
    folder.watch()
    folder.write(START + frame(1, 8) + "\r")
    folder.watch()
    folder.csv(rows(1, loss=0.7))
    os.utime(folder.directory / "results.csv", (folder.now - 3600, folder.now - 3600))
    assert folder.look().epochs[1, 1].finished_ts == folder.now
    folder.reader.stored()
    folder.write(frame(1, 10, "0.7") + "\n" + HEADER + frame(2, 2) + "\r")
    folder.csv("", append=True)
    folder.open()
    view = folder.look()
    assert view.story()[0].losses == {"box_loss": 0.7}
    assert (view.epochs[2, 1].finished_ts or 0.0) < view.news_from_ts


def test_a_row_of_an_epoch_that_a_later_attempt_ended_with_other_losses_stays_where_it_was_told(tmp_path: Path) -> None:
    folder = Clocked(tmp_path)
    folder.write(START + frame(1, 10, "0.5") + "\n" + HEADER)
    folder.csv("epoch,train/box_loss,metrics/mAP50(B)\n1,0.5,0.4\n", header=False)
    folder.watch()
    folder.write(START + frame(1, 10, "0.7") + "\n" + START + frame(1, 2) + "\r", anew=True)
    folder.watch()
    folder.csv("", append=True)
    folder.open()
    assert [key for key, one in folder.look().epochs.items() if one.finished] == [(1, 1)]
