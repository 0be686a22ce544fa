"""Whether a run may be started now: what the gate found out, judged. Pure; docs/going-on.md has the table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from trainmaster.bot.core.health.host import GpuFact

_GIB: Final = 2**30


class GateCheck(StrEnum):
    """What is looked at before a start."""

    DIRECTORY = "run directory"
    DISK = "disk"
    DATA = "data set"
    MEMORY = "memory"
    GPU = "GPU"
    GPU_USERS = "GPU's users"


class GateOutcome(StrEnum):
    """``UNKNOWN`` is no pass: it is said, and asks."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class GateFact:
    """One check: the fact with its value and limit, as a sentence."""

    check: GateCheck
    outcome: GateOutcome
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GateSight:
    """What was seen. A ``silent`` check got no answer, with the reason. What does not apply to the run (a GPU where it
    trains on the CPU, memory of another host) is None or absent, and not judged."""

    silent: Mapping[GateCheck, str] = field(default_factory=dict)
    directory_fault: str = ""
    free_bytes: int | None = None
    needed_bytes: int = 0
    data: str | None = None
    """The data set as the run names it."""
    data_fault: str = ""
    memory_gib: float | None = None
    memory_needed_gib: float = 0.0
    needs_gpu: bool = False
    gpus: tuple[GpuFact, ...] = ()
    """Those of the run, as far as that is known; else all."""
    users: Mapping[str, frozenset[int] | None] = field(default_factory=dict)
    """By GPU: processes that hold it; None where that is not told."""
    own: frozenset[int] = frozenset()
    """Processes of the run itself that outlived it."""


_Judge = Callable[[GateSight], tuple[bool, str]]


def judge_gate(sight: GateSight) -> tuple[GateFact, ...]:
    """Every check that applies, in the order in which a start would meet them."""
    return (
        _answered(sight, GateCheck.DIRECTORY, _directory),
        *_if(sight.free_bytes is not None or GateCheck.DISK in sight.silent, sight, GateCheck.DISK, _disk),
        *_if(sight.data is not None or GateCheck.DATA in sight.silent, sight, GateCheck.DATA, _data),
        *_if(sight.memory_gib is not None or GateCheck.MEMORY in sight.silent, sight, GateCheck.MEMORY, _memory),
        *_if(sight.needs_gpu, sight, GateCheck.GPU, _gpu),
        *_if(sight.needs_gpu and bool(sight.gpus), sight, GateCheck.GPU_USERS, _users),
    )


def closed(facts: tuple[GateFact, ...]) -> tuple[GateFact, ...]:
    """Those that stand against a start."""
    return tuple(fact for fact in facts if fact.outcome is not GateOutcome.PASS)


_LETTERS: Final = {
    GateCheck.DIRECTORY: "r",
    GateCheck.DISK: "k",
    GateCheck.DATA: "d",
    GateCheck.MEMORY: "m",
    GateCheck.GPU: "g",
    GateCheck.GPU_USERS: "u",
}


def told_of(facts: Iterable[GateFact]) -> str:
    """What a message told of, as its button carries it: a letter each, a capital where it is known to be bad."""
    return "".join(
        _LETTERS[one.check].upper() if one.outcome is GateOutcome.FAIL else _LETTERS[one.check] for one in facts
    )


def beyond(facts: Iterable[GateFact], told: str) -> tuple[GateFact, ...]:
    """Those that whoever was ``told`` does not know of: others, or what was unknown then and is known to be bad now."""
    known = {*told, *told.lower()}
    return tuple(one for one in facts if told_of((one,)) not in known)


def _if(applies: bool, sight: GateSight, check: GateCheck, judge: _Judge) -> tuple[GateFact, ...]:
    return (_answered(sight, check, judge),) if applies else ()


def _answered(sight: GateSight, check: GateCheck, judge: _Judge) -> GateFact:
    if check in sight.silent:
        text = f"the {check} can't be told: {sight.silent[check]}"
        return GateFact(check=check, outcome=GateOutcome.UNKNOWN, text=text)
    fault, text = judge(sight)
    return GateFact(check=check, outcome=GateOutcome.FAIL if fault else GateOutcome.PASS, text=text)


def _directory(sight: GateSight) -> tuple[bool, str]:
    return bool(sight.directory_fault), sight.directory_fault or "the run directory answers"


def _disk(sight: GateSight) -> tuple[bool, str]:
    free = sight.free_bytes or 0
    text = f"the disk has {free / _GIB:.1f} GiB free, the next states want {sight.needed_bytes / _GIB:.1f} GiB"
    return free < sight.needed_bytes, text


def _data(sight: GateSight) -> tuple[bool, str]:
    return bool(sight.data_fault), sight.data_fault or f"the data set {sight.data} is there"


def _memory(sight: GateSight) -> tuple[bool, str]:
    free, needed = sight.memory_gib or 0.0, sight.memory_needed_gib
    return free < needed, f"the host has {free:.1f} GiB of memory free, the run used {needed:.1f} GiB"


def _gpu(sight: GateSight) -> tuple[bool, str]:
    if not sight.gpus:
        return True, "no GPU is visible, and the run trained on one"
    faults = [fault for gpu in sight.gpus if (fault := _fault_of(gpu))]
    return bool(faults), "; ".join(faults) or f"{', '.join(gpu.key for gpu in sight.gpus)} answers"


def _fault_of(gpu: GpuFact) -> str:
    if gpu.lost:
        return f"{gpu.key} is {gpu.lost}"
    if gpu.asks_for:
        return f"{gpu.key} asks for {gpu.asks_for}"
    xids = sorted({xid.code for xid in gpu.xids if xid.is_of_hardware})
    if xids:
        return f"{gpu.key} reported Xid {', '.join(map(str, xids))}"
    if gpu.num_new_uncorrected:
        return f"{gpu.key} has had {gpu.num_new_uncorrected} memory errors that could not be corrected, limit 0"
    return ""


def _users(sight: GateSight) -> tuple[bool, str]:
    found = []
    for gpu in sight.gpus:
        pids = sight.users.get(gpu.key) or frozenset()
        for whose, some, what in (
            ("what the run itself left over", pids & sight.own, "to end it: kill"),
            ("somebody else", pids - sight.own, "to see it: ps -f -p"),
        ):
            if some:
                named = ", ".join(map(str, sorted(some)))
                found.append(f"{gpu.key} is held by {whose} (process {named}; {what} {named.replace(',', '')})")
    return bool(found), "; ".join(found) or "nobody else holds the GPU"
