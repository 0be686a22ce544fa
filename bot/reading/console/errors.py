"""Error texts -> what kind of crash they are. Only lines that are errors come here; see messages.py."""

from __future__ import annotations

import re

from trainmaster.bot.reading.console.exit_codes import CONTROL_C, WINDOWS_CODES
from trainmaster.bot.reading.console.facts import CrashKind, ErrorOrigin
from trainmaster.bot.reading.console.patterns import LazyPattern
from trainmaster.bot.reading.console.shells import KILLING, SIGNAL_NAMES
from trainmaster.bot.reading.console.text import shortened
from trainmaster.record import Fixed

USER_STOP = "KeyboardInterrupt (user stop)"
_SAYS_USER_STOP = LazyPattern(r"^KeyboardInterrupt\b|\(SIGINT\)|got signal: 2$|due to control-(?:C|BREAK) event")


class ErrorVerdict(Fixed):
    """What an error text says."""

    kind: CrashKind
    origin: ErrorOrigin
    detail: str


_KINDS: tuple[tuple[CrashKind, LazyPattern], ...] = (
    (
        CrashKind.NCCL,
        LazyPattern(
            r"\A(?!.*out of memory)(?:.*\b(?:[nr]ccl|lib[nr]ccl|Nccl)"
            r"|.*(?:NCCL|RCCL|HCCL|nccl[A-Z]|ProcessGroup(?:NCCL|Gloo)\b|[/\\]gloo[/\\]|monitoredBarrier"
            r"|DistBackendError|DistStoreError|DistNetworkError|collective operation timeout))",
        ),
    ),
    (
        CrashKind.DATALOADER,
        LazyPattern(
            # "out of resource: shared memory" is a kernel's on the card (Triton).
            r"\A(?!.*(?:OutOfMemory|MemoryError|out of resource))(?:.*(?:DataLoader worker|Pin memory thread exited"
            r"|bus error encountered in worker|received \d+ items of ancdata|insufficient shared memory"
            r"|DataLoader timed out|Communication with the workers is no longer possible"
            # Workers hand their batches over in shared memory, or as open files.
            r"|shared memory|shm_open|/dev/shm|</?torch_\d|_posixshmem|unable to mmap \d+ bytes from file <"
            r"|Too many open files|\[Errno 24\]|torch_shm_manager))",
            re.IGNORECASE,
        ),
    ),
    (
        CrashKind.OOM,
        LazyPattern(
            r"OutOfMemory|out[ _]of[ _](?:(?:host|device|gpu)[ _])?memory|_OUT_OF_RESOURCES\b"
            r"|(?:can't|can ?not|could not|unable to|failed to) allocate\b|MemoryError"
            r"|not enough memory|insufficient memory|paging file is too small|bad_alloc|_ALLOC_FAILED"
            r"|MemoryAllocation\b|Invalid buffer size: [\d.]+|CUDA failure 2\b"
            r"|Unable to find a valid cuDNN algorithm|memory exhausted"
            r"|memory allocation of \d+ bytes failed|memory limit exceeded|not enough GPU video memory"
            # Behind the number stand words in the reader's language.
            r"|\[Errno 12\]|\[WinError (?:8|14|1450|1455)\]",
            re.IGNORECASE,
        ),
    ),
    (
        CrashKind.CUDA_ERROR,
        LazyPattern(
            r"CUDA (?:error|driver|failure|unknown error)|device handle for "
            r"|CUDA-capable|cuDNN (?:Frontend )?error|CUDNN_STATUS|CUBLAS_STATUS"
            r"|CUSOLVER_STATUS|NVML_|CUDACachingAllocator|nvrtc: error|unable to find an engine to execute"
            r"|CUFFT_|device-side assert|illegal memory access|AcceleratorError|No CUDA GPUs|HIP error|hipError"
            r"|MIOpen Error|miopenStatus|rocBLAS error|HSA_STATUS_ERROR|Triton Error \[(?:CUDA|HIP)\]"
            r"|cudaGetDeviceCount|cudaError[A-Z]|cuda runtime error|NVIDIA driver"
            # Intel's cards, Huawei's, those below DirectX
            r"|_ERROR_DEVICE_LOST|Native API failed|level_zero backend failed|\bacl(?:nn|rt)[A-Z]\w+"
            r"|NPU function error|GetDeviceRemovedReason",
            re.IGNORECASE,
        ),
    ),
)
_WRAPPERS = LazyPattern(
    r"^(?:[\w.]*\.)?(?:ChildFailedError|CalledProcessError|ProcessRaisedException|ExecuteUserScriptError|AlgorithmError|NativeCommandExitException)\b"
)
_NUMBERED = LazyPattern(r"\[(?:Errno (?:12|24)|WinError (?:8|14|1450|1455))\]", hints=("rror ", "Errno"))
_IN_ENGLISH = {
    "[Errno 24]": "too many open files",
    "[WinError 1455]": "the paging file is too small",
}
"""Of numbered errors, whose words are in the reader's language; of all others, that memory could not be had."""
_ALLOCATION = LazyPattern(r"Tried to allocate [\d.]+ \w+")
_STATUS = LazyPattern(r"(?:exit status|exit code|exitcode|Signals\.\w+:)\s*:?\s*(-?\d+)|signal (SIG[A-Z]+)")
_GOT_SIGNAL = LazyPattern(r"got signal: (\d+)")


def judge_exception(text: str) -> ErrorVerdict:
    """An exception line of Python, ``Name: message``."""
    name, _, message = text.partition(":")
    if name == "KeyboardInterrupt":
        return ErrorVerdict(kind=CrashKind.EXCEPTION, origin=ErrorOrigin.MAIN, detail=USER_STOP)
    if name.endswith("SignalException") and (signum := _GOT_SIGNAL.search(message)):
        return judge_signal(int(signum[1]), detail=text)
    if _WRAPPERS.match(name) or name.endswith("ProcessExitedException"):
        return _judge_wrapper(text)
    kind = kind_of(text)
    detail = text
    allocation = _ALLOCATION.search(message)
    if kind is CrashKind.OOM and allocation:
        said = "" if "OutOfMemory" in name else f"{message[: allocation.start()].strip(' .')}. "
        detail = f"{name}: {said}{allocation[0]}"
    if numbered := _NUMBERED.search(text):
        said = _IN_ENGLISH.get(numbered[0], "cannot allocate memory")
        detail = text if said in text.lower() else f"{text} ({said})"
    return ErrorVerdict(kind=kind, origin=ErrorOrigin.MAIN, detail=shortened(detail))


def is_user_stop(detail: str) -> bool:
    """Whether ``detail`` of a fact says that a person pressed Ctrl-C: the run ended early, and did not crash."""
    return _SAYS_USER_STOP.search(detail) is not None


def kind_of(text: str) -> CrashKind:
    """The kind that an error text names; ``EXCEPTION`` when it names none."""
    return next((kind for kind, pattern in _KINDS if pattern.search(text)), CrashKind.EXCEPTION)


def judge_exit_code(code: int, *, detail: str) -> ErrorVerdict | None:
    """What the exit code of a process says; None for success. Shells add 128 to a signal, Python negates it, Windows
    has numbers beyond 2³¹, told as negative ones as well."""
    if code == 0:
        return None
    windows = WINDOWS_CODES.get(code & 0xFFFFFFFF) if not -256 < code < 256 else None
    if windows is not None:
        if code & 0xFFFFFFFF == CONTROL_C:
            return ErrorVerdict(kind=CrashKind.EXCEPTION, origin=ErrorOrigin.WRAPPER, detail=USER_STOP)
        said = f"exit code {code} (0x{code & 0xFFFFFFFF:08X}, {windows})"
        return ErrorVerdict(kind=kind_of(windows), origin=ErrorOrigin.WRAPPER, detail=said)
    name = SIGNAL_NAMES.get(-code if code < 0 else code - 128)
    if name is None:
        return ErrorVerdict(kind=CrashKind.EXCEPTION, origin=ErrorOrigin.WRAPPER, detail=shortened(detail))
    kind = CrashKind.KILLED if name in KILLING else CrashKind.EXCEPTION
    return ErrorVerdict(kind=kind, origin=ErrorOrigin.WRAPPER, detail=f"exit code {code} ({name})")


def judge_signal(signum: int, *, detail: str) -> ErrorVerdict:
    """A signal that ended the launcher of the ranks; torchrun raises it as an exception."""
    killed = SIGNAL_NAMES.get(signum) in KILLING
    kind = CrashKind.KILLED if killed else CrashKind.EXCEPTION
    return ErrorVerdict(kind=kind, origin=ErrorOrigin.MAIN, detail=shortened(detail))


def _judge_wrapper(text: str) -> ErrorVerdict:
    status = _STATUS.search(text)
    if status is not None and status[2]:
        killed = status[2] in KILLING
        kind = CrashKind.KILLED if killed else CrashKind.EXCEPTION
        return ErrorVerdict(kind=kind, origin=ErrorOrigin.MAIN, detail=shortened(text))
    if status is not None:
        code = int(status[1])
        verdict = judge_exit_code(-code if "Signals." in status[0] else code, detail=text)
        if verdict is not None:
            return verdict
    return ErrorVerdict(kind=CrashKind.EXCEPTION, origin=ErrorOrigin.WRAPPER, detail=shortened(text))
