"""Limits of the checks, each with its unit and reason. Settings fill them."""

from __future__ import annotations

from dataclasses import dataclass, field

from bot.core.epoch_report import ReportLimits


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
