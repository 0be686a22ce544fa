"""Alerts of many runs that one trouble is behind are told in one message. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from trainmaster.bot.alerting.limits import AlertLimits
from trainmaster.bot.core.alerts.alert import Alert, AlertState
from trainmaster.bot.core.alerts.alert_record import Leader, severity_rank
from trainmaster.bot.core.alerts.finding import Nature, Severity
from trainmaster.bot.core.check_name import AnyCheck, CheckName
from trainmaster.bot.core.health.no_run import BOT_RUN

_SAME_WHATEVER_IS_SAID = frozenset(
    {
        *(CheckName.PROCESS_DIED, CheckName.ORPHANS, CheckName.STALLED, CheckName.UNREADABLE, CheckName.RUN_STOPPED),
        *(CheckName.JOB_QUEUED_AGAIN, CheckName.JOB_PREEMPTED, CheckName.JOB_SUSPENDED, CheckName.TWO_TRAINERS),
        *(CheckName.STORAGE_FAULT, CheckName.CHECK_FAILED, CheckName.DUTY_FAILED),
    }
)
"""Runs that come to this at one time come to it for one reason: a host, a mount, a controller, the bot."""
_SAME_IF_SAID_ALIKE = frozenset(
    {
        *(CheckName.RUN_CRASHED, CheckName.RUN_REFUSED, CheckName.RUN_GAVE_UP, CheckName.OUT_OF_MEMORY),
        *(CheckName.DATA_FAULT, CheckName.LOG_ERROR, CheckName.SLOWDOWN, CheckName.EPOCH_LATE),
        *(CheckName.CHECKPOINT_STALE, CheckName.JOB_HOPELESS, CheckName.JOB_WAITS),
    }
)
"""These are mostly a run's own; they belong together when they give the same reason, figures aside."""
SHARED: Final = _SAME_WHATEVER_IS_SAID | _SAME_IF_SAID_ALIKE

_STANDS_STILL = frozenset({CheckName.PROCESS_DIED, CheckName.STALLED, CheckName.RUN_CRASHED})
_IS_SLOW = frozenset({CheckName.SLOWDOWN, CheckName.EPOCH_LATE})
EXPLAINS: Final[Mapping[AnyCheck, frozenset[CheckName]]] = MappingProxyType(
    {
        CheckName.GPU_ERRORS: _STANDS_STILL | _IS_SLOW | {CheckName.LOG_ERROR},
        CheckName.GPU_HOT: _IS_SLOW,
        CheckName.GPU_THROTTLED: _IS_SLOW,
        CheckName.DISK_LOW: _STANDS_STILL | {CheckName.STORAGE_FAULT, CheckName.CHECKPOINT_STALE},
        CheckName.MEMORY_LOW: _STANDS_STILL | _IS_SLOW | {CheckName.OUT_OF_MEMORY},
        CheckName.SWAP_BUSY: _STANDS_STILL | _IS_SLOW,
        CheckName.HOST_UNSEEN: frozenset({CheckName.UNREADABLE, CheckName.STALLED, CheckName.STORAGE_FAULT}),
        CheckName.CLUSTER_SILENT: frozenset({CheckName.UNREADABLE, CheckName.TWO_TRAINERS, CheckName.JOB_WAITS}),
        CheckName.DUTY_FAILED: frozenset({CheckName.UNREADABLE, CheckName.CHECK_FAILED}),
        CheckName.DATABASE: frozenset({CheckName.CHECK_FAILED, CheckName.DUTY_FAILED}),
    }
)
"""Trouble of the host, the cluster or the bot -> what it does to runs. It is named, and told with them, once several
runs show it: one run may have a reason of its own."""


class TogetherReason(StrEnum):
    """Where a newly told alert of many runs stands."""

    ALONE = "alone"
    JOINED = "joined"
    """In the message of an alert of another run."""
    UNDER_CAUSE = "under cause"
    """In the message of the trouble that explains it, with the alert that it would have joined."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Together:
    """``leader`` is the fingerprint of the alert in whose message it is told; ``brings`` is one with a message of its
    own so far, which moves there too."""

    reason: TogetherReason
    leader: str | None = None
    brings: str | None = None


ALONE: Final = Together(reason=TogetherReason.ALONE)


def checks_beside(check: AnyCheck) -> frozenset[AnyCheck]:
    """Checks whose alerts may be told in one message with those of ``check``; empty when none may."""
    causes = {cause for cause, effects in EXPLAINS.items() if check in effects}
    own: set[AnyCheck] = {check} if check in SHARED else set()
    return frozenset(own | causes | EXPLAINS.get(check, frozenset()))


def together(alert: Alert, leaders: Iterable[Leader], now: float, limits: AlertLimits) -> Together:
    """Whether ``alert``, which is news, belongs to a trouble that was told lately. ``leaders`` are the alerts with a
    message of their own, oldest first. Nothing is put where somebody has taken the trouble already: who did has not
    heard of it; and nothing where a lesser severity was told.
    """
    if alert.finding.severity is Severity.INFO:
        return ALONE
    open_ = [one for one in leaders if _takes(one, alert, now, limits)]
    alike = [one for one in open_ if _alike(one.record.alert, alert)]
    if alike:
        first = alike[0].record.alert
        cause = _cause(first, [one for one in open_ if one.joined_ts is None or one not in alike])
        if cause is not None and alike[0].joined_ts is None:
            return Together(reason=TogetherReason.UNDER_CAUSE, leader=cause, brings=first.fingerprint)
        return Together(reason=TogetherReason.JOINED, leader=first.fingerprint)
    for one in open_:
        leader = one.record.alert
        many = one.joined_ts is not None
        if many and leader.finding.check in EXPLAINS.get(alert.finding.check, ()):
            return Together(reason=TogetherReason.JOINED, leader=leader.fingerprint)
        if many and alert.finding.check in EXPLAINS.get(leader.finding.check, ()):
            return Together(reason=TogetherReason.JOINED, leader=leader.fingerprint)
    return ALONE


def _takes(one: Leader, alert: Alert, now: float, limits: AlertLimits) -> bool:
    leader, told = one.record.alert, one.record.told
    if told is None or leader.fingerprint == alert.fingerprint or leader.acked_by is not None:
        return False
    if leader.state is not AlertState.FIRING or severity_rank(told.severity) < severity_rank(alert.finding.severity):
        return False
    if now - told.fired_ts > limits.together_at_most_s:
        return False
    if alert.finding.check in EXPLAINS.get(leader.finding.check, ()):
        return True
    if Nature.OCCURRENCE in {leader.finding.nature, alert.finding.nature} and (
        abs(leader.finding.ts - alert.finding.ts) > limits.together_at_most_s
    ):
        return False  # a bot that was away finds at once what happened on several days
    newest_ts = max(told.fired_ts, one.joined_ts or 0.0)
    return now - newest_ts <= limits.together_s


def _alike(leader: Alert, alert: Alert) -> bool:
    one, other = leader.finding, alert.finding
    if one.check != other.check or (one.run == other.run and one.run != BOT_RUN):
        return False
    return one.check in _SAME_WHATEVER_IS_SAID or (
        one.check in _SAME_IF_SAID_ALIKE and _said(one.body) == _said(other.body)
    )


def _said(body: Sequence[str]) -> str:
    return re.sub(r"\d+", "#", body[0]) if body else ""


def _cause(effect: Alert, leaders: Iterable[Leader]) -> str | None:
    for one in leaders:
        if effect.finding.check in EXPLAINS.get(one.record.alert.finding.check, ()):
            return one.record.alert.fingerprint
    return None
