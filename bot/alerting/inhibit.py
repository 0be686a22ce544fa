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
from trainmaster.bot.core.check_name import BAD_NUMBERS, AnyCheck, CheckName

_NO_PROGRESS = frozenset({CheckName.STALLED, CheckName.EPOCH_LATE, CheckName.SLOWDOWN, CheckName.CHECKPOINT_STALE})

MUTED_BY: Final[Mapping[AnyCheck, frozenset[CheckName]]] = MappingProxyType(
    {
        # A process that is over makes no progress, and leaves workers and memory behind.
        CheckName.PROCESS_DIED: _NO_PROGRESS
        | {
            CheckName.ORPHANS,
            CheckName.LOG_ERROR,
            CheckName.CHECKPOINT_MISSING,
            CheckName.CLIP_RATE,
            CheckName.GRADIENT_TREND,
        },
        # A run that stands still is also late and slow; that is one trouble, not three.
        CheckName.STALLED: _NO_PROGRESS - {CheckName.STALLED},
        # The gradient of a batch that is not finite is large, and clipped.
        CheckName.NONFINITE: frozenset(
            {CheckName.GRADIENT_GROWTH, CheckName.GRADIENT_TREND, CheckName.CLIP_RATE, CheckName.LOSS_TREND}
        ),
        # Slow batches make a late epoch and an old checkpoint.
        CheckName.SLOWDOWN: frozenset({CheckName.EPOCH_LATE, CheckName.CHECKPOINT_STALE}),
        # The guard gives up because of the numbers.
        CheckName.RUN_GAVE_UP: BAD_NUMBERS,
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

    A condition mutes until it is resolved: one look without it makes no trouble of its own of what it led to. An
    occurrence mutes what led to it, within ``occurrence_mutes_s`` before it, and nothing that came later: the next
    attempt is a new story.
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
            return Inhibition(reason=InhibitReason.CAUSE_FIRING, cause=other.fingerprint)
        if 0 <= cause.ts - finding.ts <= limits.occurrence_mutes_s:
            return Inhibition(reason=InhibitReason.CAUSE_HAPPENED, cause=other.fingerprint)
    return Inhibition(reason=InhibitReason.FREE)


def may_mute(alert: Alert, now: float, limits: AlertLimits) -> bool:
    """Whether the alert is an occurrence that was found so lately that it can still mute others."""
    happened = alert.state is AlertState.FIRING and alert.finding.nature is Nature.OCCURRENCE
    return happened and alert.finding.check in MUTED_BY and 0 <= now - alert.updated_ts <= limits.occurrence_mutes_s
