"""A log of several trainings: the verdict is the last one's. An end on request is no crash."""

from __future__ import annotations

import io

import pytest

from tests.unit.bot.reading.log_texts import (
    BANNER,
    NAN,
    SHARED_LOGS,
    frame,
    raised,
    start,
    validation,
)
from trainmaster.bot.reading.scan.report import render
from trainmaster.bot.reading.scan.scanner import ScanReport, scan_file, scan_stream

DONE = start() + frame(10, 20) + "\n" + validation() + "\n10 epochs completed in 0.5 hours.\n"
FINAL = f"\nValidating runs/best.pt...\n{BANNER}{validation()}Results saved to runs/train\n"
EARLY = (
    start() + frame(3, 20) + "\n" + validation()
    + "EarlyStopping: Training stopped early as no improvement observed in last 5 epochs.\n"
)  # fmt: skip
SETUP = f"{BANNER}engine/trainer: task=detect, mode=train, epochs=10\nImage sizes 640 train, 640 val\n"
BARE = "\r  0%|          | 0/40 [00:00<?, ?it/s]"


def scan(log: str) -> ScanReport:
    return scan_stream(io.BytesIO(log.encode()))


def verdict(log: str) -> str:
    return render(scan(log), name="log", color=False).split("\n")[1]


@pytest.mark.parametrize(
    "again",
    [
        pytest.param(SETUP, id="setting up"),
        pytest.param(start(), id="before the first frame"),
        pytest.param(start() + BARE, id="a bar before the first frame"),
        pytest.param("train: weights=yolov5s.pt, cfg=, data=coco128.yaml\n", id="yolov5 setting up"),
        pytest.param(f"{BANNER}Resuming training last.pt from epoch 4 to 10 total epochs\n", id="resume"),
    ],
)
@pytest.mark.parametrize("first", [DONE, DONE + FINAL, EARLY + FINAL], ids=["done", "validated", "early"])
def test_a_training_that_was_started_and_drew_no_frame_is_not_completed(first: str, again: str) -> None:
    report = scan(first + again)
    assert (report.completed, report.early_stopped, report.crashed) == (False, False, False)
    assert "NOT FINISHED: a new training was started at line" in verdict(first + again)


@pytest.mark.parametrize("first", [DONE, DONE + FINAL, EARLY + FINAL], ids=["done", "validated", "early"])
def test_the_final_validation_is_no_new_training(first: str) -> None:
    assert scan(first).completed


def test_the_line_of_the_new_start_is_told() -> None:
    log = DONE + start()
    line = log[: log.rindex("Starting training")].count("\n") + 1
    assert f"at line {line} " in verdict(log)


@pytest.mark.parametrize(
    ("last", "completed", "crashed"),
    [
        pytest.param(DONE, True, False, id="done"),
        pytest.param(start() + frame(1, 3), False, False, id="running"),
        pytest.param(start() + frame(1, 3) + raised("ValueError: x"), False, True, id="crashed"),
        pytest.param(SETUP + raised("ValueError: x"), False, True, id="crashed while setting up"),
        pytest.param(start() + "Killed\n", False, True, id="killed before the first frame"),
    ],
)
@pytest.mark.parametrize(
    "first", [DONE, EARLY, start() + frame(2, 3) + raised("OSError: y")], ids=["done", "early", "crashed"]
)
def test_the_verdict_is_that_of_the_last_fold(first: str, last: str, completed: bool, crashed: bool) -> None:
    report = scan(first + last)
    assert (report.completed, report.early_stopped, report.crashed) == (completed, False, crashed)


GUARD = "WARNING ⚠️ {0}: stopping as soon as the state is whole; once more to leave at once\n"
ENDED = "WARNING ⚠️ run ended early: {0}. State: guard/states/stop.pt\n"


@pytest.mark.parametrize("signal", ["SIGTERM", "SIGINT", "SIGHUP"])
@pytest.mark.parametrize(
    "after",
    ["", "Terminated\n", "Process finished with exit code 3\n",
     "slurmstepd: error: *** JOB 9 ON g CANCELLED AT x ***\n",
     "train.sh: line 3:  4711 Terminated              trainmaster train\n"],
    ids=["alone", "terminated", "exit 3", "slurm", "script"],
)  # fmt: skip
def test_a_guarded_run_that_was_asked_to_stop_says_so(signal: str, after: str) -> None:
    log = start() + frame(1, 3) + "\n" + GUARD.format(signal) + frame(1, 4) + "\n" + ENDED.format(signal) + after
    report = scan(log)
    assert (report.crashed, report.completed, report.crash_kind, report.incidents) == (False, False, "none", ())
    assert verdict(log).startswith(f"STOPPED ON REQUEST: {signal}")


def test_a_run_that_was_killed_while_it_stopped_was_killed() -> None:
    assert scan(start() + frame(1, 3) + "\n" + GUARD.format("SIGTERM") + "Killed\n").crash_kind == "killed"


def test_a_stop_of_an_earlier_attempt_is_not_that_of_the_last() -> None:
    stopped = start() + frame(1, 3) + "\n" + ENDED.format("SIGTERM")
    again = "\n====== next attempt, 2026-03-05 01:02:03 UTC ======\n" + start() + frame(1, 4)
    assert scan(stopped).stopped_by == "SIGTERM"
    assert scan(stopped + again).stopped_by is None
    assert scan(stopped + again + "\nKilled\n").crash_kind == "killed"


def test_a_guard_that_gave_up_says_why() -> None:
    log = start() + frame(1, 3) + "\n" + ENDED.format("20 bad batches in a row") + "Process finished with exit code 4\n"
    assert verdict(log) == "THE GUARD GAVE UP: run ended early: 20 bad batches in a row"
    assert [entry.kind for entry in scan(log).incidents] == ["gave_up"]


@pytest.mark.parametrize(
    "end",
    [
        pytest.param(raised("KeyboardInterrupt"), id="traceback"),
        pytest.param("^C\n", id="notebook"),
        pytest.param("\nProcess finished with exit code 130 (interrupted by signal 2:SIGINT)\n", id="exit code"),
        pytest.param("\nProcess finished with exit code -1073741510 (0xC000013A)\n", id="windows"),
        pytest.param(raised("x.api.SignalException: Process 9 got signal: 2"), id="torchrun"),
        pytest.param("\nfish: Job 1, 'python' terminated by signal SIGINT (Keyboard interrupt)\n", id="fish"),
        pytest.param("\ntrain.sh: line 3:  4711 Interrupt               python train.py\n", id="bash"),
        pytest.param("\n[1]+  Unterbrechung           python train.py\n", id="a job, in German"),
        pytest.param("\nzsh: interrupt  python train.py\n", id="zsh"),
        pytest.param("\nforrtl: error (200): program aborting due to control-C event\n", id="Intel Fortran"),
        pytest.param(
            raised("subprocess.CalledProcessError: Command 'x' died with <Signals.SIGINT: 2>."), id="subprocess"
        ),
    ],
)
def test_control_c_is_told_as_a_stop_and_no_crash(end: str) -> None:
    log = start() + frame(1, 3) + end
    report = scan(log)
    assert verdict(log) == "STOPPED BY THE USER (Ctrl-C)"
    assert (report.verdict, report.incidents) == ("stopped_by_user", ())
    assert "stopped_by_user" in {entry.kind for entry in report.notices}


def test_control_c_of_an_attempt_before_the_last_is_no_incident_either() -> None:
    report = scan(start() + frame(1, 3) + raised("KeyboardInterrupt") + start() + frame(1, 4))
    assert (report.verdict, report.incidents) == ("not_finished", ())
    assert [entry.kind for entry in report.notices] == ["stopped_by_user"]


@pytest.mark.parametrize(
    ("log", "verdict"),
    [
        ("", "no_training"),
        (start() + frame(1, 3), "not_finished"),
        (start() + frame(1, 3) + "\nKilled\n", "crashed"),
        (start() + frame(1, 3) + "\n" + ENDED.format("SIGTERM"), "stopped_on_request"),
        (start() + frame(1, 3) + "\n" + ENDED.format("20 bad batches in a row"), "gave_up"),
        (start() + frame(10, 20) + "\n10 epochs completed in 0.5 hours.\n", "completed"),
        (start() + frame(2, 20) + "\nStopping training early as no improvement observed\n", "stopped_early"),
        (start() + frame(10, 20) + "\n10 epochs completed in 0.5 hours.\n" + start(), "not_finished"),
    ],
)
def test_the_json_says_in_one_word_how_it_ended(log: str, verdict: str) -> None:
    assert scan(log).to_json()["verdict"] == verdict


def test_a_stop_after_nan_is_told_with_it() -> None:
    assert "non-finite" in verdict(start() + frame(1, 3, losses=NAN) + raised("KeyboardInterrupt"))


CASES = SHARED_LOGS.parent / "cases"
RIGHT = {
    "mac-killed.log": ("killed", "Killed: 9"),
    "zh-killed.log": ("killed", "已杀死"),
    "pycharm.log": ("killed", "137"),
    "metal-leaked.log": ("exception", "failed assertion"),
    "metal-only.log": ("exception", "failed assertion"),
    "stamp-ts-killed.log": ("killed", "Killed"),
    "stamp-gitlab-segv.log": ("exception", "Segmentation fault"),
    "journal.json.log": ("oom", "2.00 GiB"),
    "elastic.json.log": ("oom", "2.00 GiB"),
    "shm-unlink.log": ("dataloader", "shared memory"),
    "shm-numpy.log": ("dataloader", "shared memory"),
}


@pytest.mark.parametrize(("name", "kind", "detail"), [(name, *said) for name, said in RIGHT.items()])
def test_real_reports_are_read_right(name: str, kind: str, detail: str) -> None:
    if not CASES.is_dir():
        pytest.skip(f"no {CASES}")
    report = scan_file(CASES / name)
    assert (report.crashed, report.crash_kind, report.last_epoch) == (True, kind, 3)
    assert detail in (report.crash_detail or "")


def test_a_second_run_that_hangs_is_not_completed() -> None:
    if not CASES.is_dir():
        pytest.skip(f"no {CASES}")
    report = scan_file(CASES / "second-run-hangs.log")
    assert (report.completed, report.crashed, report.undrawn_since) == (False, False, 32)
