from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.clocks import VirtualLoop, run_virtually
from tests.unit.bot.alerting.fakes import DOWN, FakeChannel
from trainmaster.bot.alerting.deliver import Deliverer
from trainmaster.bot.alerting.limits import DeliveryLimits
from trainmaster.bot.core.conversation.message import Message, Tone
from trainmaster.bot.errors import ChatError, StoreError
from trainmaster.bot.ports import ChatRefused, MessageGone, Posted, RateLimited
from trainmaster.bot.storage.database import Database
from trainmaster.bot.storage.messages import MessageStore

LIMITS = DeliveryLimits()


class Bench:
    """A deliverer on a fake channel in virtual time."""

    def __init__(self, limits: DeliveryLimits = LIMITS) -> None:
        self.loop = VirtualLoop()
        self.messages = MessageStore(Database(Path(":memory:")), self.loop.now)
        self.channel = FakeChannel(clock=self.loop)
        common: dict[str, Any] = {"channel": "C1", "clock": self.loop, "limits": limits, "chance": lambda: 1.0}
        self.deliverer = Deliverer(self.messages, self.channel, **common)

    def put(self, key: str, text: str = "", *, tone: Tone = Tone.NEUTRAL, **more: str | None) -> None:
        self.messages.put(key, Message(title=text or key, tone=tone), **more)
        self.deliverer.notify()

    def drain(self, timeout_s: float = 100_000.0) -> bool:
        return run_virtually(self.deliverer.drain(timeout_s), self.loop)

    def play(self, story: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """`story` while the deliverer runs."""

        async def main() -> None:
            task = asyncio.create_task(self.deliverer.run())
            await asyncio.sleep(0)
            await story()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        run_virtually(main(), self.loop)

    @property
    def keys(self) -> list[str]:
        return [one.key for one in self.channel.shown]


@pytest.fixture
def bench() -> Iterator[Bench]:
    one = Bench()
    yield one
    if not one.loop.is_closed():
        one.loop.close()


def test_messages_are_posted_in_the_order_they_were_put(bench: Bench) -> None:
    for number in range(20):
        bench.put(f"m{number:02d}")
    assert bench.drain()
    assert bench.keys == [f"m{number:02d}" for number in range(20)]


def test_superseded_edits_are_never_sent(bench: Bench) -> None:
    for number in range(50):
        bench.put("one", f"version {number}")
    assert bench.drain()
    assert bench.channel.num_calls == 1
    assert bench.channel.shown[0].message.title == "version 49"


def test_answer_waits_for_its_root_and_stands_in_its_thread(bench: Bench) -> None:
    bench.put("answer", thread_of="root")
    bench.put("root")
    bench.put("answer to the answer", thread_of="answer")
    assert bench.drain()
    root, first, second = bench.channel.shown
    assert (root.key, first.key, second.key) == ("root", "answer", "answer to the answer")
    assert first.thread_ts == second.thread_ts == root.ts


def test_critical_message_overtakes_and_needs_no_free_token(bench: Bench) -> None:
    async def story() -> None:
        for number in range(30):
            bench.put(f"m{number:02d}")
        await asyncio.sleep(5.5)
        bench.put("alert", tone=Tone.CRITICAL)
        asked = bench.loop.now()
        await asyncio.sleep(60)
        assert bench.channel.by_key("alert")[0].at - asked <= 1.0

    bench.play(story)
    assert len(bench.keys) == 31


@pytest.mark.parametrize("tone", [Tone.WARNING, Tone.CRITICAL])
def test_alert_overtakes_a_backlog_of_edits_without_waiting(bench: Bench, tone: Tone) -> None:
    async def story() -> None:
        for number in range(30):
            bench.put(f"m{number:02d}")
        await asyncio.sleep(60)
        for number in range(30):
            bench.put(f"m{number:02d}", "edited")
        for at in range(3):
            await asyncio.sleep(5.5)
            bench.put(f"alert {at}", tone=tone)
            asked = bench.loop.now()
            await asyncio.sleep(0.01)
            assert bench.channel.by_key(f"alert {at}")[0].at - asked <= 0.01
        assert sum(one.num_edits for one in bench.channel.shown) < 30

    bench.play(story)


def test_critical_message_wakes_a_channel_that_waits_for_its_next_token() -> None:
    bench = Bench(DeliveryLimits(messages_per_s=0.01, burst=2))

    async def story() -> None:
        bench.put("one")
        bench.put("two")
        await asyncio.sleep(10)
        assert bench.keys == ["one"]
        bench.put("alert", tone=Tone.CRITICAL)
        await asyncio.sleep(0.01)
        assert bench.keys == ["one", "alert"]

    bench.play(story)


def test_new_message_is_sent_at_once_when_the_channel_was_quiet(bench: Bench) -> None:
    async def story() -> None:
        await asyncio.sleep(1000)
        asked = bench.loop.now()
        bench.put("alert")
        await asyncio.sleep(0.001)
        assert bench.channel.shown[0].at - asked <= 0.001

    bench.messages.put("first", Message(title="first"))
    bench.play(lambda: _after(bench, story))


async def _after(bench: Bench, story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    await asyncio.sleep(10)
    bench.channel.shown.clear()
    await story()


def test_rate_is_kept_below_what_slack_takes(bench: Bench) -> None:
    for number in range(60):
        bench.put(f"m{number:02d}")
    assert bench.drain()
    assert bench.channel.num_limited == 0
    times = [one.at for one in bench.channel.shown]
    assert times[-1] - times[0] == pytest.approx(57, abs=1)


def test_retry_after_is_honoured(bench: Bench) -> None:
    bench.channel.faults = [RateLimited(30.0)]
    bench.put("one")
    started = bench.loop.now()
    assert bench.drain()
    assert bench.channel.shown[0].at - started == pytest.approx(30, abs=0.1)
    assert bench.channel.num_calls == 2


def test_outage_of_an_hour_delays_and_drops_nothing(bench: Bench) -> None:
    over_ts = bench.loop.now() + 3600
    bench.channel.fail = lambda key, message: DOWN if bench.loop.now() < over_ts else None
    for number in range(20):
        bench.put(f"m{number:02d}")
    assert bench.drain()
    assert sorted(bench.keys) == [f"m{number:02d}" for number in range(20)]
    assert bench.channel.shown[0].at - over_ts <= LIMITS.backoff_max_s
    assert bench.channel.shown[-1].at - over_ts <= 2 * LIMITS.backoff_max_s + 20
    assert bench.channel.num_calls < 200


def test_order_within_a_thread_survives_failures(bench: Bench) -> None:
    failures = iter([True, False] * 40)
    bench.channel.fail = lambda key, message: DOWN if next(failures) else None
    bench.put("root")
    for number in range(10):
        bench.put(f"a{number}", thread_of="root")
    assert bench.drain()
    assert bench.keys == ["root", *(f"a{number}" for number in range(10))]


def test_message_that_always_fails_keeps_no_other_waiting(bench: Bench) -> None:
    bench.channel.fail = lambda key, message: DOWN if key == "bad" else None
    bench.put("bad")
    for number in range(5):
        bench.put(f"m{number}")
    assert not bench.drain(timeout_s=30)
    assert bench.keys == [f"m{number}" for number in range(5)]
    assert bench.messages.num_pending() == 1


def test_bad_channel_keeps_no_other_waiting_and_is_a_fault(bench: Bench) -> None:
    bench.put("lost", channel="C9")
    bench.put("fine")
    assert not bench.drain(timeout_s=30)
    assert bench.keys == ["fine"]
    assert bench.deliverer.faults() == ("C9: channel-not-found: no channel C9 Hint: invite the bot",)


def test_refused_message_is_delivered_once_it_is_mended(bench: Bench) -> None:
    async def story() -> None:
        bench.put("lost", channel="C9")
        await asyncio.sleep(60)
        bench.channel.channels |= {"C9"}
        await asyncio.sleep(LIMITS.refused_retry_s)
        assert bench.keys == ["lost"]
        assert bench.deliverer.faults() == ()

    bench.play(story)


def test_first_message_taken_after_a_refusal_releases_the_others(bench: Bench) -> None:
    async def story() -> None:
        bench.channel.channels = frozenset()
        bench.put("first")
        bench.put("second")
        await asyncio.sleep(30)
        bench.channel.channels = frozenset({"C1"})
        bench.put("third", tone=Tone.CRITICAL)
        await asyncio.sleep(25)
        assert sorted(bench.keys) == ["first", "second", "third"]
        assert bench.deliverer.faults() == ()

    bench.play(story)


def test_content_that_slack_refuses_is_sent_plainer(bench: Bench) -> None:
    refused = ChatRefused("invalid-blocks", "no more than 50 items", content=True)
    bench.channel.fail = lambda key, message: refused if message.fields else None
    bench.messages.put("one", Message(title="alert", fields=(("a", "b"),), mentions=("U1",)))
    assert bench.drain()
    (shown,) = bench.channel.shown
    assert (shown.message.title, shown.message.mentions) == ("alert", ("U1",))
    assert shown.message.body[-1] == "Shown without its details: Slack refused them."


def test_deleted_message_is_posted_anew(bench: Bench) -> None:
    async def story() -> None:
        bench.put("one", "first")
        await asyncio.sleep(1)
        bench.channel.delete("one")
        bench.put("one", "second")
        await asyncio.sleep(5)
        assert [one.message.title for one in bench.channel.shown] == ["second"]

    bench.play(story)


def test_answer_to_a_deleted_root_brings_the_root_back(bench: Bench) -> None:
    async def story() -> None:
        bench.put("root")
        await asyncio.sleep(1)
        bench.channel.delete("root")
        bench.put("answer", thread_of="root")
        await asyncio.sleep(5)
        root, answer = bench.channel.shown
        assert (root.key, answer.key, answer.thread_ts) == ("root", "answer", root.ts)

    bench.play(story)


@pytest.mark.parametrize("late", ["root", "answer"])
def test_a_deletion_is_seen_as_one_after_many_failures_too(bench: Bench, late: str) -> None:
    async def story() -> None:
        bench.put("root")
        await asyncio.sleep(1)
        bench.channel.delete("root")
        bench.channel.faults = [DOWN] * 5
        bench.put(late, "new", thread_of="root" if late == "answer" else None)
        await asyncio.sleep(600)
        assert set(bench.keys) == {"root", late}

    bench.play(story)


def test_channel_that_calls_everything_gone_is_not_flooded(bench: Bench) -> None:
    bench.channel.fail = lambda key, message: MessageGone("thread-not-found", "gone") if key == "answer" else None
    bench.put("root")
    bench.put("answer", thread_of="root")
    assert not bench.drain(timeout_s=120)
    assert len(bench.channel.by_key("root")) <= LIMITS.tries_before_aside + 1


def test_edit_put_while_the_message_is_being_sent_follows(bench: Bench) -> None:
    def edit(key: str, message: Message) -> None:
        if message.title == "first":
            bench.put("one", "second")

    bench.channel.fail = edit
    bench.put("one", "first")
    assert bench.drain()
    (shown,) = bench.channel.shown
    assert (shown.message.title, shown.num_edits) == ("second", 1)


def test_bug_in_the_renderer_is_a_fault_and_stops_nothing(bench: Bench) -> None:
    bench.channel.fail = lambda key, message: KeyError("x") if key == "bad" else None
    bench.put("bad")
    bench.put("good")
    assert not bench.drain(timeout_s=30)
    assert bench.keys == ["good"]
    assert bench.deliverer.faults() == ("bad can't be sent: KeyError: 'x'",)


def test_call_that_never_answers_ends_by_itself(bench: Bench) -> None:
    post = bench.channel.post
    hung = iter([True])

    async def hang_once(channel: str, message: Message, *, thread_ts: str | None, key: str) -> Posted:
        if next(hung, False):
            await asyncio.Event().wait()
        return await post(channel, message, thread_ts=thread_ts, key=key)

    bench.channel.post = hang_once  # type: ignore[method-assign]
    bench.put("one")
    assert bench.drain()
    assert bench.keys == ["one"]


def test_database_that_refuses_to_commit_causes_no_second_post(bench: Bench) -> None:
    mark_sent = bench.messages.mark_sent
    mended_ts = bench.loop.now() + 60

    def refuse(key: str, version: int, posted: Posted) -> None:
        if bench.loop.now() < mended_ts:
            raise StoreError("state-database", "disk full")
        mark_sent(key, version, posted)

    bench.messages.mark_sent = refuse  # type: ignore[method-assign]

    async def story() -> None:
        bench.put("one", "first")
        bench.put("two")
        await asyncio.sleep(10)
        assert bench.deliverer.faults() == ("state-database: disk full",)
        bench.put("one", "second")
        await asyncio.sleep(100)
        assert sorted(bench.keys) == ["one", "two"]
        assert bench.channel.by_key("one")[0].message.title == "second"
        assert bench.channel.num_calls == 3
        assert bench.messages.num_pending() == 0
        assert bench.deliverer.faults() == ()

    bench.play(story)


def test_unreadable_outbox_is_tried_again(bench: Bench) -> None:
    lanes = bench.messages.lanes
    faults = iter([True] * 3)

    def refuse(now: float) -> tuple[str, ...]:
        if next(faults, False):
            raise StoreError("state-database", "locked")
        return lanes(now)

    bench.messages.lanes = refuse  # type: ignore[method-assign]
    bench.put("one")
    assert bench.drain()
    assert bench.keys == ["one"]


def test_cancelled_delivery_commits_what_slack_takes(bench: Bench) -> None:
    post = bench.channel.post
    entered = asyncio.Event()

    async def slow(channel: str, message: Message, *, thread_ts: str | None, key: str) -> Posted:
        entered.set()
        await asyncio.sleep(5)
        return await post(channel, message, thread_ts=thread_ts, key=key)

    bench.channel.post = slow  # type: ignore[method-assign]

    async def story() -> None:
        bench.put("one")
        await entered.wait()

    bench.play(story)
    assert bench.keys == ["one"]
    assert bench.messages.num_pending() == 0


def test_plain_chat_error_is_retried(bench: Bench) -> None:
    bench.channel.faults = [ChatError("slack-500", "internal error")] * 2
    bench.put("one")
    assert bench.drain()
    assert bench.channel.num_calls == 3
