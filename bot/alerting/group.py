"""Many alerts at once become one thread. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from trainmaster.bot.alerting.limits import AlertLimits
from trainmaster.bot.core.alerts.alert import Alert
from trainmaster.bot.core.alerts.alert_record import AlertRecord, severity_rank
from trainmaster.bot.core.alerts.finding import Severity


class GroupReason(StrEnum):
    """Where a newly told alert stands."""

    ALONE = "alone"
    IN_BURST = "in burst"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grouping:
    """``root`` is the alert in whose thread it goes; None when it stands in the channel."""

    reason: GroupReason
    root: str | None = None


def window_s(alert: Alert, limits: AlertLimits, *, thread: str | None) -> float:
    """Alerts told within this time make a burst with ``alert``."""
    return limits.info_window_s if _is_report(alert, thread) else limits.group_window_s


def group(alert: Alert, burst: Sequence[AlertRecord], limits: AlertLimits, *, thread: str | None = None) -> Grouping:
    """``burst``: the alerts of the same check and run told within :func:`window_s`, oldest first. Only those that are
    at least as bad count, so that a critical alert never hides in the thread of a warning. ``thread`` is the root of
    the run's thread; without one the first alert of the burst is."""
    rank = severity_rank(alert.finding.severity)
    before = [
        one.alert.fingerprint
        for one in burst
        if one.told is not None
        and severity_rank(one.told.severity) >= rank
        and one.alert.fingerprint != alert.fingerprint
    ]
    if len(before) < (1 if _is_report(alert, thread) else limits.group_size):
        return Grouping(reason=GroupReason.ALONE)
    return Grouping(reason=GroupReason.IN_BURST, root=thread or before[0])


def _is_report(alert: Alert, thread: str | None) -> bool:
    return thread is not None and alert.finding.severity is Severity.INFO
