"""How patient the alert pipeline is, and whom it calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, Protocol

from trainmaster.bot.core.alerts.finding import Finding, Nature, Severity
from trainmaster.bot.core.check_name import AnyCheck, CheckName
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.core.setting import Setting


def _frozen(values: Mapping[AnyCheck, float]) -> Mapping[AnyCheck, float]:
    return MappingProxyType(values)


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertLimits:
    """When an alert fires, is repeated and resolves."""

    hold_warning_s: Annotated[float, Setting("s", ge=0)] = 30.0
    """A warning condition fires when it has held this long: two looks at the default interval, so that a torn line or
    one slow batch tells nobody. A critical one fires at once, and so does every occurrence."""
    hold_info_s: float = 60.0
    """As ``hold_warning_s``, for information."""
    hold_by_check_s: Mapping[AnyCheck, float] = field(
        default_factory=lambda: _frozen(
            {
                CheckName.NONFINITE: 0.0,
                CheckName.CHECKPOINT_CONTAMINATED: 0.0,
                CheckName.ONLY_WATCHES: 0.0,
                CheckName.CLUSTER_SILENT: 0.0,
            }
        )
    )
    """Checks that wait for another time than their severity says. One NaN is a fact, however short; a silent controller
    has a limit in seconds of its own."""
    resolve_hold_s: Annotated[float, Setting("s", ge=0)] = 60.0
    """A condition is resolved when it was not found for this long; what comes back earlier never went away."""
    resolve_hold_by_check_s: Mapping[AnyCheck, float] = field(
        default_factory=lambda: _frozen(
            {
                CheckName.NONFINITE: 10.0,
                CheckName.PROCESS_DIED: 10.0,
                CheckName.CHECK_FAILED: 30.0,
                CheckName.DATABASE: 5.0,
                CheckName.ONLY_WATCHES: 0.0,
                CheckName.CLUSTER_SILENT: 0.0,
            }
        )
    )
    """Checks that damp flapping by themselves (a number of good batches, a new attempt) need little more."""
    edit_interval_s: float = 15.0
    """Changed figures edit the message at most this often, later and later as the alert grows old (see
    ``edit_age_share``): a rate of 1 message a second must do for everything that is told."""
    edit_age_share: float = 0.05
    """An edit waits for this share of the alert's age: "stalled for 10 h" needs no edit a minute."""
    again_s: float = 600.0
    """An occurrence that happens once more this long after it was told is told again, not only edited."""
    news_s: float = 30 * 86_400.0
    """What happened longer ago is no news, whether or not it was told: its alert may be in the archive already, which
    keeps it no shorter."""
    repeat_critical_s: Annotated[float, Setting("s", ge=60)] = 4 * 3600.0
    """A critical condition that nobody acknowledged is told again after this long; Alertmanager's default."""
    repeat_warning_s: Annotated[float, Setting("s", ge=60)] = 24 * 3600.0
    """The same for warnings, once a day."""
    escalate_after_s: Annotated[float, Setting("s", ge=30, le=86_400)] = 900.0
    """Unacknowledged this long, a critical alert mentions the next group of ESCALATE_TO."""
    mention_again_after_s: float = 1800.0
    """A critical alert that fires again calls the people on call again when it was quiet for this long; flapping
    faster than that calls them once."""
    occurrence_mutes_s: float = 600.0
    """An occurrence (the guard gave up) mutes what led to it within this time."""
    group_window_s: float = 5.0
    """Alerts of one check on one run told within this time are one burst: what a bot that was away finds, or what a
    silence held back. Longer, and the epochs of a fast training would count as one."""
    group_size: int = 3
    """So many alerts of a burst stand in the channel; the others go into the run's thread, without mentions."""
    together_s: Annotated[float, Setting("s", ge=0)] = 120.0
    """Alerts of several runs that one trouble may be behind (a host, a mount, a driver, a controller) and that come
    within this time of one another are told in one message; 0 tells each by itself. Covers looks that time out on a
    dead mount (20 s), the hold of a warning (30 s) and trainings that stall at different paces."""
    together_at_most_s: float = 1800.0
    """What comes later than this after the first of them is told anew, however closely they follow each other."""
    info_window_s: float = 1800.0
    """A report that follows one of its kind within this time goes into the run's thread: epochs of minutes would
    bury the channel, those of hours belong there."""
    card_edit_s: Annotated[float, Setting("s", ge=30, le=86_400)] = 300.0
    """The card of a run on which nothing is told is looked at this often: fifty make ten edits a minute at most."""
    listed_s: float = 24 * 3600.0
    """An occurrence that nobody acknowledged is listed among the firing alerts for this long."""
    silence_s: Annotated[float, Setting("s", ge=60, le=604_800)] = 2 * 3600.0
    """What the silence button of an alert asks for."""
    away_told_s: Annotated[float, Setting("s", ge=0)] = 300.0
    """A bot that was away for less (an upgrade, a restart) says nothing of it."""

    def hold_s(self, check: AnyCheck, severity: Severity, nature: Nature) -> float:
        """How long a finding must hold before its alert fires."""
        if nature is Nature.OCCURRENCE or severity is Severity.CRITICAL:
            return 0.0
        by_severity = self.hold_warning_s if severity is Severity.WARNING else self.hold_info_s
        return self.hold_by_check_s.get(check, by_severity)

    def resolve_after_s(self, check: AnyCheck) -> float:
        """How long a condition must be gone before its alert is resolved."""
        return self.resolve_hold_by_check_s.get(check, self.resolve_hold_s)

    def edit_after_s(self, age_s: float) -> float:
        """How long after its last change an alert of this age may change again."""
        return max(self.edit_interval_s, self.edit_age_share * age_s)

    def repeat_s(self, severity: Severity) -> float | None:
        """After how long an unacknowledged condition is told again; None for never."""
        return {Severity.CRITICAL: self.repeat_critical_s, Severity.WARNING: self.repeat_warning_s}.get(severity)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """``users`` (members or user groups) are called when a critical alert that Slack shows has been unacknowledged for
    ``after_s``."""

    after_s: float
    users: tuple[str, ...]


class OwnerBook(Protocol):
    """Whose runs are whose."""

    def note(self, view: RunView) -> None:
        """The run is looked at: its owner is known from now on."""
        ...

    def of(self, run: str) -> str | None:
        """The member id of the owner of the run of that id; None when it has none."""
        ...


class NoOwners:
    """Runs belong to nobody."""

    def note(self, view: RunView) -> None:
        """Nothing is known of it."""

    def of(self, run: str) -> str | None:  # noqa: ARG002 - as OwnerBook
        """None: it has no owner."""
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Audience:
    """Who hears of what. ``None`` as a channel is the alert channel."""

    on_call: tuple[str, ...] = ()
    """Users mentioned when a critical alert fires."""
    escalation: tuple[Tier, ...] = ()
    """Called one after the other while a critical alert stays unacknowledged; each later than the one before it."""
    channel_by_severity: Mapping[Severity, str] = field(default_factory=lambda: MappingProxyType({}))
    """Severities that have a channel of their own."""
    owners: OwnerBook = field(default_factory=NoOwners)

    def called_for(self, finding: Finding) -> tuple[str, ...]:
        """Who is mentioned when it is told: the people on call where it is critical, and the owner of its run, once.
        Information calls nobody."""
        if finding.severity is Severity.INFO:
            return ()
        on_call = self.on_call if finding.severity is Severity.CRITICAL else ()
        owner = self.owners.of(finding.run)
        return on_call if owner is None or owner in on_call else (*on_call, owner)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryLimits:
    """How fast the outbox is emptied into Slack, and what happens when Slack will not take it."""

    messages_per_s: float = 1.0
    """A channel's steady rate. Slack: about 1 message a second a channel (docs.slack.dev, rate limits)."""
    burst: int = 4
    """So many may go at once after a quiet time; Slack tolerates short bursts. The last one is kept for
    critical alerts, the one before it for them and for warnings."""
    backoff_s: float = 1.0
    """The pause after a first failure; doubled with each further one."""
    backoff_max_s: float = 60.0
    """The longest pause: an outage of an hour ends at most this late."""
    patience_s: float = 5.0
    """A message that fails for so long lets others go first, so that none can block its channel for good. What one of
    them then meets tells whether the fault is Slack's: a message that is taken releases all that waits."""
    critical_patience_s: float = 600.0
    """The same for a critical one: in an outage it is the one that tries, so that it is told before lesser ones."""
    critical_retry_s: float = 2.0
    """The longest pause of a critical message after a failure (not after a 429)."""
    critical_timeout_s: float = 6.0
    """A call about a critical message that has not answered by then has failed. With the pause after it, it is told
    within 10 s of Slack's return, even if its connection was dead."""
    tries_before_aside: int = 3
    """A message that failed so often while others of its channel were taken keeps its thread waiting no longer."""
    internal_errors: int = 3
    """After so many of Slack's ``internal_error`` a message is shown plainer: Slack answers it, too, to what it can't
    digest."""
    clocks_differ_s: float = 300.0
    """A message whose reply was lost is looked for from this long before it was first sent: Slack has another clock."""
    look_patience_s: float = 5.0
    """When Slack wants a longer pause before one may look, the message is posted: rather twice than late."""
    looks: int = 3
    """After so many that don't tell whether a message stands there, it is posted; while Slack answers nothing else
    either, a post would hardly arrive, and what had arrived would come twice."""
    look_timeout_s: float = 2.0
    """A look for a critical message that has not answered by then tells nothing. Another one and the post must come
    within ``critical_timeout_s``, too."""
    long_pause_s: float = 60.0
    """A longer ``Retry-After`` on the alert channel is told to the people on call directly."""
    refused_retry_s: float = 60.0
    """A message that Slack refuses until somebody mends something is tried again after this long, or at once when
    another one was taken."""
    critical_refused_retry_s: float = 6.0
    """The same for a critical one whose content is not at fault: a channel or a token that works again is noticed."""
    send_timeout_s: float = 40.0
    """A call to Slack that has not answered by then has failed; longer than the Slack client's own time-out of 30 s."""
    store_retry_s: float = 2.0
    """The pause when the outbox itself cannot be read or written."""
