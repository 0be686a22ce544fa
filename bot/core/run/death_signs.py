"""What an error text says of why a trainer died: a fault that may not come again, or one that will. Pure."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final


class Sign(StrEnum):
    """What the text of an error names."""

    DEVICE_MEMORY = "device_memory"
    HOST_MEMORY = "host_memory"
    RANKS = "ranks"
    """NCCL, RCCL or another link between the ranks."""
    DEVICE = "device"
    """The driver or the card."""
    DISK_FULL = "disk_full"
    CODE = "code"
    """Code or data, which will say the same again."""
    OTHER = "other"
    """An error that names none of these."""


_DEVICE_SIDE_ASSERT: Final = r"device-side assert"
"""A label or an index out of range: the data, and it comes again."""
_SIGNS: Final[tuple[tuple[Sign, re.Pattern[str]], ...]] = tuple(
    (sign, re.compile(text, re.IGNORECASE))
    for sign, text in (
        (Sign.CODE, _DEVICE_SIDE_ASSERT),
        (
            Sign.DISK_FULL,
            (
                r"no space left on device|Errno 28\b|disk quota exceeded|Errno 122\b|PytorchStreamWriter failed"
                r"|inline_container\.cc.*unexpected pos|database or disk is full"
            ),
        ),
        (
            Sign.DEVICE_MEMORY,
            (
                r"(?:CUDA|HIP) out of memory|torch\.(?:cuda\.)?OutOfMemoryError|CUDA error: out of memory|_ALLOC_FAILED"
                r"|\bOutOfMemoryError: (?:CUDA|HIP)|MemoryAllocation\b"
            ),
        ),
        (
            Sign.HOST_MEMORY,
            (
                r"DataLoader worker.*(?:is killed by signal: Killed|exited unexpectedly)"
                r"|(?<![A-Za-z])_?(?:Array)?MemoryError|Unable to allocate|DefaultCPUAllocator|Errno 12\b"
                r"|bad_alloc|cannot allocate memory"
            ),
        ),
        (
            Sign.RANKS,
            r"NCCL|RCCL|ProcessGroup(?:NCCL|Gloo)|Dist(?:Backend|Store|Network)Error|collective operation timeout",
        ),
        (
            Sign.DEVICE,
            (
                r"CUDA (?:error|driver|failure)|cuda runtime error|cuDNN error|CUDNN_STATUS|CUBLAS_STATUS"
                r"|CUSOLVER_STATUS|CUFFT_|illegal memory access|AcceleratorError|No CUDA GPUs|HIP error|hipError"
                r"|MIOpen Error|miopenStatus|rocBLAS error|HSA_STATUS_ERROR|cudaError[A-Z]|Xid\b|uncorrectable ECC"
                r"|GPU (?:is lost|has fallen off)|NVML_ERROR"
            ),
        ),
    )
)
_DETERMINISTIC: Final = re.compile(
    r"\b(?:TypeError|KeyError|IndexError|ValueError|AssertionError|AttributeError|NameError|UnboundLocalError"
    r"|SyntaxError|IndentationError|ImportError|ModuleNotFoundError|NotImplementedError|ZeroDivisionError"
    r"|FileNotFoundError|IsADirectoryError|NotADirectoryError|PermissionError|UnicodeDecodeError|RecursionError"
    r"|UnpicklingError|YAMLError|ScannerError|ArgumentsError)\b"
    r"|size mismatch|shapes? .{0,40}(?:cannot be multiplied|mismatch)|must match the size of tensor"
    r"|Expected all tensors to be on the same device|Dataset .{0,200}(?:error|not found)"
)
"""Errors of Python and of tensors' shapes: the same code on the same data says them again."""


def sign_of(text: str) -> Sign:
    """What ``text``, an error as Python or a driver words it, names. The first rule that fits counts."""
    for sign, pattern in _SIGNS:
        if pattern.search(text):
            return sign
    return Sign.CODE if _DETERMINISTIC.search(text) else Sign.OTHER
