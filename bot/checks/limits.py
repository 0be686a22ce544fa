"""What the checks call trouble: each limit with its default, its reason, and its unit where the name tells none."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from trainmaster.bot.core.run.epoch_report import ReportLimits
from trainmaster.bot.core.setting import Setting


@dataclass(frozen=True, slots=True, kw_only=True)
class HostLimits:
    """What is called trouble of the host."""

    disk_free_min_gib: Annotated[float, Setting("GiB", ge=0)] = 10.0
    """Room for the next checkpoints and an archive copy; a full disk ends a run."""
    disk_free_critical_gib: Annotated[float, Setting("GiB", ge=0)] = 2.0
    """Less than one more checkpoint with its full state of a large model: the next epoch's end may not be saved, and
    the people on call are mentioned."""
    memory_available_min_pct: Annotated[float, Setting("% of the memory", ge=0, le=50)] = 4.0
    """Caches count as available, so a healthy host stays far above; near 0 the kernel kills the largest process."""
    swap_in_max_mib_s: Annotated[float, Setting("MiB/s", gt=0)] = 20.0
    """What lies in swap does no harm; what must come back from it all the time does."""
    gpu_hot_c: Annotated[float, Setting("°C", gt=0, le=150)] = 90.0
    """For a card that does not tell where it slows itself down: most do between 85 and 100."""
    gpu_hot_margin_c: Annotated[float, Setting("°C", ge=0, le=50)] = 3.0
    """Below where a card slows itself down, by its own word."""
    gpu_memory_free_min_gib: Annotated[float, Setting("GiB", ge=0)] = 0.2
    """PyTorch keeps what it once had, so a nearly full card is normal; with less than this the next larger batch of
    multi-scale or a crowded image no longer fits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnJobLimits:
    """What is called trouble of the bot itself."""

    faults_in_a_row: Annotated[int, Setting("times", ge=1, name="bot_faults_in_a_row")] = 3
    """A periodic job of the bot that fails or is missed so often is an alert of its own: a busy host delays one look,
    and a mount that comes back another; the third is no accident."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckLimits:
    """What is called trouble of a run."""

    pending_max_s: Annotated[float, Setting("s", gt=0)] = 14_400.0
    """A job of a cluster that waits longer is told; on a busy one, hours are usual."""
    startup_timeout_s: Annotated[float, Setting("s", gt=0)] = 1800.0
    """No first batch after this long. Scanning labels and caching images of a large set takes many minutes; a hang
    before the first batch has cost hours."""
    stall_factor: Annotated[float, Setting("times the longest seen", gt=1)] = 5.0
    """A batch, a validation or a save that takes longer has hung; below 3 a slow disk looks dead. NVRx, NVIDIA's
    resiliency extension, learns its time-outs in the same way, with 5."""
    stall_min_s: Annotated[float, Setting("s", gt=0)] = 120.0
    """No batch is called hung before: file systems pause, and a false alarm at night costs trust."""
    stall_max_s: Annotated[float, Setting("s", gt=0)] = 3600.0
    """Every batch is called hung after this, so that one long pause that passed does not hide the next."""
    validation_timeout_s: Annotated[float, Setting("s", gt=0)] = 3600.0
    """Validation or saving without an end, until the run has shown how long it takes."""
    phase_min_s: Annotated[float, Setting("s", gt=0)] = 600.0
    """A learnt time-out of start-up, validation or saving is no shorter: the next one may have more to do."""
    phase_max_s: Annotated[float, Setting("s", gt=0)] = 21_600.0
    """And no longer, so that one long pause does not hide the next."""
    slow_factor: Annotated[float, Setting("times the run's own median", gt=1)] = 2.0
    """Batches slower than this are told; less comes and goes with the disk."""
    slow_window_s: Annotated[float, Setting("s", ge=60)] = 900.0
    """A slow-down is told when it has held this long: a backup or a scan of the disk passes."""
    late_factor: Annotated[float, Setting("times the run's median epoch", gt=1)] = 1.5
    """An epoch that takes longer is told while it still runs."""
    late_min_s: Annotated[float, Setting("s", ge=0)] = 600.0
    """And is at least this late, so that short epochs are not told by the minute."""
    clear_batches: Annotated[int, Setting("batches", ge=1)] = 20
    """Healthy ones after the last bad one until its alert resolves: more than an accumulation window and a prefetch
    queue, so that a second bad batch from the same cause still belongs to the first alert."""
    clip_rise_pct: Annotated[float, Setting("percentage points", gt=0, le=100)] = 25.0
    """By which the share of clipped steps exceeds the run's own earlier epochs. The plain share says nothing: with the
    norms of a healthy run above max_norm nearly every step is clipped (decision 0006)."""
    clip_min_batches: Annotated[int, Setting("batches", ge=1)] = 200
    """The start of an epoch is no sample of its clipped steps."""
    gradient_growth_factor: Annotated[float, Setting("times the run's own median norm", gt=1)] = 4.0
    """Growth that lasts, beside the trainer's word on single steps. Healthy norms fall, or wander by less than 2."""
    spike_mads: Annotated[float, Setting("robust standard deviations", gt=1)] = 10.0
    """A loss spike is a stretch of batches with a mean loss so far above the stretches before it."""
    spike_rise_pct: Annotated[float, Setting("% above the stretches before", gt=0)] = 50.0
    """And by this much: late in training the deviation is so small that it alone would cry wolf."""
    loss_patience_epochs: Annotated[int, Setting("epochs", ge=2)] = 5
    """Without a better mean loss or a better fitness, while the learning rate is still high."""
    loss_lr_share: Annotated[float, Setting("of the highest learning rate", ge=0, le=1)] = 0.2
    """Below it the schedule is nearly over, and a plateau is its purpose."""
    checkpoint_grace_s: Annotated[float, Setting("s", ge=0)] = 300.0
    """From an epoch's end until its checkpoint is missed: a slow network disk takes minutes for a large model."""
    checkpoint_stale_epochs: Annotated[float, Setting("median epochs", gt=1)] = 2.5
    """Since the newest checkpoint: so much would be lost."""
    report: ReportLimits = field(default_factory=ReportLimits)
    """What the success criteria of an epoch call a failure."""
