"""From the findings of one look to what the channel shall say, in one transaction."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from trainmaster.bot.alerting.announce import Announcer
from trainmaster.bot.alerting.compose_group import as_one
from trainmaster.bot.alerting.dedup import TELLING, NotifyReason, notify_reason
from trainmaster.bot.alerting.groups import GroupMessages
from trainmaster.bot.alerting.inhibit import InhibitReason, inhibit, may_mute
from trainmaster.bot.alerting.limits import AlertLimits, Audience
from trainmaster.bot.alerting.outcome import AlertDecision, LookOutcome
from trainmaster.bot.alerting.silence import Scope, SilenceReason, scope_of, silencing
from trainmaster.bot.alerting.stores import AlertOutbox, AlertRecordStore, Silences
from trainmaster.bot.alerting.together import checks_beside
from trainmaster.bot.alerting.track import TrackReason, track
from trainmaster.bot.core.alerts.alert import Alert, AlertState, card_key
from trainmaster.bot.core.alerts.alert_record import AlertRecord, urgency
from trainmaster.bot.core.alerts.finding import Finding, Nature, Severity
from trainmaster.bot.core.alerts.silence import Silence
from trainmaster.bot.core.check_name import AnyCheck, CheckName
from trainmaster.bot.core.run.state import RunState
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.ports import Clock, Transactions

_LOG = logging.getLogger(__name__)

ABOUT_LOOKING = frozenset({CheckName.UNREADABLE, CheckName.CHECK_FAILED})
"""Checks that judge the look itself, and so are judged by every look."""
_NEWS = frozenset({NotifyReason.FIRST, NotifyReason.REFIRED, NotifyReason.RAISED})


class AlertPipeline:
    """Implements :class:`book.AlertBook`. What it stores commits with the open transaction."""

    def __init__(
        self,
        *,
        records: AlertRecordStore,
        silences: Silences,
        outbox: AlertOutbox,
        transactions: Transactions,
        clock: Clock,
        limits: AlertLimits,
        audience: Audience,
        facts: Callable[[RunView], Sequence[tuple[str, str]]] = lambda _: (),
    ) -> None:
        """``facts`` are what the card of a run tells beside the run itself."""
        self._facts = facts
        self._records = records
        self._silences = silences
        self._outbox = outbox
        self._transactions = transactions
        self._clock = clock
        self._limits = limits
        self._audience = audience
        self._tended_ts = clock.now() - limits.listed_s
        self._cards_ts: dict[str, float] = {}
        """When a run's card was last looked at."""
        self._at_rest: set[str] = set()  # runs whose last look left nothing to tell
        self._groups = GroupMessages(records=records, outbox=outbox, limits=limits, audience=audience)
        self._announcer = Announcer(
            outbox=outbox, bursts=records, groups=self._groups, limits=limits, audience=audience
        )

    def process(
        self, view: RunView, findings: Sequence[Finding], now: float, *, unjudged: Collection[AnyCheck] = frozenset()
    ) -> LookOutcome:
        """One look at one run has been taken in: ``findings`` is everything found, occurrences included.

        ``unjudged`` names checks that gave no answer (an operation holds the run): what they do not find stays. When
        the run could not be read, or a check failed, nothing is resolved at all.

        Raises:
            StoreError: nothing of it was stored; the next look repeats it.
        """
        self._audience.owners.note(view)
        with self._transactions.transaction():
            findings = [one for one in findings if not self._is_history(one, now)]
            before, live = self._records.look(view.run, findings)
            records = dict(before)
            if _blind(view, findings):
                unjudged = {*unjudged, *(one.alert.finding.check for one in records.values())} - ABOUT_LOOKING
            tracked = track(
                {fingerprint: one.alert for fingerprint, one in records.items()},
                live,
                now,
                self._limits,
                news_from_ts=view.news_from_ts,
                unjudged=unjudged,
            )
            changes = {one.alert.fingerprint: one.reason for one in tracked}
            for one in tracked:
                known = records.get(one.alert.fingerprint) or AlertRecord(alert=one.alert)
                records[one.alert.fingerprint] = replace(known, alert=one.alert)
            thread = card_key(view.run) if view.record is not None else None
            decisions = self._decide_all(records, before, changes, now, thread)
            later = {fingerprint for fingerprint, change in changes.items() if change is TrackReason.TOO_SOON}
            self._records.retire(view.run, [one for one in live if one.fingerprint not in later])
            outcome = LookOutcome(decisions=tuple(decisions))
            self._groups.refresh(self._silences.active(now), now)
            if thread is not None:
                self._show_card(view, thread, now, told=outcome.told, new=outcome.told_alone)
        history = {one for one, change in changes.items() if change is TrackReason.OLD and one not in before}
        is_open = any(one.is_open for name, one in records.items() if name not in history)
        rests = not is_open and not later and self._cards_ts.get(view.run) == now
        (self._at_rest.add if rests else self._at_rest.discard)(view.run)
        return outcome

    def at_rest(self, run: str) -> bool:
        """Whether the last look at the run left nothing to tell, and nobody did anything about its alerts since."""
        return run in self._at_rest

    def _is_history(self, finding: Finding, now: float) -> bool:
        return finding.nature is Nature.OCCURRENCE and finding.ts < now - self._limits.news_s

    def _show_card(self, view: RunView, card: str, now: float, *, told: bool, new: bool) -> None:
        """The card comes with the first thing told of a run, so that a hundred old runs make no hundred cards."""
        looked_ts = self._cards_ts.get(view.run)
        if not told and looked_ts is not None and 0 <= now - looked_ts < self._limits.card_edit_s:
            return
        self._cards_ts[view.run] = now
        if new or self._outbox.known(card):
            self._announcer.card(view, self.firing(view.run), self._facts(view))

    def _decide_all(
        self,
        records: dict[str, AlertRecord],
        before: Mapping[str, AlertRecord],
        changes: Mapping[str, TrackReason],
        now: float,
        thread: str | None,
    ) -> list[AlertDecision]:
        silences = self._silences.active(now) if records else ()
        decisions = []
        for fingerprint in sorted(records, key=lambda one: urgency(records[one].alert)):
            change = changes.get(fingerprint)
            reason, after = self._decide(
                records[fingerprint], change, records, silences=silences, now=now, thread=thread
            )
            after = replace(after, is_open=self._is_open(after, now))
            records[fingerprint] = after
            decisions.append(
                AlertDecision(
                    fingerprint=fingerprint,
                    change=change,
                    reason=reason,
                    shared=bool(checks_beside(after.alert.finding.check)),
                )
            )
            # History that nobody heard of is history at the next start too: a thousand old runs cost no writes.
            unheard = change is TrackReason.OLD and fingerprint not in before
            if after != before.get(fingerprint) and not unheard:
                self._records.save(after)
                _LOG.info("%s: %s; %s", fingerprint, change or "unchanged", reason)
        return decisions

    def _decide(
        self,
        record: AlertRecord,
        change: TrackReason | None,
        records: Mapping[str, AlertRecord],
        *,
        silences: Sequence[Silence],
        now: float,
        thread: str | None,
    ) -> tuple[NotifyReason | InhibitReason | SilenceReason, AlertRecord]:
        alert = record.alert
        why = self._reason(record, change, now)
        if why in {NotifyReason.ESCALATED, NotifyReason.REPEAT}:
            voice = self._groups.voice(record)
            if voice is None:
                return NotifyReason.SPOKEN_FOR, record
            if voice != record:
                again = self._reason(voice, change, now)
                if again is not why:
                    return again, record
                record = voice
        if why.loud:
            muted = self._muted(alert, records, silences, now)
            if muted is not None:
                if record.told is None and _is_over(alert, muted):
                    alert = replace(alert, state=AlertState.RESOLVED, resolved_ts=alert.finding.ts)
                    return muted, replace(record, alert=alert)
                if change in TELLING:
                    self._announcer.edit(record, silences, now)
                return muted, record
        if why.loud or why is NotifyReason.RESOLVED:
            said = self._announcer.say(record, why, silences, now, thread=thread)
            joined = said.alert.told_with is not None and why in _NEWS
            return NotifyReason.JOINED if joined else why, said
        if why.edits:
            self._announcer.edit(record, silences, now)
        return why, record

    def _reason(self, record: AlertRecord, change: TrackReason | None, now: float) -> NotifyReason:
        alert, told = record.alert, record.told
        sent_ts = self._outbox.sent_ts(alert.told_with or alert.fingerprint) if told else None
        return notify_reason(
            alert, change, told, sent_ts=sent_ts, now=now, limits=self._limits, audience=self._audience
        )

    def _muted(
        self, alert: Alert, records: Mapping[str, AlertRecord], silences: Sequence[Silence], now: float
    ) -> InhibitReason | SilenceReason | None:
        inhibition = inhibit(alert, (one.alert for one in records.values()), self._limits)
        if inhibition.cause is not None:
            return inhibition.reason
        silenced = silencing(alert, silences, now)
        return silenced.reason if silenced.silence is not None else None

    def _is_open(self, record: AlertRecord, now: float) -> bool:
        alert, told = record.alert, record.told
        if alert.state is not AlertState.FIRING:
            return alert.state is AlertState.PENDING
        if alert.finding.nature is Nature.CONDITION or told is None or may_mute(alert, now, self._limits):
            return True
        callable_ = alert.finding.severity is Severity.CRITICAL and alert.acked_by is None
        return callable_ and told.num_escalations < len(self._audience.escalation)

    def firing(self, run: str | None = None) -> tuple[Alert, ...]:
        """See :class:`book.Alerts`. What only happened is listed while it is unacknowledged news."""
        since_ts = self._clock.now() - self._limits.listed_s
        return tuple(one.alert for one in self._records.firing(run, since_ts) if _is_listed(one.alert, since_ts))

    def alert(self, fingerprint: str) -> Alert | None:
        """The alert as it is, firing or not; None when there never was one."""
        record = self._records.get(fingerprint)
        return record.alert if record is not None else None

    def troubles(self) -> tuple[Alert, ...]:
        """What fires, with the alerts that are told in one message as one."""
        return self._groups.troubles(self.firing())

    def trouble(self, fingerprint: str) -> Alert | None:
        """The alert as it is, firing or not, as :meth:`troubles` has it; None when there never was one."""
        return self._groups.trouble(fingerprint)

    def told_together(self, fingerprint: str) -> tuple[Alert, ...]:
        """As :class:`trainmaster.bot.core.alerts.book.Alerts` says of it."""
        return self._groups.told_together(fingerprint)

    def silenced(self, alert: Alert) -> bool:
        """Whether somebody asked not to hear of it now."""
        now = self._clock.now()
        return silencing(alert, self._silences.active(now), now).silence is not None

    def asked_for_quiet(self, run: str, checks: Collection[AnyCheck], now: float) -> bool:
        """As :meth:`GroupMessages.asked_for_quiet` says of it."""
        return self._groups.asked_for_quiet(run, checks, self._silences.active(now))

    def ack(self, fingerprint: str, user: str, now: float) -> Alert | None:
        """As :class:`trainmaster.bot.core.alerts.book.Alerts` says of it. The alert in whose message others are
        told stands for all of them; the answer says how many."""
        with self._transactions.transaction():
            group = self._groups.of(fingerprint)
            if group is None:
                return self._ack(fingerprint, user, now)
            acked = [self._ack(one.fingerprint, user, now) for one in group.firing]
            self._groups.refresh(self._silences.active(now), now)
            self._announcer.hush(fingerprint)
        after = self._groups.of(fingerprint)
        return as_one(after or group) if any(acked) else None

    def _ack(self, fingerprint: str, user: str, now: float) -> Alert | None:
        record = self._records.get(fingerprint)
        if record is None or record.alert.state is not AlertState.FIRING:
            return None
        if record.alert.acked_by is None:
            record = replace(record, alert=replace(record.alert, acked_by=user, acked_ts=now))
            record = replace(record, is_open=self._is_open(record, now))
            self._records.save(record)
            self._announcer.edit(record, self._silences.active(now), now)
            self._announcer.hush(fingerprint)
            self._announcer.line(record.alert)
            self._groups.refresh(self._silences.active(now), now)
            self._cards_ts.pop(record.alert.finding.run, None)
            self._at_rest.discard(record.alert.finding.run)
        return record.alert

    def silence(self, fingerprint: str, user: str, until_ts: float, now: float) -> Alert | None:
        """See :class:`book.Alerts`. Nothing worse than the alert is now is covered. The alert in whose message
        others are told stands for all of them."""
        with self._transactions.transaction():
            record = self._records.get(fingerprint)
            if record is None:
                return None
            group = self._groups.of(fingerprint)
            scope = Scope(fingerprint=fingerprint) if group is not None else scope_of(record.alert)
            meant = record.alert if group is None else as_one(group)
            silence = self._silences.add(
                until_ts=until_ts,
                by=user,
                now=now,
                fingerprint=scope.fingerprint,
                run=scope.run,
                check=scope.check,
                max_severity=meant.finding.severity,
            )
            self._show(silence, now)
            self._edit(record, now)
            self._groups.refresh(self._silences.active(now), now)
        return meant

    def unsilence(self, fingerprint: str, user: str, now: float) -> Alert | None:
        """As :class:`trainmaster.bot.core.alerts.book.Alerts` says of it."""
        with self._transactions.transaction():
            record = self._records.get(fingerprint)
            if record is None:
                return None
            ended = [one for one in self._silences.active(now) if one.covers(record.alert, now)]
            for one in ended:
                self._silences.end(one.id, user, now)
            for one in ended:
                self._show(one, now)
            self._edit(record, now)
            self._groups.refresh(self._silences.active(now), now)
        return record.alert if ended else None

    def silence_where(
        self, user: str, until_ts: float, now: float, *, run: str | None = None, check: str | None = None
    ) -> Silence:
        """As :class:`trainmaster.bot.core.alerts.book.SilenceBook` says of it."""
        with self._transactions.transaction():
            silence = self._silences.add(until_ts=until_ts, by=user, now=now, run=run, check=check)
            self._show(silence, now)
        return silence

    def silences(self, now: float) -> tuple[Silence, ...]:
        """As :class:`trainmaster.bot.core.alerts.book.SilenceBook` says of it."""
        return tuple(self._silences.active(now))

    def end_silence(self, silence_id: int, user: str, now: float) -> bool:
        """As :class:`trainmaster.bot.core.alerts.book.SilenceBook` says of it."""
        with self._transactions.transaction():
            ended = [one for one in self._silences.active(now) if one.id == silence_id]
            for one in ended:
                self._silences.end(one.id, user, now)
                self._show(one, now)
        return bool(ended)

    def tend(self, now: float) -> bool:
        """Messages no longer say that they are silenced when the silence has run out; whether there were any."""
        ended = self._silences.ended(self._tended_ts, now)
        with self._transactions.transaction():
            for one in ended:
                self._show(one, now)
            written = self._groups.settle(self._silences.active(now), now)
        self._tended_ts = now
        return bool(ended) or written

    def settle(self, now: float) -> None:
        """Every message about many runs names all of them."""
        with self._transactions.transaction():
            self._groups.settle(self._silences.active(now), now)

    def _edit(self, record: AlertRecord, now: float) -> None:
        if record.alert.state is AlertState.FIRING:
            self._announcer.edit(record, self._silences.active(now), now)

    def _show(self, silence: Silence, now: float) -> None:
        """The messages of the alerts that the silence covers, or covered, read as it now is."""
        silences = self._silences.active(now)
        self._at_rest.discard(silence.run or "")
        for record in self._records.firing(silence.run, now - self._limits.listed_s):
            if silence.covers(record.alert, silence.created_ts):
                self._announcer.edit(record, silences, now)
                self._at_rest.discard(record.alert.finding.run)
        self._groups.refresh(silences, now)


def _blind(view: RunView, findings: Sequence[Finding]) -> bool:
    unreadable = bool(view.read_errors) and view.state is RunState.UNKNOWN
    return unreadable or any(one.check == CheckName.CHECK_FAILED for one in findings)


def _is_over(alert: Alert, muted: InhibitReason | SilenceReason) -> bool:
    happened = alert.finding.nature is Nature.OCCURRENCE
    return happened and muted in {InhibitReason.CAUSE_HAPPENED, SilenceReason.LET_GO}


def _is_listed(alert: Alert, since_ts: float) -> bool:
    if alert.finding.nature is Nature.CONDITION:
        return True
    news = alert.finding.severity is not Severity.INFO and alert.acked_by is None
    return news and alert.since_ts >= since_ts
