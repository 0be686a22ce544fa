"""Which channel the alerts go to."""

from __future__ import annotations

import asyncio
import logging
import re
from typing import Any, Final

from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient
from slack_sdk.web.async_slack_response import AsyncSlackResponse

from trainmaster.bot.errors import ChatError
from trainmaster.bot.ports import UNKNOWN_ANSWER, ChatRefused, RateLimited
from trainmaster.bot.slack.faults import error_name, translated

_LOG = logging.getLogger(__name__)

_ID: Final = re.compile(r"[CGD][A-Z0-9_]+")
_CALL_S: Final = 6.0
"""For each call: a connection that died keeps nothing waiting, and a large workspace has many pages of channels."""
_PAGE: Final = 1000
_MAX_PAGES: Final = 50
_CANNOT_LOOK: Final = {"missing_scope", "unknown_method", "not_allowed_token_type", "method_deprecated"}
"""Looking is refused, posting may still work: an app that was installed with fewer scopes, a small stand-in."""


async def resolve_channel(client: AsyncWebClient, configured: str, *, join: bool) -> str:
    """The id of the channel ``configured`` as an id or a ``#name``. It exists, is not archived, and the bot is in it,
    or could be: a public one is joined if ``join``.

    Raises:
        ChatRefused: it does not exist, is archived, or is private and without the bot.
        ChatError: Slack could not be reached.
    """
    try:
        if _ID.fullmatch(configured):
            found = await _by_id(client, configured)
        else:
            found = await _by_name(client, configured.removeprefix("#"))
    except _CannotLookError as error:
        _LOG.warning("the channel %s could not be looked up (%s); it is taken as it is", configured, error)
        return configured
    channel = str(found.get("id") or configured)
    if found.get("is_archived") is True:
        raise ChatRefused("slack-channel", f"the channel {configured} is archived.", "set ALERT_CHANNEL to another one")
    if found.get("is_member") is False and found.get("is_im") is not True:
        await _enter(client, configured, channel, is_private=found.get("is_private") is True, join=join)
    return channel


class _CannotLookError(Exception):
    """Slack would not tell."""


async def _by_id(client: AsyncWebClient, channel: str) -> dict[str, Any]:
    async with translated(f"looking up the channel {channel}"), asyncio.timeout(_CALL_S):
        try:
            answer = await client.conversations_info(channel=channel)
        except SlackApiError as error:
            if error_name(error) in _CANNOT_LOOK:
                raise _CannotLookError(error_name(error)) from error
            raise
    found = answer.get("channel")
    return found if isinstance(found, dict) else {}


async def _by_name(client: AsyncWebClient, name: str) -> dict[str, Any]:
    cursor = ""
    for _ in range(_MAX_PAGES):
        answer = await _page_after(client, name, cursor)
        listed: Any = answer.get("channels")
        for channel in listed if isinstance(listed, list) else []:
            if isinstance(channel, dict) and name in {channel.get("name"), channel.get("name_normalized")}:
                return channel
        metadata: Any = answer.get("response_metadata")
        cursor = str(metadata.get("next_cursor") or "") if isinstance(metadata, dict) else ""
        if not cursor:
            break
    raise ChatRefused(
        "slack-channel",
        f"there is no channel #{name} that the bot can see.",
        "check ALERT_CHANNEL; into a private channel the bot must be invited first: /invite @trainmaster",
    )


async def _page_after(client: AsyncWebClient, name: str, cursor: str) -> AsyncSlackResponse:
    """The channels that follow ``cursor``. Slack gives about 20 pages a minute: the pause that it wants before another
    one is kept here, where those before it are known; before the first one by whoever asks."""
    while True:
        try:
            async with translated(f"looking for the channel #{name}"), asyncio.timeout(_CALL_S):
                try:
                    return await client.conversations_list(
                        types="public_channel,private_channel", limit=_PAGE, cursor=cursor or None
                    )
                except SlackApiError as error:
                    if error_name(error) in _CANNOT_LOOK:
                        raise _CannotLookError(error_name(error)) from error
                    raise
        except RateLimited as error:
            if not cursor:
                raise
            _LOG.info("looking for the channel #%s goes on in %g s", name, error.retry_after_s)
            await asyncio.sleep(error.retry_after_s)


async def _enter(client: AsyncWebClient, configured: str, channel: str, *, is_private: bool, join: bool) -> None:
    hint = "type /invite @trainmaster in the channel"
    if is_private:
        raise ChatRefused("slack-channel", f"the bot is not in the private channel {configured}.", hint)
    if not join:
        return
    try:
        async with translated(f"joining {configured}"), asyncio.timeout(_CALL_S):
            await client.conversations_join(channel=channel)
    except ChatError as error:
        if not isinstance(error, ChatRefused) and error.slug != UNKNOWN_ANSWER:
            raise
        message = f"the bot is not in {configured} and cannot join it ({error.message})."
        raise ChatRefused("slack-channel", message, hint) from error
    _LOG.info("joined the channel %s", configured)
