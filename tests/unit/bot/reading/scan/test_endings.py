"""Endings that are neither a plain traceback nor Ultralytics' own words: launchers, drivers, kernels, terminals."""

from __future__ import annotations

import io

import pytest

from tests.unit.bot.reading.log_texts import frame, raised, start
from trainmaster.bot.reading.scan.scanner import ScanReport, scan_stream

ELASTIC = "torch.distributed.elastic.multiprocessing"
ENDINGS = {
    "hang_up_of_torchrun": (raised(f"{ELASTIC}.api.SignalException: Process 9 got signal: 1"), "killed", "signal: 1"),
    "interrupt_of_torchrun": (raised(f"{ELASTIC}.api.SignalException: Process 9 got signal: 2"), "exception", "l: 2"),
    "cpu_allocator": (
        raised("RuntimeError: [enforce fail at alloc_cpu.cpp:80] DefaultCPUAllocator: not enough memory"),
        "oom", "not enough memory",
    ),
    "fork_without_memory": (raised("OSError: [Errno 12] Cannot allocate memory"), "oom", "Errno 12"),
    "paging_file": (raised("OSError: [WinError 1455] The paging file is too small"), "oom", "1455"),
    "opencv": (raised("cv2.error: OpenCV(4.8.0) error: (-4:Insufficient memory) Failed"), "oom", "Insufficient"),
    "too_many_files": (
        raised("RuntimeError: Too many open files. Communication with the workers is no longer possible."),
        "dataloader", "Too many open files",
    ),
    "loader_timeout": (raised("RuntimeError: DataLoader timed out after 5 seconds"), "dataloader", "timed out"),
    "rocm_page_fault": (
        "\nMemory access fault by GPU node-1 (Agent handle: 0x5) on address 0x7.\nAborted (core dumped)\n",
        "cuda_error", "Memory access fault",
    ),
    "rocm_hang": ("\nHW Exception by GPU node-1 (Agent handle: 0x5) reason :GPU Hang\n", "cuda_error", "GPU Hang"),
    "no_device": (raised("RuntimeError: Unexpected error from cudaGetDeviceCount()."), "cuda_error", "DeviceCount"),
    "heap": ("\ndouble free or corruption (!prev)\n", "exception", "double free"),
    "two_openmp": ("\nOMP: Error #15: Initializing libiomp5md.dll, but found it already\n", "exception", "OMP"),
    "intel_control_c": ("\nforrtl: error (200): program aborting due to control-C event\n", "exception", "control-C"),
    "ranks_by_turns": (
        raised("torch.distributed.DistBackendError: NCCL error") + raised("MemoryError: CUDA out of memory."),
        "oom", "CUDA out of memory",
    ),
    "nccl_behind_its_place": (
        "\n[E ProcessGroupNCCL.cpp:460] To avoid data inconsistency, we are taking the entire process down.\n",
        "nccl", "taking the entire process down",
    ),
    "agent_of_wandb": (
        "\nwandb: ERROR Run ab12 errored: OutOfMemoryError('CUDA out of memory.')\n", "oom", "CUDA out of memory",
    ),
    "notebook_stopped": ("\n^C\n", "exception", "KeyboardInterrupt (user stop)"),
    "notebook_stopped_in_a_frame": ("^C\n", "exception", "KeyboardInterrupt (user stop)"),
    "notebook_interrupted": (
        "\nKernelInterrupted: Execution interrupted by the Jupyter kernel.\n", "exception", "KeyboardInterrupt",
    ),
    "batch_of_windows": ("\nTerminate batch job (Y/N)? y\n", "exception", "KeyboardInterrupt (user stop)"),
    "clearml": ("\nProcess aborted by user\n", "exception", "KeyboardInterrupt (user stop)"),
    "others_cancelled": (
        raised("ValueError: bad") + "slurmstepd: error: *** STEP 7.0 ON n CANCELLED AT 2026-03-05T01:02:03 ***\n"
        "srun: error: n: task 1: Killed\n",
        "exception", "ValueError: bad",
    ),
    "aborted_first": (
        "\nslurmstepd: error: *** STEP 7.0 ON n CANCELLED AT 2026-03-05T01:02:03 ***\n" + raised("ValueError: bad"),
        "killed", "CANCELLED",
    ),
    "others_lost": (
        raised("ValueError: bad") + raised("torch.distributed.DistBackendError: NCCL: remote process exited"),
        "exception", "ValueError: bad",
    ),
    "step_aborted": (
        raised("ValueError: bad") + "srun: Job step aborted: Waiting up to 32 seconds for job step to finish.\n",
        "exception", "ValueError: bad",
    ),
    "lsf": ("\nTERM_MEMLIMIT: job killed after reaching LSF memory usage limit.\n", "killed", "TERM_MEMLIMIT"),
    "pbs": ("\n=>> PBS: job killed: walltime 3612 exceeded limit 3600\n", "killed", "walltime"),
    "kubernetes": ("\ncommand terminated with exit code 137\n", "killed", "exit code 137 (SIGKILL)"),
    "docker_compose": ("\ntrainer-1 exited with code 139\n", "exception", "exit code 139 (SIGSEGV)"),
    "github_actions": ("\n##[error]Process completed with exit code 143.\n", "killed", "exit code 143 (SIGTERM)"),
    "sagemaker": (
        '\nErrorMessage "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB (GPU 0"\n',
        "oom", "Tried to allocate 20.00 MiB",
    ),
    "exception_group": (
        ("\n  + Exception Group Traceback (most recent call last):\n  |   File x\n  | ExceptionGroup: many (1 sub)\n"
        "  +-+---------------- 1 ----------------\n    | Traceback (most recent call last):\n    |   File y\n"
        "    | ValueError: inner\n    +------------------------------------\n"),
        "exception", "ValueError: inner",
    ),
    "notebook_traceback": (
        ("\n-----\nRuntimeError            Traceback (most recent call last)\nCell In[3], line 2\n----> 2 m.train()\n\n"
        "File /x.py:3, in f()\nRuntimeError: CUDA error: device-side assert triggered\n"),
        "cuda_error", "device-side assert",
    ),
}  # fmt: skip


def scan(log: str) -> ScanReport:
    return scan_stream(io.BytesIO(log.encode()))


@pytest.mark.parametrize(("end", "kind", "detail"), ENDINGS.values(), ids=ENDINGS.keys())
def test_an_ending_is_named_by_its_cause(end: str, kind: str, detail: str) -> None:
    report = scan(start() + frame(1, 3) + end)
    assert (report.crashed, report.crash_kind, report.completed) == (True, kind, False)
    assert detail in (report.crash_detail or "")
    assert (report.last_epoch, report.last_batch) == (1, 3)


HARMLESS = {
    "tensorflow_factory": (
        "E0000 00:00:1720000000.0  2000 cuda_dnn.cc:8310] Unable to register cuDNN factory: Attempting to register "
        "factory for plugin cuDNN when one has already been registered"
    ),
    "pip": "ERROR: pip's dependency resolver does not currently take into account all the packages",
    "jpeg": "Corrupt JPEG data: 2 extraneous bytes before marker 0xd9",
    "cuda_warning": "[W CUDAGuardImpl.h:100] Warning: CUDA warning: out of memory (function destroyEvent)",
    "slower_plan": "UserWarning: Plan failed with an OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB",
    "large_allocation": "tcmalloc: large alloc 1234567890 bytes == 0x55 @  0x7f",
    "printed_losses": "{'box_loss': nan, 'cls_loss': inf}",
    "printed_tensor": "losses tensor([nan, nan, nan])",
    "printed_metrics": "mAP50: nan, mAP50-95: nan",
    "class_names": "names: ['Killed', 'nan', 'RuntimeError', 'Segmentation fault']",
    "advice": "Hint: if you see RuntimeError: CUDA error: device-side assert triggered, check your labels",
    "arguments": "nan_to_num=True, inf=None, project=CUDA error, name=Killed",
    "wandb_error": "wandb: ERROR Error while calling W&B API: internal server error",
    "wandb_summary": "wandb:      train/box_loss nan",
    "clearml_error": "2026-05-01 12:00:00,123 - clearml.storage - ERROR - Failed uploading: HTTPSConnectionPool",
    "nccl_info": "node1:123:456 [0] NCCL INFO Bootstrap : Using eth0:10.0.0.1<0>",
    "nccl_warning": "node1:123:456 [0] transport/net_ib.cc:94 NCCL WARN NET/IB : Got async event",
    "group_not_destroyed": "[rank0]:[W1120 ProcessGroupNCCL.cpp:1250] Warning: process group has NOT been destroyed",
    "powershell": (
        "python.exe : something\nAt line:1 char:1\n+ python train.py *> log.txt\n"
        "    + FullyQualifiedErrorId : NativeCommandError"
    ),
    "git": "fatal: not a git repository (or any of the parent directories): .git",
    "counts": "Terminated 3 idle workers, Killed 0, Aborted downloads: 0",
    "endless_rate": "train: Caching images (0.1GB RAM): 100%|██████████| 4/4 [00:00<00:00, 12inf/s]",
    "like_a_frame": "copied 3/4 2.0G nan",
    "left_well": "trainer-1 exited with code 0",
    "key_named": "Press ^C to stop",
}


@pytest.mark.parametrize("where", ["\n{}\n", "{}\n"], ids=["own_line", "glued"])
@pytest.mark.parametrize("text", HARMLESS.values(), ids=HARMLESS.keys())
def test_what_only_looks_like_trouble_is_none(text: str, where: str) -> None:
    report = scan(start() + frame(1, 3) + where.format(text))
    assert (report.crashed, report.incidents, report.nan_loss_frames, report.completed) == (False, (), 0, False)
    assert (report.last_epoch, report.last_batch, report.total_batches, report.map50) == (1, 3, 20, None)
