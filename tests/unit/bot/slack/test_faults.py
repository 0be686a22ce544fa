"""Slack's errors come out as what the delivery must do: wait, post anew, give up, or try again."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from slack_sdk.errors import SlackApiError

from trainmaster.bot.errors import ChatError
from trainmaster.bot.ports import ChatRefused, MessageGone, RateLimited
from trainmaster.bot.slack.faults import DEFAULT_WAIT_S, translate, translated


def refused(error: str, *, status: int = 200, headers: dict[str, Any] | None = None, **data: Any) -> SlackApiError:
    response = SimpleNamespace(data={"ok": False, "error": error, **data}, status_code=status, headers=headers or {})
    return SlackApiError("refused", response)


@pytest.mark.parametrize(
    ("error", "kind", "slug"),
    [
        pytest.param("invalid_auth", ChatRefused, "slack-token", id="token"),
        pytest.param("not_in_channel", ChatRefused, "slack-channel", id="not-in-channel"),
        pytest.param("channel_not_found", ChatRefused, "slack-channel", id="no-channel"),
        pytest.param("missing_scope", ChatRefused, "slack-scope", id="scope"),
        pytest.param("restricted_action_read_only_channel", ChatRefused, "slack-channel", id="read-only"),
        pytest.param("messages_tab_disabled", ChatRefused, "slack-channel", id="no-messages-to-the-app"),
        pytest.param("invalid_arguments", ChatRefused, "slack-content", id="arguments"),
        pytest.param("message_not_found", MessageGone, "slack-message-gone", id="deleted"),
        pytest.param("edit_window_closed", MessageGone, "slack-message-gone", id="too-old-to-edit"),
        pytest.param("invalid_blocks", ChatRefused, "slack-content", id="content"),
        pytest.param("internal_error", ChatError, "slack-internal", id="their-fault"),
        pytest.param("something_new", ChatError, "slack-error", id="unknown"),
    ],
)
def test_each_error_has_its_kind(error: str, kind: type[ChatError], slug: str) -> None:
    fault = translate(refused(error), "posting")
    assert type(fault) is kind
    assert fault.slug == slug
    assert "posting" in fault.message


@pytest.mark.parametrize(("error", "expected"), [("msg_too_long", True), ("is_archived", False)])
def test_only_content_can_be_mended_by_a_plainer_message(error: str, expected: bool) -> None:
    fault = translate(refused(error), "posting")
    assert isinstance(fault, ChatRefused)
    assert fault.content is expected


def test_a_missing_scope_is_named() -> None:
    assert "usergroups:read" in translate(refused("missing_scope", needed="usergroups:read"), "x").message


def test_what_is_wrong_with_the_blocks_is_told() -> None:
    fault = translate(refused("invalid_blocks", response_metadata={"messages": ["[ERROR] no more than 50"]}), "x")
    assert "no more than 50" in fault.message


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"retry-after": "2.5"}, 2.5),
        ({}, DEFAULT_WAIT_S),
        ({"Retry-After": "soon"}, DEFAULT_WAIT_S),
        ({"Retry-After": "-1"}, 0.0),
        ({"Retry-After": "99999999"}, 3600.0),
    ],
)
def test_a_rate_limit_tells_how_long_to_wait(headers: dict[str, str], expected: float) -> None:
    fault = translate(refused("ratelimited", status=429, headers=headers), "posting")
    assert isinstance(fault, RateLimited)
    assert fault.retry_after_s == expected


@pytest.mark.parametrize(
    "error",
    [TimeoutError(), aiohttp.ServerDisconnectedError(), ConnectionResetError("reset"), OSError("no route")],
    ids=lambda error: type(error).__name__,
)
async def test_a_network_fault_may_pass(error: Exception) -> None:
    with pytest.raises(ChatError) as caught:
        async with translated("posting"):
            raise error
    assert type(caught.value) is ChatError
    assert caught.value.slug == "slack-unreachable"
    assert caught.value.__cause__ is error


async def test_what_is_no_fault_of_slack_is_not_hidden() -> None:
    with pytest.raises(KeyError):
        async with translated("posting"):
            raise KeyError("a bug")
