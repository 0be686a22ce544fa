"""Pins: a message at the head of its channel (docs.slack.dev, pins.add and pins.remove)."""

from __future__ import annotations

from typing import Final

from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from trainmaster.bot.core.conversation.pin import Pin
from trainmaster.bot.errors import ChatError
from trainmaster.bot.ports import ChatRefused, MessageGone
from trainmaster.bot.slack.faults import error_name, translate, translated

_PINNED: Final = {"already_pinned"}
_NOT_PINNED: Final = {"no_pin", "not_pinned", "message_not_found", "channel_not_found", "is_archived"}
"""A message that is gone, or whose channel is, is pinned no more."""
_NOT_THIS_ONE: Final = {"not_pinnable", "bad_timestamp", "no_item_specified"}
_NOT_HERE: Final = {"unknown_method", "permission_denied", "restricted_action", "too_many_pins"}
"""Trying again is of no use before a person has changed something."""


class SlackPins:
    """Pins as the app, each tried once. The arguments go in the body, as those of a message do; slack_sdk's own methods
    put them into the address. Implements :class:`trainmaster.bot.alerting.pins.Pinboard`."""

    def __init__(self, client: AsyncWebClient) -> None:
        self._client = client

    async def pin(self, pin: Pin) -> None:
        """As :class:`trainmaster.bot.alerting.pins.Pinboard` says of it."""
        what = f"pinning a message in {pin.channel}"
        async with translated(what):
            try:
                await self._client.api_call("pins.add", json={"channel": pin.channel, "timestamp": pin.ts})
            except SlackApiError as error:
                if error_name(error) not in _PINNED:
                    raise _fault(error, what) from error

    async def unpin(self, pin: Pin) -> None:
        """As :class:`trainmaster.bot.alerting.pins.Pinboard` says of it."""
        what = f"unpinning a message in {pin.channel}"
        async with translated(what):
            try:
                await self._client.api_call("pins.remove", json={"channel": pin.channel, "timestamp": pin.ts})
            except SlackApiError as error:
                if error_name(error) not in _NOT_PINNED:
                    raise _fault(error, what) from error


def _fault(error: SlackApiError, what: str) -> ChatError:
    name = error_name(error)
    if name in _NOT_THIS_ONE:
        return MessageGone("slack-pin", f"{what}: Slack does not pin this one ({name}).")
    if name in _NOT_HERE:
        return ChatRefused(
            "slack-pin", f"{what}: Slack does not let the bot ({name}).", "take a pin off, or set PIN_CARDS=off"
        )
    return translate(error, what)
