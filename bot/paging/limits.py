"""When somebody is called beyond Slack, and how patiently."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from trainmaster.bot.core.setting import Setting


@dataclass(frozen=True, slots=True, kw_only=True)
class PagingLimits:
    """Calls beyond Slack, to PAGE_URLS."""

    page_after_s: Annotated[float, Setting("s", ge=30, le=86_400)] = 600.0
    """A critical alert that stands in Slack and that nobody acknowledged for so long is paged; after as long again the
    next person is."""
    page_slack_away_s: Annotated[float, Setting("s", ge=10, le=86_400)] = 120.0
    """A critical alert that Slack has not taken for so long is paged at once: nobody could read it."""
    page_per_hour: Annotated[int, Setting("pages", ge=1)] = 12
    """More in an hour to one target are held back, and one page says how many wait: a phone that never stops ringing is
    switched off."""
    answer_within_s: float = 20.0
    """A target that has not answered by then may have rung all the same. Apprise by itself would hang up after 4 s,
    which a telephone service often takes; it is told to wait as long, unless the address says ``rto=``."""
    tick_s: float = 2.0
    """One tick waits no longer for targets; who answers later delays no other target."""
    unsure_retry_s: float = 300.0
    """The pause after a call without an answer, which may have rung."""
    unsure_calls: int = 3
    """After so many calls without an answer the target counts as called."""
    retry_s: float = 5.0
    """The pause after a page that was refused, or that reached nobody; doubled with each further one."""
    retry_max_s: float = 300.0
    """The longest pause: a mail server that is restarted gets the page within five minutes."""
    tries_before_next: int = 3
    """A person whose target failed so often is passed over for the next one, as is one who did not take a call for
    ``page_after_s``; it is tried further all the same."""
    forget_after_s: float = 30 * 86_400.0
    """Pages of alerts that ended are forgotten after this long."""
