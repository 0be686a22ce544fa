"""Deaths that job systems, services, machines and native libraries tell, and stops that a person asked for."""

from __future__ import annotations

import io

import pytest

from tests.unit.bot.reading.log_texts import NAN, TRACEBACK, frame, raised, start, validation
from trainmaster.bot.reading.console.errors import USER_STOP
from trainmaster.bot.reading.console.facts import FatalError
from trainmaster.bot.reading.console.messages import read_message
from trainmaster.bot.reading.scan.scanner import ScanReport, scan_stream


def scan(log: str) -> ScanReport:
    return scan_stream(io.BytesIO(log.encode()))


def told(line: str) -> str | None:
    fact = read_message(line, 1)
    if not isinstance(fact, FatalError):
        return None
    return "stopped" if fact.detail == USER_STOP else fact.kind.value


TOLD = {
    "killed": (
        "srun: error: gpu1: tasks 0-1: Killed",
        "srun: error: gpu[1-2]: tasks 0-3: Out Of Memory",
        "slurmstepd-gpu1: error: *** JOB 123 ON gpu1 CANCELLED AT 2026-03-05T01:02:03 DUE TO TIME LIMIT ***",
        "salloc: Job allocation 123 has been revoked.",
        "004 (123.000.000) 2026-03-05 01:02:03 Job was evicted.",
        "012 (123.000.000) 2026-03-05 01:02:03 Job was held.",
        "0.123s: job.exception type=timeout severity=0 resource allocation expired",
        "flux-job: task(s) Terminated",
        "## [OAR 2026-03-05 01:02:03] Job 4711 KILLED ##",
        "nohang[900]: Sending SIGTERM to the victim (python, 4711)",
        "[12345.678901] oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),task=python,pid=4711,uid=0",
        "Pod ephemeral local storage usage exceeds the total limit of containers 10Gi.",
        "The node had condition: [DiskPressure].",
        "Preempted in order to admit critical pod",
        "[NbClientApp] ERROR | Timeout waiting for execute reply (43200s).",
        "Finished: ABORTED",
        "Too long with no output (exceeded 10m0s): context deadline exceeded",
        "[Done] exited with code=null in 12.345 seconds",
        "🚨 Error: The command was interrupted by a signal: killed",
        "-- Reboot --",
        "-- Boot 0123456789abcdef0123456789abcdef --",
        "The system is going down for reboot NOW!",
        "The system will power off now!",
        "[    0.000000] Linux version 6.1.0-13-amd64 (debian-kernel@lists.debian.org)",
        "I 05-04 00:52:46 controller.py:100] The cluster is preempted.",
        "ERROR: Job 1 failed with return code list: [0, 137]",
        "AzureMLCompute job failed. PreemptionError: Nodes of this job got pre-empted.",
        "DONE: Running task 'ab12', exit status -9",
        "Container 'Build' exceeded memory limit.",
        "Ultralytics HUB: Kill signal received! ❌",
    ),
    "oom": (
        "Error during training: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 14 GiB",
        "- ERROR - Training failed: CUDA out of memory",
        "❌ An error occurred: MPS backend out of memory. Tried to allocate 2.00 GiB",
        "[ERROR] 训练失败: CUDA out of memory. Tried to allocate 2.00 GiB",
        "| ERROR    | __main__:main:12 - Training failed: CUDA out of memory",
        "ERROR:root:An error occurred: CUDA out of memory. Tried to allocate 2.00 GiB",
        "- __main__ - ERROR - train.py:12 - Error during training: CUDA out of memory",
        "Error: [WinError 1455] Die Auslagerungsdatei ist zu klein",
    ),
    "cuda_error": (
        "❌ Unexpected error: CUDA error: an illegal memory access was encountered",
        "CUDA error: an illegal memory access was encountered",
        "YOLO training failed with error: cuDNN error: CUDNN_STATUS_EXECUTION_FAILED",
    ),
    "dataloader": (
        "DataLoader worker (pid 4711) is killed by signal: Killed. ",
        "训练过程中出现错误：DataLoader worker (pid(s) 4711) exited unexpectedly",
        "ERROR: Unexpected segmentation fault encountered in worker.",
    ),
    "nccl": ("[Rank 4] Work WorkNCCL(SeqNum=2, OpType=BROADCAST, Timeout(ms)=10800000) timed out in blocking wait.",),
    "exception": (
        "Training failed: 'NoneType' object is not iterable",
        "❌ Training failed!",
        "An error occurred during model training: 'labels'",
        "Error: [Errno 28] No space left on device: 'runs/train/weights/last.pt'",
        "ERROR: Job 2 failed with return code list: [1]",
        "DONE: Running task 'ab12', exit status 1",
        "✗ Job finished (status: FAILED).",
        "AzureMLCompute job failed.",
        "srun: error: gpu1: tasks 1,3: Segmentation fault (core dumped)",
        "[NbConvertApp] ERROR | Kernel died while waiting for execute reply.",
        "[I 2026-03-05 01:02:03.123 ServerApp] AsyncIOLoopKernelRestarter: restarting kernel (1/5), keep random ports",
        "Execution failed. User process 'python' exited with status code 1. Please check log file 'std_log.txt'",
        "flux-job: task(s) exited with exit code 1",
        "Finished: FAILURE",
        "Build step 'Execute shell' marked build as failure",
        "Inconsistency detected by ld.so: dl-tls.c: 493: _dl_allocate_tls_init: Assertion `listp != NULL' failed!",
        "Fatal glibc error: malloc assertion failure in sysmalloc: (old_top == initial_top (av) && old_size == 0)",
        "*** glibc detected *** python: double free or corruption (fasttop): 0x0000 ***",
        "tcache_thread_shutdown(): unaligned tcache chunk detected",
        "libc++abi: Pure virtual function called!",
        "terminate called recursively",
        "src/tcmalloc.cc:283] Attempt to free invalid pointer 0x55d0",
        "[libprotobuf FATAL google/protobuf/wire_format.cc:830] CHECK failed: (output->ByteCount()) == (expected):",
    ),
    "stopped": (
        "wandb: Ctrl + C detected. Stopping sync.",
        "wandb: Ctrl-c pressed. Waiting for runs to end. Press ctrl-c again to terminate them.",
        "2026-03-05 01:02:03,123 - clearml.Task - WARNING - ### TASK STOPPED - USER ABORTED - STATUS CHANGED ###",
        "User aborted: stopping task (3)",
        "Aborted!",
        "Aborted.",
        "Stopping app - user stopped from CLI.",
        "^Cmake: *** [Makefile:3: train] Interrupt",
        "^CGracefully stopping... (press Ctrl+C again to force)",
        "Gracefully stopping... (press Ctrl+C again to force)",
        "Terminate batch job (Y/N)? y",
        "Terminer le programme de commandes (O/N) ? o",
        "¿Desea terminar el trabajo por lotes (S/N)?",
        "Завершить выполнение пакетного файла [Y(да)/N(нет)]?",
        "终止批处理操作吗(Y/N)? y",
        "バッチ ジョブを終了しますか (Y/N)?",
        "일괄 작업을 끝내시겠습니까 (Y/N)?",
        "⚠️ Training interrupted by user",
        "Model training was stopped by the user. Saving checkpoint...",
        "用户中断训练",
        "| WARNING  | __main__:main:12 - Training interrupted by user",
        "DONE: Running task 'ab12' (user aborted)",
    ),
    None: (
        "The system will reboot at Thu 2026-03-05 05:02:03 UTC!",
        "Linux version of the wheel installed",
        "Finished: SUCCESS",
        "012 images: Job was held back",
        "Preempted 3 idle loaders",
        "job.exception handlers installed",
        "[Done] exited with code=0 in 12.345 seconds",
        "wandb: Run history:",
        "^Cat and dog are the classes",
        "Aborted downloads: 0",
        "dl-tls.c: 493: note",
        "AutoBatch: CUDA out of memory. Tried to allocate 2.00 GiB",
        "CUDA out of memory. Tried to allocate 2.00 GiB",
        "Training error: 0.123",
        "Training failed: 0 of 5 folds",
        "Training failed runs: none",
        "If training failed: read the docs",
        "If training is interrupted by the user, resume it",
        "Training failed before, resuming from last.pt",
        "Error in training data: 3 labels were fixed",
        "UserWarning: CUDA error: it was too slow",
        "DONE: Running task 'ab12', exit status 0",
        "tcache_count 7",
    ),
}


@pytest.mark.parametrize(("kind", "lines"), TOLD.items(), ids=map(str, TOLD))
def test_an_end_is_told_by_whoever_saw_it(kind: str | None, lines: tuple[str, ...]) -> None:
    assert {line: told(line) for line in lines} == dict.fromkeys(lines, kind)


def test_what_a_script_says_of_an_error_counts_where_no_traceback_is() -> None:
    said = "Training failed: bad label\n"
    for end, cause in (("\n" + said, said.strip()), (raised("ValueError: bad label") + said, "ValueError: bad label")):
        assert scan(start() + frame(1, 3) + end).crash_detail == cause
    assert (
        scan(start() + frame(1, 3) + "\nError: CUDA error: x\n" + raised("AirflowException: 1")).crash_kind
        == "cuda_error"
    )
    assert not scan(start() + frame(1, 3) + "\n" + said + frame(1, 4) + frame(1, 5)).crashed


def test_what_asyncio_says_between_is_of_the_announcement() -> None:
    future = "Task exception was never retrieved\nfuture: <Task finished coro=<f()> exception=ValueError('x')>\n"
    report = scan(start() + frame(1, 3) + f"\n{future}{TRACEBACK}ValueError: x\n")
    assert (report.crashed, [entry.kind for entry in report.notices]) == (False, ["thread_exception"])
    assert scan(start() + frame(1, 3) + f"\nfuture: <Task>\n{TRACEBACK}ValueError: x\n").crashed


@pytest.mark.parametrize("code", ["SystemExit: 0", "SystemExit", "SystemExit: None"])
def test_an_exit_with_zero_is_no_crash(code: str) -> None:
    assert not scan(start() + frame(1, 3) + raised(code)).crashed
    assert not scan(start() + frame(1, 3) + f"\nAn exception has occurred, use %tb to see it.\n\n{code}\n").crashed


def test_an_exit_that_a_notebook_shows_without_its_traceback_is_a_crash() -> None:
    assert scan(start() + frame(1, 3) + "\nAn exception has occurred, use %tb to see it.\n\nSystemExit: 1\n").crashed
    assert scan(start() + frame(1, 3) + raised("SystemExit: 1")).crashed


def test_what_sagemaker_repeats_names_the_cause() -> None:
    said = 'AlgorithmError: ExecuteUserScriptError:\nExitCode 1\nErrorMessage "RuntimeError: CUDA error: x"\n'
    assert scan(start() + frame(1, 3) + f"\n{said}").crash_kind == "cuda_error"


@pytest.mark.parametrize("spelt", ["nan(ind)", "-nan(ind)", "1.#QNAN", "-1.#IND", "1.#INF", "-1.#INF00"])
def test_a_loss_as_windows_spells_it_is_seen(spelt: str) -> None:
    log = start() + frame(1, 20, losses=("1.2", spelt, "2.2")) + "\n" + validation(map50_95=spelt)
    report = scan(log)
    assert (report.last_epoch, report.nan_loss_frames, len(report.notices)) == (1, 1, 1)
    assert report.losses is not None
    assert report.losses.keys() == {"box_loss", "cls_loss", "dfl_loss"}
    assert scan(start() + frame(1, 20, losses=NAN)).nan_loss_frames == 1
