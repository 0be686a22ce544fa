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
    """A target that has not answered by then has failed; Apprise itself waits 4 s to connect and 4 s to read."""
    retry_s: float = 5.0
    """The pause after a failure; doubled with each further one."""
    retry_max_s: float = 300.0
    """The longest pause: a mail server that is restarted gets the page within five minutes."""
    tries_before_next: int = 3
    """A person whose target failed so often is passed over for the next one; it is tried further all the same."""
    forget_after_s: float = 30 * 86_400.0
    """Pages of alerts that ended are forgotten after this long."""
