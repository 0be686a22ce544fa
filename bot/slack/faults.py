"""Slack's errors in our words: what is wrong, and what to do about it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
from slack_sdk.errors import SlackApiError, SlackClientError

from trainmaster.bot.errors import ChatError
from trainmaster.bot.ports import INTERNAL_ERROR, UNKNOWN_ANSWER, ChatRefused, MessageGone, RateLimited

DEFAULT_WAIT_S: Final = 5.0
"""When a 429 carries no Retry-After: the rate falls with each one, so that a short wait asks too often only once."""

_CHECK_TOKENS: Final = (
    "check SLACK_BOT_TOKEN (xoxb-…) and SLACK_APP_TOKEN (xapp-…); trainmaster doctor tells which one it is"
)
_INVITE: Final = "type /invite @trainmaster in the channel, or set ALERT_CHANNEL to one the bot is in"
_CHANNEL: Final = "check ALERT_CHANNEL; the id stands at the end of the channel's details"
_REINSTALL: Final = "compare the app's scopes with trainmaster manifest and reinstall it to the workspace"

_MENDABLE: Final = {
    "invalid_auth": ("slack-token", "Slack does not know the token", _CHECK_TOKENS),
    "not_authed": ("slack-token", "no token was sent", _CHECK_TOKENS),
    "token_revoked": ("slack-token", "the token was revoked", _CHECK_TOKENS),
    "token_expired": ("slack-token", "the token has expired", _CHECK_TOKENS),
    "account_inactive": ("slack-token", "the app was uninstalled from the workspace", _CHECK_TOKENS),
    "not_allowed_token_type": ("slack-token", "a token of the wrong kind was sent", _CHECK_TOKENS),
    "app_uninstalled": ("slack-token", "the app was uninstalled from the workspace", _CHECK_TOKENS),
    "missing_scope": ("slack-scope", "the app lacks a permission", _REINSTALL),
    "no_permission": ("slack-scope", "the app may not do that", _REINSTALL),
    "access_denied": ("slack-scope", "the app may not do that", _REINSTALL),
    "channel_not_found": ("slack-channel", "there is no such channel, or it is private and without the bot", _CHANNEL),
    "not_in_channel": ("slack-channel", "the bot is not in the channel", _INVITE),
    "is_archived": ("slack-channel", "the channel is archived", _CHANNEL),
    "restricted_action": ("slack-channel", "the workspace does not let apps post there", _CHANNEL),
    "user_not_in_channel": ("slack-channel", "the person is not in the channel", ""),
}
_GONE: Final = {
    *("message_not_found", "thread_not_found", "cant_update_message", "message_deleted"),
    "edit_window_closed",  # the workspace lets nobody edit what is that old: it is said anew
}
_NO_POSTS_THERE: Final = (
    *("restricted_action", "slack_connect_", "posting_to_", "messages_tab_disabled", "cannot_dm_bot"),
    *("team_access_not_granted", "ekm_access_denied", "user_is_restricted", "no_such_channel"),
)
"""How the names begin by which Slack says that the workspace lets nobody like the bot write to that place."""
CONTENT_ERRORS: Final = {
    "invalid_arguments",
    "invalid_form_data",
    "too_many_attachments",
    "invalid_blocks",
    "invalid_blocks_format",
    "invalid_attachments",
    "msg_blocks_too_long",
    "msg_too_long",
    "no_text",
    "invalid_metadata_format",
    "metadata_too_large",
}
_PASSING_STATUS: Final = 500
"""From this HTTP status on a later try may pass."""


@asynccontextmanager
async def translated(what: str) -> AsyncIterator[None]:
    """What slack_sdk and aiohttp raise while doing ``what`` comes out as the :class:`ChatError` that fits."""
    try:
        yield
    except ChatError:
        raise
    except (SlackClientError, aiohttp.ClientError, OSError, ValueError, AttributeError, TypeError) as error:
        # The last two: slack_sdk takes any JSON or plain text for an object (``validate`` of its responses).
        raise translate(error, what) from error


def translate(error: Exception, what: str) -> ChatError:
    """``error`` of slack_sdk or aiohttp, raised while doing ``what``, as the kind that the delivery knows."""
    if isinstance(error, SlackApiError):
        return _refused(error, what)
    if isinstance(error, TimeoutError):
        return ChatError("slack-unreachable", f"{what}: Slack did not answer in time.", "it is tried again by itself")
    if isinstance(error, aiohttp.ClientError | OSError | SlackClientError):
        reason = str(error) or type(error).__name__
        return ChatError(
            "slack-unreachable", f"{what}: Slack cannot be reached ({reason}).", "check the network and SLACK_API_URL"
        )
    if isinstance(error, UnicodeDecodeError | json.JSONDecodeError | AttributeError | TypeError):
        # Whether Slack took it can't be known; what answered was hardly Slack (a proxy, a captive portal).
        return ChatError("slack-answer", f"{what}: the answer can't be read ({error}).", "it is tried again by itself")
    # slack_sdk's own check of its arguments, text that is no UTF-8
    return ChatRefused("slack-content", f"{what}: {error}", content=True)


def error_name(error: SlackApiError) -> str:
    """Slack's own name of the error, such as ``channel_not_found``; the HTTP status when it told none."""
    data = _data(error)
    name = data.get("error")
    return name if isinstance(name, str) else f"http_{_status(error)}"


def _refused(error: SlackApiError, what: str) -> ChatError:
    name = error_name(error)
    if name in {"ratelimited", "rate_limited"} or _status(error) == 429:
        return RateLimited(_retry_after_s(error))
    if name in _GONE:
        return MessageGone("slack-message-gone", f"{what}: the message is no longer there ({name}).")
    if name in _MENDABLE:
        slug, message, hint = _MENDABLE[name]
        needed = _data(error).get("needed")
        scope = f": {needed}" if name == "missing_scope" and isinstance(needed, str) else ""
        return ChatRefused(slug, f"{what}: {message}{scope} ({name}).", hint)
    if name.startswith(_NO_POSTS_THERE):
        return ChatRefused(
            "slack-channel", f"{what}: the workspace does not let the bot write there ({name}).", _CHANNEL
        )
    if name in CONTENT_ERRORS:
        details = "; ".join(_details(error)) or "no details"
        return ChatRefused("slack-content", f"{what}: Slack refuses the message ({name}: {details}).", content=True)
    if name in {"internal_error", "fatal_error"}:
        return ChatError(
            INTERNAL_ERROR, f"{what}: Slack has a fault of its own ({name}).", "it is tried again by itself"
        )
    if _status(error) >= _PASSING_STATUS or name == "service_unavailable":
        return ChatError(
            "slack-unwell", f"{what}: Slack has a fault of its own ({name}).", "it is tried again by itself"
        )
    return ChatError(
        UNKNOWN_ANSWER, f"{what}: Slack answered {name}.", "docs.slack.dev explains it on the method's page"
    )


def _data(error: SlackApiError) -> dict[str, Any]:
    data = getattr(error.response, "data", error.response)
    return data if isinstance(data, dict) else {}


def _status(error: SlackApiError) -> int:
    status = getattr(error.response, "status_code", getattr(error.response, "status", 0))
    return status if isinstance(status, int) else 0


def _details(error: SlackApiError) -> list[str]:
    metadata = _data(error).get("response_metadata")
    lines = metadata.get("messages") if isinstance(metadata, dict) else None
    return [str(line) for line in lines[:3]] if isinstance(lines, list) else []


def _retry_after_s(error: SlackApiError) -> float:
    headers = getattr(error.response, "headers", None) or {}
    for name, value in dict(headers).items():
        if str(name).lower() == "retry-after":
            try:
                return min(max(float(value), 0.0), 3600.0)
            except (TypeError, ValueError):
                break
    return DEFAULT_WAIT_S
