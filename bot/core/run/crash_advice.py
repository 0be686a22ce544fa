"""What ended a training, in words, and what helps: by the kind of the error and by the resource that its text names."""

from __future__ import annotations

import re
from typing import Final, NamedTuple


class Advice(NamedTuple):
    """``what`` completes "CRASHED: ...", ``told`` "the log tells of ..."; ``then`` is a sentence or two."""

    what: str
    told: str
    then: str


_BY_RESOURCE: Final[tuple[tuple[str, str, Advice], ...]] = (
    (
        "dataloader",
        r"(?i)too many open files",
        Advice(
            what="data loader died",
            told="too many open files",
            then="Raise the limit of open files (ulimit -n 65535) or use fewer workers.",
        ),
    ),
    (
        "dataloader",
        r"Caught \w+ in DataLoader worker",
        Advice(
            what="a data loader worker raised an error",
            told="an error in a data loader worker",
            then="Its own error stands behind it: look at the file that it names and at the disk that holds the data.",
        ),
    ),
    (
        "exception",
        (
            r"(?i)no space left on device|Errno 28\b|disk quota exceeded|Errno 122\b|not enough space on the disk"
            r"|WinError 112\b|PytorchStreamWriter failed|inline_container\.cc.*unexpected pos|database or disk is full"
        ),
        Advice(
            what="the disk is full",
            told="a full disk",
            then="Make space on the disk that the error names (checkpoints, caches, /tmp), then resume.",
        ),
    ),
    (
        "oom",
        (
            r"(?<![A-Za-z])_?(?:Array)?MemoryError|Unable to allocate|CPUAllocator|Errno 12\b|bad_alloc"
            r"|paging file|(?i:cannot allocate memory)|OpenCV|LLVM ERROR|available RAM|notebook tried to allocate"
        ),
        Advice(
            what="out of memory",
            told="out of memory",
            then="The host's own memory ran out, not the card's: use fewer workers, cache=False or a smaller batch, "
            "then resume.",
        ),
    ),
)
_BY_KIND: Final = {
    "oom": Advice(
        what="out of memory",
        told="out of memory",
        then="Make batch or imgsz smaller, or free memory on the device, then resume.",
    ),
    "killed": Advice(
        what="killed from outside",
        told="killed",
        then="Ask the host why: dmesg tells of its out-of-memory killer, a scheduler of its time limit.",
    ),
    "nccl": Advice(
        what="communication between GPUs failed",
        told="an error between the ranks (NCCL)",
        then="One rank waited for another: look for the first error of any rank, and at the network.",
    ),
    "cuda_error": Advice(
        what="CUDA error",
        told="a GPU error",
        then="CUDA_LAUNCH_BLOCKING=1 shows where; one that moves from run to run is the hardware.",
    ),
    "dataloader": Advice(
        what="data loader died",
        told="a data loader worker that died",
        then="Give the loaders more shared memory (/dev/shm; in a container --shm-size or --ipc=host) or fewer "
        "workers, then resume.",
    ),
    "exception": Advice(what="exception", told="an exception", then=""),
}
_UNKNOWN: Final = Advice(what="unknown", told="an error", then="")


def crash_advice(kind: str, detail: str) -> Advice:
    """For a crash of ``kind``, as a scan names it, with the error ``detail``."""
    for its_kind, pattern, advice in _BY_RESOURCE:
        if its_kind == kind and re.search(pattern, detail):
            return advice
    return _BY_KIND.get(kind, _UNKNOWN)
