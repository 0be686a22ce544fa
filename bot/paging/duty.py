"""Which alerts are paged now, and to whom. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum

from trainmaster.bot.core.alerts.alert import Alert, AlertState
from trainmaster.bot.core.alerts.finding import Severity
from trainmaster.bot.core.alerts.page import Page
from trainmaster.bot.paging.limits import PagingLimits
from trainmaster.bot.paging.target import PageTarget


class PageReason(StrEnum):
    """Why an alert is paged, or not yet."""

    NOT_CRITICAL = "not critical"
    HANDLED = "acknowledged or over"
    SILENCED = "silenced"
    WAITING = "waiting"
    UNACKNOWLEDGED = "nobody acknowledged it"
    SLACK_AWAY = "Slack does not take it"

    @property
    def due(self) -> bool:
        """Whether somebody is to be called."""
        return self in {PageReason.UNACKNOWLEDGED, PageReason.SLACK_AWAY}


def may_be_paged(alert: Alert) -> bool:
    """Whether it depends on more than the alert itself whether it is paged: nearly none gets as far."""
    open_ = alert.state is AlertState.FIRING and alert.acked_by is None and alert.told
    return open_ and alert.finding.severity is Severity.CRITICAL


def page_reason(alert: Alert, *, sent_ts: float | None, silenced: bool, now: float, limits: PagingLimits) -> PageReason:
    """Whether ``alert`` is paged now. ``sent_ts`` is when its message stood in the channel."""
    if alert.finding.severity is not Severity.CRITICAL:
        return PageReason.NOT_CRITICAL
    if alert.state is not AlertState.FIRING or alert.acked_by is not None or not alert.told:
        return PageReason.HANDLED
    if silenced:
        return PageReason.SILENCED
    if sent_ts is None:
        due = now - alert.since_ts >= limits.page_slack_away_s
        return PageReason.SLACK_AWAY if due else PageReason.WAITING
    due = now - max(alert.since_ts, sent_ts) >= limits.page_after_s
    return PageReason.UNACKNOWLEDGED if due else PageReason.WAITING


def next_targets(
    targets: Sequence[PageTarget],
    pages: Sequence[Page],
    *,
    busy: Collection[str],
    now: float,
    limits: PagingLimits,
) -> tuple[PageTarget, ...]:
    """Whom to call now for an alert that is due. ``pages`` are those made for it; ``busy`` the people who are muted or
    in their quiet hours. Services get a page once. Of the people one is called, then after a while the next, those
    who are busy last: somebody must be called."""
    called = {page.target: page for page in pages}
    services = [one for one in targets if one.user is None and one.key not in called]
    people = [one for one in targets if one.user is not None]
    rest = sorted((one for one in people if one.key not in called), key=lambda one: one.user in busy)
    tried = [called[one.key] for one in people if one.key in called]
    return (*services, *rest[:1]) if _is_time(tried, now, limits) else tuple(services)


def _is_time(tried: Sequence[Page], now: float, limits: PagingLimits) -> bool:
    if not tried:
        return True
    last = max(tried, key=lambda page: page.made_ts)
    if last.sent_ts is None:
        waited = last.tries > 0 and now - last.made_ts >= limits.page_after_s
        return last.tries - last.unsure >= limits.tries_before_next or waited
    return now - last.sent_ts >= limits.page_after_s


def held_back(sent: Mapping[str, int], target: str, limits: PagingLimits) -> bool:
    """Whether a target had all the pages of this hour. ``sent`` counts those of the last hour by target."""
    return sent.get(target, 0) >= limits.page_per_hour
