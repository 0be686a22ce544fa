"""One file a check; each is a pure function ``(view, limits, now) -> findings``. :data:`CHECKS` is the ordered list."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from trainmaster.bot.checks.checkpoints import check_checkpoints
from trainmaster.bot.checks.epochs import check_epochs
from trainmaster.bot.checks.gradients import check_gradients
from trainmaster.bot.checks.job import CONDITIONS as JOB_CONDITIONS
from trainmaster.bot.checks.job import check_job
from trainmaster.bot.checks.lifecycle import check_lifecycle
from trainmaster.bot.checks.limits import CheckLimits
from trainmaster.bot.checks.log_errors import check_log_errors
from trainmaster.bot.checks.loss import check_loss
from trainmaster.bot.checks.nonfinite import check_nonfinite
from trainmaster.bot.checks.process import check_process
from trainmaster.bot.checks.progress import check_progress
from trainmaster.bot.checks.records import check_records
from trainmaster.bot.checks.speed import check_speed
from trainmaster.bot.core.alerts.finding import Finding
from trainmaster.bot.core.check_name import CheckName
from trainmaster.bot.core.run.view import RunView


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """``conditions`` names the conditions that ``look`` judges: when it fails, theirs are left as they were, since the
    absence of an answer is not the answer that all is well."""

    conditions: tuple[CheckName, ...]
    look: Callable[[RunView, CheckLimits, float], tuple[Finding, ...]]


CHECKS: Final[tuple[Check, ...]] = (
    Check(conditions=(CheckName.PROCESS_DIED, CheckName.ORPHANS), look=check_process),
    Check(conditions=JOB_CONDITIONS, look=check_job),
    Check(conditions=(CheckName.NONFINITE,), look=check_nonfinite),
    Check(conditions=(CheckName.CLIP_RATE, CheckName.GRADIENT_TREND), look=check_gradients),
    Check(conditions=(CheckName.LOSS_TREND,), look=check_loss),
    Check(conditions=(CheckName.STALLED,), look=check_progress),
    Check(conditions=(CheckName.SLOWDOWN, CheckName.EPOCH_LATE), look=check_speed),
    Check(conditions=(), look=check_epochs),
    Check(
        conditions=(CheckName.CHECKPOINT_CONTAMINATED, CheckName.CHECKPOINT_MISSING, CheckName.CHECKPOINT_STALE),
        look=check_checkpoints,
    ),
    Check(conditions=(), look=check_log_errors),
    Check(conditions=(), look=check_lifecycle),
    Check(conditions=(CheckName.UNREADABLE,), look=check_records),
)

__all__ = ["CHECKS", "Check", "CheckLimits"]
