"""Urgency under faults, and messages whose answer was lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest

from tests.unit.bot.alerting.fakes import DOWN
from tests.unit.bot.alerting.test_deliver import Bench
from trainmaster.bot.alerting.limits import DeliveryLimits
from trainmaster.bot.core.conversation.message import ActionId, Button, Message, Tone
from trainmaster.bot.core.conversation.plainer import Words
from trainmaster.bot.errors import ChatError
from trainmaster.bot.ports import ChatRefused, Posted, RateLimited

TOLD_WITHIN_S = 10.0
INTERNAL = ChatError("slack-internal", "internal_error")
UNWELL = ChatError("slack-unwell", "http_503")


@pytest.fixture
def bench() -> Iterator[Bench]:
    one = Bench()
    yield one
    if not one.loop.is_closed():
        one.loop.close()


def hang_until(bench: Bench, until_ts: float) -> None:
    """Calls that begin before then never answer."""
    post = bench.channel.post

    async def hanging(channel: str, message: Message, *, thread_ts: str | None, key: str) -> Posted:
        if bench.loop.now() < until_ts:
            await asyncio.sleep(1e6)
        return await post(channel, message, thread_ts=thread_ts, key=key)

    bench.channel.post = hanging  # type: ignore[method-assign]


OUTAGES_S = [0.5, 3.0, 7.7, 31.0, 62.0, 599.0]
KINDS = ["refused connections", "calls that hang", "429 of a second"]


@pytest.mark.parametrize("outage_s", OUTAGES_S)
@pytest.mark.parametrize("kind", KINDS)
def test_critical_alert_is_told_soon_after_slacks_return_and_before_lesser_ones(
    bench: Bench, kind: str, outage_s: float
) -> None:
    async def story() -> None:
        for number in range(20):
            bench.put(f"m{number:02d}")
        over_ts = bench.loop.now() + outage_s
        if kind == "calls that hang":
            hang_until(bench, over_ts)
        else:
            fault = DOWN if kind == "refused connections" else RateLimited(1.0)
            bench.channel.fail = lambda key, message: fault if bench.loop.now() < over_ts else None
        await asyncio.sleep(0.2)
        bench.put("died", tone=Tone.CRITICAL)
        await asyncio.sleep(outage_s + 100)
        assert bench.channel.by_key("died")[0].at - over_ts <= TOLD_WITHIN_S
        assert bench.keys[0] == "died"
        assert len(bench.keys) == 21
        assert len(set(bench.keys)) == 21

    bench.play(story)


def test_a_success_releases_what_waits(bench: Bench) -> None:
    async def story() -> None:
        bench.channel.fail = lambda key, message: DOWN
        for number in range(5):
            bench.put(f"m{number}")
        await asyncio.sleep(300)
        bench.channel.fail = lambda key, message: None
        bench.put("alert", tone=Tone.CRITICAL)
        await asyncio.sleep(10)
        assert bench.keys == ["alert", *(f"m{number}" for number in range(5))]

    bench.play(story)


def test_a_message_that_fails_alone_is_tried_ever_less_and_holds_up_nobody(bench: Bench) -> None:
    async def story() -> None:
        bench.channel.fail = lambda key, message: DOWN if key == "bad" else None
        bench.put("bad", tone=Tone.CRITICAL)
        for number in range(100):
            bench.put(f"m{number:02d}")
        await asyncio.sleep(1200)
        assert len(bench.keys) == 100

    bench.play(story)


def test_a_lesser_call_that_hangs_keeps_no_critical_alert_waiting(bench: Bench) -> None:
    async def story() -> None:
        hang_until(bench, bench.loop.now() + 0.5)
        bench.put("report")
        await asyncio.sleep(1)
        bench.put("died", tone=Tone.CRITICAL)
        await asyncio.sleep(0.01)
        assert bench.keys == ["died"]

    bench.play(story)


def test_behind_3000_messages_a_critical_one_is_told_within_5_s(bench: Bench) -> None:
    async def story() -> None:
        for number in range(3000):
            bench.messages.put(f"m{number:04d}", Message(title="x"))
        bench.put("card")
        await asyncio.sleep(7.3)
        began, began_s = bench.loop.now(), time.perf_counter()
        bench.put("alone", tone=Tone.CRITICAL)
        bench.put("in the thread", tone=Tone.CRITICAL, thread_of="card")
        await asyncio.sleep(5)
        assert bench.channel.by_key("alone")[0].at - began <= 5
        assert bench.channel.by_key("in the thread")[0].at - began <= 5
        assert time.perf_counter() - began_s < 5

    bench.play(story)


def test_a_message_whose_answer_was_lost_is_found_and_not_posted_again(bench: Bench) -> None:
    losses = iter([DOWN, DOWN])
    bench.channel.lost = lambda key, message: next(losses, None)
    bench.put("root")
    bench.put("answer", thread_of="root")
    assert bench.drain()
    assert bench.keys == ["root", "answer"]
    assert [one.num_edits for one in bench.channel.shown] == [1, 1]
    assert bench.channel.num_finds == 2


def test_nothing_is_looked_for_when_every_answer_came(bench: Bench) -> None:
    for number in range(10):
        bench.put(f"m{number}")
    assert bench.drain()
    assert bench.channel.num_finds == 0


def test_a_refused_post_is_not_looked_for(bench: Bench) -> None:
    bench.channel.faults = [RateLimited(2.0), RateLimited(2.0)]
    bench.put("one")
    assert bench.drain()
    assert (bench.channel.num_finds, bench.keys) == (0, ["one"])


@pytest.mark.parametrize(("wait_s", "num_posts"), [(3.0, 1), (60.0, 2)], ids=["waited for", "rather twice than late"])
def test_a_look_that_slack_puts_off(bench: Bench, wait_s: float, num_posts: int) -> None:
    losses = iter([DOWN])
    bench.channel.lost = lambda key, message: next(losses, None)
    bench.channel.find_faults = [RateLimited(wait_s)]
    bench.put("died", tone=Tone.CRITICAL)
    assert bench.drain()
    assert len(bench.keys) == num_posts
    assert bench.messages.may_stand_twice("died")


@pytest.mark.parametrize("kind", ["answers lost", "answers cut", "taken, and told as failed", "never answered"])
def test_what_slack_took_is_not_posted_again_while_slack_is_away(bench: Bench, kind: str) -> None:
    fault = {"answers lost": DOWN, "answers cut": ChatError("slack-answer", "half")}.get(kind, UNWELL)

    async def story() -> None:
        bench.channel.answering = False
        bench.channel.lost = lambda key, message: fault
        bench.channel.find_faults = [fault] * 200
        if kind == "never answered":
            hang_looks(bench)
        bench.put("died", tone=Tone.CRITICAL)
        await asyncio.sleep(90)
        assert bench.keys == ["died"]

    bench.play(story)


@pytest.mark.parametrize("kind", ["refused", "never answered"])
def test_a_critical_message_is_told_when_only_looking_is_broken(bench: Bench, kind: str) -> None:
    async def story() -> None:
        losses = iter([DOWN])
        bench.channel.lost = lambda key, message: next(losses, None)
        bench.channel.find_faults = [UNWELL] * 200
        if kind == "never answered":
            hang_looks(bench)
        bench.put("died", tone=Tone.CRITICAL)
        await asyncio.sleep(30)
        assert bench.keys == ["died", "died"]  # rather twice than late

    bench.play(story)


def hang_looks(bench: Bench) -> None:
    async def hanging(channel: str, key: str, *, thread_ts: str | None, since_ts: float) -> Posted | None:
        await asyncio.sleep(1e6)
        return None

    bench.channel.find = hanging  # type: ignore[method-assign]


def test_refused_message_that_is_taken_back_is_no_fault_any_more(bench: Bench) -> None:
    async def story() -> None:
        bench.put("lost", channel="C9")
        await asyncio.sleep(60)
        assert bench.deliverer.faults()
        assert bench.messages.withdraw("lost")
        await asyncio.sleep(DeliveryLimits().refused_retry_s)
        assert bench.deliverer.faults() == ()

    bench.play(story)


@pytest.mark.parametrize("tone", [Tone.CRITICAL, Tone.NEUTRAL])
def test_only_a_critical_message_asks_a_channel_that_was_closed_again_and_again(bench: Bench, tone: Tone) -> None:
    async def story() -> None:
        opens_ts = bench.loop.now() + 45.0
        closed = ChatRefused("slack-channel", "the bot is not in the channel")
        bench.channel.fail = lambda key, message: closed if bench.loop.now() < opens_ts else None
        bench.put("one", tone=tone)
        await asyncio.sleep(100)
        told_s = bench.channel.by_key("one")[0].at - opens_ts
        assert (told_s <= TOLD_WITHIN_S) is (tone is Tone.CRITICAL)

    bench.play(story)


def test_a_critical_message_is_first_when_a_channel_opens_again(bench: Bench) -> None:
    async def story() -> None:
        opens_ts = bench.loop.now() + 7.0
        closed = ChatRefused("slack-token", "the token was revoked")
        bench.channel.fail = lambda key, message: closed if bench.loop.now() < opens_ts else None
        for number in range(20):
            bench.put(f"m{number:02d}")
        await asyncio.sleep(0.5)
        bench.put("died", tone=Tone.CRITICAL)
        await asyncio.sleep(200)
        assert bench.keys[0] == "died"
        assert len(bench.keys) == 21

    bench.play(story)


def test_internal_errors_are_outwaited_three_times_and_then_told_plainer(bench: Bench) -> None:
    bench.channel.fail = lambda key, message: INTERNAL if message.fields else None
    button = Button(action=ActionId.APPROVE, label="Approve", value="7")
    message = Message(title="question", tone=Tone.CRITICAL, fields=(("a", "b"),), buttons=(button,))
    bench.messages.put("one", message)
    assert bench.drain()
    (shown,) = bench.channel.shown
    assert bench.channel.num_calls == 5
    assert shown.message.buttons == (button,)
    assert shown.message.body[-1] == "Shown without its details: Slack refused them."


def test_words_are_sent_where_internal_errors_are_the_answer_to_any_block(bench: Bench) -> None:
    bench.channel.fail = lambda key, message: None if isinstance(message, Words) else INTERNAL
    bench.messages.put("one", Message(title="died", tone=Tone.CRITICAL, fields=(("a", "b"),)))
    assert bench.drain()
    assert [shown.message.title for shown in bench.channel.shown] == ["died"]


def test_a_form_that_came_through_with_an_internal_error_is_edited_and_not_posted_again(bench: Bench) -> None:
    bench.channel.fail = lambda key, message: INTERNAL if message.fields else None
    bench.channel.lost = lambda key, message: None if isinstance(message, Words) else INTERNAL
    bench.messages.put("one", Message(title="died", tone=Tone.CRITICAL, fields=(("a", "b"),)))
    assert bench.drain()
    (shown,) = bench.channel.shown
    assert isinstance(shown.message, Words)


def test_internal_errors_that_pass_change_nothing(bench: Bench) -> None:
    bench.channel.faults = [INTERNAL] * 3
    bench.messages.put("one", Message(title="alert", fields=(("a", "b"),)))
    assert bench.drain()
    assert bench.channel.shown[0].message.fields == (("a", "b"),)


def test_when_no_blocks_are_taken_words_are_sent(bench: Bench) -> None:
    refused = ChatRefused("slack-content", "invalid_blocks", content=True)
    bench.channel.fail = lambda key, message: None if isinstance(message, Words) else refused
    bench.messages.put("one", Message(title="alert", mentions=("U1",)))
    assert bench.drain()
    assert (bench.channel.shown[0].message.title, bench.channel.shown[0].message.mentions) == ("alert", ("U1",))


@pytest.mark.parametrize(("retry_after_s", "held_back"), [(59.0, False), (61.0, True), (600.0, True)])
def test_a_long_pause_is_known(bench: Bench, retry_after_s: float, held_back: bool) -> None:
    async def story() -> None:
        bench.channel.faults = [RateLimited(retry_after_s)]
        bench.put("one")
        await asyncio.sleep(0.1)
        assert (bench.deliverer.held_back_s() > DeliveryLimits().long_pause_s) is held_back
        await asyncio.sleep(retry_after_s + 1)
        assert bench.deliverer.held_back_s() == 0.0

    bench.play(story)


def test_an_answer_by_a_name_nobody_knows_is_a_fault_until_a_later_try_passes(bench: Bench) -> None:
    async def story() -> None:
        bench.channel.faults = [ChatError("slack-error", "Slack answered flux_capacitor_drained.")]
        bench.put("one", tone=Tone.CRITICAL)
        await asyncio.sleep(0.1)
        assert "flux_capacitor_drained" in bench.deliverer.faults()[0]
        await asyncio.sleep(10)
        assert bench.keys == ["one"]
        assert bench.deliverer.faults() == ()

    bench.play(story)
