from __future__ import annotations

import io
import json
import math

import pytest

from tests.unit.bot.reading.log_texts import (
    BANNER,
    NAN,
    TRACEBACK,
    description,
    frame,
    header,
    raised,
    start,
    tqdm_frame,
    validation,
)
from trainmaster.bot.reading.scan.scanner import ScanReport, scan_file, scan_stream


def scan(log: str | bytes) -> ScanReport:
    return scan_stream(io.BytesIO(log.encode() if isinstance(log, str) else log))


def prefixed(prefix: str, text: str) -> str:
    return "".join(f"{prefix}{line}\n" for line in text.rstrip("\n").split("\n"))


OOM = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 1 has a total capacity of 23 GiB"
CALLED = "subprocess.CalledProcessError: Command '['python']' returned non-zero exit status 1."
SLURM_SCRIPT = "/var/spool/slurm/job9/slurm_script: line 12: 12345"

CRASHES = {
    "oom_of_old_torch": (
        raised("RuntimeError: CUDA out of memory. Tried to allocate 20.00 MiB (GPU 0; 7.79 GiB total capacity)"),
        "oom",
        "RuntimeError: CUDA out of memory. Tried to allocate 20.00 MiB",
    ),
    "oom_of_new_torch": (raised(OOM), "oom", "torch.OutOfMemoryError: Tried to allocate 2.00 GiB"),
    "oom_as_cuda_error": (raised("RuntimeError: CUDA error: out of memory"), "oom", "CUDA error: out of memory"),
    "oom_on_apple": (raised("RuntimeError: MPS backend out of memory (MPS allocated: 17.9 GB)."), "oom", "MPS"),
    "oom_on_radeon": (raised("torch.OutOfMemoryError: HIP out of memory. Tried to allocate 1 GiB."), "oom", "1 GiB"),
    "oom_of_the_host": (
        raised("RuntimeError: [enforce fail at alloc_cpu.cpp:114] DefaultCPUAllocator: can't allocate memory"),
        "oom",
        "DefaultCPUAllocator",
    ),
    "numpy_out_of_memory": (
        raised("numpy.core._exceptions._ArrayMemoryError: Unable to allocate 1.2 GiB for an array"),
        "oom",
        "Unable to allocate",
    ),
    "cudnn": (raised("RuntimeError: cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), "cuda_error", "CUDNN_STATUS"),
    "device_assert": (
        raised("RuntimeError: CUDA error: device-side assert triggered\nCompile with `TORCH_USE_CUDA_DSA`."),
        "cuda_error",
        "device-side assert",
    ),
    "accelerator_error": (
        raised("torch.AcceleratorError: CUDA error: an illegal memory access was encountered"),
        "cuda_error",
        "illegal memory access",
    ),
    "worker_killed": (
        raised("RuntimeError: DataLoader worker (pid 123) is killed by signal: Killed. ")
        + "\nThe above exception was the direct cause of the following exception:\n"
        + raised("RuntimeError: DataLoader worker (pid(s) 123) exited unexpectedly"),
        "dataloader",
        "killed by signal: Killed",
    ),
    "worker_raised": (
        raised("FileNotFoundError: Caught FileNotFoundError in DataLoader worker process 0.").rstrip("\n")
        + "\nOriginal Traceback (most recent call last):\n  File x\nFileNotFoundError: Image Not Found /a.jpg\n",
        "dataloader",
        "Caught FileNotFoundError in DataLoader worker",
    ),
    "worker_raised_and_why": (
        raised("OSError: Caught OSError in DataLoader worker process 0.").rstrip("\n")
        + "\nOriginal Traceback (most recent call last):\n  File x\nOSError: [Errno 5] Input/output error: '/a.jpg'\n",
        "dataloader",
        "OSError: [Errno 5] Input/output error: '/a.jpg' (Caught OSError in DataLoader worker process 0.)",
    ),
    "nccl_without_memory": (
        raised("torch.distributed.DistBackendError: NCCL error in: x.cpp:12, unhandled cuda error\nLast error:")
        + "Cuda failure 2 'out of memory'\n",
        "oom",
        "Cuda failure 2 'out of memory'",
    ),
    "nccl": (
        raised("torch.distributed.DistBackendError: NCCL error in: ProcessGroupNCCL.cpp:1691, unhandled system error"),
        "nccl",
        "NCCL error",
    ),
    "nccl_watchdog": (
        (
            "\n[rank1]:[E1012 ProcessGroupNCCL.cpp:616] [Rank 1] Watchdog caught collective operation timeout: "
            "WorkNCCL(SeqNum=7, OpType=ALLREDUCE) ran for 1800455 milliseconds before timing out.\n"
        ),
        "nccl",
        "Watchdog caught collective operation timeout",
    ),
    "cause_before_wrapper": (
        prefixed("[rank1]: ", raised(OOM)) + raised(CALLED),
        "oom",
        "torch.OutOfMemoryError: Tried to allocate 2.00 GiB",
    ),
    "other_ranks_still_draw": (
        prefixed("[rank1]: ", raised(OOM)) + frame(1, 4) + frame(1, 5) + raised(CALLED),
        "oom",
        "torch.OutOfMemoryError: Tried to allocate 2.00 GiB",
    ),
    "wrapper_alone": (raised(CALLED), "exception", "CalledProcessError"),
    "rank_killed": (
        raised("torch.distributed.elastic.multiprocessing.errors.ChildFailedError: ")
        + "  traceback : Signal 9 (SIGKILL) received by PID 77\n",
        "killed",
        "SIGKILL",
    ),
    "killed_glued": ("Killed\n", "killed", "Killed"),
    "killed_in_script": (f"{SLURM_SCRIPT} Killed                  python train.py\n", "killed", "Killed"),
    "job_killed": ("\n[1]+  Killed                  nohup python train.py\n", "killed", "Killed"),
    "zsh_killed": ("\nzsh: killed     python train.py\n", "killed", "killed"),
    "time_limit": (
        "slurmstepd: error: *** JOB 9 ON gpu1 CANCELLED AT 2026-01-01T00:00:00 DUE TO TIME LIMIT ***\n",
        "killed",
        "TIME LIMIT",
    ),
    "cgroup": ("\nslurmstepd: error: Detected 1 oom_kill event in StepId=1.batch.\n", "killed", "oom_kill"),
    "exit_137": (
        "\n\nProcess finished with exit code 137 (interrupted by signal 9: SIGKILL)\n",
        "killed",
        "exit code 137 (SIGKILL)",
    ),
    "leaked_semaphores": (
        "\n/lib/tracker.py:216: UserWarning: resource_tracker: There appear to be 8 leaked semaphore objects\n",
        "killed",
        "process died without a message",
    ),
    "ctrl_c": ("\n^C" + TRACEBACK + "KeyboardInterrupt\n", "exception", "KeyboardInterrupt (user stop)"),
    "ctrl_c_with_workers": (
        raised("KeyboardInterrupt")
        + "Process SpawnProcess-1:"
        + raised("KeyboardInterrupt")
        + raised("RuntimeError: DataLoader worker (pid 1) is killed by signal: Interrupt."),
        "exception",
        "KeyboardInterrupt (user stop)",
    ),
    "ctrl_c_in_pycharm": (
        raised("KeyboardInterrupt") + "\nProcess finished with exit code 130 (interrupted by signal 2:SIGINT)\n",
        "exception",
        "KeyboardInterrupt / exit code 130 (SIGINT)",
    ),
    "segfault": ("\nSegmentation fault (core dumped)\n", "exception", "Segmentation fault"),
    "segfault_in_script": (f"{SLURM_SCRIPT} Segmentation fault      (core dumped) python a.py\n", "exception", "Segm"),
    "terminate": (
        (
            "\nterminate called after throwing an instance of 'c10::Error'\n"
            "  what():  CUDA error: an illegal memory access was encountered\nAborted (core dumped)\n"
        ),
        "cuda_error",
        "illegal memory access",
    ),
    "nan_persisted": (
        "\n    raise RuntimeError(f'Training failed: NaN persisted')"
        + raised("RuntimeError: Training failed: NaN persisted for 4 epochs"),
        "exception",
        "NaN persisted for 4 epochs",
    ),
    "during_handling": (
        raised("KeyError: 'a'")
        + "\nDuring handling of the above exception, another exception occurred:\n"
        + raised("ValueError: b"),
        "exception",
        "ValueError: b",
    ),
    "exception_line_alone": (
        "\nRuntimeError: CUDA error: unspecified launch failure\n",
        "cuda_error",
        "launch failure",
    ),
    "without_line_end": (raised("ValueError: bad").rstrip("\n"), "exception", "ValueError: bad"),
    "stamped_lines": (
        "\n" + prefixed("2026-05-05 10:00:00,123 ", raised("ValueError: bad")),
        "exception",
        "ValueError: bad",
    ),
    "kaggle": ("\n" + prefixed("1234.5s\t12\t", raised("ValueError: bad")), "exception", "ValueError: bad"),
    "indented_log": ("\n" + prefixed("    ", raised("ValueError: bad")), "exception", "ValueError: bad"),
    "docker_records": (
        "\n" + "".join(json.dumps({"log": f"{line}\n", "stream": "stderr"}) + "\n" for line in raised(OOM).split("\n")),
        "oom",
        "Tried to allocate 2.00 GiB",
    ),
}


@pytest.mark.parametrize(("end", "kind", "detail"), CRASHES.values(), ids=CRASHES.keys())
@pytest.mark.parametrize("draw", [frame, tqdm_frame], ids=["own_bar", "tqdm"])
def test_a_crash_is_named_by_its_cause(end: str, kind: str, detail: str, draw: object) -> None:
    report = scan(start() + (frame if draw is frame else tqdm_frame)(1, 3) + end)
    assert (report.crashed, report.crash_kind, report.completed) == (True, kind, False)
    assert detail in (report.crash_detail or "")
    assert (report.last_epoch, report.total_batches) == (1, 20)


@pytest.mark.parametrize(
    "end",
    [
        pytest.param("\nException in thread Thread-3 (plot_images):" + raised("OSError: x"), id="side_thread"),
        pytest.param("\nException ignored in: <function X.__del__>" + raised("AssertionError: x"), id="finalizer"),
        pytest.param("\nError in atexit._run_exitfuncs:" + raised("OSError: x"), id="exit_hook"),
        pytest.param("\n--- Logging error ---" + raised("UnicodeEncodeError: x"), id="logging"),
        pytest.param(raised("requests.ConnectionError: x") + frame(1, 4) + frame(1, 5), id="caught_and_went_on"),
        pytest.param("\nCUDA out of memory. Tried to allocate 20.00 MiB (GPU 0)\n", id="autobatch_probe"),
        pytest.param("\n    raise RuntimeError('CUDA out of memory')\n", id="echoed_code"),
        pytest.param("\n    RuntimeError: CUDA error: in somebody's report\n", id="indented"),
        pytest.param("\n> RuntimeError: CUDA error: quoted\n", id="quoted"),
        pytest.param("\n" + "".join(f"{x:>22}         10        12      0.8      0.7     0.8      0.5\n" for x in
                     ("killed", "error", "oom", "nan", "inf", "crash", "Segmentation fault")), id="class_names"),
        pytest.param("\nProcess finished with exit code 0\n", id="exit_code_0"),
        pytest.param("\nERROR ❌ Plotting error for results.csv: x\n", id="logged_error"),
        pytest.param("\ntrain: project=nan_test, name=killed, crash=Traceback\n", id="arguments"),
        pytest.param("\nWARNING ⚠️ CUDA out of memory with batch=16. Reducing to batch=8 and retrying (1/3).\n"
                     + frame(1, 1, batches=40), id="batch_halved"),
    ],
)  # fmt: skip
def test_what_does_not_end_the_run_is_no_crash(end: str) -> None:
    report = scan(start() + frame(1, 3) + end)
    assert (report.crashed, report.crash_kind, report.incidents) == (False, "none", ())


def test_an_appended_resume_forgives_the_crash_but_keeps_the_incident() -> None:
    crash = raised("RuntimeError: CUDA error: an illegal memory access was encountered")
    resume = f"{BANNER}Resuming training runs/last.pt from epoch 3 to 10 total epochs\n"
    end = validation() + "\n8 epochs completed in 0.546 hours.\n"
    report = scan(start() + frame(3, 3) + crash + resume + start() + frame(3, 1) + frame(10, 20) + "\n" + end)
    assert (report.crashed, report.completed, report.crash_detail) == (False, True, None)
    assert [(entry.kind, entry.epoch, entry.batch) for entry in report.incidents] == [("cuda_error", 3, 3)]


def test_a_new_run_in_the_same_log_is_not_completed_by_the_old_one() -> None:
    first = start() + frame(10, 20) + "\n" + validation() + "\n10 epochs completed in 0.5 hours.\n"
    assert scan(first).completed
    assert not scan(first + start() + frame(1, 1)).completed


@pytest.mark.parametrize(
    ("end", "completed", "early"),
    [
        pytest.param("\n10 epochs completed in 0.546 hours.\n", True, False, id="said_so"),
        pytest.param(validation(), True, False, id="last_epoch_validated"),
        pytest.param("", False, False, id="last_epoch_not_validated"),
        pytest.param(
            "\nEarlyStopping: Training stopped early as no improvement observed in last 5 epochs. Best results",
            True, True, id="patience",
        ),
        pytest.param(
            "\nStopping training early as no improvement observed in last 100 epochs.", True, True, id="patience_v5"
        ),
    ],
)  # fmt: skip
def test_completion(end: str, completed: bool, early: bool) -> None:
    report = scan(start() + frame(10, 20) + "\n" + end)
    assert (report.completed, report.early_stopped, report.crashed) == (completed, early, False)


def test_a_rounded_up_percentage_is_not_completion() -> None:
    almost = f"\r\x1b[K{description(10, 10, NAN)}: 100% ━━━━━━━━━━━━ 199/200 2.5it/s 1.2s\n"
    assert not scan(start() + almost + validation()).completed


def test_nan_in_a_completed_run_is_still_reported() -> None:
    log = start() + frame(10, 20, losses=NAN) + "\n" + validation("0", "0") + "\n10 epochs completed in 0.5 hours.\n"
    report = scan(log)
    assert (report.completed, report.nan_loss_frames, len(report.incidents)) == (True, 1, 1)


def test_nan_frames_count_one_by_one_and_lines_once() -> None:
    log = start() + frame(1, 3) + frame(1, 4, losses=NAN) * 3 + "\n" + frame(2, 1, losses=("1", "inf", "1")) + "\n"
    report = scan(log)
    assert (report.nan_loss_lines, report.nan_loss_frames) == (2, 4)
    assert [(e.epoch, e.batch, e.count, e.text) for e in report.incidents] == [
        (1, 4, 3, "box_loss nan, cls_loss nan, dfl_loss nan"),
        (2, 1, 1, "box_loss 1, cls_loss inf, dfl_loss 1"),
    ]


def test_a_repeated_epoch_with_nan_is_an_incident_of_its_own() -> None:
    again = "\nWARNING ⚠️ Loss NaN/Inf detected (attempt 1/3), recovering from last.pt...\n"
    log = start() + frame(2, 20, losses=NAN) + again + frame(2, 1) + frame(2, 19, losses=NAN)
    assert [entry.kind for entry in scan(log).incidents] == ["nonfinite_loss", "nan_recovery", "nonfinite_loss"]


def test_nan_in_another_pass_of_an_epoch_is_an_incident_of_its_own() -> None:
    first = start() + frame(2, 5, losses=NAN) + "\n"
    assert len(scan(first + frame(2, 6, losses=NAN)).incidents) == 1
    assert len(scan(first + header() + frame(2, 5, losses=NAN)).incidents) == 2


@pytest.mark.parametrize(
    "text",
    [
        "Loss NaN/Inf detected (attempt 2/3), recovering from last.pt...",
        "Fitness NaN/Inf detected (attempt 1/3), recovering from last.pt...",
        "Fitness collapse detected (attempt 1/3), recovering from last.pt...",
        "Loss NaN/Inf detected but can not recover from last.pt...",
        "Skipping checkpoint save at epoch 3: EMA contains NaN/Inf",
        "Skipping checkpoint save at epoch 3: EMA and model contain NaN/Inf",
    ],
)
def test_ultralytics_own_nan_handling_is_an_incident(text: str) -> None:
    report = scan(f"{start()}{frame(3, 20)}\nWARNING ⚠️ {text}\n")
    assert [(entry.kind, entry.epoch, entry.line) for entry in report.incidents] == [("nan_recovery", 3, 6)]
    assert not report.crashed


def test_silently_skipped_batches_are_a_notice() -> None:
    skipped = "WARNING ⚠️ Non-finite forward pass, skipping batch...\n"
    report = scan(start() + frame(1, 2) + skipped + skipped + frame(1, 3))
    assert [(entry.kind, entry.count) for entry in report.notices] == [("nonfinite_batch_skipped", 2)]
    assert report.incidents == ()


def test_a_bar_before_the_first_batch_gives_the_counter() -> None:
    bare = "\r  0%|          | 0/56 [00:00<?, ?it/s]"
    report = scan(start() + bare + raised(OOM))
    assert (report.last_epoch, report.losses, report.last_batch, report.total_batches) == (None, None, 0, 56)
    assert scan(start() + frame(1, 20) + "\n" + header() + bare).last_batch == 20


@pytest.mark.parametrize(
    ("tail", "batch"),
    [
        pytest.param("", 3, id="cut_before_the_bar"),
        pytest.param(":", 3, id="cut_after_the_colon"),
        pytest.param(":  2", 3, id="cut_in_the_percentage"),
        pytest.param(": 20%|██        | 4/2", 3, id="cut_in_the_total"),
        pytest.param(": 20%|██        | 4/20 [00", 4, id="cut_in_the_time"),
    ],
)
def test_a_cut_last_frame_keeps_the_last_counter_of_its_epoch(tail: str, batch: int) -> None:
    report = scan(start() + tqdm_frame(1, 3) + "\r" + description(1, 10, ("9", "9", "9")) + tail)
    assert (report.last_batch, report.total_batches, report.losses) == (
        batch, 20, {"box_loss": 9.0, "cls_loss": 9.0, "dfl_loss": 9.0},
    )  # fmt: skip


def test_a_frame_without_all_losses_is_no_frame() -> None:
    whole = description(2, 10, ("9", "9", "9"))
    for cut in range(len(whole) - len("        267        640")):
        report = scan(start() + frame(1, 20) + "\r" + whole[:cut])
        assert (report.last_epoch, (report.losses or {})["box_loss"]) == (1, 1.218)


def test_a_cut_last_row_is_unknown() -> None:
    row = validation("0.7", "0.5").split("\n")[1]
    log = start() + frame(1, 20) + "\n" + validation("0.61", "0.41") + header() + frame(2, 20) + "\n"
    for cut in range(row.index("929"), len(row)):
        report = scan(log + row[:cut])
        known = report.map50 is not None and cut >= row.index("0.7") + 3
        assert (report.map50, report.map50_95) == (0.7 if known else None, None)
    assert scan(log + row).map50_95 == 0.5
    assert scan(log).map50_95 == 0.41


def test_map_may_be_nan() -> None:
    report = scan(start() + frame(1, 20) + "\n" + validation("nan", "nan"))
    assert math.isnan(report.map50 or 0)
    assert report.to_json()["map50"] == "nan"
    assert report.incidents == ()


def test_an_empty_log_says_nothing() -> None:
    report = scan("").to_json()
    assert report.pop("verdict") == "no_training"
    assert {value for value in report.values() if not isinstance(value, list)} == {None, 0, "none"}


def test_the_report_has_exactly_the_agreed_fields(tmp_path) -> None:
    log = tmp_path / "train.log"
    log.write_text(start() + frame(1, 3, losses=NAN))
    report = scan_file(log).to_json()
    assert list(report) == [
        "last_epoch", "total_epochs", "last_batch", "total_batches", "losses", "nan_loss_lines", "nan_loss_frames",
        "crashed", "crash_kind", "crash_detail", "completed", "early_stopped", "map50", "map50_95", "incidents",
        "notices", "verdict", "stopped_by", "gave_up", "undrawn_since", "mixed_since",
    ]  # fmt: skip
    assert json.loads(json.dumps(report, allow_nan=False))["losses"]["box_loss"] == "nan"
    assert set(report["incidents"][0]) >= {"line", "epoch", "batch", "text"}
