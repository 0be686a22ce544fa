"""People talk to the real Bolt app through the local workspace."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.integration.bot.slack.scene import WAIT_S, Scene, connected
from trainmaster.bot.core.conversation.message import ActionId, Button, Message, Reply
from trainmaster.bot.core.conversation.request import Origin, Press, Request
from trainmaster.bot.errors import CommandError
from trainmaster.bot.ports import Posted

CARD = Message(
    title="Roll back?",
    buttons=(
        Button(action=ActionId.APPROVE, label="Approve", value="7"),
        Button(action=ActionId.REJECT, label="Reject", value="7"),
    ),
)


async def post_card(scene: Scene) -> Posted:
    return await scene.connection.chat.post("C0TRAIN", CARD, thread_ts=None, key="approval/7")


async def test_a_slash_command_is_answered_in_the_channel(scene: Scene) -> None:
    answer = await scene.page.slash("anna", "/train", "epoch 4 <progress> & more", "training")
    assert answer.ok
    message = await scene.shown("heard epoch 4 &lt;progress&gt; &amp; more")
    assert "thread_ts" not in message
    (asked,) = scene.listener.asked
    assert isinstance(asked, Request)
    assert (asked.origin, asked.user, asked.text) == (Origin.SLASH, "U0ANNA", "epoch 4 <progress> & more")


async def test_a_private_answer_is_seen_by_the_person_alone(scene: Scene) -> None:
    scene.listener.answer = lambda _: Reply(message=Message(title="only you"), private=True)
    await scene.page.slash("anna", "/train", "status", "training")
    await scene.shown_only_to("U0ANNA", "only you")
    assert await scene.page.messages("training") == []


async def test_the_rest_of_an_answer_goes_into_its_thread(scene: Scene) -> None:
    scene.listener.answer = lambda _: Reply(message=Message(title="head"), thread=(Message(title="tail"),))
    await scene.page.slash("anna", "/train", "status", "training")
    tail = await scene.shown("tail")
    assert tail["thread_ts"] == (await scene.shown("head"))["ts"]


async def test_a_channel_that_the_bot_is_not_in_is_answered_too(scene: Scene) -> None:
    await scene.page.slash("ben", "/train", "status", "other")
    await scene.shown("heard status", "other")


async def test_a_mention_is_answered_once_where_it_was_said(scene: Scene) -> None:
    card = await post_card(scene)
    await scene.page.say("ben", "training", "@trainmaster status", thread_ts=card.ts)
    message = await scene.shown("heard status")
    assert message["thread_ts"] == card.ts
    assert len(scene.listener.asked) == 1


async def test_a_plain_command_in_our_thread_is_answered_there(scene: Scene) -> None:
    card = await post_card(scene)
    await scene.page.say("ben", "training", "that looks bad", thread_ts=card.ts)
    await scene.page.say("ben", "training", "status", thread_ts=card.ts)
    message = await scene.shown("heard status")
    assert message["thread_ts"] == card.ts
    assert [one.text for one in scene.listener.asked if isinstance(one, Request)] == ["status"]


async def test_a_direct_message_is_answered_there(scene: Scene) -> None:
    await scene.page.say("ben", "dm", "how is it going")
    await scene.shown("heard how is it going", "ben")


async def test_a_private_answer_to_a_direct_message_is_an_ordinary_one(scene: Scene) -> None:
    scene.listener.answer = lambda _: Reply(message=Message(title="no such run"), private=True)
    await scene.page.say("ben", "dm", "status of x")
    await scene.shown("no such run", "ben")


async def test_a_refusal_reaches_the_person_with_its_hint(scene: Scene) -> None:
    def refuse(_: Request | Press) -> Reply:
        raise CommandError("not-on-call", "only people on call may stop.", "/train help")

    scene.listener.answer = refuse
    await scene.page.slash("ben", "/train", "stop now", "training")
    message = await scene.shown_only_to("U0BEN", "Only people on call may stop.")
    assert "/train help" in json.dumps(message["blocks"])


async def test_a_bug_does_not_leave_the_person_in_silence(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: Request | Press) -> Reply:
        raise RuntimeError("boom")

    scene.listener.answer = fail
    assert (await scene.page.slash("ben", "/train", "status", "training")).ok
    message = await scene.shown_only_to("U0BEN", "That failed inside Trainmaster")
    assert "boom" not in json.dumps(message)
    assert "boom" in caplog.text


async def test_a_press_reaches_the_handler_and_is_answered_under_the_message(scene: Scene) -> None:
    card = await post_card(scene)
    assert (await scene.page.click("anna", card.ts, "approve", "training")).ok
    message = await scene.shown("heard 7")
    assert message["thread_ts"] == card.ts
    (press,) = scene.listener.asked
    assert isinstance(press, Press)
    assert (press.action, press.user, press.message_ts) == (ActionId.APPROVE, "U0ANNA", card.ts)


async def test_a_private_answer_to_a_press_is_seen_by_the_person_alone(scene: Scene) -> None:
    scene.listener.answer = lambda _: Reply(message=Message(title="too late"), private=True)
    card = await post_card(scene)
    await scene.page.click("ben", card.ts, "approve", "training")
    await scene.shown_only_to("U0BEN", "too late")


async def test_a_private_answer_that_cannot_be_whispered_comes_by_the_response_url(scene: Scene) -> None:
    scene.workspace.faults.fail_next("chat.postEphemeral", "user_not_in_channel")
    scene.listener.answer = lambda _: Reply(message=Message(title="too late"), private=True)
    card = await post_card(scene)
    await scene.page.click("ben", card.ts, "approve", "training")
    await scene.shown_only_to("U0BEN", "too late")


async def test_a_private_answer_with_no_other_way_comes_as_a_direct_message(scene: Scene) -> None:
    scene.workspace.faults.fail_next("chat.postEphemeral", "user_not_in_channel")
    scene.listener.answer = lambda _: Reply(message=Message(title="too late"), private=True)
    card = await post_card(scene)
    await scene.page.click("ben", card.ts, "reject", "training")
    open_form = await scene.page.wait_for(lambda view: view.views, WAIT_S)
    await scene.page.submit("ben", open_form[0]["view"]["id"], {"reason": "no"})
    await scene.shown("too late", "ben")


async def test_rejecting_asks_for_a_reason_first(scene: Scene) -> None:
    card = await post_card(scene)
    await scene.page.click("anna", card.ts, "reject", "training")
    open_form = await scene.page.wait_for(lambda view: view.views, WAIT_S)
    assert scene.listener.asked == []
    answer = await scene.page.submit("anna", open_form[0]["view"]["id"], {"reason": "epoch 7 is fine"})
    assert answer.ok
    async with asyncio.timeout(WAIT_S):
        await scene.listener.was_asked.wait()
    (press,) = scene.listener.asked
    assert isinstance(press, Press)
    assert (press.action, press.value, press.reason, press.message_ts) == (
        ActionId.REJECT,
        "7",
        "epoch 7 is fine",
        card.ts,
    )


async def test_a_slow_decision_is_acknowledged_in_time() -> None:
    async with connected(ack_timeout_s=3.0) as scene:
        may_end = asyncio.Event()

        async def decide(press: Press) -> Reply | None:
            await may_end.wait()
            return Reply(message=Message(title="decided"))

        scene.listener.action = decide  # type: ignore[method-assign]  # this one takes its time
        card = await post_card(scene)
        assert (await scene.page.click("anna", card.ts, "approve", "training")).ok
        may_end.set()
        await scene.shown("decided")


async def test_an_event_delivered_twice_is_answered_once() -> None:
    async with connected() as scene:
        await scene.page.say("ben", "dm", "one")
        await scene.shown("heard one", "ben")
        sent = next(e for e in _events(scene) if e["event"]["text"] == "one")
        scene.workspace.sockets.send_event(sent)
        await scene.page.say("ben", "dm", "two")
        await scene.shown("heard two", "ben")
        assert [one.text for one in scene.listener.asked if isinstance(one, Request)] == ["one", "two"]


def _events(scene: Scene) -> list[dict[str, dict[str, str]]]:
    """The events of the asked requests, as they were delivered."""
    return [
        {
            "type": "event_callback",  # type: ignore[dict-item]
            "event_id": one.id,  # type: ignore[dict-item]
            "team_id": "T0LOCAL",  # type: ignore[dict-item]
            "event": {
                "type": "message",
                "channel_type": "im",
                "user": one.user,
                "channel": one.channel,
                "ts": one.ts or "",
                "text": one.text,
            },
        }
        for one in scene.listener.asked
        if isinstance(one, Request)
    ]
