"""A log of several trainings: the verdict is the last one's. An end on request is no crash."""

from __future__ import annotations

import io

import pytest

from tests.unit.bot.reading.log_texts import (
    BANNER,
    NAN,
    SHARED_LOGS,
    frame,
    header,
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


@pytest.mark.parametrize(
    ("end", "kind"),
    [
        (raised("torch.OutOfMemoryError: CUDA out of memory."), "oom"),
        ("\nKilled\n", "killed"),
        (raised("KeyboardInterrupt"), "exception"),
        ("UserWarning: resource_tracker: There appear to be 1 leaked semaphore objects\n", "killed"),
    ],
    ids=["error", "killed", "user", "silent"],
)
@pytest.mark.parametrize(
    "behind",
    [f"{BANNER}{validation('0.3', '0.2')}", BANNER, BANNER + raised("FileNotFoundError: best.pt") + BANNER],
    ids=["validates", "exports", "fails"],
)
def test_what_a_script_runs_behind_a_crash_leaves_it_one(end: str, kind: str, behind: str) -> None:
    alone = scan(start() + frame(3, 7) + end)
    report = scan(start() + frame(3, 7) + end + behind)
    assert (report.crashed, report.crash_kind, report.verdict) == (True, kind, alone.verdict)
    assert report.crash_detail == alone.crash_detail
    assert not scan(start() + frame(3, 7) + end + behind + start() + frame(1, 1)).crashed


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


BEHIND = [raised("ModuleNotFoundError: No module named 'onnx'"), raised("torch.OutOfMemoryError: CUDA out of memory.")]


@pytest.mark.parametrize("error", BEHIND, ids=["export", "predict"])
@pytest.mark.parametrize("done", [DONE + FINAL, EARLY + FINAL], ids=["done", "early"])
def test_what_fails_behind_a_training_that_was_complete_is_told_and_makes_no_crash_of_it(done: str, error: str) -> None:
    report = scan(done + BANNER + error)
    assert (report.crashed, report.verdict) == (False, scan(done).verdict)
    assert [entry.text for entry in report.incidents] == [error.strip().rpartition("\n")[2]]
    assert scan(done + error).crashed  # its own script
    assert scan(done.replace("Results saved", "") + error + BANNER + error).crashed
    assert scan(done + BANNER + SETUP + error).crashed
    assert scan(done + start() + frame(1, 3) + error).crashed


def test_a_tuning_that_ended_before_its_last_iteration_is_not_completed() -> None:
    tuned = "\x1b[34m\x1b[1mTuner: \x1b[0m{0}/3 iterations complete ✅ (12.30s)\n"
    log = DONE + FINAL + tuned.format(1) + DONE + FINAL
    assert (scan(log + tuned.format(2)).verdict, scan(log + tuned.format(3)).verdict) == ("not_finished", "completed")


LATER = "; its process was ended later"
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
        pytest.param("\nforrtl: error (200): program aborting due to control-BREAK event\n", id="of an editor"),
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


BAD = start() + frame(1, 3, losses=NAN) + "\n" + frame(1, 4, losses=NAN) + "\n"


@pytest.mark.parametrize(
    ("last", "begins"),
    [
        pytest.param(DONE, "COMPLETED", id="done"),
        pytest.param(start() + frame(1, 3), "NOT FINISHED: the log ends while training", id="running"),
        pytest.param(start() + frame(1, 3) + "\nKilled\n", "CRASHED: killed from outside: Killed", id="killed"),
        pytest.param(SETUP, "NOT FINISHED: a new training was started at line 12 and has drawn no frame", id="undrawn"),
    ],
)
@pytest.mark.parametrize("between", ["", raised("torch.OutOfMemoryError: CUDA out of memory.")], ids=["", "oom"])
def test_nan_of_an_earlier_attempt_is_told_as_its_own(last: str, begins: str, between: str) -> None:
    report = scan(BAD + between + last)
    said = render(report, name="log", color=False)
    line = (BAD + between + last[: last.index("Starting" if "Starting" in last else "Image")]).count("\n") + 1
    assert said.split("\n")[1] == begins.replace("line 12", f"line {line}")
    assert f"earlier    2 non-finite frames before the attempt of line {line}, first at line 5, epoch 1 batch 3" in said
    assert "may hold NaN" not in said
    assert ("non-finite none" in said) is (last is not SETUP)
    assert report.nan_loss_frames == 2


def test_nan_of_two_attempts_is_told_apart() -> None:
    said = render(scan(BAD + start() + frame(2, 3, losses=NAN) + "\n"), name="log", color=False)
    assert said.split("\n")[1] == "NOT FINISHED: the log ends while training, with 1 non-finite loss frame"
    assert "non-finite 1 frame on 1 line, first at line 11, epoch 2 batch 3" in said
    assert "A checkpoint saved after line 11, epoch 2 batch 3 may hold NaN" in said


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (validation("nan", "nan"), "mAP50 nan, mAP50-95 nan"),
        (validation("0.5", "inf"), "mAP50-95 inf"),
        (validation().replace("0.9", "nan", 1), "P nan"),
    ],
    ids=["both", "one", "precision"],
)
def test_nan_in_the_figures_of_a_validation_is_told(row: str, told: str) -> None:
    log = start() + frame(1, 20) + "\n" + row + header() + frame(2, 20) + "\n" + row
    report = scan(log)
    assert [(entry.kind, entry.text, entry.epoch, entry.count) for entry in report.notices] == [
        ("nonfinite_validation", told, 1, 2)
    ]
    said = render(report, name="log", color=False)
    assert said.split("\n")[1].endswith("with validation figures that are not finite")
    assert "may hold NaN" in said
    after = render(scan(log + start() + frame(1, 3)), name="log", color=False)
    assert after.split("\n")[1] == "NOT FINISHED: the log ends while training"


@pytest.mark.parametrize("done", [DONE, DONE + FINAL, EARLY + FINAL], ids=["done", "validated", "early"])
@pytest.mark.parametrize(
    "end",
    [
        "trainer-1 exited with code 143\n",
        "trainer-1 exited with code 137\n",
        "Killed\n",
        "Terminated\n",
        "^C\n",
        "slurmstepd: error: *** JOB 9 ON g CANCELLED AT x DUE TO TIME LIMIT ***\n",
    ],
)
def test_an_end_from_outside_after_the_training_was_complete_is_told_as_later(done: str, end: str) -> None:
    report = scan(done + end)
    assert (report.completed, report.crashed, report.incidents) == (True, False, ())
    assert [(entry.kind, entry.text) for entry in report.notices] == [("ended_later", end.strip())]
    lines = render(report, name="log", color=False).split("\n")
    assert any(line.startswith("  then       line ") and line.endswith(end.strip()) for line in lines)
    said = lines[1]
    assert said == ("STOPPED EARLY: its patience ran out" if "Early" in done else "COMPLETED") + LATER
    again = scan(done + end + start() + frame(1, 3))
    assert (again.verdict, again.incidents) == ("not_finished", ())


def test_a_fault_of_its_own_after_the_training_was_complete_is_a_crash() -> None:
    assert scan(DONE + raised("ValueError: x") + "trainer-1 exited with code 143\n").crash_detail == "ValueError: x"
    assert scan(DONE + "Segmentation fault (core dumped)\n").crashed


KILLED = start() + frame(1, 3).replace("\r", "") + "\nKilled: 9\n"


@pytest.mark.parametrize("swapped", [False, True], ids=["", "swapped"])
@pytest.mark.parametrize("bar", ["  | ", "\x1b[0m | ", "  |\x1b[0m "], ids=["plain", "colored", "colored_bar"])
def test_of_two_services_in_one_log_the_one_that_crashed_is_told(bar: str, swapped: bool) -> None:
    logs = {"a-1": DONE + FINAL, "b-1": KILLED}
    longest = max(log.count("\n") for log in logs.values())
    lines = {name: log.split("\n")[:-1] for name, log in logs.items()}
    mixed = "".join(
        f"{name}{bar}{lines[name][place]}\n"
        for place in range(longest)
        for name in sorted(lines, reverse=swapped)
        if place < len(lines[name])
    )
    report = scan(mixed)
    assert (report.crashed, report.crash_kind, report.last_epoch, report.service) == (True, "killed", 1, "b-1")
    assert mixed.split("\n")[report.incidents[0].line - 1].endswith("Killed: 9")
    said = render(report, name="log", color=False)
    assert "another    a-1: COMPLETED\n" in said
    exited = scan(mixed.replace(f"b-1{bar}Killed: 9\n", "b-1 exited with code 137\n"))
    assert (exited.crash_kind, exited.service) == ("killed", "b-1")


def test_one_service_in_a_log_is_read_as_ever() -> None:
    report = scan("".join(f"a-1  | {line}\n" for line in KILLED.split("\n")) + "web-1  | GET / 200\n")
    assert (report.crashed, report.service, report.others) == (True, "", ())


@pytest.mark.parametrize("stamp", ["{0} | ", "{0}.5s | ", "t{0} | "])
def test_numbers_of_lines_are_no_services(stamp: str) -> None:
    log = KILLED.removesuffix("Killed: 9\n") + start() + frame(1, 4).replace("\r", "") + "\nKilled: 9\n"
    report = scan("".join(f"{stamp.format(number)}{line}\n" for number, line in enumerate(log.split("\n"))))
    assert (report.last_batch, report.service) == (4, "")


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
