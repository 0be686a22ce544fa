"""Everything that the workspace remembers, in memory, and a feed of what changed."""

from __future__ import annotations

import asyncio
import random
import string
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

from trainmaster.bot.workspace.refusal import MethodRefusedError
from trainmaster.bot.workspace.state.messages import Body, PostedMessage
from trainmaster.bot.workspace.state.people import (
    BOT_NAME,
    BOT_USER_ID,
    SLACKBOT_ID,
    Channel,
    ChannelKind,
    Person,
    SlashCommand,
    direct_channel,
)

Change = dict[str, Any]
_KEPT_EDITS: Final = 10


class WorkspaceState:
    """People, channels and messages. Every change is put into each open :meth:`feed`, in order."""

    def __init__(
        self,
        *,
        people: Sequence[Person],
        channels: Sequence[Channel],
        commands: Sequence[SlashCommand],
        clock: Callable[[], float],
    ) -> None:
        self.people = {person.user_id: person for person in people}
        self.channels = {channel.channel_id: channel for channel in channels}
        for person in people:
            direct = direct_channel(person)
            self.channels.setdefault(direct.channel_id, direct)
        self.commands = {command.name: command for command in commands}
        self.clock = clock
        self.messages: dict[tuple[str, str], PostedMessage] = {}
        self.views: dict[str, tuple[str, dict[str, Any]]] = {}
        """Open modals: view id -> (user id, view)."""
        self.homes: dict[str, dict[str, Any]] = {}
        """The Home of the app, by person."""
        self.files: dict[str, dict[str, Any]] = {}
        """Uploaded and completed, by id."""
        self._last_ts_us = 0
        self._feeds: set[asyncio.Queue[Change]] = set()

    def new_ts(self) -> str:
        """Return a message id: the time in microseconds, strictly growing."""
        self._last_ts_us = max(self._last_ts_us + 1, int(self.clock() * 1_000_000))
        return f"{self._last_ts_us // 1_000_000}.{self._last_ts_us % 1_000_000:06d}"

    @contextmanager
    def feed(self) -> Iterator[asyncio.Queue[Change]]:
        """Yield a queue that gets every change from now on."""
        queue: asyncio.Queue[Change] = asyncio.Queue()
        self._feeds.add(queue)
        try:
            yield queue
        finally:
            self._feeds.discard(queue)

    def publish(self, change: Change) -> None:
        """Put ``change`` into every open feed."""
        for queue in self._feeds:
            queue.put_nowait(change)

    def show_home(self, user_id: str, view: dict[str, Any]) -> None:
        """The person's Home of the app reads so."""
        self.homes[user_id] = view
        self.publish({"type": "home", "user": user_id, "view": view})

    def keep_file(self, described: dict[str, Any]) -> None:
        """The upload is complete: messages may show it."""
        self.files[described["id"]] = described
        self.publish({"type": "file", "file": described})

    def has_file(self, wanted: Any) -> bool:
        """Whether ``wanted``, the ``slack_file`` of an image, is there."""
        if not isinstance(wanted, dict):
            return False
        return wanted.get("id") in self.files or any(
            wanted.get("url") is not None and wanted["url"] == one["url_private"] for one in self.files.values()
        )

    # -- people and channels

    def find_person(self, wanted: str) -> Person | None:
        """Return the person with this id or name."""
        word = wanted.removeprefix("@")
        by_name = (person for person in self.people.values() if person.name == word)
        return self.people.get(word) or next(by_name, None)

    def find_channel(self, wanted: str, *, person: Person | None = None) -> Channel | None:
        """Return the channel with this id or ``#name``; ``dm`` is the conversation of ``person`` with the bot."""
        if wanted in self.channels:
            return self.channels[wanted]
        if person is not None and wanted in {"dm", f"@{BOT_NAME}"}:
            return self.channels["D" + person.user_id[1:]]
        if wanted in self.people:
            return self.channels["D" + wanted[1:]]
        word = wanted.removeprefix("#")
        public = (c for c in self.channels.values() if c.kind is ChannelKind.PUBLIC and c.name == word)
        return next(public, None)

    def set_membership(self, channel_id: str, *, bot_is_member: bool) -> Channel:
        """The bot is, or is no longer, in the channel."""
        channel = replace(self.channels[channel_id], bot_is_member=bot_is_member)
        self.channels[channel_id] = channel
        self.publish({"type": "channels"})
        return channel

    # -- messages

    def get(self, channel_id: str, ts: str) -> PostedMessage | None:
        """Return the message, ephemeral or not."""
        return self.messages.get((channel_id, ts))

    def history(self, channel_id: str) -> list[PostedMessage]:
        """Return every lasting message of the channel, replies too, oldest first."""
        found = [m for m in self.messages.values() if m.channel_id == channel_id and m.visible_to is None]
        return sorted(found, key=lambda message: message.ts)

    def replies(self, channel_id: str, thread_ts: str) -> tuple[PostedMessage, ...]:
        """Return the replies of a thread, without its root, oldest first."""
        return tuple(m for m in self.history(channel_id) if m.is_reply and m.thread_ts == thread_ts)

    def ephemerals(self, user_id: str) -> list[PostedMessage]:
        """Return what only this person sees, oldest first."""
        found = [m for m in self.messages.values() if m.visible_to == user_id]
        return sorted(found, key=lambda message: message.ts)

    def post(
        self,
        *,
        channel_id: str,
        user_id: str,
        body: Body,
        thread_ts: str | None = None,
        visible_to: str | None = None,
        client_msg_id: str | None = None,
    ) -> PostedMessage:
        """The message is in the channel.

        A reply to a reply lands in the thread of its root. Raises :class:`MethodRefusedError` when there is no thread.
        """
        if thread_ts is not None:
            root = self.get(channel_id, thread_ts)
            if root is None:
                raise MethodRefusedError("thread_not_found")
            thread_ts = root.thread_ts or root.ts
        message = PostedMessage(
            ts=self.new_ts(),
            channel_id=channel_id,
            user_id=user_id,
            body=_named(body),
            thread_ts=thread_ts,
            visible_to=visible_to,
            client_msg_id=client_msg_id,
        )
        self.messages[channel_id, message.ts] = message
        self._publish_message(message)
        if thread_ts is not None and (root := self.get(channel_id, thread_ts)):
            self._publish_message(root)
        return message

    def edit(self, message: PostedMessage, body: Body) -> PostedMessage:
        """The message shows ``body`` and is marked as edited."""
        edited = replace(
            message,
            body=_named(body),
            edited_ts=self.new_ts(),
            earlier=(*message.earlier, message.body)[-_KEPT_EDITS:],
        )
        self.messages[message.channel_id, message.ts] = edited
        self._publish_message(edited)
        return edited

    def react(self, message: PostedMessage, *, name: str, user_id: str) -> None:
        """The reaction stands under the message; raises :class:`MethodRefusedError` when it does already."""
        if (name, user_id) in message.reactions:
            raise MethodRefusedError("already_reacted")
        reacted = replace(message, reactions=(*message.reactions, (name, user_id)))
        self.messages[message.channel_id, message.ts] = reacted
        self._publish_message(reacted)

    def pin(self, message: PostedMessage, *, by: str | None) -> None:
        """The message is pinned in its channel by somebody, or by nobody."""
        pinned = replace(message, pinned_by=by)
        self.messages[message.channel_id, message.ts] = pinned
        self._publish_message(pinned)

    def delete(self, message: PostedMessage) -> None:
        """The message is gone."""
        self.messages.pop((message.channel_id, message.ts), None)
        self.publish({"type": "deleted", "channel": message.channel_id, "ts": message.ts})
        if message.thread_ts is not None and (root := self.get(message.channel_id, message.thread_ts)):
            self._publish_message(root)

    def slackbot_says(self, *, channel_id: str, user_id: str, text: str, thread_ts: str | None = None) -> None:
        """Tell one person something that Slack itself would say."""
        self.post(
            channel_id=channel_id,
            user_id=SLACKBOT_ID,
            body=Body(text=text),
            thread_ts=thread_ts,
            visible_to=user_id,
        )

    # -- modals

    def show_view(self, user_id: str, view: dict[str, Any]) -> None:
        """The modal is open in front of the person, or replaced when its id is open already."""
        self.views[view["id"]] = (user_id, view)
        self.publish({"type": "view", "user": user_id, "view": view})

    def close_view(self, view_id: str) -> None:
        """The modal is gone."""
        if self.views.pop(view_id, None):
            self.publish({"type": "view_closed", "view_id": view_id})

    # -- for the page

    def snapshot(self) -> dict[str, Any]:
        """Return all that a page needs to draw itself."""
        return {
            "type": "snapshot",
            "bot": {"id": BOT_USER_ID, "name": BOT_NAME},
            "files": list(self.files.values()),
            "people": [
                {"id": p.user_id, "name": p.name, "real_name": p.real_name or p.name, "on_call": p.on_call}
                for p in self.people.values()
            ],
            "channels": [
                {
                    "id": c.channel_id,
                    "name": c.name,
                    "topic": c.topic,
                    "kind": c.kind.value,
                    "person": c.person_id,
                    "bot_is_member": c.bot_is_member,
                }
                for c in self.channels.values()
            ],
            "commands": [
                {"name": c.name, "description": c.description, "usage_hint": c.usage_hint}
                for c in self.commands.values()
            ],
            "messages": [self._page_message(m) for m in sorted(self.messages.values(), key=lambda m: m.ts)],
            "views": [{"user": user_id, "view": view} for user_id, view in self.views.values()],
            "homes": [{"user": user_id, "view": view} for user_id, view in self.homes.items()],
        }

    def _page_message(self, message: PostedMessage) -> dict[str, Any]:
        return message.page(num_replies=len(self.replies(message.channel_id, message.ts)))

    def _publish_message(self, message: PostedMessage) -> None:
        self.publish({"type": "message", "message": self._page_message(message)})


def _named(body: Body) -> Body:
    attachments = (
        attachment | {"blocks": list(with_block_ids(attachment["blocks"]))} if attachment.get("blocks") else attachment
        for attachment in body.attachments
    )
    return replace(body, blocks=tuple(with_block_ids(body.blocks)), attachments=tuple(attachments))


def with_block_ids(blocks: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Give each block the id that Slack gives it when the app did not, and each interactive element its action id."""
    for block in blocks:
        named = {"block_id": _random_id(), **block}
        if isinstance(block.get("elements"), list) and block["type"] == "actions":
            named["elements"] = [{"action_id": _random_id(), **element} for element in block["elements"]]
        if isinstance(block.get("accessory"), dict) and block["accessory"].get("type") != "image":
            named["accessory"] = {"action_id": _random_id(), **block["accessory"]}
        if isinstance(block.get("element"), dict):
            named["element"] = {"action_id": _random_id(), **block["element"]}
        yield named


def _random_id() -> str:
    return "".join(random.choices(string.ascii_letters + string.digits, k=5))
