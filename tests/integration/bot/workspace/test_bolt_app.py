"""The real Bolt app, over the real Socket Mode client, against the workspace."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.integration.bot.workspace.cast import Stage, stage
from trainmaster.bot.workspace.page.client import PageView
from trainmaster.bot.workspace.server import WorkspaceOptions
from trainmaster.bot.workspace.socket_mode.sockets import DisconnectReason, EnvelopeDelivery
from trainmaster.bot.workspace.state.people import BOT_USER_ID


def text_of(view: PageView, wanted: str, *, channel: str = "training") -> dict[str, Any] | None:
    return next((m for m in view.in_channel(channel) if wanted in m["text"]), None)


async def ask_for_rollback(on: Stage) -> dict[str, Any]:
    assert (await on.page.slash("ben", "/train", "execute rollback", "training")).ok
    return await on.page.wait_for(lambda view: text_of(view, "Roll back"), 5)


async def test_slash_command_is_acked_and_answered_to_its_sender_only() -> None:
    async with stage() as on:
        answer = await on.page.slash("anna", "/train", "status", "#training")
        assert answer.ok
        seen = await on.page.wait_for(lambda view: view.only_for("U0ANNA"), 5)
        assert seen[0]["text"] == "you asked for status"
        assert await on.page.messages("training") == []
        assert await on.page.ephemerals("U0BEN") == []


async def test_mention_is_answered_in_its_thread() -> None:
    async with stage() as on:
        asked = await on.page.say("anna", "training", "@trainmaster how far?")
        reply = await on.page.wait_for(lambda view: text_of(view, "epoch 3"), 5)
        assert reply["thread_ts"] == asked.ts
        mention = next(event for event in on.app.events if event["type"] == "app_mention")
        assert mention["text"] == f"<@{BOT_USER_ID}> how far?"
        assert {"user", "ts", "team", "channel", "event_ts"} <= set(mention)


async def test_reply_in_a_thread_reaches_the_app_with_its_thread() -> None:
    async with stage() as on:
        root = await on.page.say("anna", "training", "a thread")
        await on.page.say("ben", "training", "@trainmaster status", thread_ts=root.ts)
        await on.page.wait_for(lambda view: text_of(view, "epoch 3"), 5)
        event = next(event for event in on.app.events if event["type"] == "app_mention")
        assert event["thread_ts"] == root.ts


async def test_direct_message_is_answered_there() -> None:
    async with stage() as on:
        await on.page.say("ben", "dm", "status")
        reply = await on.page.wait_for(lambda view: text_of(view, "in private", channel="D0BEN"), 5)
        assert reply["user"] == BOT_USER_ID
        assert on.app.events[0]["channel_type"] == "im"


async def test_button_updates_the_message_and_takes_its_buttons_away() -> None:
    async with stage() as on:
        posted = await ask_for_rollback(on)
        assert posted["metadata"]["event_payload"] == {"id": "rollback-7"}
        assert (await on.page.click("anna", posted["ts"], "approve", "training")).ok
        edited = await on.page.wait_for(lambda view: text_of(view, "approved"), 5)
        assert edited["ts"] == posted["ts"]
        assert edited["edited"]
        assert "rollback-7 approved by <@U0ANNA>" in edited["blocks"][0]["text"]["text"]
        assert [block["type"] for block in edited["blocks"]] == ["section"]
        assert edited["metadata"]["event_payload"] == {"id": "rollback-7"}


async def test_modal_is_opened_refused_by_the_app_and_then_submitted() -> None:
    async with stage() as on:
        posted = await ask_for_rollback(on)
        assert (await on.page.click("anna", posted["ts"], "give_reason", "training")).ok
        opened = await on.page.wait_for(lambda view: view.views, 5)
        view_id = opened[0]["view"]["id"]
        assert (await on.page.submit("anna", view_id, {})).errors.keys() == {"why"}
        assert (await on.page.submit("anna", view_id, {"text": "no"})).errors == {"why": "A few words, please."}
        assert (await on.page.submit("anna", view_id, {"text": "the loss is falling"})).ok
        assert on.app.submissions == [{"user": "U0ANNA", "why": "the loss is falling"}]
        assert (await on.page.look()).views == ()


async def test_app_reconnects_after_the_workspace_was_restarted() -> None:
    async with stage() as on:
        before = on.workspace.sockets.num_accepted
        await on.workspace.restart()
        await on.workspace.sockets.wait_connected(accepted=before + 1)
        assert (await on.page.slash("anna", "/train", "status", "training")).ok


@pytest.mark.parametrize("how", ["reset", "asked_to_go"])
async def test_app_reconnects_after_its_connection_went(how: str) -> None:
    async with stage() as on:
        before = on.workspace.sockets.num_accepted
        if how == "reset":
            on.workspace.sockets.reset()
        else:
            await on.workspace.sockets.ask_to_reconnect(DisconnectReason.WARNING)
        await on.workspace.sockets.wait_connected(accepted=before + 1)
        assert (await on.page.slash("anna", "/train", "status", "training")).ok


async def test_app_notices_a_frozen_connection() -> None:
    async with stage(WorkspaceOptions(ack_timeout_s=0.2)) as on:
        before = on.workspace.sockets.num_accepted
        on.workspace.sockets.freeze()
        answer = await on.page.slash("anna", "/train", "status", "training")
        assert answer.error == EnvelopeDelivery.TIMED_OUT.value
        await on.workspace.sockets.wait_connected(accepted=before + 1)
        assert (await on.page.slash("anna", "/train", "status", "training")).ok


async def test_event_that_was_not_acked_is_sent_again_with_the_same_id() -> None:
    options = WorkspaceOptions(ack_timeout_s=0.2, event_retry_delays_s=(0.0, 0.1, 0.1))
    async with stage(options, ping_interval_s=0.2) as on:
        on.workspace.sockets.freeze()
        await on.page.say("anna", "training", "@trainmaster status")
        await on.page.wait_for(lambda view: text_of(view, "epoch 3"), 10)
        missed = [m for m in on.workspace.sockets.missed if m.payload["event"]["type"] == "app_mention"]
        assert missed
        assert len({m.payload["event_id"] for m in missed}) == 1


async def test_event_survives_a_restart_of_the_workspace() -> None:
    options = WorkspaceOptions(ack_timeout_s=0.2, event_retry_delays_s=(0.0, 0.3, 0.5, 1.0, 2.0))
    async with stage(options) as on:
        on.workspace.sockets.freeze()
        await on.page.say("anna", "training", "@trainmaster status")
        await on.page.close()
        await on.workspace.restart()
        await on.page.wait_for(lambda view: text_of(view, "epoch 3"), 10)


async def test_fifty_simultaneous_clicks_are_all_delivered() -> None:
    async with stage() as on:
        posted = await ask_for_rollback(on)
        people = ["anna", "ben"] * 25
        answers = await asyncio.gather(*(on.page.click(who, posted["ts"], "approve", "training") for who in people))
        assert all(answer.ok for answer in answers)


async def test_without_an_app_the_person_is_told_so() -> None:
    async with stage() as on:
        await on.handler.close_async()
        await on.page.wait_for(lambda view: not view.app_connected, 5)
        answer = await on.page.slash("anna", "/train", "status", "training")
        assert answer.error == "dispatch_failed"
        told = await on.page.ephemerals("U0ANNA")
        assert "dispatch_failed" in told[-1]["text"]
