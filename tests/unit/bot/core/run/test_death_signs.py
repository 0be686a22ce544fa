"""What the text of an error names: its type first, and words only where they are no path and no name of one's own."""

from __future__ import annotations

import pytest

from trainmaster.bot.core.run.death_signs import Sign, sign_of

_ADVICE = (
    "\nCUDA kernel errors might be asynchronously reported at some other API call, so the stacktrace below might be "
    "incorrect.\nFor debugging consider passing CUDA_LAUNCH_BLOCKING=1\nCompile with `TORCH_USE_CUDA_DSA` to enable "
    "device-side assertions.\n"
)
_WORKER = "Caught {0} in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n"
_FRAME = '  File "/opt/nccl/loader.py", line 7, in get\n    raise_cuda("CUDA error: x")\n'

CODE = [
    "FileNotFoundError: [Errno 2] No such file or directory: '/data/nccl_bench/images/1.jpg'",
    "FileNotFoundError: [Errno 2] No such file or directory: '/data/CUDA error/no space left on device/1.jpg'",
    "KeyError: 'NCCL_DEBUG'",
    "KeyError: 'CUDA out of memory'",
    "ValueError: NCCL backend needs a GPU",
    "AttributeError: 'DistStoreError'",
    "AttributeError: module 'torch' has no attribute 'OutOfMemoryError'",
    "ImportError: libnccl.so.2: cannot open shared object file: No such file or directory",
    "ModuleNotFoundError: No module named 'MemoryError'",
    "OSError: libnccl.so.2: cannot open shared object file: No such file or directory",
    "TypeError: Xid must be int",
    "IndexError: NCCL rank 3 is out of range",
    "NameError: name 'cudaErrorX' is not defined",
    "AssertionError: NCCL timeout must be positive",
    "AssertionError",
    "NotImplementedError: CUDA error handling",
    "json.decoder.JSONDecodeError: Expecting value: 'CUDA error'",
    "JSONDecodeError: Expecting value: line 1 column 1 (char 0)",
    "UnicodeDecodeError: 'utf-8' codec can't decode byte 0xff in position 0",
    "yaml.scanner.ScannerError: while scanning NCCL error",
    "PermissionError: [Errno 13] Permission denied: '/data/hipError1/x'",
    "OSError: [Errno 2] No such file: '/mnt/NCCL error/x'",
    "[rank1]: KeyError: 'NCCL error'",
    "rank 1: AssertionError:",  # as a trainer tells what ended another of its ranks
    "rank 12: StopIteration: CUDA out of memory",
    "2026-11-29 10:30:01 ERROR KeyError: 'NCCL error'",
    "RuntimeError: CUDA error: device-side assert triggered",
    f"RuntimeError: CUDA error: device-side assert triggered{_ADVICE}",
    f"AcceleratorError: CUDA error: no kernel image is available for execution on the device{_ADVICE}",
    f"RuntimeError: CUDA error: invalid device ordinal{_ADVICE}",
    "RuntimeError: CUDA error: CUDA driver version is insufficient for CUDA runtime version",
    "RuntimeError: CUDA error: the provided PTX was compiled with an unsupported toolchain.",
    "RuntimeError: CUDA error: invalid configuration argument",
    "RuntimeError: HIP error: invalid device function",
    "RuntimeError: The NVIDIA driver on your system is too old (found version 11040).",
    "RuntimeError: cuDNN error: CUDNN_STATUS_BAD_PARAM",
    "RuntimeError: CUDA error: CUBLAS_STATUS_INVALID_VALUE when calling `cublasGemmEx(...)`",
    "RuntimeError: cuDNN error: CUDNN_STATUS_BAD_PARAM_STREAM_MISMATCH",
    "RuntimeError: cuDNN error: CUDNN_STATUS_NOT_SUPPORTED_SHAPE",
    "RuntimeError: cuDNN error: CUDNN_STATUS_SUBLIBRARY_LOADING_FAILED",
    *(
        f"AcceleratorError: CUDA error: {said}{_ADVICE}"
        for said in (
            *("invalid argument", "invalid device symbol", "invalid device pointer", "device kernel image is invalid"),
            *("CUDA driver is a stub library", "API call is not supported in the installed CUDA driver"),
            *("peer access is not supported between these two devices", "peer access is already enabled"),
            *("limit is not supported on this architecture", "operation not supported", "operation not permitted"),
            *("a PTX JIT compilation failed", "PTX JIT compiler library not found", "named symbol not found"),
            *("too many resources requested for launch", "too many blocks in cooperative launch", "file not found"),
            *("operation not permitted when stream is capturing", "shared object initialization failed"),
            "operation failed due to a previous error during capture",
        )
    ),
    "RuntimeError: HIP error: shared object initialization failed",
    "rocBLAS error: Cannot read /opt/rocm/lib/library/TensileLibrary.dat: Illegal seek for GPU arch : gfx1032",
    "NVMLError_LibRmVersionMismatch: Driver/library version mismatch",
    "RuntimeError: Distributed package doesn't have NCCL built in",
    "DistBackendError: NCCL error in: x.cpp:3384, invalid usage, NCCL version 2.21.5\nncclInvalidUsage: x",
    "RuntimeError: ProcessGroupNCCL is only supported with GPUs, no GPUs found!",
    "RuntimeError: The size of tensor a (3) must match the size of tensor b (4)",
    "RuntimeError: Error(s) in loading state_dict for NCCLNet:\n\tsize mismatch for x",
    "RuntimeError: Dataset 'nccl.yaml' error images not found",
    "KeyError: " + _WORKER.format("KeyError") + _FRAME + "KeyError: 'NCCL_DEBUG'",
    "RuntimeError: " + _WORKER.format("MyError") + _FRAME + "ValueError: NCCL error",
    "RuntimeError: Caught FileNotFoundError in DataLoader worker process 0.",
]
OTHER = [
    "RuntimeError: something odd",
    "RuntimeError: unable to open file </data/NCCL error/x.pt>",
    "RuntimeError: PytorchStreamReader failed reading zip archive: '/nccl/CUDA error.pt'",
    "RuntimeError: failed to read /data/NCCL/cudaErrorX/7.pt",
    "RuntimeError: failed to read NCCL.pt",
    "RuntimeError: my NCCL benchmark wants a GPU",
    "RuntimeError: NCCL_DEBUG must be set, or this failed",
    "RuntimeError: set `CUDA error` first",
    "MyNCCLError: timeout",
    "NcclBenchmarkException: CUDA error",
    "wandb.errors.CommError: CUDA out of memory",
    "OSError: [Errno 5] Input/output error: '/data/CUDA error/nccl'",
    "OSError: [Errno 116] Stale file handle: '/data/NCCL error'",
    "ConnectionResetError: [Errno 104] Connection reset by peer",
    "error: OpenCV(4.10.0) /io/nccl/x.cpp:1: error: (-5:Bad argument) in function 'cudaErrorX'",
    "RuntimeError: " + _WORKER.format("RuntimeError") + _FRAME + "RuntimeError: something odd",
]
WORKER = [
    "RuntimeError: DataLoader worker (pid(s) 4711) exited unexpectedly",
    "RuntimeError: DataLoader worker (pid(s) 4711, 4712) exited unexpectedly",
    "RuntimeError: DataLoader worker (pid 4711) is killed by signal: Segmentation fault. ",
    "RuntimeError: DataLoader worker (pid 4711) is killed by signal: Aborted. ",
]
FAULTS = [
    (Sign.HOST_MEMORY, "RuntimeError: DataLoader worker (pid 4711) is killed by signal: Killed. "),
    (Sign.HOST_MEMORY, "MemoryError"),
    (Sign.HOST_MEMORY, "MemoryError: "),
    (Sign.HOST_MEMORY, "numpy.core._exceptions._ArrayMemoryError: Unable to allocate 3.1 GiB for an array"),
    (Sign.HOST_MEMORY, "RuntimeError: [enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
    (Sign.HOST_MEMORY, "OSError: [Errno 12] Cannot allocate memory"),
    (Sign.HOST_MEMORY, "terminate called after throwing an instance of 'std::bad_alloc'"),
    (Sign.HOST_MEMORY, "cv2.error: OpenCV(4.8.0) error: (-4:Insufficient memory) Failed to allocate 24 bytes"),
    (Sign.HOST_MEMORY, "slurmstepd: error: Detected 1 oom_kill event in StepId=7.batch."),
    (Sign.DISK_FULL, "OSError: [Errno 28] No space left on device: '/data/nccl'"),
    (Sign.DISK_FULL, "OSError: [Errno 122] Disk quota exceeded"),
    (Sign.DISK_FULL, "RuntimeError: [enforce fail at inline_container.cc:424] . unexpected pos 64 vs 0"),
    (Sign.DISK_FULL, "RuntimeError: [enforce fail at ../caffe2/inline_container.cc:858] . PytorchStreamWriter failed"),
    (Sign.DISK_FULL, "OperationalError: database or disk is full"),
    (Sign.DEVICE_MEMORY, "OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"),
    (Sign.DEVICE_MEMORY, "skipped: torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"),
    (Sign.DEVICE_MEMORY, f"AcceleratorError: CUDA error: out of memory{_ADVICE}"),
    (Sign.DEVICE_MEMORY, "RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    (Sign.DEVICE_MEMORY, "RuntimeError: cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    (Sign.HOST_MEMORY, "RuntimeError: cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED"),
    (Sign.DEVICE, f"RuntimeError: CUDA error: unspecified launch failure{_ADVICE}"),
    *(
        (Sign.DEVICE, f"AcceleratorError: CUDA error: {said}{_ADVICE}")
        for said in (
            *("invalid resource handle", "invalid device context", "invalid program counter", "misaligned address"),
            *("initialization error", "unknown error", "hardware stack error", "the launch timed out"),
            *("CUDA-capable device(s) is/are busy or unavailable", "no CUDA-capable device is detected"),
            *("operation not supported on global/shared address space", "an illegal instruction was encountered"),
            *("the MPS client has been terminated by the server", "system not yet initialized"),
            "uncorrectable NVLink error detected during the execution",
        )
    ),
    (Sign.DEVICE, f"AcceleratorError: CUDA error: an illegal memory access was encountered{_ADVICE}"),
    (Sign.DEVICE_MEMORY, "RuntimeError: CUDA driver error: out of memory"),
    (Sign.DEVICE, "RuntimeError: CUDA unknown error - this may be due to an incorrectly set up environment"),
    (Sign.DEVICE, "RuntimeError: Unexpected error from cudaGetDeviceCount(). Error 802: system not yet initialized"),
    (Sign.CODE, "RuntimeError: Unexpected error from cudaGetDeviceCount(). Error 803: unsupported display driver"),
    (Sign.DEVICE, "Memory access fault by GPU node-1 (Agent handle: 0x55) on address 0x7f."),
    (Sign.DEVICE, "RuntimeError: No CUDA GPUs are available"),
    (Sign.DEVICE, "RuntimeError: cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    (Sign.DEVICE, "NVMLError_GpuIsLost: GPU is lost"),
    (Sign.DEVICE, "NVRM: Xid (PCI:0000:65:00): 79, GPU has fallen off the bus."),
    (Sign.DEVICE, "CUDA error: uncorrectable ECC error encountered"),
    (Sign.RANKS, "DistBackendError: NCCL error in: ../c10d/ProcessGroupNCCL.cpp:1970, unhandled system error"),
    (Sign.RANKS, "torch.distributed.DistNetworkError: Failed to recv, got 0 bytes"),
    (
        Sign.RANKS,
        "RuntimeError: [../third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer [::1]:4",
    ),
    (Sign.RANKS, "DistStoreError: wait timeout after 600000ms"),
    (Sign.RANKS, "RuntimeError: NCCL communicator was aborted on rank 1."),
    (Sign.RANKS, "RuntimeError: NCCL error: remote process exited or there was a network error"),
    (Sign.RANKS, "[rank1]:[E1129] [Rank 1] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=4, x)"),
    (Sign.RANKS, "node:1:2 [0] misc/socket.cc:58 NCCL WARN Connect to 10.0.0.1 failed"),
    (Sign.RANKS, "terminate called after throwing an instance of 'c10::DistBackendError'"),
]


@pytest.mark.parametrize("text", CODE)
def test_what_comes_again_is_code_whatever_words_it_holds(text: str) -> None:
    assert sign_of(text) is Sign.CODE


@pytest.mark.parametrize("text", OTHER)
def test_a_path_a_name_or_a_class_of_ones_own_is_no_sign(text: str) -> None:
    assert sign_of(text) is Sign.OTHER


@pytest.mark.parametrize("text", WORKER)
def test_a_worker_that_ended_proves_no_lack_of_memory(text: str) -> None:
    assert sign_of(text) is Sign.WORKER


@pytest.mark.parametrize(("sign", "text"), FAULTS)
def test_faults_that_may_not_come_again_are_known(sign: Sign, text: str) -> None:
    assert sign_of(text) is sign
