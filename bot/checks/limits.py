"""Limits of the checks, each with its unit and reason. Settings fill them."""

from __future__ import annotations

from dataclasses import dataclass, field

from trainmaster.bot.core.run.epoch_report import ReportLimits


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
class DutyLimits:
    """What is called trouble of the bot itself."""

    faults_in_a_row: int = 3
    """A busy host delays one look, and a mount that comes back another; the third is no accident."""


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
    """A batch, a validation or a save is late after this many times the longest one seen in this run (NVRx, NVIDIA's
    resiliency extension, learns its time-outs in the same way, with 5)."""
    stall_min_s: float = 120.0
    """A batch is never called late before this: file systems pause, and a false alarm at night costs trust."""
    stall_max_s: float = 3600.0
    """And always after this, so that one long pause that passed does not make the next one unseen."""
    validation_timeout_s: float = 3600.0
    """Validation or saving without an end, until the run has shown how long it takes."""
    phase_min_s: float = 600.0
    """A learnt time-out of start-up, validation or saving is no shorter: the next one may have more to do."""
    phase_max_s: float = 21_600.0
    """And no longer, as ``stall_max_s``."""
    slow_factor: float = 2.0
    """Batches that take this many times the run's own median are a slow-down; less comes and goes with the disk."""
    slow_window_s: float = 900.0
    """The slow-down must have held this long: long enough for a backup or a scan of the disk to pass."""
    late_factor: float = 1.5
    """An epoch is late at this many times the median of the run's own finished ones."""
    late_min_s: float = 600.0
    """And at least this much beyond it, so that short epochs are not told by the minute."""
    clip_rise_pct: float = 25.0
    """Percentage points by which the share of clipped steps exceeds the run's own earlier epochs. The plain share says
    nothing: with the norms of a healthy run above ``max_norm`` nearly every step is clipped (decision 0006)."""
    clip_min_batches: int = 200
    """The start of an epoch is no sample."""
    gradient_growth_factor: float = 4.0
    """Median gradient norm of the last stretches over that of the run before: growth that lasts, beside the trainer's
    own word on single steps. Healthy norms fall, or wander by less than 2."""
    spike_mads: float = 10.0
    """A stretch's mean loss this many robust standard deviations above the stretches before it."""
    spike_rise_pct: float = 50.0
    """And by this much: late in training the deviation is so small that it alone would cry wolf."""
    loss_patience_epochs: int = 5
    """Epochs without a better mean loss or a better fitness, while the learning rate is still high."""
    loss_lr_share: float = 0.2
    """Of the run's highest learning rate: below it the schedule is nearly over, and a plateau is its purpose."""
    checkpoint_grace_s: float = 300.0
    """From an epoch's end until its checkpoint is missed: a slow network disk takes minutes for a large model."""
    checkpoint_stale_epochs: float = 2.5
    """Median epochs since the newest checkpoint: so much would be lost."""
    report: ReportLimits = field(default_factory=ReportLimits)
