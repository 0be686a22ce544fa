"""What became of the alerts of one run at one look. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from trainmaster.bot.alerting.dedup import NotifyReason
from trainmaster.bot.alerting.inhibit import InhibitReason
from trainmaster.bot.alerting.silence import SilenceReason
from trainmaster.bot.alerting.track import TrackReason


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertDecision:
    """What became of one alert at one look, and why."""

    fingerprint: str
    change: TrackReason | None
    reason: NotifyReason | InhibitReason | SilenceReason
    shared: bool = False
    """Whether alerts of other runs may be told with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LookOutcome:
    """Of one look at one run."""

    decisions: tuple[AlertDecision, ...]

    @property
    def told(self) -> bool:
        """Whether the outbox has something new."""
        return any(
            isinstance(one.reason, NotifyReason) and (one.reason.loud or one.reason.edits) for one in self.decisions
        )

    @property
    def told_alone(self) -> bool:
        """Whether something of it is told in a message of the run's own."""
        return any(
            isinstance(one.reason, NotifyReason)
            and (one.reason.loud or one.reason.edits)
            and one.reason is not NotifyReason.JOINED
            for one in self.decisions
        )

    @property
    def may_be_joined(self) -> bool:
        """Whether other runs may soon turn out to have the same trouble."""
        news = {NotifyReason.FIRST, NotifyReason.JOINED, NotifyReason.REFIRED, NotifyReason.RAISED}
        return any(one.shared and one.reason in news for one in self.decisions)
