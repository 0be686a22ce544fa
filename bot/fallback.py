"""While the database can't be written: the same alerts from memory, so that none is lost, and a word about it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bot.alerting.deliver import Deliverer
from bot.alerting.limits import AlertLimits, Audience, DeliveryLimits
from bot.alerting.pipeline import AlertPipeline
from bot.core.finding import Finding, Nature, Severity
from bot.core.view import RunView
from bot.errors import StoreError
from bot.ports import Chat, Clock
from bot.storage.alerts import AlertStore
from bot.storage.database import Database
from bot.storage.messages import MessageStore
from bot.storage.silences import SilenceStore

CHECK = "database"


class MemoryAlerts:
    """Begins when the database first fails. It knows nothing of what was told before, so a condition that still fires
    is told once more; an occurrence from before the fault is not."""

    def __init__(self, *, chat: Chat, channel: str, clock: Clock, limits: AlertLimits, audience: Audience) -> None:
        database = Database(Path(":memory:"))
        outbox = MessageStore(database)
        self._database = database
        self._pipeline = AlertPipeline(
            standings=AlertStore(database),
            silences=SilenceStore(database),
            outbox=outbox,
            transactions=database,
            clock=clock,
            limits=limits,
            audience=audience,
        )
        self._deliverer = Deliverer(outbox, chat, channel=channel, clock=clock, limits=DeliveryLimits())
        self._began_ts = clock.now()
        self._task = asyncio.create_task(self._deliverer.run(), name="deliver-from-memory")

    def process(
        self, view: RunView, findings: Sequence[Finding], unjudged: frozenset[str], now: float, error: StoreError
    ) -> None:
        """The findings, and the fault itself, are told from memory."""
        fault = Finding(
            run=view.run,
            check=CHECK,
            key="write",
            severity=Severity.CRITICAL,
            nature=Nature.CONDITION,
            ts=now,
            title="Trainmaster can't write its database",
            body=(error.message, "Watching goes on and alerts come from memory; rollbacks are refused."),
            hint=error.hint,
            resolution="Trainmaster can write its database again",
        )
        seen = replace(view, first_seen_ts=max(view.first_seen_ts, self._began_ts))
        with self._database.transaction():
            self._pipeline.process(seen, [*findings, fault], now, unjudged=unjudged)
        self._deliverer.notify()

    def recovered(self, view: RunView, now: float) -> None:
        """The database took this look: the fault resolves. What else was told from memory is left as it was said."""
        firing = {alert.finding.check for alert in self._pipeline.firing(view.run)}
        if CHECK in firing:
            with self._database.transaction():
                self._pipeline.process(view, [], now, unjudged=firing - {CHECK})
            self._deliverer.notify()

    async def close(self) -> None:
        """What is waiting had its chance."""
        await self._deliverer.drain(timeout_s=2.0)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._database.close()
