"""What was decided goes into the outbox, and what was told is remembered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from trainmaster.bot.alerting.card import compose_card, compose_line, line_key
from trainmaster.bot.alerting.compose import compose_alert, compose_word, word_key
from trainmaster.bot.alerting.compose_group import title_of
from trainmaster.bot.alerting.dedup import NotifyReason
from trainmaster.bot.alerting.group import group, window_s
from trainmaster.bot.alerting.groups import GroupMessages
from trainmaster.bot.alerting.limits import AlertLimits, Audience
from trainmaster.bot.alerting.route import route
from trainmaster.bot.alerting.silence import silencing
from trainmaster.bot.alerting.stores import AlertOutbox, Bursts
from trainmaster.bot.core.alerts.alert import Alert, AlertState, card_key
from trainmaster.bot.core.alerts.alert_record import AlertRecord, Told
from trainmaster.bot.core.alerts.finding import Severity
from trainmaster.bot.core.alerts.silence import Silence
from trainmaster.bot.core.run.view import RunView


class Announcer:
    """One alert has one message, whose key is its fingerprint; everything else is said in the thread of that message.
    A run has a card, and in the thread of the card a line for each of its alerts.

    The outbox drops nothing, so what is put there counts as told.
    """

    def __init__(
        self, *, outbox: AlertOutbox, bursts: Bursts, groups: GroupMessages, limits: AlertLimits, audience: Audience
    ) -> None:
        self._outbox = outbox
        self._bursts = bursts
        self._groups = groups
        self._limits = limits
        self._audience = audience

    def say(
        self,
        record: AlertRecord,
        why: NotifyReason,
        silences: Sequence[Silence],
        now: float,
        *,
        thread: str | None = None,
    ) -> AlertRecord:
        """The alert is told for the reason ``why``; the record says so. ``thread``: root of the run's thread."""
        moves = why in {NotifyReason.REFIRED, NotifyReason.RAISED} and not self._outbox.known(record.alert.fingerprint)
        if record.told is None or moves:
            return self._first(record, silences, now, thread)
        alert, told = record.alert, record.told
        way = route(alert, why, told, now=now, limits=self._limits, audience=self._audience)
        after = replace(record, told=_retold(alert, told, why, now, called=told.called or bool(way.mentions)))
        self.edit(after, silences, now)
        self.line(alert)
        if why is NotifyReason.RESOLVED:
            self.hush(alert.fingerprint)
            if self._in_group(alert):
                return after  # the group says so, once for all of them
        # A message that does not stand in the channel yet says it all itself, mentions included.
        hushed = why is NotifyReason.RESOLVED and silencing(alert, silences, now).silence is not None
        root = alert.told_with or alert.fingerprint
        if self._outbox.posted(root) is not None and not hushed:
            word = compose_word(self._spoken(alert, root), why, told, now, mentions=way.mentions)
            self._outbox.put(word_key(alert, why, told), word, thread_of=root)
        return after

    def _in_group(self, alert: Alert) -> bool:
        return alert.told_with is not None or self._groups.leads(alert.fingerprint)

    def _spoken(self, alert: Alert, root: str) -> Alert:
        """The alert in the words of its group, if it has one."""
        group = self._groups.of(root) if self._in_group(alert) else None
        if group is None:
            return alert
        return replace(alert, finding=replace(alert.finding, title=title_of(group), body=(), hint="/train alerts"))

    def hush(self, fingerprint: str) -> None:
        """Nobody is called any more by what was said of the alert and is still on its way."""
        self._outbox.hush(f"{fingerprint}#")

    def line(self, alert: Alert) -> None:
        """The alert's line in the thread of its run, if it has one, reads as the alert is now."""
        key = line_key(alert.fingerprint)
        if self._outbox.known(key):
            self._outbox.put(key, compose_line(alert), later=True)

    def card(self, view: RunView, firing: Sequence[Alert], facts: Sequence[tuple[str, str]] = ()) -> None:
        """The run's card reads as the run is now."""
        self._outbox.put(card_key(view.run), compose_card(view, firing, facts), later=True)

    def edit(self, record: AlertRecord, silences: Sequence[Silence], now: float) -> None:
        """The alert's message reads as the alert is now."""
        alert, told = record.alert, record.told
        if told is None:
            return
        if self._in_group(alert):
            self._groups.changed(alert.told_with or alert.fingerprint)
            return
        calling = told.called and alert.state is AlertState.FIRING and alert.acked_by is None
        message = compose_alert(
            alert,
            mentions=self._audience.called_for(alert.finding) if calling else (),
            silence=silencing(alert, silences, now).silence,
            silence_s=self._limits.silence_s,
        )
        self._outbox.put(alert.fingerprint, message)

    def _first(self, record: AlertRecord, silences: Sequence[Silence], now: float, thread: str | None) -> AlertRecord:
        alert = replace(record.alert, told_with=None)
        place = self._groups.place(alert, silences, now)
        if place.leader is not None:
            told = Told(
                ts=now, fired_ts=now, times_fired=alert.times_fired, severity=alert.finding.severity, called=False
            )
            return replace(record, alert=replace(alert, told=True, told_with=place.leader), told=told)
        since_ts = now - window_s(alert, self._limits, thread=thread)
        burst = self._bursts.told_since(alert.finding.run, alert.finding.check, since_ts)
        grouping = group(alert, burst, self._limits, thread=thread)
        way = route(
            alert,
            NotifyReason.FIRST,
            None,
            now=now,
            limits=self._limits,
            audience=self._audience,
            in_burst=grouping.root is not None,
        )
        message = compose_alert(alert, mentions=way.mentions, silence_s=self._limits.silence_s)
        self._outbox.put(alert.fingerprint, message, channel=way.channel, thread_of=grouping.root)
        if thread is not None and grouping.root is None and alert.finding.severity is not Severity.INFO:
            self._outbox.put(line_key(alert.fingerprint), compose_line(alert), thread_of=thread, later=True)
        told = Told(
            ts=now,
            fired_ts=now,
            times_fired=alert.times_fired,
            severity=alert.finding.severity,
            called=bool(way.mentions),
        )
        return replace(record, alert=replace(alert, told=True), told=told)


def _retold(alert: Alert, told: Told, why: NotifyReason, now: float, *, called: bool) -> Told:
    severity = alert.finding.severity
    if why is NotifyReason.REFIRED:
        return Told(ts=now, fired_ts=now, times_fired=alert.times_fired, severity=severity, called=called)
    if why is NotifyReason.RAISED:
        return replace(told, ts=now, fired_ts=now, severity=severity, num_escalations=0, called=called)
    if why is NotifyReason.REPEAT:
        return replace(told, ts=now, num_repeats=told.num_repeats + 1)
    if why is NotifyReason.ESCALATED:
        return replace(told, ts=now, num_escalations=told.num_escalations + 1)
    return told
