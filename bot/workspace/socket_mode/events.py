"""Which events the app hears of: mentions, messages, edits and deletions where it is a member and has subscribed."""

from __future__ import annotations

import secrets
from collections.abc import Collection

from trainmaster.bot.workspace.socket_mode.payloads import event_callback
from trainmaster.bot.workspace.socket_mode.sockets import SocketHub
from trainmaster.bot.workspace.state.messages import PostedMessage
from trainmaster.bot.workspace.state.people import BOT_USER_ID, ChannelKind, Person, direct_channel
from trainmaster.bot.workspace.state.state import WorkspaceState

ALL_SUBSCRIPTIONS = frozenset({"app_home_opened", "app_mention", "message.channels", "message.im"})


class EventSource:
    """Turns what happened in the workspace into events for the app."""

    def __init__(self, *, state: WorkspaceState, hub: SocketHub, subscriptions: Collection[str]) -> None:
        self._state = state
        self._hub = hub
        self._subscriptions = frozenset(subscriptions)

    def posted(self, message: PostedMessage) -> None:
        """A message was posted; in a channel, a mention of the app is an event of its own, besides the message."""
        event = message.wire() | {"channel": message.channel_id, "event_ts": message.ts}
        self._send_message_event(message, event)
        is_direct = self._kind(message) is ChannelKind.DIRECT
        mentions_app = f"<@{BOT_USER_ID}>" in message.body.text and not message.is_from_bot
        if mentions_app and not is_direct and "app_mention" in self._subscriptions:
            self._send(message, event | {"type": "app_mention"})

    def changed(self, before: PostedMessage, after: PostedMessage) -> None:
        """A message was edited."""
        self._send_message_event(
            after,
            {
                "type": "message",
                "subtype": "message_changed",
                "hidden": True,
                "message": after.wire(),
                "previous_message": before.wire(),
                "channel": after.channel_id,
                "ts": after.edited_ts,
                "event_ts": after.edited_ts,
            },
        )

    def deleted(self, message: PostedMessage) -> None:
        """A message was deleted."""
        ts = self._state.new_ts()
        self._send_message_event(
            message,
            {
                "type": "message",
                "subtype": "message_deleted",
                "hidden": True,
                "deleted_ts": message.ts,
                "previous_message": message.wire(),
                "channel": message.channel_id,
                "ts": ts,
                "event_ts": ts,
            },
        )

    def home_opened(self, person: Person) -> None:
        """Somebody opened the Home of the app."""
        if "app_home_opened" not in self._subscriptions:
            return
        ts = self._state.new_ts()
        event = {
            "type": "app_home_opened",
            "user": person.user_id,
            "channel": direct_channel(person).channel_id,
            "tab": "home",
            "event_ts": ts,
        }
        event_id = "Ev" + secrets.token_hex(6).upper()
        self._hub.send_event(event_callback(event=event, event_id=event_id, event_time_s=int(self._state.clock())))

    def _kind(self, message: PostedMessage) -> ChannelKind:
        return self._state.channels[message.channel_id].kind

    def _send_message_event(self, message: PostedMessage, event: dict[str, object]) -> None:
        kind = self._kind(message)
        name = "message.im" if kind is ChannelKind.DIRECT else "message.channels"
        if name in self._subscriptions:
            self._send(message, event | {"channel_type": kind.value})

    def _send(self, message: PostedMessage, event: dict[str, object]) -> None:
        if message.visible_to is not None or not self._state.channels[message.channel_id].bot_is_member:
            return
        event_id = "Ev" + secrets.token_hex(6).upper()
        self._hub.send_event(event_callback(event=event, event_id=event_id, event_time_s=int(self._state.clock())))
