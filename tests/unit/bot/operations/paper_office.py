"""What operations speak to: the channel, the people on call, the audit log; on paper."""

from __future__ import annotations

import json

from trainmaster.bot.core.conversation.message import Message
from trainmaster.bot.core.decisions.audit import AuditReport
from trainmaster.bot.errors import StoreError
from trainmaster.bot.ports import Posted


class PaperOutbox:
    """What the channel would say, by key, with every version."""

    def __init__(self) -> None:
        self.versions: dict[str, list[Message]] = {}
        self.channels: dict[str, str | None] = {}
        self.threads: dict[str, str | None] = {}

    def put(self, key: str, message: Message, *, channel: str | None = None, thread_of: str | None = None) -> None:
        self.versions.setdefault(key, []).append(message)
        self.channels[key] = channel
        self.threads[key] = thread_of

    def posted(self, key: str) -> Posted | None:
        return Posted(channel="C1", ts="1.0") if key in self.versions else None

    def may_stand_twice(self, key: str) -> bool:
        return False

    def key_at(self, channel: str, ts: str) -> str | None:
        return None

    def last(self, key: str) -> Message:
        return self.versions[key][-1]


class PaperChat:
    """Knows who is on call."""

    def __init__(self, *users: str) -> None:
        self.users = frozenset(users)
        self.fault: Exception | None = None

    async def post(self, channel: str, message: Message, *, thread_ts: str | None, key: str) -> Posted:
        raise AssertionError("operations speak through the outbox")

    async def update(self, posted: Posted, message: Message) -> None:
        raise AssertionError("operations speak through the outbox")

    async def on_call(self) -> frozenset[str]:
        if self.fault is not None:
            raise self.fault
        return self.users


class PaperAudit:
    """An audit log that can be full."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, str]] = []
        self.acts: set[tuple[str, object]] = set()
        self.full = False

    def append(self, actor: str, action: str, subject: str, detail: object, now: float) -> None:
        if self.full:
            raise StoreError("audit-log", "audit.jsonl cannot be written: no space left on device.")
        json.dumps(detail)
        self.entries.append((actor, action))

    def append_once(self, actor: str, action: str, subject: str, detail: dict[str, object], now: float) -> None:
        about = (action, detail["operation"])
        if about not in self.acts:
            self.append(actor, action, subject, detail, now)
            self.acts.add(about)

    def verify(self) -> AuditReport:
        return AuditReport(num_entries=len(self.entries), head="0" * 64, faults=())
