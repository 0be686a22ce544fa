"""What is known of the host that trains: disks, memory, GPUs. Pure data, and one line that says it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from trainmaster.bot.core.check_name import CheckName

HARDWARE_XIDS: Final = frozenset({48, 62, 64, 74, 79, 92, 94, 95, 109, 119, 120, 136, 140, 143, 155, 156})
"""Of NVIDIA's list those that name the card, its memory, its bus or its firmware (NVIDIA, "Xid Errors", and GPU Debug
Guidelines); others (13, 31, 43, 45 ...) come from the program that used the card."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskFact:
    """One file system. ``holds`` says what of ours lies on it (RUNS_DIR, STATE_DIR, an adopted run)."""

    place: str
    holds: tuple[str, ...]
    free_gib: float
    total_gib: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryFact:
    """Main memory and swap. ``swap_in_mib_s`` is since the look before; None at the first one."""

    total_gib: float
    available_gib: float
    swap_total_gib: float
    swap_used_gib: float
    swap_in_mib_s: float | None

    @property
    def available_pct(self) -> float:
        """Available memory as a percentage of the whole."""
        return 100 * self.available_gib / self.total_gib if self.total_gib else 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class XidFact:
    """An error that NVIDIA's driver reported: its number in the driver's own list, and when it was read."""

    ts: float
    code: int

    @property
    def is_of_hardware(self) -> bool:
        """The card itself is at fault, not the program on it."""
        return self.code in HARDWARE_XIDS


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuFact:
    """One GPU; None where its driver does not tell. ``key`` names it for good on this host."""

    key: str
    name: str
    uuid: str = ""
    """By which a trainer may be shown it (CUDA_VISIBLE_DEVICES); empty where its driver does not tell."""
    memory_used_gib: float | None = None
    memory_total_gib: float | None = None
    busy_pct: float | None = None
    temperature_c: float | None = None
    temperature_limit_c: float | None = None
    """Where the device slows itself down, by its own word."""
    power_w: float | None = None
    slowed_by: tuple[str, ...] = ()
    """Why the device runs below its clock, when that is a fault: heat, a power brake."""
    num_uncorrected: int | None = None
    """Memory errors that could not be corrected, since its driver was loaded."""
    num_new_uncorrected: int = 0
    """Those that came while the bot was watching."""
    xids: tuple[XidFact, ...] = ()
    asks_for: str = ""
    """What its driver says must be done before it can be trusted: a reset, a reboot; empty when nothing."""
    lost: str = ""
    """Why the device can't be asked any more; empty while it answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unseen:
    """A part of the host that gave no answer: ``what`` was asked, ``checks`` are the conditions that it would judge."""

    what: str
    why: str
    checks: frozenset[CheckName]


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFact:
    """The host at ``ts``."""

    ts: float
    name: str
    disks: tuple[DiskFact, ...] = ()
    memory: MemoryFact | None = None
    gpus: tuple[GpuFact, ...] = ()
    unseen: tuple[Unseen, ...] = ()


def host_text(fact: HostFact) -> str:
    """One line: memory, disks, and each GPU. What gave no answer is named."""
    parts = []
    if fact.memory is not None:
        parts.append(f"memory {fact.memory.available_gib:.1f} of {fact.memory.total_gib:.1f} GiB free")
    parts += [f"disk of {' and '.join(disk.holds)} {disk.free_gib:.1f} GiB free" for disk in fact.disks]
    parts += [gpu_text(gpu) for gpu in fact.gpus]
    if not fact.gpus and not any("GPU" in one.what for one in fact.unseen):
        parts.append("GPU: none visible")
    parts += [f"{one.what}: no answer" for one in fact.unseen]
    return " · ".join(parts)


def gpu_text(gpu: GpuFact) -> str:
    """A GPU in a few words; only what its driver tells."""
    if gpu.lost:
        return f"{gpu.key} {gpu.name}: {gpu.lost}"
    parts = []
    if gpu.temperature_c is not None:
        parts.append(f"{gpu.temperature_c:.0f} °C")
    if gpu.memory_used_gib is not None and gpu.memory_total_gib is not None:
        parts.append(f"{gpu.memory_used_gib:.1f} of {gpu.memory_total_gib:.1f} GiB")
    if gpu.busy_pct is not None:
        parts.append(f"{gpu.busy_pct:.0f} % busy")
    if gpu.power_w is not None:
        parts.append(f"{gpu.power_w:.0f} W")
    return f"{gpu.key} {gpu.name}: {', '.join(parts) or 'visible'}"
