"""A run that something else started, seen through its console log."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.run_dirs import START_TS, WrittenRun
from trainmaster.bot.checks.epochs import check_epochs
from trainmaster.bot.checks.limits import CheckLimits
from trainmaster.bot.checks.nonfinite import check_nonfinite
from trainmaster.bot.checks.progress import check_progress
from trainmaster.bot.cli.adopt import adopt
from trainmaster.bot.core.run.adoption import Adoption
from trainmaster.bot.core.run.facts import ProcessFact, ProcessIdentity, ProcessStatus, Relaunch
from trainmaster.bot.core.run.state import RunState
from trainmaster.bot.errors import CommandError, OperationError
from trainmaster.bot.reading.adopted import AdoptedReader
from trainmaster.bot.storage.adoptions import Adoptions, find_adoptions, read_adoption, write_adoption

HEADER = "      Epoch    GPU_mem   box_loss   cls_loss   dfl_loss  Instances       Size\n"


def _frame(epoch: int, batch: int, box: str) -> str:
    return (
        f"\r\x1b[K{f'{epoch}/5':>11}{'2.1G':>11}{box:>11}{'2.5':>11}{'1.25':>11}{12:>11}{640:>11}: "
        f"{batch * 10}% ━━━━━━────── {batch}/10 2.5it/s {batch}.0s<4.0s"
    )


@pytest.fixture
def adoption(tmp_path: Path) -> Adoption:
    (tmp_path / "exp").mkdir()
    (tmp_path / "nohup.out").write_text("Starting training for 5 epochs...\n" + HEADER, encoding="utf-8")
    return Adoption(
        name="exp", directory=tmp_path / "exp", log=tmp_path / "nohup.out", process=None, adopted_ts=START_TS
    )


def _write(adoption: Adoption, text: str) -> None:
    with adoption.log.open("a", encoding="utf-8") as stream:
        stream.write(text)


def test_place_and_losses_come_from_the_last_frame(adoption: Adoption) -> None:
    reader = AdoptedReader(adoption, first_seen_ts=START_TS)
    _write(adoption, _frame(1, 3, "1.5") + _frame(1, 4, "1.4") + "\r")
    view = reader.read(START_TS + 10)
    assert view.beat is not None
    assert (view.beat.epoch, view.beat.batch, view.beat.batches, view.total_epochs) == (1, 4, 10, 5)
    assert view.beat.losses == {"box_loss": 1.4, "cls_loss": 2.5, "dfl_loss": 1.25}


def test_what_cannot_be_known_is_unknown(adoption: Adoption) -> None:
    reader = AdoptedReader(adoption, first_seen_ts=START_TS)
    _write(adoption, _frame(1, 3, "1.5") + "\r")
    view = reader.read(START_TS + 10)
    assert view.state is RunState.UNKNOWN
    assert view.beat is not None
    assert view.beat.clipped is None
    assert view.last_clean is None
    alive = replace(view, process=ProcessFact(status=ProcessStatus.ALIVE, ts=START_TS))
    assert alive.state is RunState.TRAINING


def test_a_nan_is_one_bad_batch_an_epoch_and_in_the_weights(adoption: Adoption) -> None:
    reader = AdoptedReader(adoption, first_seen_ts=START_TS)
    _write(adoption, _frame(1, 3, "1.5") + _frame(1, 4, "nan") + _frame(1, 5, "nan") + "\r")
    view = reader.read(START_TS + 10)
    assert view.num_bad == 1
    (found,) = check_nonfinite(view, CheckLimits(), START_TS + 11)
    assert "epoch 1, batch 4 of 10" in found.title
    assert "went into the weights" in found.body[0]
    _write(adoption, "\n" + HEADER + _frame(2, 1, "nan") + "\r")
    assert reader.read(START_TS + 20).num_bad == 2


def test_epochs_finish_by_results_csv(adoption: Adoption) -> None:
    reader = AdoptedReader(adoption, first_seen_ts=START_TS)
    _write(adoption, _frame(1, 10, "1.5") + "\n")
    (adoption.directory / "results.csv").write_text(
        "epoch,time,train/box_loss,metrics/mAP50(B),metrics/mAP50-95(B)\n1,60,1.5,0.4,0.2\n"
    )
    view = reader.read(START_TS + 10)
    epoch = view.epoch(1)
    assert epoch is not None
    assert epoch.finished
    assert epoch.metrics == {"metrics/mAP50(B)": 0.4, "metrics/mAP50-95(B)": 0.2}
    assert epoch.losses == {"box_loss": 1.5}
    assert len([one for one in reader.read(START_TS + 20).epochs.values() if one.finished]) == 1


@pytest.mark.parametrize(("val", "validated"), [("0", False), ("0.9", True), ("nan", True)])
def test_zeros_in_the_place_of_a_validation_are_none(adoption: Adoption, val: str, validated: bool) -> None:
    _write(adoption, _frame(1, 10, "1.5") + "\n")
    columns = "epoch,time,train/box_loss,metrics/mAP50(B),val/box_loss\n"
    (adoption.directory / "results.csv").write_text(f"{columns}1,60,1.5,0,{val}\n")
    epoch = AdoptedReader(adoption, first_seen_ts=START_TS).read(START_TS + 10).epoch(1)
    assert epoch is not None
    assert epoch.validated is validated


def test_the_epoch_that_ran_when_its_log_began_is_reported_behind_many_rows(adoption: Adoption) -> None:
    reader, results = AdoptedReader(adoption, first_seen_ts=START_TS), adoption.directory / "results.csv"
    adoption.log.write_text(HEADER + _frame(41, 3, "1.5") + "\r")
    results.write_text("epoch,time,train/box_loss\n" + "".join(f"{epoch},60,1.5\n" for epoch in range(1, 41)))
    reader.read(START_TS + 10)
    _write(adoption, _frame(41, 10, "1.5") + "\n")
    results.write_text(results.read_text() + "41,60,1.5\n")
    os.utime(results, (START_TS + 20, START_TS + 20))
    told = check_epochs(reader.read(START_TS + 30), CheckLimits(), START_TS + 30)
    assert told[-1].key == "attempt1/epoch41"


def test_completion_and_crash_are_seen(adoption: Adoption) -> None:
    reader = AdoptedReader(adoption, first_seen_ts=START_TS)
    _write(adoption, _frame(5, 10, "1.5") + "\n\n5 epochs completed in 0.100 hours.\n")
    assert reader.read(START_TS + 10).state is RunState.FINISHED


BANNER = "Ultralytics 8.3.145 🚀 Python-3.11.9 torch-2.5.1 CPU (x)\n"
COMPLETED = "\n5 epochs completed in 0.100 hours.\n"
VALIDATION_FAILS = (
    f"{BANNER}{'mAP50-95)':>75}: 100% ━━━━━━━━━━ 2/2 3.1it/s 0.6s\n"
    'Traceback (most recent call last):\n  File "val.py", line 3, in <module>\nValueError: no labels\n'
)


@pytest.mark.parametrize(
    ("end", "state", "cause"),
    [
        pytest.param("\nKilled\n", RunState.CRASHED, "Killed", id="behind a death"),
        pytest.param(COMPLETED + BANNER, RunState.FINISHED, None, id="behind the final evaluation"),
        pytest.param(COMPLETED, RunState.CRASHED, "ValueError: no labels", id="the final evaluation itself"),
    ],
)
def test_a_validation_behind_the_end_that_fails_is_no_end_of_the_training(
    adoption: Adoption, end: str, state: RunState, cause: str | None
) -> None:
    reader = AdoptedReader(adoption, first_seen_ts=START_TS)
    _write(adoption, BANNER + HEADER + _frame(4, 3, "1.5") + "\n" + end)
    reader.read(START_TS + 10)
    _write(adoption, VALIDATION_FAILS)
    view = reader.read(START_TS + 20)
    assert view.state is state
    assert [one.text("error") for one in view.notable if one.kind == "run_crashed"] == ([cause] if cause else [])
    _write(adoption, f"{BANNER}Starting training for 5 epochs...\n{HEADER}{_frame(1, 3, '1.5')}\n\nKilled\n")
    view = reader.read(START_TS + 30)
    assert (view.attempt, view.state) == (2, RunState.CRASHED)


STARTED = f"{BANNER}Image sizes 640 train, 640 val\nStarting training for 5 epochs...\n{HEADER}"
VALIDATED = f"{'all':>22}{128:>11}{929:>11}{0.6:>11}{0.5:>11}{0.4:>11}{0.3:>11}\n"


def test_epochs_of_a_console_without_bars_are_told_by_their_rows_and_stall_by_their_length(adoption: Adoption) -> None:
    reader, results = AdoptedReader(adoption, first_seen_ts=START_TS), adoption.directory / "results.csv"
    for attempt, losses in enumerate((("1.5", "1.25"), ("nan", "1.5")), 1):
        _write(adoption, STARTED if attempt > 1 else "")
        results.unlink(missing_ok=True)
        reader.read(START_TS + 10)
        for epoch, loss in enumerate(losses, 1):
            with results.open("a", encoding="utf-8") as stream:
                stream.write("" if epoch > 1 else "epoch,time,train/box_loss,metrics/mAP50(B)\n")
                stream.write(f"{epoch},{60 * epoch + attempt},{loss},0.4\n")
            _write(adoption, VALIDATED + HEADER)
            os.utime(results, (START_TS, START_TS))  # the next head of a table is younger
            view = reader.read(START_TS + 10 + epoch)
            assert [key for key, one in view.epochs.items() if one.finished][-1] == (attempt, epoch)
        assert [one.ts for one in check_nonfinite(view, CheckLimits(), view.ts)] == [START_TS + 11] * (attempt - 1)
        limits, written_ts = CheckLimits(phase_min_s=120), view.beat_seen_ts or 0.0
        assert [len(check_progress(view, limits, written_ts + later_s)) for later_s in (200, 400)] == [0, 1]


def test_a_validation_behind_a_start_that_went_no_further_is_none_of_its_training(adoption: Adoption) -> None:
    reader = AdoptedReader(adoption, first_seen_ts=START_TS)
    _write(adoption, VALIDATION_FAILS + BANNER + VALIDATED)
    (adoption.directory / "results.csv").write_text("epoch,time,train/box_loss\n1,60,nan\n")
    view = reader.read(START_TS + 10)
    assert (view.attempt, view.state, dict(view.epochs)) == (1, RunState.UNKNOWN, {})
    _write(adoption, STARTED)
    assert reader.read(START_TS + 20).attempt == 2


@pytest.mark.parametrize("error", ["ValueError: x", "KeyboardInterrupt"])
def test_what_every_rank_says_as_a_training_ends_is_told_once(adoption: Adoption, error: str) -> None:
    reader = AdoptedReader(adoption, first_seen_ts=START_TS)
    for batch in (2, 3):
        _write(adoption, HEADER + _frame(1, batch, "1.5") + "\n")
        _write(adoption, f'Traceback (most recent call last):\n  File "x", line 1, in <module>\n{error}\n' * 4)
    assert [one.seq for one in reader.read(START_TS + 10).notable] == [1, 2]


@pytest.mark.parametrize("anew", [True, False], ids=["from the start", "from a checkpoint"])
def test_a_start_that_was_rotated_away_while_no_bot_looked_hides_no_row_and_moves_none(
    adoption: Adoption, tmp_path: Path, anew: bool
) -> None:
    record, results = tmp_path / "exp.json", adoption.directory / "results.csv"
    reader = AdoptedReader(adoption, first_seen_ts=START_TS, record=record)
    _write(adoption, "".join(HEADER + _frame(epoch, 10, f"1.{epoch}") + "\n" for epoch in range(1, 6)))
    results.write_text(
        "epoch,time,train/box_loss\n" + "".join(f"{epoch},{epoch}0,1.{epoch}\n" for epoch in range(1, 5 if anew else 4))
    )
    reader.read(START_TS + 10)
    reader.stored()
    adoption.log.write_text(HEADER + _frame(5, 2, "1.7") + "\r", encoding="utf-8")
    if anew:
        results.write_text("epoch,time,train/box_loss\n1,9,nan\n2,19,1.9\n3,29,1.8\n4,39,1.8\n")
    else:
        results.write_text(results.read_text() + "4,40,1.4\n")
    view = AdoptedReader(adoption, first_seen_ts=START_TS, record=record).read(START_TS + 99)
    assert view.attempt == 2
    assert {key for key, epoch in view.epochs.items() if epoch.finished and key[0] == 2} == (
        {(2, epoch) for epoch in range(1, 5)} if anew else set()
    )
    assert len(check_nonfinite(view, CheckLimits(), START_TS + 99)) == anew


def test_a_log_that_is_not_there_is_told(adoption: Adoption) -> None:
    adoption.log.unlink()
    view = AdoptedReader(adoption, first_seen_ts=START_TS).read(START_TS + 10)
    assert view.read_errors == (f"{adoption.log} is not there (yet).",)


def test_adoption_is_written_and_found_again(adoption: Adoption, tmp_path: Path) -> None:
    made = adopt(adoption.directory, adoption.log, os.getpid(), None, state_dir=tmp_path / "state")
    assert made.process is not None
    assert made.process.create_time is not None
    (path,) = find_adoptions(tmp_path / "state")
    assert read_adoption(path) == made


@pytest.mark.parametrize(
    ("change", "slug"),
    [
        pytest.param({"directory": "nope"}, "adopt-run-dir", id="no directory"),
        pytest.param({"log": "nope"}, "adopt-log", id="no log"),
        pytest.param({"pid": 2**22 + 1}, "adopt-pid", id="no such process"),
        pytest.param({"name": "../evil"}, "adopt-name", id="a name that is a path"),
        pytest.param({"directory": "guarded"}, "adopt-guarded", id="guarded already"),
    ],
)
def test_an_adoption_that_cannot_work_is_refused_and_nothing_written(
    adoption: Adoption, tmp_path: Path, change: dict[str, object], slug: str
) -> None:
    WrittenRun(tmp_path, "guarded")
    directory = tmp_path / str(change.get("directory", "exp"))
    log = tmp_path / str(change.get("log", "nohup.out"))
    pid, name = change.get("pid"), change.get("name")
    assert pid is None or isinstance(pid, int)
    assert name is None or isinstance(name, str)
    with pytest.raises(CommandError) as caught:
        adopt(directory, log, pid, name, state_dir=tmp_path / "state")
    assert caught.value.slug == slug
    assert not (tmp_path / "state" / "adopted").exists()


def _child(pid: int) -> ProcessIdentity:
    return ProcessIdentity(pid=pid, create_time=START_TS, host="here")


def _csv(adoption: Adoption, epochs: int) -> None:
    rows = "".join(f"{epoch},1.0,0.5\n" for epoch in range(1, epochs + 1))
    (adoption.directory / "results.csv").write_text("epoch,train/box_loss,metrics/mAP50(B)\n" + rows, encoding="utf-8")


@pytest.fixture
def recorded(adoption: Adoption, tmp_path: Path) -> tuple[Adoption, Path]:
    known = replace(adoption, process=_child(7), relaunch=Relaunch(argv=("yolo", "train"), cwd=str(tmp_path)))
    write_adoption(known, tmp_path / "state")
    (path,) = find_adoptions(tmp_path / "state")
    return known, path


def _second_attempt(adoption: Adoption, state_dir: Path) -> Path:
    """The run had three epochs, was stopped, and goes on with epoch 3 in a log of its own."""
    for epoch in (1, 2, 3):
        _write(adoption, _frame(epoch, 10, "1.5") + "\n")
    _csv(adoption, 2)
    log = adoption.log_of_next()
    log.write_text("Resuming training\n" + HEADER + _frame(3, 4, "1.4") + "\r", encoding="utf-8")
    adoptions = Adoptions(state_dir)
    adoptions.end(adoption.name)
    for _ in range(2):  # may be repeated
        adoptions.begin(adoption.name, _child(8), log, 3)
    return log


@pytest.mark.parametrize("restarted", [False, True], ids=["bot runs on", "bot was restarted"])
def test_second_attempt_is_told_apart_from_the_first(
    recorded: tuple[Adoption, Path], tmp_path: Path, restarted: bool
) -> None:
    adoption, path = recorded
    reader = AdoptedReader(adoption, first_seen_ts=START_TS, record=path)
    reader.read(START_TS)
    log = _second_attempt(adoption, tmp_path / "state")
    if restarted:
        told = read_adoption(path)
        assert told is not None
        reader = AdoptedReader(told, first_seen_ts=START_TS, record=path)
    view = reader.read(START_TS + 10)
    assert view.record is not None
    assert view.record.process == _child(8)
    assert (view.attempt, view.record.log, view.record.from_epoch) == (2, str(log), 3)
    assert [(one.attempt, one.epoch, one.finished) for one in view.story()] == [
        (1, 1, True),
        (1, 2, True),
        (2, 3, False),
    ]
    assert view.beat is not None
    assert (view.beat.epoch, view.beat.batch) == (3, 4)
    assert view.record.relaunch is not None
    assert view.record.relaunch.log.endswith("nohup.attempt3.out")


def test_end_on_purpose_is_a_stop_and_no_death(recorded: tuple[Adoption, Path], tmp_path: Path) -> None:
    adoption, path = recorded
    reader = AdoptedReader(adoption, first_seen_ts=START_TS, record=path)
    Adoptions(tmp_path / "state").end(adoption.name)
    gone = ProcessFact(status=ProcessStatus.GONE, ts=START_TS)
    assert replace(reader.read(START_TS + 10), process=gone).state is RunState.STOPPED


def test_record_of_an_older_bot_is_understood() -> None:
    old = {"v": 1, "name": "a", "directory": "/d", "log": "/l", "process": None, "adopted_ts": 1.0}
    adoption = Adoption.from_json(old)
    assert adoption is not None
    assert (adoption.relaunch, adoption.later) == (None, ())


def test_adoption_without_a_record_says_so(tmp_path: Path) -> None:
    with pytest.raises(OperationError, match="is gone"):
        Adoptions(tmp_path).end("nobody")
