"""``pins.*``: what stands at the head of a channel (docs.slack.dev, pins.add, pins.remove, pins.list)."""

from __future__ import annotations

import re
from typing import Any, Final

from trainmaster.bot.workspace.refusal import MethodRefusedError
from trainmaster.bot.workspace.state.messages import PostedMessage
from trainmaster.bot.workspace.state.people import BOT_USER_ID, Channel
from trainmaster.bot.workspace.state.state import WorkspaceState
from trainmaster.bot.workspace.web_api.args import Args, Methods

MAX_PINS: Final = 100
"""Of one channel."""
_TS: Final = re.compile(r"\d{1,12}\.\d{6}")


class PinMethods:
    """Pinning as the app."""

    def __init__(self, *, state: WorkspaceState) -> None:
        self._state = state

    def methods(self) -> Methods:
        """Return the methods by name."""
        return {"pins.add": self.add, "pins.remove": self.remove, "pins.list": self.list_pins}

    def add(self, args: Args) -> dict[str, Any]:
        """The message is pinned."""
        channel = self._channel(args)
        message = self._message(channel, args)
        if message.pinned_by is not None:
            raise MethodRefusedError("already_pinned")
        if channel.is_archived:
            raise MethodRefusedError("is_archived")
        if len(self._pinned(channel)) >= MAX_PINS:
            raise MethodRefusedError("too_many_pins")
        self._state.pin(message, by=BOT_USER_ID)
        return {}

    def remove(self, args: Args) -> dict[str, Any]:
        """The message is pinned no more."""
        message = self._message(self._channel(args), args)
        if message.pinned_by is None:
            raise MethodRefusedError("no_pin")
        self._state.pin(message, by=None)
        return {}

    def list_pins(self, args: Args) -> dict[str, Any]:
        """Return what is pinned in the channel, the newest message first."""
        channel = self._channel(args)
        items = [
            {"type": "message", "channel": channel.channel_id, "created_by": one.pinned_by, "message": one.wire()}
            for one in reversed(self._pinned(channel))
        ]
        return {"items": items}

    def _pinned(self, channel: Channel) -> list[PostedMessage]:
        return [one for one in self._state.history(channel.channel_id) if one.pinned_by is not None]

    def _channel(self, args: Args) -> Channel:
        channel = self._state.channels.get(str(args.required("channel")))
        if channel is None:
            raise MethodRefusedError("channel_not_found")
        if not channel.bot_is_member:
            raise MethodRefusedError("not_in_channel")
        return channel

    def _message(self, channel: Channel, args: Args) -> PostedMessage:
        ts = args.text("timestamp")
        if not ts:
            raise MethodRefusedError("no_item_specified")
        if not _TS.fullmatch(ts):
            raise MethodRefusedError("bad_timestamp")
        message = self._state.get(channel.channel_id, ts)
        if message is None:
            raise MethodRefusedError("message_not_found")
        if message.visible_to is not None:
            raise MethodRefusedError("not_pinnable")
        return message
