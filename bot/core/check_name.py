"""The names of everything that is told as an alert: by them alerts are muted, silenced, stored and explained.

A new check adds its name here and a row to ``docs/alerts.md``; a test holds names, checks, muting and page together.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from trainmaster.trainer.contract import EventKind


class CheckName(StrEnum):
    """What a finding is about. The values are stored: a name is added or retired, never changed."""

    # How a run starts and ends, in the trainer's own words: named as the event that it wrote.
    RUN_STARTED = EventKind.RUN_STARTED.value
    RUN_FINISHED = EventKind.RUN_FINISHED.value
    RUN_STOPPED = EventKind.RUN_STOPPED.value
    RUN_GAVE_UP = EventKind.RUN_GAVE_UP.value
    RUN_REFUSED = EventKind.RUN_REFUSED.value
    RUN_CRASHED = EventKind.RUN_CRASHED.value
    OUT_OF_MEMORY = EventKind.OUT_OF_MEMORY.value
    DATA_FAULT = EventKind.DATA_FAULT.value
    STORAGE_FAULT = EventKind.STORAGE_FAULT.value
    STATE_HEALED = EventKind.STATE_HEALED.value
    EPOCH_FINISHED = EventKind.EPOCH_FINISHED.value

    # The numbers.
    NONFINITE = "nonfinite"
    GRADIENT_GROWTH = "gradient_growth"
    """The trainer's own word on a single step."""
    GRADIENT_TREND = "gradient_trend"
    """Growth that lasts, by the bot's measure."""
    CLIP_RATE = "clip_rate"
    LOSS_SPIKE = "loss_spike"
    LOSS_TREND = "loss_trend"

    # The process.
    PROCESS_DIED = "process_died"
    ORPHANS = "orphans"
    STALLED = "stalled"
    SLOWDOWN = "slowdown"
    EPOCH_LATE = "epoch_late"
    LOG_ERROR = "log_error"

    # The job of a cluster.
    JOB_WAITS = "job_waits"
    JOB_HOPELESS = "job_hopeless"
    """It waits for what never comes by itself."""
    JOB_QUEUED_AGAIN = "job_queued_again"
    JOB_SUSPENDED = "job_suspended"
    JOB_PREEMPTED = "job_preempted"
    JOB_LIMIT = "job_limit"
    TWO_TRAINERS = "two_trainers"
    """A trainer works that its cluster has lost sight of."""
    CLUSTER_SILENT = "cluster_silent"

    # Checkpoints and records.
    CHECKPOINT_CONTAMINATED = "checkpoint_contaminated"
    CHECKPOINT_MISSING = "checkpoint_missing"
    CHECKPOINT_STALE = "checkpoint_stale"
    UNREADABLE = "unreadable"

    # The host.
    DISK_LOW = "disk_low"
    MEMORY_LOW = "memory_low"
    SWAP_BUSY = "swap_busy"
    GPU_MEMORY = "gpu_memory"
    GPU_HOT = "gpu_hot"
    GPU_THROTTLED = "gpu_throttled"
    GPU_ERRORS = "gpu_errors"
    HOST_UNSEEN = "host_unseen"

    # The bot itself.
    DUTY_FAILED = "duty_failed"
    ONLY_WATCHES = "only_watches"
    """Another Trainmaster acts on the runs."""
    CHECK_FAILED = "check_failed"
    DATABASE = "database"
    OPERATION = "operation"
    """A stop or a rollback that can't go on without a person."""


BAD_NUMBERS: Final = frozenset(
    {
        CheckName.NONFINITE,
        CheckName.GRADIENT_GROWTH,
        CheckName.GRADIENT_TREND,
        CheckName.CLIP_RATE,
        CheckName.LOSS_SPIKE,
        CheckName.LOSS_TREND,
    }
)
"""Told of a batch or of a stretch of them: the guard gives up because of these, and an epoch has curves of them."""


class ForeignCheck(str):
    """A name that another version of the bot stored and this one does not have. It is kept as it is, since fingerprints
    are made of it; nothing mutes it and it mutes nothing."""

    __slots__ = ()


AnyCheck = CheckName | ForeignCheck


def stored_check(text: str) -> AnyCheck:
    """The check that a stored row names, whatever version wrote it."""
    try:
        return CheckName(text)
    except ValueError:
        return ForeignCheck(text)
