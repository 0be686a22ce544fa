"""A process to be killed: it finds more trouble at each look, commits it, and delivers it to a channel that is a file.

``python -m tests.crash.outbox_worker DIRECTORY NUM_LOOKS``; prints ``ready`` when it is at work, and exits 0 when
everything was found and delivered.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import uuid
from dataclasses import replace
from pathlib import Path

from tests.support.clocks import SystemClock
from tests.unit.bot.alerting.fakes import RUN, finding
from trainmaster.bot.alerting.deliver import Deliverer
from trainmaster.bot.alerting.limits import AlertLimits, Audience, DeliveryLimits
from trainmaster.bot.alerting.pipeline import AlertPipeline
from trainmaster.bot.core.alerts.finding import Nature
from trainmaster.bot.core.conversation.message import Message
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.ports import Posted
from trainmaster.bot.storage.alerts import AlertStore
from trainmaster.bot.storage.database import Database
from trainmaster.bot.storage.messages import MessageStore
from trainmaster.bot.storage.silences import SilenceStore

FAST = DeliveryLimits(messages_per_s=100_000.0, burst=1000)


class FileChannel:
    """Implements `trainmaster.bot.ports.Chat`; a line written is a message taken."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def post(self, channel: str, message: Message, *, thread_ts: str | None, key: str) -> Posted:
        ts = uuid.uuid4().hex
        await self._take(op="post", key=key, ts=ts, title=message.title, thread_ts=thread_ts)
        return Posted(channel=channel, ts=ts)

    async def update(self, posted: Posted, message: Message) -> None:
        await self._take(op="update", ts=posted.ts, title=message.title)

    async def find(self, channel: str, key: str, *, thread_ts: str | None, since_ts: float) -> Posted | None:
        for line in self._path.read_text(encoding="utf-8").splitlines() if self._path.exists() else ():
            taken = json.loads(line)
            if taken.get("key") == key:
                return Posted(channel=channel, ts=taken["ts"])
        return None

    async def answers(self) -> bool:
        return True

    async def on_call(self) -> frozenset[str]:
        return frozenset()

    async def _take(self, **line: object) -> None:
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"pid": os.getpid(), **line}) + "\n")
        # The gap between Slack's taking it and its being committed here: wide enough to be hit.
        await asyncio.sleep(0.002)


async def work(directory: Path, num_looks: int) -> None:
    database = Database(directory / "state.db")
    messages, clock = MessageStore(database), SystemClock()
    pipeline = AlertPipeline(
        records=AlertStore(database),
        silences=SilenceStore(database),
        outbox=messages,
        transactions=database,
        clock=clock,
        limits=AlertLimits(edit_interval_s=0.0, edit_age_share=0.0),
        audience=Audience(on_call=("U1",)),
    )
    deliverer = Deliverer(messages, FileChannel(directory / "channel.jsonl"), channel="C1", clock=clock, limits=FAST)
    done = directory / "looks_done"
    delivering = asyncio.create_task(deliverer.run())
    print("ready", flush=True)
    first = int(done.read_text(encoding="utf-8") or 0) if done.exists() else 0
    for look in range(first, num_looks):
        happened = finding("run_crashed", nature=Nature.OCCURRENCE, ts=clock.now())
        found = [replace(happened, key=f"{number}") for number in range(look + 1)]
        found.append(finding("stalled", title=f"look {look}"))
        view = RunView(directory=directory, name=RUN, ts=clock.now(), first_seen_ts=0.0)
        pipeline.process(view, found, clock.now())
        temporary = directory / "looks_done.new"
        temporary.write_text(f"{look + 1}", encoding="utf-8")
        temporary.replace(done)
        deliverer.notify()
        await asyncio.sleep(0.003)
    drained = await deliverer.drain(30.0)
    delivering.cancel()
    await asyncio.gather(delivering, return_exceptions=True)
    assert drained


if __name__ == "__main__":
    asyncio.run(work(Path(sys.argv[1]), int(sys.argv[2])))
