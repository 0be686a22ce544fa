"""What an error text says of why a trainer died: a fault that may not come again, or one that will. Pure.

The exception's type is looked at first. A ``KeyError`` or a file that is not there is code or data whatever words its
text holds: paths and names of people's own say "nccl" and "cuda" too. Words count only where they are the driver's, the
library's or the system's: in the text of the types that carry them, and without what is quoted and without paths."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final


class Sign(StrEnum):
    """What the text of an error names."""

    DEVICE_MEMORY = "device_memory"
    HOST_MEMORY = "host_memory"
    WORKER = "worker"
    """A worker of the data loader ended, and the text does not say what ended it."""
    RANKS = "ranks"
    """NCCL, RCCL or another link between the ranks."""
    DEVICE = "device"
    """The driver or the card."""
    DISK_FULL = "disk_full"
    CODE = "code"
    """Code or data, or an installation that does not fit, which will say the same again."""
    OTHER = "other"
    """An error that names none of these."""


_CODE_TYPES: Final = frozenset(
    {
        *("TypeError", "KeyError", "IndexError", "LookupError", "ValueError", "AssertionError", "AttributeError"),
        *("NameError", "UnboundLocalError", "SyntaxError", "IndentationError", "TabError", "ImportError"),
        *("ModuleNotFoundError", "NotImplementedError", "ZeroDivisionError", "OverflowError", "FloatingPointError"),
        *("FileNotFoundError", "FileExistsError", "IsADirectoryError", "NotADirectoryError", "PermissionError"),
        *("UnicodeError", "UnicodeDecodeError", "UnicodeEncodeError", "RecursionError", "StopIteration"),
        *("UnpicklingError", "PicklingError", "JSONDecodeError", "BadZipFile", "UnidentifiedImageError"),
        *("YAMLError", "ScannerError", "ParserError", "ConstructorError", "ValidationError", "ArgumentsError"),
    }
)
"""Errors of Python, of settings and of files: the same code on the same data says them again."""
_LINK_TYPES: Final = frozenset({"DistError", "DistBackendError", "DistStoreError", "DistNetworkError"})
_MEMORY_TYPES: Final = frozenset({"MemoryError", "_ArrayMemoryError", "ArrayMemoryError"})
_SYSTEM_TYPES: Final = frozenset({"OSError", "IOError", "BlockingIOError"})
_WORDY_TYPES: Final = _LINK_TYPES | {
    *("RuntimeError", "OutOfMemoryError", "AcceleratorError", "DeferredCudaCallError", "CudaError", "CUDAError"),
    *("CUDARuntimeError", "CUDADriverError", "CudaAPIError", "XlaRuntimeError", "OperationalError", "SystemError"),
}
"""Types whose text comes from a driver, a library or a database."""

_TYPE: Final = re.compile(
    r"\s*(?:(?:\[\s*rank\s*\d+\s*\]:?|rank \d+:)\s*)?((?:\w+\.)*[A-Za-z_]\w*)(?::(?:\s+|$)|\s*$)", re.IGNORECASE
)
_TYPE_WITHIN: Final = re.compile(r"(?<![\w./'\"])((?:\w+\.)*\w*[a-z](?:Error|Exception)): ")
"""Behind a stamp or a word of a logger's own."""
_NAMES_TYPE: Final = re.compile(r"(?:Error|Exception|Interrupt|Exit|Iteration|BadZipFile|NVMLError_\w+|\berror)$")
_MAX_PART: Final = 2000
"""Of a longer text its beginning and its end are read, so many characters each."""
_TRACEBACK: Final = "Traceback (most recent call last):"
"""In the text of what torch raises for a worker or a rank, before the error itself."""
_CAUGHT: Final = re.compile(r"^Caught (\w+) in \w+")
_NOT_ITS_OWN: Final = re.compile(
    r"(?<![\w'])'(?!std::|c10::)[^'\n]*'(?!\w)|\"[^\"\n]*\"|`[^`\n]*`|<[^<>\n]*>"
    r"|(?<![\w/.])(?!driver/library)[\w.~-]{0,80}(?:/[\w.@+~-]+)+(?::\d+)?|\b[\w-]{1,80}\.[A-Za-z]\w{0,5}\b(?::\d+)?",
    re.IGNORECASE,
)
"""What is quoted, paths and names of files: people name those."""
_OPENCV_MEMORY: Final = "(-4:Insufficient memory)"
"""As ``cv2.error`` has it, whose other texts are of images and arguments."""
_ERRNO: Final = re.compile(r"^\[Errno (\d+)\]")
_BY_ERRNO: Final = {
    **dict.fromkeys((28, 122), Sign.DISK_FULL),
    12: Sign.HOST_MEMORY,
    **dict.fromkeys((1, 2, 13, 20, 21, 40), Sign.CODE),
}
"""As Linux numbers them: ENOSPC and EDQUOT; ENOMEM; not there, not allowed, no folder, a folder, links in a circle."""

_DEVICE_SIDE_ASSERT: Final = r"device-side assert(?!ions)"
"""A label or an index out of range: the data. Torch's advice below each CUDA error names device-side assertions."""
_UNFIT: Final = re.compile(
    rf"{_DEVICE_SIDE_ASSERT}|no kernel image is available"
    # cudaGetErrorString and hipGetErrorString, of a call that was wrong or a library that can't do it
    r"|(?:CUDA|HIP) error: (?:invalid (?!resource handle|device context|program counter)|device kernel image is invalid"
    r"|[\w ]*(?:is not supported|captur|stub library|PTX JIT compil|symbol not found|file not found|shared object)"
    r"|operation not (?:supported(?! on)|permitted)|peer access (?:is already|has not)|too many (?:resources|blocks))"
    r"|invalid device (?:ordinal|function)|driver version is insufficient"
    r"|NVIDIA driver on your system is too old|unsupported toolchain|forward compatibility was attempted"
    r"|unsupported display driver|Unable to find code object|for GPU arch"
    r"|driver/library version mismatch|_(?:ARCH|VERSION)_MISMATCH\b|_(?:BAD_PARAM|NOT_SUPPORTED)(?:_[A-Z_]+)?\b"
    r"|_(?:INVALID_VALUE|SUBLIBRARY_LOADING_FAILED|LICENSE_ERROR|PREREQUISITE_MISSING)\b"
    r"|ncclInvalid(?:Usage|Argument)|NCCL.{0,80}invalid (?:usage|argument)|Duplicate GPU detected"
    r"|Detected mismatch between collectives|(?:doesn't|not) (?:have|compiled with|built with) (?:NCCL|CUDA)"
    r"|is only supported with GPUs|cannot open shared object file|undefined symbol",
    re.IGNORECASE,
)
"""The data, or an installation or a setting that does not fit the machine: a person decides, whatever else is named."""
_CODE_WORDS: Final = re.compile(
    r"size mismatch|shapes? .{0,40}(?:cannot be multiplied|mismatch)|must match the size of tensor"
    r"|Expected all tensors to be on the same device|Dataset .{0,200}(?:error|not found)",
)
"""Shapes and data sets: the same code on the same data says them again."""
_WORKER: Final = re.compile(r"DataLoader worker \(pid(?:\(s\))? [\d, ]+\) (?:is killed by signal|exited unexpectedly)")
_WORKER_KILLED: Final = re.compile(r"DataLoader worker .*is killed by signal: Killed")
_SIGNS: Final[tuple[tuple[Sign, re.Pattern[str]], ...]] = (
    (
        Sign.DISK_FULL,
        re.compile(
            r"no space left on device|Errno 28\b|disk quota exceeded|Errno 122\b|PytorchStreamWriter failed"
            r"|unexpected pos \d+ vs \d+|database or disk is full",
            re.IGNORECASE,
        ),
    ),
    (
        Sign.DEVICE_MEMORY,
        re.compile(
            r"(?:CUDA|HIP|MPS backend|XPU) out of memory|(?:CUDA|HIP)(?: driver)? error: out of memory"
            r"|[A-Z]_ALLOC_FAILED|DEVICE_ALLOCATION_FAILED|(?:cuda|hip)Error(?:Memory|OutOfMemory)\w*|CUDA failure 2\b",
            re.IGNORECASE,
        ),
    ),
    (
        Sign.HOST_MEMORY,
        re.compile(
            r"Unable to allocate [\d.]+ \w*B\b|DefaultCPUAllocator|HOST_ALLOCATION_FAILED|Errno 12\b|std::bad_alloc"
            r"|cannot allocate memory|Detected \d+ oom[_-]kill event",
            re.IGNORECASE,
        ),
    ),
    (
        Sign.RANKS,
        re.compile(
            r"\b(?:Work)?[NR]CCL\b(?=.*(?i:error|fail|timeout|timed? out|abort|unhandled|watchdog|terminat|remote"
            r"|closed|WARN))|(?i:error|fail|timeout|timed out|abort|watchdog).*\b(?:Work)?[NR]CCL\b"
            r"|\b[nr]ccl(?:UnhandledCuda|System|Internal|Remote)Error\b|\bProcessGroup(?:NCCL|Gloo)\b"
            r"|c10::Dist\w*Error|collective operation timeout|Connection (?:closed|reset) by peer",
            re.DOTALL,
        ),
    ),
    (
        Sign.DEVICE,
        re.compile(
            r"CUDA (?:error|failure|driver (?:error|initialization failed|shutting down))|cuda runtime error"
            r"|cuDNN error|CUDNN_STATUS_|CUBLAS_STATUS_|CUSOLVER_STATUS_|CUFFT_[A-Z]|illegal memory access"
            r"|No CUDA GPUs|HIP error|hipError[A-Z]|MIOpen Error|miopenStatus|rocBLAS error|HSA_STATUS_ERROR"
            r"|CUDA unknown error|Unexpected error from cudaGetDeviceCount|(?:Memory access fault|HW Exception) by GPU"
            r"|cudaError[A-Z]|\bXid\b.{0,40}\d|uncorrectable ECC|GPU (?:is lost|has fallen off)|NVML_ERROR",
            re.IGNORECASE,
        ),
    ),
)


def sign_of(text: str) -> Sign:
    """What ``text``, an error as Python or a driver words it, names. The type decides where it can; else the first rule
    that fits."""
    if len(text) > 2 * _MAX_PART:
        text = f"{text[:_MAX_PART]}\n{text[-_MAX_PART:]}"
    name, message = _parted(text)
    if name in _CODE_TYPES:
        return Sign.CODE
    if name in _MEMORY_TYPES:
        return Sign.HOST_MEMORY
    if name in _SYSTEM_TYPES and (errno := _ERRNO.match(message)):
        return _BY_ERRNO.get(int(errno[1]), Sign.OTHER)
    if name == "error" and _OPENCV_MEMORY in message:
        return Sign.HOST_MEMORY
    if name and name not in _WORDY_TYPES | _SYSTEM_TYPES and not name.startswith("NVMLError"):
        return Sign.OTHER
    found = _by_words(message)
    if found is not Sign.OTHER:
        return found
    if name in _LINK_TYPES:
        return Sign.RANKS
    if name == "AcceleratorError":
        return Sign.DEVICE
    return Sign.DEVICE_MEMORY if name == "OutOfMemoryError" else Sign.OTHER


def _by_words(message: str) -> Sign:
    if _WORKER.search(message):
        return Sign.HOST_MEMORY if _WORKER_KILLED.search(message) else Sign.WORKER
    own = _NOT_ITS_OWN.sub(" ", message)
    if _UNFIT.search(own):
        return Sign.CODE
    found = next((sign for sign, pattern in _SIGNS if pattern.search(own)), None)
    return found or (Sign.CODE if _CODE_WORDS.search(own) else Sign.OTHER)


def _parted(text: str) -> tuple[str, str]:
    """The exception's own name, without its modules, and what it says. No name where the text has none."""
    before, found, traceback = text.rpartition(_TRACEBACK)
    if found:
        inner = next((part for part in _unindented(traceback) if _type_of(part) is not None), None)
        if inner is not None:
            return _parted(inner)
        text = before
    match = _type_of(text)
    if match is None:
        match = _TYPE_WITHIN.search(text)
        if match is None:
            return "", text
    name, message = match[1].rpartition(".")[2], text[match.end() :]
    caught = _CAUGHT.match(message)
    return (caught[1] if caught else name), message


def _unindented(traceback: str) -> list[str]:
    """The lines of ``traceback`` that are no frame, each with what follows it."""
    lines = traceback.splitlines()
    return ["\n".join(lines[at:]) for at, line in enumerate(lines) if line and not line[0].isspace()]


def _type_of(text: str) -> re.Match[str] | None:
    match = _TYPE.match(text)
    return match if match is not None and _NAMES_TYPE.search(match[1]) else None
