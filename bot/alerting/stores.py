"""What the pipeline and the delivery need to remember, as Protocols. ``trainmaster.bot.storage`` has them on SQLite."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from trainmaster.bot.core.alerts.alert_record import AlertRecord, Leader, Said
from trainmaster.bot.core.alerts.delivery import Delivery
from trainmaster.bot.core.alerts.finding import Finding, Severity
from trainmaster.bot.core.alerts.silence import Silence
from trainmaster.bot.core.conversation.message import Message
from trainmaster.bot.ports import Outbox, Posted


class AlertRecords(Protocol):
    """Alerts and what was told of them. Everything commits with the caller's transaction."""

    def look(self, run: str, findings: Sequence[Finding]) -> tuple[Mapping[str, AlertRecord], Sequence[Finding]]:
        """What this look at the run can change: records by fingerprint, and the findings that are not retired yet."""
        ...

    def get(self, fingerprint: str) -> AlertRecord | None:
        """The record of one alert; None when it never fired."""
        ...

    def save(self, record: AlertRecord) -> None:
        """The record is stored; it commits with the open transaction."""
        ...

    def retire(self, run: str, findings: Sequence[Finding]) -> None:
        """Nothing remains to be done about these occurrences while they stay as they are."""
        ...

    def firing(self, run: str | None, happened_since_ts: float) -> Sequence[AlertRecord]:
        """Every firing condition, and every occurrence since then that is news, newest first."""
        ...


class Bursts(Protocol):
    """What was told lately."""

    def told_since(self, run: str, check: str, since_ts: float) -> Sequence[AlertRecord]:
        """The alerts of one check on one run whose firing was told since then, oldest first."""
        ...


class Groups(Protocol):
    """Which alerts are told in the message of which other one."""

    def told_since(self, run: str, check: str, since_ts: float) -> Sequence[AlertRecord]:
        """The alerts of one check on one run whose firing was told since then, oldest first."""
        ...

    def get(self, fingerprint: str) -> AlertRecord | None:
        """The record of one alert."""
        ...

    def save(self, record: AlertRecord) -> None:
        """The record is stored."""
        ...

    def leaders(self, checks: Collection[str], since_ts: float) -> Sequence[Leader]:
        """The firing alerts of these checks with a message of their own that was told since then, oldest first."""
        ...

    def members(self, leader: str, since_ts: float) -> Sequence[AlertRecord]:
        """The alerts told in the message of ``leader`` that fire, or were told since then, oldest first."""
        ...

    def num_members(self, leader: str) -> int:
        """How many alerts were ever told in the message of ``leader``."""
        ...

    def speaker(self, leader: str) -> str | None:
        """The first of the group's alerts that fires and that nobody has; the leader before all others."""
        ...

    def said(self, leader: str) -> Said:
        """What was said of the group so far."""
        ...

    def groups(self, since_ts: float) -> Sequence[str]:
        """The leaders of what fires and was told in another alert's message since then."""
        ...


class AlertRecordStore(AlertRecords, Bursts, Groups, Protocol):
    """Alerts, and what was told of them lately."""


class Silences(Protocol):
    """What makes no sound, until when, and by whom."""

    def add(
        self,
        *,
        until_ts: float,
        by: str,
        now: float,
        fingerprint: str | None = None,
        run: str | None = None,
        check: str | None = None,
        max_severity: Severity = Severity.CRITICAL,
    ) -> Silence:
        """The silence holds from now on."""
        ...

    def active(self, now: float) -> Sequence[Silence]:
        """Silences that hold at ``now``."""
        ...

    def ended(self, since_ts: float, now: float) -> Sequence[Silence]:
        """Silences whose time ran out after ``since_ts`` and by ``now``."""
        ...

    def end(self, silence_id: int, user: str, now: float) -> bool:
        """It holds no more; False when it had ended by itself."""
        ...


class AlertOutbox(Outbox, Protocol):
    """An outbox that knows since when a message can be read."""

    def sent_ts(self, key: str) -> float | None:
        """When the message first stood in the channel; None while it never did."""
        ...

    def put(
        self,
        key: str,
        message: Message,
        *,
        channel: str | None = None,
        thread_of: str | None = None,
        later: bool = False,
    ) -> None:
        """As :meth:`Outbox.put`. ``later``: it gives way to everything else, whatever its tone."""
        ...

    def known(self, key: str) -> bool:
        """Whether the key was ever put."""
        ...

    def withdraw(self, key: str) -> bool:
        """Whether the message is forgotten: it was never sent, may not be about to stand in its channel, and nothing is
        to be said in its thread."""
        ...

    def hush(self, prefix: str) -> None:
        """What was put under a key that begins so and does not stand in the channel yet mentions nobody any more."""
        ...


class Queue(Protocol):
    """The outbox as the delivery sees it: what to send, in which order."""

    def pending(self, now: float, *, lane: str | None = None, limit: int = -1) -> Sequence[Delivery]:
        """What can be sent now, in the order in which it is to be sent."""
        ...

    def lanes(self, now: float) -> Sequence[str]:
        """Channels that something can be sent to now; the empty name is the alert channel."""
        ...

    def next_try_ts(self, now: float) -> float | None:
        """When the next message that now has to wait is due; None when none waits."""
        ...

    def num_pending(self) -> int:
        """Messages whose newest version Slack has not taken yet."""
        ...


class Outcomes(Protocol):
    """What became of a delivery."""

    def mark_sent(self, key: str, version: int, posted: Posted) -> None:
        """Slack shows that version there."""
        ...

    def mark_failed(self, key: str, error: str, next_try_ts: float, *, refused: bool = False) -> None:
        """It stays pending and is not tried before ``next_try_ts``."""
        ...

    def mark_posting(self, key: str, now: float) -> None:
        """From now on it may stand in its channel, whatever becomes of the answer or of this process."""
        ...

    def mark_not_posted(self, key: str) -> None:
        """Slack said that it does not stand there."""
        ...

    def release_refused(self, lane: str) -> None:
        """What Slack refused to take in this lane is due now."""
        ...

    def release_failed(self, lane: str, but: Collection[str]) -> None:
        """What failed in this lane is due now, except the messages ``but`` and what was refused."""
        ...

    def mark_gone(self, key: str) -> None:
        """Somebody deleted it: it is to be posted anew."""
        ...


class DeliveryQueue(Queue, Outcomes, Protocol):
    """What is to be sent, and what became of it."""
