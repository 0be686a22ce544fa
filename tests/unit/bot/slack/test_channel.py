"""The alert channel is found by its name, however many channels there are and however slowly Slack lists them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from trainmaster.bot.errors import ChatError
from trainmaster.bot.ports import RateLimited
from trainmaster.bot.slack import channel
from trainmaster.bot.slack.channel import resolve_channel

PAGES = 4


@dataclass
class FakeWorkspace:
    """Lists a channel a page, ours on the last one. ``limited`` are calls, counted from 1, that come too soon."""

    limited: frozenset[int] = frozenset()
    takes_s: float = 0.0
    asked: list[str | None] = field(default_factory=list)

    async def conversations_list(self, *, types: str, limit: int, cursor: str | None) -> dict[str, Any]:
        del types, limit
        self.asked.append(cursor)
        await asyncio.sleep(self.takes_s)
        if len(self.asked) in self.limited:
            answer = {"ok": False, "error": "ratelimited"}
            raise SlackApiError("no", SimpleNamespace(data=answer, status_code=429, headers={"Retry-After": "0"}))
        page = int(cursor or 1)
        name, after = ("alerts", "") if page == PAGES else (f"other-{page}", str(page + 1))
        return {
            "channels": [{"id": f"C{page}", "name": name, "is_member": True}],
            "response_metadata": {"next_cursor": after},
        }


async def find(workspace: FakeWorkspace) -> str:
    return await resolve_channel(cast("AsyncWebClient", workspace), "#alerts", join=False)


async def test_each_page_of_channels_has_a_time_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "_CALL_S", 2.0)
    assert await find(FakeWorkspace(takes_s=0.7)) == f"C{PAGES}"


async def test_a_call_that_hangs_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "_CALL_S", 0.05)
    with pytest.raises(ChatError, match="did not answer in time"):
        await find(FakeWorkspace(takes_s=60.0))


async def test_a_limit_in_the_middle_of_the_list_is_waited_for_and_the_list_goes_on() -> None:
    workspace = FakeWorkspace(limited=frozenset({3}))
    assert await find(workspace) == f"C{PAGES}"
    assert workspace.asked == [None, "2", "3", "3", "4"]


async def test_a_limit_before_the_first_page_is_for_whoever_asks() -> None:
    workspace = FakeWorkspace(limited=frozenset({1}))
    with pytest.raises(RateLimited):
        await find(workspace)
    assert workspace.asked == [None]
