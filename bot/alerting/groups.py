"""The one message in which alerts of many runs are told, kept as they come and go."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Final

from trainmaster.bot.alerting.card import line_key
from trainmaster.bot.alerting.compose import compose_alert
from trainmaster.bot.alerting.compose_group import Group, as_one, compose_group, compose_pages, title_of
from trainmaster.bot.alerting.limits import AlertLimits, Audience
from trainmaster.bot.alerting.silence import asked_for_quiet, silencing
from trainmaster.bot.alerting.stores import AlertOutbox, Groups
from trainmaster.bot.alerting.together import ALONE, Together, checks_beside, together
from trainmaster.bot.core.alerts.alert import Alert, card_key
from trainmaster.bot.core.alerts.alert_record import AlertRecord, severity_rank
from trainmaster.bot.core.alerts.finding import Severity
from trainmaster.bot.core.alerts.silence import Silence
from trainmaster.bot.core.check_name import AnyCheck
from trainmaster.bot.core.conversation.message import Message, Tone
from trainmaster.bot.core.conversation.tokens import moment, person

_SMALL: Final = 16
"""A message of so many alerts is written anew at each of them; a larger one at most once a second, and by
:meth:`GroupMessages.settle`."""
_CALM_S: Final = 1.0


class GroupMessages:
    """A group is the alert whose message it is, its leader, and the alerts that name it in ``told_with``. What is
    stored commits with the caller's transaction; what the message then says may follow in :meth:`settle`, at the
    latest at the next start."""

    def __init__(self, *, records: Groups, outbox: AlertOutbox, limits: AlertLimits, audience: Audience) -> None:
        self._records = records
        self._outbox = outbox
        self._limits = limits
        self._audience = audience
        self._changed: set[str] = set()
        """Leaders whose message is to be written anew."""
        self._written_ts: dict[str, float] = {}
        self._began = False

    def place(self, alert: Alert, silences: Sequence[Silence], now: float) -> Together:
        """In whose message the news of ``alert`` belongs. An alert that had one of its own moves there too."""
        beside = checks_beside(alert.finding.check)
        if not beside or alert.finding.severity is Severity.INFO or self._limits.together_s <= 0:
            return ALONE
        leaders = [
            one
            for one in self._records.leaders(sorted(beside), now - self._limits.together_at_most_s)
            if silencing(one.record.alert, silences, now).silence is None
        ]
        place = together(alert, leaders, now, self._limits)
        if place.brings is not None and place.leader is not None:
            self._move(place.brings, place.leader)
        if place.leader is not None:
            self._changed.add(place.leader)
            if not self.leads(place.leader):
                self._take_back_card(place.leader)
        return place

    def _move(self, fingerprint: str, leader: str) -> None:
        record = self._records.get(fingerprint)
        if record is None or record.told is None:
            return
        moved = replace(record, alert=replace(record.alert, told_with=leader), told=replace(record.told, called=False))
        self._records.save(moved)
        if not self._outbox.withdraw(fingerprint):
            self._outbox.put(
                fingerprint,
                replace(compose_alert(moved.alert, silence_s=self._limits.silence_s), buttons=()),
            )

    def _take_back_card(self, leader: str) -> None:
        """The card that would have come with the leader's own message is not among what calls people together; it
        comes with the next thing that is told of its run."""
        record = self._records.get(leader)
        if record is not None:
            self._outbox.withdraw(line_key(leader))
            self._outbox.withdraw(card_key(record.alert.finding.run))

    def of(self, leader: str) -> Group | None:
        """The group of that leader; None when nothing is told in its message beside itself."""
        record = self._records.get(leader)
        if record is None or record.told is None:
            return None
        members = self._records.members(leader, record.told.fired_ts)
        return Group(leader=record.alert, members=tuple(one.alert for one in members)) if members else None

    def troubles(self, firing: Sequence[Alert]) -> tuple[Alert, ...]:
        """``firing``, with the alerts that are told in one message as one."""
        leaders = {one.told_with for one in firing if one.told_with is not None}
        as_ones = [as_one(group) for leader in sorted(leaders) if (group := self.of(leader)) is not None]
        return (*(one for one in firing if one.told_with is None and one.fingerprint not in leaders), *as_ones)

    def trouble(self, fingerprint: str) -> Alert | None:
        """The alert as it is, with those that are told in its message as one; None when there never was one."""
        record, group = self._records.get(fingerprint), self.of(fingerprint)
        if record is None:
            return None
        return record.alert if group is None else as_one(group)

    def told_together(self, fingerprint: str) -> tuple[Alert, ...]:
        """Every alert that is told in the message of this one, itself first; empty when there never was one."""
        record, group = self._records.get(fingerprint), self.of(fingerprint)
        return group.all if group is not None else (record.alert,) if record is not None else ()

    def asked_for_quiet(self, run: str, checks: Collection[AnyCheck], silences: Sequence[Silence]) -> bool:
        """Whether somebody silenced one of these checks of that very run, all of the run, or the message of many runs
        in which one of them was told."""
        if any(asked_for_quiet(run, check, silences) for check in checks):
            return True
        messages = {one.fingerprint for one in silences} - {None}
        told = (one.alert for check in (checks if messages else ()) for one in self._records.told_since(run, check, 0))
        return any(not messages.isdisjoint({one.fingerprint, one.told_with}) for one in told)

    def leads(self, fingerprint: str) -> bool:
        """Whether other alerts are told in its message."""
        return self._records.num_members(fingerprint) > 0

    def voice(self, record: AlertRecord) -> AlertRecord | None:
        """The record as the word of its group, with all that was told of it. None when another alert speaks for the
        group, so that one trouble is repeated and escalated once. A record without a group is its own word."""
        alert, told = record.alert, record.told
        leader = alert.told_with or alert.fingerprint
        if told is None or (alert.told_with is None and not self.leads(leader)):
            return record
        if self._records.speaker(leader) != alert.fingerprint:
            return None
        said = self._records.said(leader)
        return replace(
            record,
            told=replace(
                told,
                ts=max(told.ts, said.ts),
                num_escalations=max(told.num_escalations, said.num_escalations),
                num_repeats=max(told.num_repeats, said.num_repeats),
            ),
        )

    def changed(self, leader: str) -> None:
        """The group's message is no longer what it is to read."""
        self._changed.add(leader)

    def refresh(self, silences: Sequence[Silence], now: float) -> None:
        """What changed is written anew, except large messages that were a moment ago: those wait for :meth:`settle`."""
        for leader in list(self._changed):
            since_s = now - self._written_ts.get(leader, 0.0)
            if not 0 <= since_s < _CALM_S or self._records.num_members(leader) < _SMALL:
                self._write(leader, silences, now)

    def settle(self, silences: Sequence[Silence], now: float) -> bool:
        """Every message reads as its group now is; whether one had to be written."""
        if not self._began:  # what an earlier process could not finish
            self._changed.update(self._records.groups(now - self._limits.listed_s))
            self._began = True
        changed = list(self._changed)
        for leader in changed:
            self._write(leader, silences, now)
        return bool(changed)

    def _calls(self, group: Group) -> tuple[str, ...]:
        """Everybody whom one of the alerts that nobody has calls, the people on call first."""
        worst_first = sorted(group.unowned, key=lambda one: -severity_rank(one.finding.severity))
        return tuple(dict.fromkeys(user for one in worst_first for user in self._audience.called_for(one.finding)))

    def _write(self, leader: str, silences: Sequence[Silence], now: float) -> None:
        self._changed.discard(leader)
        self._written_ts[leader] = now
        record, group = self._records.get(leader), self.of(leader)
        if record is None or record.told is None or group is None:
            return
        silence = silencing(group.leader, silences, now).silence
        message = compose_group(
            group,
            mentions=self._calls(group) if record.told.called else (),
            silence_s=self._limits.silence_s,
            silenced=f"silenced until {moment(silence.until_ts)} by {person(silence.by)}" if silence else "",
        )
        self._outbox.put(leader, message)
        for number, page in enumerate(compose_pages(group), start=1):
            self._outbox.put(f"{leader}#runs{number}", page, thread_of=leader, later=True)
        over = f"{leader}#over{record.told.times_fired}"
        if not group.firing:
            self._outbox.put(over, Message(title=f"{title_of(group)} (over)", tone=Tone.GOOD), thread_of=leader)
            self._written_ts.pop(leader, None)
