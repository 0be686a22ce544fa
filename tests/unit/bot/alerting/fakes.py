"""A channel that refuses what Slack refuses, and the small things that tests of alerting are made of."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.support.clocks import SetClock
from trainmaster.bot.alerting.limits import AlertLimits, Audience, Tier
from trainmaster.bot.alerting.pipeline import AlertPipeline, LookOutcome
from trainmaster.bot.core.alerts.finding import Finding, Nature, Severity
from trainmaster.bot.core.conversation.message import Message
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.errors import ChatError
from trainmaster.bot.ports import ChatRefused, Clock, MessageGone, Posted, RateLimited
from trainmaster.bot.storage.alerts import AlertStore
from trainmaster.bot.storage.database import Database
from trainmaster.bot.storage.messages import MessageStore
from trainmaster.bot.storage.silences import SilenceStore

RUN = "digits-1"
NOW = 1_700_000_000.0
TIERS = (Tier(after_s=900.0, users=("U2",)), Tier(after_s=1800.0, users=("U3",)))


def finding(check: str = "stalled", **changes: object) -> Finding:
    """A critical condition unless told otherwise."""
    base = Finding(
        run=RUN,
        check=check,
        key="attempt1",
        severity=Severity.CRITICAL,
        nature=Nature.CONDITION,
        ts=NOW,
        title=f"{RUN}: {check}",
        body=("what is known",),
        hint="/train status",
        resolution=f"{RUN}: {check} is over",
    )
    return replace(base, **changes)  # type: ignore[arg-type]


@dataclass
class Shown:
    """A message as the channel shows it."""

    key: str
    channel: str
    ts: str
    thread_ts: str | None
    message: Message
    at: float
    num_edits: int = 0


@dataclass
class FakeChannel:
    """Implements `trainmaster.bot.ports.Chat`: 1 message a second a channel with a burst, threads that need their
    root, deleted messages, and faults on order."""

    clock: Clock
    per_s: float = 1.0
    burst: int = 5
    retry_after_s: float = 1.0
    channels: frozenset[str] = frozenset({"C1"})
    shown: list[Shown] = field(default_factory=list)
    faults: list[Exception] = field(default_factory=list)
    """Raised one after the other by the next calls."""
    fail: Callable[[str, Message], Exception | None] = lambda key, message: None
    lost: Callable[[str, Message], Exception | None] = lambda key, message: None
    """As ``fail``, but the message is taken all the same."""
    find_faults: list[Exception] = field(default_factory=list)
    answering: bool = True
    num_finds: int = 0
    num_limited: int = 0
    num_calls: int = 0
    _seq: Iterable[int] = field(default_factory=lambda: itertools.count(1))
    _allowance: dict[str, tuple[float, float]] = field(default_factory=dict)

    async def post(self, channel: str, message: Message, *, thread_ts: str | None, key: str) -> Posted:
        self._enter(channel, key, message)
        if thread_ts is not None and self.at_ts(channel, thread_ts) is None:
            raise MessageGone("thread-not-found", f"no message at {thread_ts}")
        ts = f"{self.clock.now():.0f}.{next(iter(self._seq)):06d}"
        self.shown.append(Shown(key, channel, ts, thread_ts, message, self.clock.now()))
        if (fault := self.lost(key, message)) is not None:
            raise fault
        return Posted(channel=channel, ts=ts)

    async def update(self, posted: Posted, message: Message) -> None:
        shown = self.at_ts(posted.channel, posted.ts)
        self._enter(posted.channel, shown.key if shown else "?", message)
        if shown is None:
            raise MessageGone("message-not-found", f"no message at {posted.ts}")
        shown.message, shown.num_edits = message, shown.num_edits + 1

    async def find(self, channel: str, key: str, *, thread_ts: str | None, since_ts: float) -> Posted | None:
        self.num_finds += 1
        if self.find_faults:
            raise self.find_faults.pop(0)
        for one in self.shown:
            if (one.channel, one.key, one.thread_ts) == (channel, key, thread_ts) and one.at >= since_ts:
                return Posted(channel=channel, ts=one.ts)
        return None

    async def answers(self) -> bool:
        return self.answering

    async def on_call(self) -> frozenset[str]:
        return frozenset({"U1"})

    def _enter(self, channel: str, key: str, message: Message) -> None:
        self.num_calls += 1
        if channel not in self.channels:
            raise ChatRefused("channel-not-found", f"no channel {channel}", "invite the bot")
        allowance, at = self._allowance.get(channel, (float(self.burst), self.clock.now()))
        allowance = min(float(self.burst), allowance + max(0.0, self.clock.now() - at) * self.per_s)
        if allowance < 1.0 - 1e-9:
            self.num_limited += 1
            self._allowance[channel] = (allowance, self.clock.now())
            raise RateLimited(self.retry_after_s)
        self._allowance[channel] = (allowance - 1.0, self.clock.now())
        if self.faults:
            raise self.faults.pop(0)
        fault = self.fail(key, message)
        if fault is not None:
            raise fault

    def at_ts(self, channel: str, ts: str) -> Shown | None:
        return next((one for one in self.shown if one.channel == channel and one.ts == ts), None)

    def by_key(self, key: str) -> list[Shown]:
        return [one for one in self.shown if one.key == key]

    def delete(self, key: str) -> None:
        self.shown = [one for one in self.shown if one.key != key]


DOWN = ChatError("slack-unreachable", "connection reset")


class Desk:
    """A pipeline on a database, in memory unless a file is given, with a clock that the test sets."""

    def __init__(
        self, limits: AlertLimits | None = None, audience: Audience | None = None, path: Path = Path(":memory:")
    ) -> None:
        self.clock = SetClock(NOW)
        self.database = Database(path)
        self.messages = MessageStore(self.database, self.clock.now)
        self.records = AlertStore(self.database)
        self.silences = SilenceStore(self.database)
        self.limits = limits or AlertLimits()
        self.pipeline = AlertPipeline(
            records=self.records,
            silences=self.silences,
            outbox=self.messages,
            transactions=self.database,
            clock=self.clock,
            limits=self.limits,
            audience=audience or Audience(on_call=("U1",), escalation=TIERS),
        )
        self.first_seen_ts = self.clock.ts

    def look(self, *findings: Finding, after_s: float = 0.0, **more: object) -> LookOutcome:
        self.clock.ts += after_s
        return self.pipeline.process(self.view(), findings, self.clock.ts, **more)  # type: ignore[arg-type]

    def view(self, **changes: object) -> RunView:
        view = RunView(directory=Path("runs") / RUN, name=RUN, ts=self.clock.ts, first_seen_ts=self.first_seen_ts)
        return replace(view, **changes)  # type: ignore[arg-type]

    def wanted(self) -> dict[str, Message]:
        """What the outbox still has to send, by key."""
        return {one.key: one.message for one in self.messages.pending(self.clock.ts)}

    def send_all(self) -> list[tuple[str, Message]]:
        """Everything that can be sent is sent at once, threads included; returns it in order."""
        sent = []
        while some := self.messages.pending(self.clock.ts, limit=1):
            one = some[0]
            posted = Posted(channel="C1", ts=one.ts or f"{self.clock.ts:.0f}.{len(sent):06d}")
            self.messages.mark_sent(one.key, one.version, posted)
            sent.append((one.key, one.message))
        return sent
