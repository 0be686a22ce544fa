"""The real client and the real outbox against a Web API that misbehaves: late perhaps, but nothing is lost."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from slack_sdk.web.async_client import AsyncWebClient

from tests.integration.bot.slack.hostile import HostileSlack, Mischief
from tests.support.clocks import SystemClock
from trainmaster.bot.alerting.deliver import Deliverer
from trainmaster.bot.alerting.limits import DeliveryLimits
from trainmaster.bot.core.conversation.message import Message, Tone
from trainmaster.bot.slack.chat import OnCallSource, SlackChat
from trainmaster.bot.storage.database import Database
from trainmaster.bot.storage.messages import MessageStore

FAST = DeliveryLimits(
    messages_per_s=2000.0, burst=200, backoff_s=0.005, backoff_max_s=0.02, send_timeout_s=0.3, refused_retry_s=0.02
)


@asynccontextmanager
async def delivering(slack: HostileSlack, store: MessageStore) -> AsyncIterator[Deliverer]:
    await slack.up()
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=0.2)) as session:
        client = AsyncWebClient(token="xoxb-1", base_url=slack.url, session=session, retry_handlers=[])
        chat = SlackChat(client, OnCallSource())
        deliverer = Deliverer(store, chat, channel="C1", clock=SystemClock(), limits=FAST)
        running = asyncio.create_task(deliverer.run())
        try:
            yield deliverer
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await slack.down()


@pytest.fixture(autouse=True)
def short_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainmaster.bot.slack.faults.DEFAULT_WAIT_S", 0.01)


@pytest.fixture
def store() -> MessageStore:
    return MessageStore(Database(Path(":memory:")))


def shown(slack: HostileSlack, key: str) -> list[str]:
    """What the messages of that key say, oldest first."""
    return [one.text for one in slack.messages.values() if one.key == key]


@pytest.mark.parametrize("kind", [one for one in Mischief if one is not Mischief.NONE], ids=lambda one: one.name)
async def test_each_mischief_delays_and_loses_nothing(store: MessageStore, kind: Mischief) -> None:
    slack = HostileSlack(random.Random(3), share=0.6, kinds=(kind,))
    async with delivering(slack, store) as deliverer:
        for number in range(6):
            store.put(f"m{number}", Message(title=f"first {number}", tone=Tone.WARNING))
        deliverer.notify()
        assert await deliverer.drain(20)
        for number in range(6):
            store.put(f"m{number}", Message(title=f"second {number}"))
        deliverer.notify()
        assert await deliverer.drain(20)
    assert slack.counts[kind] > 0
    for number in range(6):
        texts = shown(slack, f"m{number}")
        # After more than three internal errors it comes plainer, and says so below.
        assert texts[-1].splitlines()[0] == f"second {number}"
        assert len(texts) == 1, "posted again though it stood there"


@pytest.mark.parametrize("seed", range(3))
async def test_all_of_it_at_once_with_restarts_keeps_every_message_and_its_newest_words(
    store: MessageStore, seed: int
) -> None:
    chance = random.Random(seed)
    slack = HostileSlack(chance)
    async with delivering(slack, store) as deliverer:
        for number in range(40):
            root = f"alert{number % 8}"
            if number < 8:
                store.put(root, Message(title=root, tone=Tone.CRITICAL))
            store.put(f"{root}#word{number}", Message(title=f"word {number}"), thread_of=root)
            store.put(root, Message(title=f"{root} edit {number}", tone=Tone.CRITICAL))
            deliverer.notify()
            await asyncio.sleep(chance.uniform(0, 0.02))
            if number in {15, 30}:
                await slack.down()
                await asyncio.sleep(0.05)
                await slack.up()
            if number == 20 and slack.messages:
                slack.messages.pop(next(iter(slack.messages)))  # somebody deletes one
        assert await deliverer.drain(40)
    assert len(slack.counts) > 10
    for number in range(40):
        assert shown(slack, f"alert{number % 8}#word{number}"), f"word {number} was lost"
    for number in range(8):
        assert shown(slack, f"alert{number}")[-1].endswith(f"alert{number} edit {32 + number}")
