"""Pins in the local workspace, as the real Slack client sets them, and what it refuses of them."""

from __future__ import annotations

from typing import Any

import pytest
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from tests.integration.bot.workspace.cast import start_workspace
from trainmaster.bot.core.conversation.pin import Pin
from trainmaster.bot.ports import ChatRefused, MessageGone
from trainmaster.bot.slack.pins import SlackPins
from trainmaster.bot.workspace.page.client import PageClient
from trainmaster.bot.workspace.server import Workspace, WorkspaceOptions
from trainmaster.bot.workspace.web_api.pin_methods import MAX_PINS

CHANNEL = "C0TRAIN"


async def refused(call: Any) -> str:
    with pytest.raises(SlackApiError) as caught:
        await call
    return str(caught.value.response["error"])


async def posted(slack: AsyncWebClient, text: str = "the card") -> str:
    return str((await slack.chat_postMessage(channel=CHANNEL, text=text))["ts"])


async def listed(slack: AsyncWebClient) -> list[str]:
    items: Any = (await slack.pins_list(channel=CHANNEL))["items"]
    return [item["message"]["ts"] for item in items]


async def test_a_pinned_message_is_listed_and_marked_until_it_is_taken_off(
    workspace: Workspace, slack: AsyncWebClient, page: PageClient
) -> None:
    ts = await posted(slack)
    await slack.pins_add(channel=CHANNEL, timestamp=ts)
    assert await listed(slack) == [ts]
    (shown,) = await page.messages(CHANNEL)
    assert shown["pinned_to"] == [CHANNEL]
    await slack.chat_update(channel=CHANNEL, ts=ts, text="the card, later")
    assert await listed(slack) == [ts]
    await slack.pins_remove(channel=CHANNEL, timestamp=ts)
    assert await listed(slack) == []
    (shown,) = await page.messages(CHANNEL)
    assert "pinned_to" not in shown


async def test_what_slack_refuses_is_refused(slack: AsyncWebClient) -> None:
    ts = await posted(slack)
    await slack.pins_add(channel=CHANNEL, timestamp=ts)
    whispered = await slack.chat_postEphemeral(channel=CHANNEL, user="U0ANNA", text="only you")
    found = {
        "again": await refused(slack.pins_add(channel=CHANNEL, timestamp=ts)),
        "no channel": await refused(slack.pins_add(channel="C0NONE", timestamp=ts)),
        "not in it": await refused(slack.pins_add(channel="C0RANDOM", timestamp=ts)),
        "no message": await refused(slack.pins_add(channel=CHANNEL, timestamp="1.000001")),
        "no time stamp": await refused(slack.pins_add(channel=CHANNEL, timestamp="soon")),
        "nothing": await refused(slack.api_call("pins.add", params={"channel": CHANNEL})),
        "ephemeral": await refused(slack.pins_add(channel=CHANNEL, timestamp=str(whispered["message_ts"]))),
    }
    await slack.pins_remove(channel=CHANNEL, timestamp=ts)
    found["off again"] = await refused(slack.pins_remove(channel=CHANNEL, timestamp=ts))
    assert found == {
        "again": "already_pinned",
        "no channel": "channel_not_found",
        "not in it": "not_in_channel",
        "no message": "message_not_found",
        "no time stamp": "bad_timestamp",
        "nothing": "no_item_specified",
        "ephemeral": "not_pinnable",
        "off again": "no_pin",
    }


async def test_a_channel_takes_a_hundred_pins() -> None:
    workspace = await start_workspace(WorkspaceOptions(post_rate=None, method_rate=None))
    slack = AsyncWebClient(token=workspace.bot_token, base_url=workspace.api_url)
    stamps = [await posted(slack, f"card {number}") for number in range(MAX_PINS + 1)]
    for ts in stamps[:-1]:
        await slack.pins_add(channel=CHANNEL, timestamp=ts)
    assert await refused(slack.pins_add(channel=CHANNEL, timestamp=stamps[-1])) == "too_many_pins"
    with pytest.raises(ChatRefused, match="too_many_pins"):
        await SlackPins(slack).pin(Pin(key="a", channel=CHANNEL, ts=stamps[-1]))
    await workspace.close()


async def test_an_app_without_the_scope_pins_nothing() -> None:
    workspace = await start_workspace(WorkspaceOptions(scopes=frozenset({"chat:write"})))
    slack = AsyncWebClient(token=workspace.bot_token, base_url=workspace.api_url)
    with pytest.raises(ChatRefused, match="pins:write"):
        await SlackPins(slack).pin(Pin(key="a", channel=CHANNEL, ts=await posted(slack)))
    await workspace.close()


async def test_what_is_already_as_it_is_wanted_is_no_fault(slack: AsyncWebClient) -> None:
    pins = SlackPins(slack)
    pin = Pin(key="a", channel=CHANNEL, ts=await posted(slack))
    await pins.pin(pin)
    await pins.pin(pin)
    assert await listed(slack) == [pin.ts]
    await pins.unpin(pin)
    await pins.unpin(pin)
    await pins.unpin(Pin(key="b", channel=CHANNEL, ts="1.000001"))
    assert await listed(slack) == []


async def test_a_message_that_cannot_be_pinned_is_told_from_a_channel_that_cannot(
    workspace: Workspace, slack: AsyncWebClient
) -> None:
    pin = Pin(key="a", channel=CHANNEL, ts=await posted(slack))
    workspace.faults.fail_next("pins.add", "not_pinnable")
    with pytest.raises(MessageGone):
        await SlackPins(slack).pin(pin)
    workspace.faults.fail_next("pins.add", "permission_denied")
    with pytest.raises(ChatRefused):
        await SlackPins(slack).pin(pin)
