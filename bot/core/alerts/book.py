"""Alerts and silences as commands and buttons use them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from trainmaster.bot.core.alerts.alert import Alert
from trainmaster.bot.core.alerts.silence import Silence


class Alerts(Protocol):
    """Alerts as commands and buttons use them."""

    def firing(self, run: str | None = None) -> Sequence[Alert]:
        """Firing alerts, newest first."""
        ...

    def alert(self, fingerprint: str) -> Alert | None:
        """The alert as it is, firing or not; None when there never was one."""
        ...

    def told_together(self, fingerprint: str) -> Sequence[Alert]:
        """Every alert that is told in the message of this one, firing or not, itself first; empty when there never was
        one."""
        ...

    def ack(self, fingerprint: str, user: str, now: float) -> Alert | None:
        """The alert is acknowledged; None when there is no such firing alert. Acknowledging twice keeps the first."""
        ...

    def silence(self, fingerprint: str, user: str, until_ts: float, now: float) -> Alert | None:
        """The alert makes no sound until then; None when there is no such alert."""
        ...

    def unsilence(self, fingerprint: str, user: str, now: float) -> Alert | None:
        """No silence covers the alert any more; None when none did."""
        ...


class SilenceBook(Protocol):
    """Silences as a whole: all of them, and those that are not of one alert."""

    def silences(self, now: float) -> Sequence[Silence]:
        """What holds at ``now``, the longest first."""
        ...

    def silence_where(
        self, user: str, until_ts: float, now: float, *, run: str | None = None, check: str | None = None
    ) -> Silence:
        """A silence by run, by check (a pattern such as ``disk*``) or both, critical alerts included."""
        ...

    def end_silence(self, silence_id: int, user: str, now: float) -> bool:
        """The silence holds no more; False when it had ended, or never was."""
        ...


class AlertBook(Alerts, SilenceBook, Protocol):
    """Alerts and their silences, as commands and buttons use them."""
