"""What a person does and what the app hears of it, seen by a bare Socket Mode client that answers as the test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp
import pytest
from slack_sdk.web.async_client import AsyncWebClient

from tests.integration.bot.workspace.cast import card, start_workspace
from trainmaster.bot.workspace.page.client import PageClient
from trainmaster.bot.workspace.server import Workspace, WorkspaceOptions
from trainmaster.bot.workspace.socket_mode.sockets import DisconnectReason
from trainmaster.bot.workspace.state.people import BOT_USER_ID

Envelope = dict[str, Any]


class BareApp:
    """Acknowledges every envelope with ``answer(envelope)``; None leaves it unacknowledged."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.answer: Callable[[Envelope], Any] = lambda _envelope: {}
        self.envelopes: asyncio.Queue[Envelope] = asyncio.Queue()
        self.kinds: list[str] = []

    async def run(self) -> None:
        async for message in self.socket:
            if message.type is not aiohttp.WSMsgType.TEXT:
                continue
            envelope = message.json()
            self.kinds.append(envelope["type"])
            await self.envelopes.put(envelope)
            answer = self.answer(envelope)
            if "envelope_id" in envelope and answer is not None:
                await self.socket.send_json({"envelope_id": envelope["envelope_id"], "payload": answer})

    async def next(self, kind: str) -> Envelope:
        async with asyncio.timeout(5):
            while (envelope := await self.envelopes.get())["type"] != kind:
                pass
            return envelope


@asynccontextmanager
async def connected(workspace: Workspace) -> AsyncIterator[BareApp]:
    client = AsyncWebClient(token=workspace.app_token, base_url=workspace.api_url)
    url = str((await client.apps_connections_open(app_token=workspace.app_token))["url"])
    async with aiohttp.ClientSession() as session, session.ws_connect(url, autoping=False) as socket:
        app = BareApp(socket)
        reading = asyncio.create_task(app.run())
        try:
            await app.next("hello")
            yield app
        finally:
            reading.cancel()


@pytest.fixture
async def app(workspace: Workspace) -> AsyncIterator[BareApp]:
    async with connected(workspace) as bare:
        yield bare


async def post_json(url: str, body: dict[str, Any]) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.post(url, json=body) as response:
        return response.status, await response.text()


async def test_slash_command_carries_who_where_and_what(app: BareApp, page: PageClient) -> None:
    await page.slash("anna", "/train", "epoch 4 progress & more", "training")
    payload = (await app.next("slash_commands"))["payload"]
    expected = {
        "command": "/train",
        "text": "epoch 4 progress &amp; more",
        "user_id": "U0ANNA",
        "user_name": "anna",
        "channel_id": "C0TRAIN",
        "channel_name": "training",
    }
    assert expected.items() <= payload.items()
    assert {"response_url", "trigger_id", "team_id", "api_app_id", "token"} <= payload.keys()


async def test_answer_in_the_ack_is_shown_to_its_sender(app: BareApp, page: PageClient) -> None:
    app.answer = lambda _envelope: {"text": "all is well"}
    await page.slash("anna", "/train", "status", "training")
    assert [message["text"] for message in await page.ephemerals("U0ANNA")] == ["all is well"]


async def test_public_answer_in_the_ack_shows_the_command_too(app: BareApp, page: PageClient) -> None:
    app.answer = lambda _envelope: {"text": "all is well", "response_type": "in_channel"}
    await page.slash("anna", "/train", "status", "training")
    assert [message["text"] for message in await page.messages("training")] == ["/train status", "all is well"]


async def test_refused_blocks_in_the_ack_are_reported(app: BareApp, page: PageClient) -> None:
    app.answer = lambda _envelope: {"blocks": [{"type": "nope"}]}
    answer = await page.slash("anna", "/train", "status", "training")
    assert answer.error == "invalid_blocks"
    assert "invalid_blocks" in (await page.ephemerals("U0ANNA"))[0]["text"]


@pytest.mark.parametrize(
    ("command", "in_thread", "error"),
    [("/train", True, "not_supported_in_threads"), ("/other", False, "unknown_command")],
    ids=["in a thread", "not in the manifest"],
)
async def test_command_that_slack_would_not_send_is_not_sent(
    app: BareApp, page: PageClient, command: str, in_thread: bool, error: str
) -> None:
    said = await page.say("anna", "training", "root")
    answer = await page.slash("anna", command, "status", "training", thread_ts=said.ts if in_thread else None)
    assert answer.error == error
    assert len(await page.ephemerals("U0ANNA")) == 1
    assert "slash_commands" not in app.kinds


async def test_app_that_does_not_answer_in_time_is_reported() -> None:
    workspace = await start_workspace(WorkspaceOptions(ack_timeout_s=0.1, event_retry_delays_s=()))
    async with connected(workspace) as app, PageClient(workspace.page_url) as page:
        app.answer = lambda _envelope: None
        assert (await page.slash("anna", "/train", "status", "training")).error == "operation_timeout"
        slack = AsyncWebClient(token=workspace.bot_token, base_url=workspace.api_url)
        posted = await slack.chat_postMessage(channel="C0TRAIN", text="x", blocks=card("x"))
        assert (await page.click("anna", posted["ts"], "approve", "training")).error == "operation_timeout"
        assert {missed.kind for missed in workspace.sockets.missed} >= {"slash_commands", "interactive"}
    await workspace.close()


async def test_events_carry_their_channel_type_thread_and_ids(app: BareApp, page: PageClient) -> None:
    said = await page.say("anna", "training", "hello <b> & @trainmaster and @ben, see https://e.org/?a=1&b=2")
    payload = (await app.next("events_api"))["payload"]
    text = f"hello &lt;b&gt; &amp; <@{BOT_USER_ID}> and <@U0BEN>, see <https://e.org/?a=1&amp;b=2>"
    event = payload["event"]
    assert (event["text"], event["channel_type"], event["user"]) == (text, "channel", "U0ANNA")
    assert payload["type"] == "event_callback"
    assert {"event_id", "event_time", "team_id", "authorizations"} <= payload.keys()
    mention = (await app.next("events_api"))["payload"]["event"]
    assert (mention["type"], mention["ts"]) == ("app_mention", said.ts)
    await page.say("ben", "training", "a reply", thread_ts=said.ts)
    reply = (await app.next("events_api"))["payload"]["event"]
    assert (reply["thread_ts"], reply["type"]) == (said.ts, "message")
    await page.say("ben", "dm", "in private, @trainmaster")
    direct = (await app.next("events_api"))["payload"]["event"]
    assert (direct["channel_type"], direct["channel"], direct["type"]) == ("im", "D0BEN", "message")


async def test_app_hears_nothing_of_channels_it_is_not_in(app: BareApp, page: PageClient) -> None:
    await page.say("anna", "random", "@trainmaster are you there?")
    await page.say("anna", "training", "here")
    assert (await app.next("events_api"))["payload"]["event"]["channel"] == "C0TRAIN"


async def test_mention_where_the_app_is_not_is_explained_and_an_invitation_helps(
    app: BareApp, page: PageClient
) -> None:
    await page.say("anna", "random", "@trainmaster are you there?")
    assert "is not in this channel" in (await page.ephemerals("U0ANNA"))[0]["text"]
    assert (await page.slash("anna", "/invite", "@trainmaster", "random")).ok
    await page.say("anna", "random", "@trainmaster and now?")
    assert (await app.next("events_api"))["payload"]["event"]["channel"] == "C0RANDOM"
    assert len(await page.ephemerals("U0ANNA")) == 1


async def test_press_carries_message_action_and_container(
    app: BareApp, page: PageClient, slack: AsyncWebClient
) -> None:
    root = await slack.chat_postMessage(channel="C0TRAIN", text="root")
    posted = await slack.chat_postMessage(channel="C0TRAIN", text="ask", blocks=card("ask"), thread_ts=root["ts"])
    assert (await page.click("ben", posted["ts"], "approve", "training")).ok
    payload = (await app.next("interactive"))["payload"]
    assert payload["type"] == "block_actions"
    assert payload["actions"][0]["value"] == "rollback-7"
    assert payload["actions"][0]["block_id"] == "decision"
    assert payload["message"]["ts"] == posted["ts"]
    assert payload["container"] == {
        "type": "message",
        "message_ts": posted["ts"],
        "channel_id": "C0TRAIN",
        "is_ephemeral": False,
        "thread_ts": root["ts"],
    }
    assert payload["user"]["id"] == "U0BEN"
    assert payload["channel"] == {"id": "C0TRAIN", "name": "training"}


async def test_press_on_a_button_that_an_edit_took_away_still_arrives(
    app: BareApp, page: PageClient, slack: AsyncWebClient
) -> None:
    posted = await slack.chat_postMessage(channel="C0TRAIN", text="ask", blocks=card("ask"))
    await slack.chat_update(channel="C0TRAIN", ts=posted["ts"], text="done", blocks=card("done", buttons=False))
    assert (await page.click("anna", posted["ts"], "approve", "training")).ok
    payload = (await app.next("interactive"))["payload"]
    assert payload["message"]["text"] == "done"
    assert (await page.click("anna", posted["ts"], "never_shown", "training")).error == "no_such_element"


async def test_press_on_an_ephemeral_message_carries_no_message(
    app: BareApp, page: PageClient, slack: AsyncWebClient
) -> None:
    posted = await slack.chat_postEphemeral(channel="C0TRAIN", user="U0ANNA", text="x", blocks=card("x"))
    assert (await page.click("ben", posted["message_ts"], "approve", "training")).error == "message_not_found"
    assert (await page.click("anna", posted["message_ts"], "approve", "training")).ok
    payload = (await app.next("interactive"))["payload"]
    assert "message" not in payload
    assert payload["container"]["is_ephemeral"] is True


async def test_nobody_acts_in_the_private_conversation_of_another(page: PageClient) -> None:
    assert (await page.say("anna", "D0BEN", "hello")).error == "channel_not_found"


async def test_menu_reports_the_option_in_full_and_refuses_others(
    app: BareApp, page: PageClient, slack: AsyncWebClient
) -> None:
    option = {"text": {"type": "plain_text", "text": "One hour"}, "value": "3600"}
    menu = {"type": "static_select", "action_id": "silence", "options": [option]}
    blocks = [{"type": "actions", "elements": [menu]}]
    posted = await slack.chat_postMessage(channel="C0TRAIN", text="x", blocks=blocks)
    assert (await page.click("anna", posted["ts"], "silence", "training", choice="3600")).ok
    assert (await app.next("interactive"))["payload"]["actions"][0]["selected_option"] == option
    assert (await page.click("anna", posted["ts"], "silence", "training", choice="9")).error == "no_such_option"


async def test_response_url_answers_replaces_and_runs_out(
    app: BareApp, page: PageClient, slack: AsyncWebClient
) -> None:
    posted = await slack.chat_postMessage(channel="C0TRAIN", text="ask", blocks=card("ask"))
    await page.click("anna", posted["ts"], "approve", "training")
    url = (await app.next("interactive"))["payload"]["response_url"]
    assert await post_json(url, {"text": "only you"}) == (200, "ok")
    assert (await page.ephemerals("U0ANNA"))[0]["text"] == "only you"
    assert (await post_json(url, {"text": "x", "blocks": [{"type": "nope"}]}))[0] == 400
    assert (await post_json(url, {"replace_original": True, "text": "done"}))[0] == 200
    assert (await page.messages("training"))[0]["text"] == "done"
    assert (await post_json(url, {"response_type": "in_channel", "text": "everybody"}))[0] == 200
    assert (await page.messages("training"))[1]["text"] == "everybody"
    assert (await post_json(url, {"delete_original": True}))[0] == 200
    assert len(await page.messages("training")) == 1
    assert (await post_json(url, {"text": "fifth"}))[0] == 200
    status, text = await post_json(url, {"text": "sixth"})
    assert (status, "used_url" in text) == (404, True)


async def test_modal_is_opened_in_front_of_the_one_who_pressed(
    app: BareApp, page: PageClient, slack: AsyncWebClient
) -> None:
    await page.slash("anna", "/train", "x", "training")
    trigger_id = (await app.next("slash_commands"))["payload"]["trigger_id"]
    view = {
        "type": "modal",
        "title": {"type": "plain_text", "text": "T"},
        "notify_on_close": True,
        "blocks": [{"type": "divider"}],
    }
    opened = await slack.views_open(trigger_id=trigger_id, view=view)
    seen = (await page.look()).views
    assert [(entry["user"], entry["view"]["id"]) for entry in seen] == [("U0ANNA", opened["view"]["id"])]
    updated = await slack.views_update(view_id=opened["view"]["id"], view=view | {"callback_id": "second"})
    assert updated["view"]["callback_id"] == "second"
    assert (await page.close_view("ben", opened["view"]["id"])).error == "view_not_found"
    assert (await page.close_view("anna", opened["view"]["id"])).ok
    assert (await app.next("interactive"))["payload"]["type"] == "view_closed"
    assert (await page.look()).views == ()


async def test_ping_is_echoed_byte_for_byte(workspace: Workspace) -> None:
    client = AsyncWebClient(token=workspace.app_token, base_url=workspace.api_url)
    url = str((await client.apps_connections_open(app_token=workspace.app_token))["url"])
    async with aiohttp.ClientSession() as session, session.ws_connect(url, autoping=False) as socket:
        await socket.receive_json()
        await socket.ping(b"sdk-ping-pong:1.5")
        assert (await socket.receive()).data == b"sdk-ping-pong:1.5"


async def test_nothing_is_routed_to_a_connection_that_was_asked_to_go(workspace: Workspace, page: PageClient) -> None:
    async with connected(workspace) as old:
        await workspace.sockets.ask_to_reconnect(DisconnectReason.WARNING)
        assert (await old.next("disconnect"))["reason"] == "warning"
        async with connected(workspace) as new:
            for _ in range(4):
                assert (await page.slash("anna", "/train", "status", "training")).ok
            assert new.envelopes.qsize() == 4
            assert old.envelopes.empty()


async def test_several_connections_share_the_envelopes(workspace: Workspace, page: PageClient) -> None:
    async with connected(workspace) as one, connected(workspace) as two:
        for _ in range(4):
            await page.slash("anna", "/train", "status", "training")
        assert (one.envelopes.qsize(), two.envelopes.qsize()) == (2, 2)


async def test_eleventh_connection_is_sent_away(workspace: Workspace) -> None:
    client = AsyncWebClient(token=workspace.app_token, base_url=workspace.api_url)
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        greetings = []
        for _ in range(11):
            url = str((await client.apps_connections_open(app_token=workspace.app_token))["url"])
            socket = await stack.enter_async_context(session.ws_connect(url))
            greetings.append(await socket.receive_json())
    assert [greeting["type"] for greeting in greetings] == ["hello"] * 10 + ["disconnect"]
    assert greetings[-1]["reason"] == "too_many_websockets"


async def test_waiting_in_vain_says_what_was_shown(page: PageClient) -> None:
    await page.say("anna", "training", "only this")
    with pytest.raises(TimeoutError, match="only this"):
        await page.wait_for(lambda view: None, 0.2)
