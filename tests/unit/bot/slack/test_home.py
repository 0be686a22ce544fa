"""Pages of App Home: within Slack's limits, sent when they change, and never a trouble."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from trainmaster.bot.core.conversation.message import Item, Mark, Message
from trainmaster.bot.core.conversation.request import Handler
from trainmaster.bot.errors import StoreError
from trainmaster.bot.slack import incoming
from trainmaster.bot.slack.home import MAX_VIEWERS, OFF_S, VIEWER_S, HomePages, home_view
from trainmaster.bot.slack.limits import HOME_BLOCKS


@dataclass
class Scene:
    """A client that keeps what is published, and a handler that says ``title``."""

    title: str = "quiet"
    now_s: float = 0.0
    published: list[str] = field(default_factory=list)
    error: str = ""
    takes: Callable[[dict[str, Any]], bool] = lambda view: False
    views: list[dict[str, Any]] = field(default_factory=list)
    error_of: str = ""
    """Of which person the error is; empty of everybody."""
    store_fault: bool = False
    asked: int = 0

    def __post_init__(self) -> None:
        self.pages = HomePages(cast("AsyncWebClient", self), cast("Handler", self), lambda: self.now_s)

    async def views_publish(self, *, user_id: str, view: dict[str, Any]) -> None:
        self.asked += 1
        if self.error and self.error_of in ("", user_id) and not self.takes(view):
            raise SlackApiError("refused", {"ok": False, "error": self.error})
        self.published.append(user_id)
        self.views.append(view)

    async def home(self, user: str) -> tuple[Message, ...]:
        if self.store_fault:
            raise StoreError("state-database", "gone")
        return (Message(title=self.title, fields=(("GPU", "70 °C"),)),)


async def test_a_page_is_sent_when_it_is_opened_and_when_it_changes() -> None:
    scene = Scene()
    await scene.pages.refresh()
    await scene.pages.opened("U1")
    await scene.pages.refresh()
    assert scene.published == ["U1"]
    scene.title = "loud"
    await scene.pages.refresh()
    await scene.pages.opened("U1")
    assert scene.published == ["U1", "U1", "U1"]


async def test_who_has_not_looked_for_a_day_gets_nothing() -> None:
    scene = Scene()
    await scene.pages.opened("U1")
    scene.now_s, scene.title = VIEWER_S + 1, "loud"
    await scene.pages.refresh()
    assert scene.published == ["U1"]


async def test_only_the_last_viewers_are_kept() -> None:
    scene = Scene()
    for number in range(MAX_VIEWERS + 5):
        await scene.pages.opened(f"U{number}")
    scene.title, scene.published = "loud", []
    await scene.pages.refresh()
    assert len(scene.published) == MAX_VIEWERS


@pytest.mark.parametrize("error", ["not_enabled", "missing_scope"])
async def test_a_workspace_without_homes_is_asked_once_an_hour(error: str) -> None:
    scene = Scene(error=error)
    await scene.pages.opened("U1")
    scene.error = ""
    await scene.pages.refresh()
    assert scene.published == []
    scene.now_s = OFF_S + 1
    await scene.pages.refresh()
    assert scene.published == ["U1"]


@pytest.mark.parametrize("error", ["user_not_found", "invalid_arguments", "view_too_large", "invalid_blocks"])
async def test_what_slack_refuses_for_one_person_keeps_no_page_from_the_others(error: str) -> None:
    scene = Scene(error=error, error_of="U1")
    await scene.pages.opened("U1")
    await scene.pages.opened("U2")
    assert scene.published == ["U2"]
    asked = scene.asked
    for _ in range(3):
        await scene.pages.refresh()
    assert scene.asked == asked, "what was refused is not sent again as it was"
    scene.title, scene.error = "loud", ""
    await scene.pages.refresh()
    assert scene.published == ["U2", "U1", "U2"]


@pytest.mark.parametrize(("error", "store_fault"), [("internal_error", False), ("", True)])
async def test_a_passing_trouble_is_over_at_the_next_look(error: str, store_fault: bool) -> None:
    scene = Scene(error=error, store_fault=store_fault)
    await scene.pages.opened("U1")
    scene.error, scene.store_fault = "", False
    await scene.pages.refresh()
    assert scene.published == ["U1"]


def test_a_page_of_many_parts_is_cut_at_slack_s_number_of_blocks() -> None:
    part = Message(title="t", items=(Item(mark=Mark.DONE, text="x"),), context=("small",))
    assert 90 < len(home_view([part] * 200)["blocks"]) <= HOME_BLOCKS


@pytest.mark.parametrize(
    ("body", "user"),
    [
        ({"event": {"tab": "home", "user": "U1"}}, "U1"),
        ({"event": {"tab": "messages", "user": "U1"}}, ""),
        ({"event": {"tab": "home"}}, ""),
        ({"event": 3}, ""),
        ({}, ""),
        ({"event": {"tab": "home", "user": "U1"}, "team_id": "T2"}, ""),
    ],
)
def test_only_people_of_the_workspace_who_open_the_home_tab_get_one(body: dict[str, Any], user: str) -> None:
    assert incoming.home_opener(body, "T1") == user


@pytest.mark.parametrize(
    ("body", "thread_ts", "foreign"),
    [
        ({"user": {"id": "U1"}, "channel": {"id": "C1"}, "message": {"ts": "1.0"}}, "1.0", ""),
        ({"user": {"id": "U1", "team_id": "T2"}, "channel": {"id": "C1"}, "message_ts": "1.0"}, "1.0", "T2"),
        ({"user": {"id": "U1"}, "channel": {"id": "C1"}}, None, ""),
        ({"user": "U1", "channel": 3, "message": []}, None, ""),
    ],
)
def test_the_shortcut_is_a_question_in_the_thread_of_its_message(
    body: dict[str, Any], thread_ts: str | None, foreign: str
) -> None:
    request = incoming.shortcut_request(body, "T1")
    if thread_ts is None:
        assert request is None
    else:
        assert request is not None
        assert (request.text, request.thread_ts, request.foreign) == ("explain", thread_ts, foreign)


@pytest.mark.parametrize("error", ["invalid_arguments", "invalid_blocks", "internal_error"])
@pytest.mark.parametrize("taken", ["no fields", "one kind of block"])
async def test_a_page_that_slack_refuses_is_shown_plainer(error: str, taken: str) -> None:
    def takes(view: dict[str, Any]) -> bool:
        if taken == "no fields":
            return not any("fields" in block for block in view["blocks"])
        return {block["type"] for block in view["blocks"]} == {"section"}

    scene = Scene(error=error, takes=takes)
    await scene.pages.opened("U1")
    assert "quiet" in str(scene.views)
    asked = scene.asked
    await scene.pages.refresh()
    assert scene.asked == asked, "what has not changed is not sent again"
