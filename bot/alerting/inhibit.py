"""Which alert explains which other one of the same run, so that only the cause is told. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from trainmaster.bot.alerting.limits import AlertLimits
from trainmaster.bot.core.alerts.alert import Alert, AlertState
from trainmaster.bot.core.alerts.finding import Nature
from trainmaster.trainer.contract import EventKind

_NO_PROGRESS = frozenset({"stalled", "late", "epoch_late", "heartbeat", "slow", "slowdown", "checkpoint_stale"})
_BAD_NUMBERS = frozenset({"nonfinite", "gradient_growth", "gradient_trend", "clip_rate", "loss_spike", "loss_trend"})

MUTED_BY: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        # A process that is over makes no progress, and leaves workers and memory behind.
        "process_died": _NO_PROGRESS | {"orphans", "log_error", "checkpoint_missing", "clip_rate", "gradient_trend"},
        # A run that stands still is also late and slow; that is one trouble, not three.
        "stalled": _NO_PROGRESS - {"stalled"},
        # The gradient of a batch that is not finite is large, and clipped.
        "nonfinite": frozenset({"gradient_growth", "gradient_trend", "clip_rate", "loss_trend"}),
        # Slow batches make a late epoch and an old checkpoint.
        "slowdown": frozenset({"epoch_late", "checkpoint_stale"}),
        # The guard gives up because of the numbers.
        EventKind.RUN_GAVE_UP: _BAD_NUMBERS,
    }
)
"""Check of the cause -> checks that it mutes."""


class InhibitReason(StrEnum):
    """Whether an alert is muted by another one."""

    FREE = "free"
    CAUSE_FIRING = "cause firing"
    CAUSE_HAPPENED = "cause happened"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inhibition:
    """``cause`` is the fingerprint of the alert that mutes; None when none does."""

    reason: InhibitReason
    cause: str | None = None


def inhibit(alert: Alert, others: Iterable[Alert], limits: AlertLimits) -> Inhibition:
    """Whether one of ``others`` explains ``alert``.

    A condition mutes while it fires. An occurrence mutes what led to it, within ``occurrence_mutes_s`` before it, and
    nothing that came later: the next attempt is a new story.
    """
    finding = alert.finding
    for other in others:
        cause = other.finding
        if (
            other.state is not AlertState.FIRING
            or other.fingerprint == alert.fingerprint
            or cause.run != finding.run
            or finding.check not in MUTED_BY.get(cause.check, ())
        ):
            continue
        if cause.nature is Nature.CONDITION:
            if other.resolved_ts is None:
                return Inhibition(reason=InhibitReason.CAUSE_FIRING, cause=other.fingerprint)
        elif 0 <= cause.ts - finding.ts <= limits.occurrence_mutes_s:
            return Inhibition(reason=InhibitReason.CAUSE_HAPPENED, cause=other.fingerprint)
    return Inhibition(reason=InhibitReason.FREE)


def may_mute(alert: Alert, now: float, limits: AlertLimits) -> bool:
    """Whether the alert is an occurrence that was found so lately that it can still mute others."""
    happened = alert.state is AlertState.FIRING and alert.finding.nature is Nature.OCCURRENCE
    return happened and alert.finding.check in MUTED_BY and 0 <= now - alert.updated_ts <= limits.occurrence_mutes_s
