"""What the page may ask for, and what it gets when it asks wrongly."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from tests.integration.bot.workspace.cast import start_workspace
from trainmaster.bot.workspace.page.client import PageClient
from trainmaster.bot.workspace.page.gate import PAGE_TOKEN_HEADER
from trainmaster.bot.workspace.server import Workspace

WRONG: dict[str, tuple[str, Any, int, str]] = {
    "unknown action": ("shout", {"person": "anna"}, 404, "unknown_action"),
    "nobody": ("say", {"person": "zoe", "channel": "training", "text": "x"}, 404, "no_such_person"),
    "no channel": ("say", {"person": "anna", "channel": "nowhere", "text": "x"}, 404, "channel_not_found"),
    "nothing said": ("say", {"person": "anna", "channel": "training", "text": " "}, 400, "no_text"),
    "field missing": ("say", {"person": "anna"}, 400, "bad_request"),
    "not an object": ("say", [], 400, "bad_request"),
    "values that are text": ("submit", {"person": "anna", "view_id": "V1", "values": "x"}, 400, "bad_request"),
    "no such modal": ("submit", {"person": "anna", "view_id": "V1", "values": {}}, 400, "view_not_found"),
    "no such message": (
        "click",
        {"person": "anna", "channel": "training", "message_ts": "1.000001", "action_id": "go"},
        400,
        "message_not_found",
    ),
}


@pytest.mark.parametrize(("action", "body", "status", "error"), WRONG.values(), ids=WRONG.keys())
async def test_wrong_request_says_what_is_wrong(
    workspace: Workspace, action: str, body: Any, status: int, error: str
) -> None:
    base, token = workspace.page_url.split("/?token=")
    headers = {PAGE_TOKEN_HEADER: token}
    url = f"{base}/page/{action}"
    async with aiohttp.ClientSession(headers=headers) as session, session.post(url, json=body) as response:
        assert (response.status, (await response.json())["error"]) == (status, error)


async def test_waiting_sees_what_is_there_and_what_comes(page: PageClient) -> None:
    await page.say("anna", "training", "first")
    assert (await page.wait_for(lambda view: view.in_channel("training"), 5))[0]["text"] == "first"
    waiting = asyncio.create_task(page.wait_for(lambda view: view.in_channel("training")[1:], 5))
    await page.say("ben", "training", "second")
    assert [message["text"] for message in await waiting] == ["second"]


async def test_two_pages_see_the_same(workspace: Workspace, page: PageClient) -> None:
    async with PageClient(workspace.page_url) as other:
        said = await page.say("anna", "training", "hello")
        assert (await other.messages("training"))[0]["ts"] == said.ts


async def test_the_end_of_the_workspace_ends_the_waiting(workspace: Workspace, page: PageClient) -> None:
    seen = asyncio.Event()

    def look(_view: object) -> None:
        seen.set()

    waiting = asyncio.create_task(page.wait_for(look, 30))
    await seen.wait()
    await workspace.close()
    with pytest.raises(TimeoutError, match="went away"):
        await waiting


async def test_wrong_link_is_refused(workspace: Workspace) -> None:
    async with PageClient(workspace.page_url + "x") as page:
        with pytest.raises(aiohttp.ClientResponseError, match="403"):
            await page.look()


@pytest.mark.parametrize("turns", range(6))
async def test_who_comes_in_the_turn_of_the_end_is_sent_away_too(turns: int) -> None:
    """Accepted and not known yet: asyncio forgets such a connection, and who waits on it waits for ever."""
    workspace = await start_workspace()
    address = urlsplit(workspace.page_url)
    with socket.create_connection((address.hostname, address.port)) as late:
        for _ in range(turns):
            await asyncio.sleep(0)
        await workspace.close()
        late.settimeout(10)
        with suppress(ConnectionResetError):
            assert await asyncio.to_thread(late.recv, 1) == b""
