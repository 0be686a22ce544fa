"""What somebody asked not to hear for a while. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase

from trainmaster.bot.core.alerts.alert import Alert
from trainmaster.bot.core.alerts.finding import Nature, Severity
from trainmaster.bot.core.alerts.silence import Silence
from trainmaster.bot.core.check_name import AnyCheck


class SilenceReason(StrEnum):
    """Whether an alert is covered by a silence."""

    HEARD = "heard"
    SILENCED = "silenced"
    LET_GO = "let go"
    """Information that came under a silence: nobody wants it late."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Silencing:
    """``silence`` is the one that lasts longest; None when none covers the alert."""

    reason: SilenceReason
    silence: Silence | None = None


def silencing(alert: Alert, silences: Iterable[Silence], now: float) -> Silencing:
    """Whether the alert may make a sound now."""
    covering = [one for one in silences if one.covers(alert, now)]
    if not covering:
        return Silencing(reason=SilenceReason.HEARD)
    finding = alert.finding
    happened = finding.nature is Nature.OCCURRENCE and finding.severity is Severity.INFO
    return Silencing(
        reason=SilenceReason.LET_GO if happened else SilenceReason.SILENCED,
        silence=max(covering, key=lambda one: one.until_ts),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What a silence asked for under one alert covers."""

    fingerprint: str | None = None
    run: str | None = None
    check: str | None = None


def scope_of(alert: Alert) -> Scope:
    """A kind of condition of the run: non-finite batches of ``night``, not those of one epoch, which ends while they go
    on in the next."""
    return Scope(run=alert.finding.run, check=alert.finding.check)


def asked_for_quiet(run: str, check: AnyCheck, silences: Iterable[Silence]) -> bool:
    """Whether somebody silenced that check of that very run, or all of the run. ``silences`` are those that hold."""
    return any(
        one.run == run and one.fingerprint is None and (one.check is None or fnmatchcase(check, one.check))
        for one in silences
    )
