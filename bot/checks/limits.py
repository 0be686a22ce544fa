"""Limits of the checks, each with its unit and reason. Settings fill them."""

from __future__ import annotations

from dataclasses import dataclass, field

from bot.core.epoch_report import ReportLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class HostLimits:
    """What is called trouble of the host."""

    disk_free_min_gib: float = 10.0
    """Room for the next checkpoints and an archive copy; a full disk ends a run."""
    disk_free_critical_gib: float = 2.0
    """Less than one more checkpoint with its full state of a large model: the next epoch's end may not be saved."""
    memory_available_min_pct: float = 4.0
    """Caches count as available, so a healthy host stays far above; near 0 the kernel kills the largest process."""
    swap_in_max_mib_s: float = 20.0
    """What lies in swap does no harm; what must come back from it all the time does."""
    gpu_hot_c: float = 90.0
    """For a card that does not tell where it slows down: most do between 85 and 100."""
    gpu_hot_margin_c: float = 3.0
    """Below where the card slows itself down, by its own word."""
    gpu_memory_free_min_gib: float = 0.2
    """PyTorch keeps what it once had, so a nearly full card is normal; with less than this the next larger batch of
    multi-scale or a crowded image no longer fits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckLimits:
    """What a check calls trouble."""

    clear_batches: int = 20
    """Healthy batches after the last bad one until its alert resolves: more than an accumulation window and a
    prefetch queue, so that a second bad batch from the same cause still belongs to the first alert."""
    startup_timeout_s: float = 1800.0
    """No first batch after this long. Scanning labels and caching images of a large set takes many minutes; a hang
    before the first batch has cost hours."""
    stall_factor: float = 5.0
    """A batch is late after this many times the epoch's mean batch time (NVRx multiplies its longest seen by 5)."""
    stall_min_s: float = 120.0
    """And never before this: file systems pause, and a false alarm at night costs trust."""
    validation_timeout_s: float = 3600.0
    """Validation or saving without an end."""
    clip_share_pct: float = 20.0
    """Clipped steps of an epoch, from ``clip_min_batches`` on: clipping that often is the learning rate's doing."""
    clip_min_batches: int = 200
    """The start of training clips a lot and means nothing."""
    report: ReportLimits = field(default_factory=ReportLimits)
