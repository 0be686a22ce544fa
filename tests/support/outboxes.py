"""What is said and written down, for tests: the channel's outbox, who is on call, the audit log."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trainmaster.bot.core.conversation.message import Message
from trainmaster.bot.core.decisions.audit import AuditReport
from trainmaster.bot.errors import StoreError
from trainmaster.bot.ports import Posted


@dataclass
class FakeOutbox:
    """What the channel would say, by key, with every version. A message stands where ``keys`` says; ``delivers`` posts
    whatever is put, at once."""

    keys: dict[tuple[str, str], str] = field(default_factory=dict)
    delivers: bool = False
    versions: dict[str, list[Message]] = field(default_factory=dict)
    channels: dict[str, str | None] = field(default_factory=dict)
    threads: dict[str, str | None] = field(default_factory=dict)
    twins: set[str] = field(default_factory=set)

    def put(self, key: str, message: Message, *, channel: str | None = None, thread_of: str | None = None) -> None:
        self.versions.setdefault(key, []).append(message)
        self.channels[key] = channel
        self.threads[key] = thread_of

    def posted(self, key: str) -> Posted | None:
        if self.delivers and key in self.versions:
            return Posted(channel="C1", ts="1.0")
        return next((Posted(channel=c, ts=ts) for (c, ts), known in self.keys.items() if known == key), None)

    def read(self, key: str) -> Message | None:
        return self.versions[key][-1] if key in self.versions else None

    def may_stand_twice(self, key: str) -> bool:
        return key in self.twins

    def key_at(self, channel: str, ts: str) -> str | None:
        return self.keys.get((channel, ts))

    def last(self, key: str) -> Message:
        return self.versions[key][-1]


class FakeChat:
    """Only tells who is on call, unless a ``fault`` keeps it from that."""

    def __init__(self, *users: str) -> None:
        self.users = frozenset(users)
        self.fault: Exception | None = None

    async def post(self, channel: str, message: Message, *, thread_ts: str | None, key: str) -> Posted:
        raise AssertionError("commands and operations speak through the outbox")

    async def update(self, posted: Posted, message: Message) -> None:
        raise AssertionError("commands and operations speak through the outbox")

    async def on_call(self) -> frozenset[str]:
        if self.fault is not None:
            raise self.fault
        return self.users


class FakeAudit:
    """An audit log that can be full."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, str]] = []
        """Who did what."""
        self.outcomes: list[str] = []
        """What came of each, as far as it says so."""
        self.acts: set[tuple[str, object]] = set()
        self.full = False
        self.due: list[tuple[str, str]] = []
        """What waits until it is not full."""

    def append(self, actor: str, action: str, subject: str, detail: Mapping[str, Any], now: float) -> None:
        if self.full:
            raise StoreError("audit-log", "audit.jsonl cannot be written: no space left on device.")
        json.dumps(detail)
        self.entries.append((actor, action))
        self.outcomes.append(str(detail.get("outcome", "")))

    def append_later(self, actor: str, action: str, subject: str, detail: Mapping[str, Any], now: float) -> None:
        self.due.append((actor, action))

    def append_once(self, actor: str, action: str, subject: str, detail: Mapping[str, Any], now: float) -> None:
        about = (action, detail["operation"])
        if about not in self.acts:
            self.append(actor, action, subject, detail, now)
            self.acts.add(about)

    def verify(self) -> AuditReport:
        return AuditReport(num_entries=len(self.entries), head="0" * 64, faults=())
