"""``chat.*`` and ``reactions.*``, and what arrives at a ``response_url``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from trainmaster.bot.workspace.blocks.message import read_attachments, read_blocks, read_metadata, read_text
from trainmaster.bot.workspace.refusal import MethodRefusedError
from trainmaster.bot.workspace.socket_mode.events import EventSource
from trainmaster.bot.workspace.state.messages import Body, PostedMessage
from trainmaster.bot.workspace.state.passes import RateLimit, ResponseTarget
from trainmaster.bot.workspace.state.people import BOT_USER_ID, Channel
from trainmaster.bot.workspace.state.state import WorkspaceState
from trainmaster.bot.workspace.web_api.args import Args, Methods


class ChatMethods:
    """Posting, editing and deleting as the app."""

    def __init__(self, *, state: WorkspaceState, events: EventSource, post_rate: RateLimit | None) -> None:
        self._state = state
        self._events = events
        self._post_rate = post_rate

    def methods(self) -> Methods:
        """Return the methods by name."""
        return {
            "chat.postMessage": self.post_message,
            "chat.postEphemeral": self.post_ephemeral,
            "chat.update": self.update,
            "chat.delete": self.delete,
            "reactions.add": self.add_reaction,
        }

    def post_message(self, args: Args) -> dict[str, Any]:
        """The message is in the channel."""
        channel = self._open_channel(args)
        message = self._state.post(
            channel_id=channel.channel_id,
            user_id=BOT_USER_ID,
            body=self._read_body(args, is_update=False),
            thread_ts=_read_thread_ts(args),
        )
        self._events.posted(message)
        return {"channel": channel.channel_id, "ts": message.ts, "message": message.wire()}

    def post_ephemeral(self, args: Args) -> dict[str, Any]:
        """One person sees the message; it is in no history."""
        channel = self._open_channel(args)
        person = self._state.people.get(str(args.required("user")))
        if person is None:
            raise MethodRefusedError("user_not_in_channel")
        if channel.person_id not in {None, person.user_id}:
            raise MethodRefusedError("user_not_in_channel")
        message = self._state.post(
            channel_id=channel.channel_id,
            user_id=BOT_USER_ID,
            body=self._read_body(args, is_update=False),
            thread_ts=_read_thread_ts(args),
            visible_to=person.user_id,
        )
        return {"message_ts": message.ts}

    def update(self, args: Args) -> dict[str, Any]:
        """The message shows the new text, blocks and attachments.

        Blocks and attachments that the call does not name stay as they are, buttons too; an empty list removes them
        (docs.slack.dev, chat.update).
        """
        message = self._own_message(args, refusal="cant_update_message")
        before = message.body
        body = replace(self._read_body(args, is_update=True), files=before.files)
        for name in ("blocks", "attachments", "metadata"):
            if args.given(name) is None:
                body = replace(body, **{name: getattr(before, name)})
        edited = self._state.edit(message, body)
        self._events.changed(message, edited)
        return {
            "channel": message.channel_id,
            "ts": message.ts,
            "text": edited.body.text,
            "message": edited.wire(replies=self._state.replies(message.channel_id, message.ts)),
        }

    def delete(self, args: Args) -> dict[str, Any]:
        """The message is gone."""
        message = self._own_message(args, refusal="cant_delete_message")
        self._state.delete(message)
        self._events.deleted(message)
        return {"channel": message.channel_id, "ts": message.ts}

    def add_reaction(self, args: Args) -> dict[str, Any]:
        """The reaction stands under the message."""
        channel = self._channel_by_id(args)
        message = self._state.get(channel.channel_id, args.text("timestamp"))
        if message is None or message.visible_to is not None:
            raise MethodRefusedError("message_not_found")
        name = str(args.required("name"))
        if not name.replace("_", "").replace("-", "").replace("+", "").isalnum():
            raise MethodRefusedError("invalid_name")
        self._state.react(message, name=name, user_id=BOT_USER_ID)
        return {}

    def respond(self, target: ResponseTarget, args: Args) -> None:
        """Do what a POST to a ``response_url`` asks for."""
        original = self._state.get(target.channel_id, target.message_ts) if target.message_ts else None
        if args.flag("delete_original"):
            if original is not None:
                self._state.delete(original)
                self._events.deleted(original)
            return
        body = self._read_body(args, is_update=False)
        if args.flag("replace_original") and original is not None:
            edited = self._state.edit(original, replace(body, metadata=body.metadata or original.body.metadata))
            self._events.changed(original, edited)
            return
        is_public = args.text("response_type") == "in_channel"
        message = self._state.post(
            channel_id=target.channel_id,
            user_id=BOT_USER_ID,
            body=body,
            thread_ts=_read_thread_ts(args),
            visible_to=None if is_public else target.user_id,
        )
        self._events.posted(message)

    def _read_body(self, args: Args, *, is_update: bool) -> Body:
        """The body of a request; a picture in it is a file that was uploaded."""
        body = _read_body(args, is_update=is_update)
        unknown = [wanted for wanted in _slack_files(body.blocks) if not self._state.has_file(wanted)]
        if unknown:
            raise MethodRefusedError("invalid_blocks", ["[ERROR] invalid slack file [json-pointer:/blocks/slack_file]"])
        return body

    def _open_channel(self, args: Args) -> Channel:
        channel = self._state.find_channel(str(args.required("channel")))
        if channel is None:
            raise MethodRefusedError("channel_not_found")
        if channel.is_archived:
            raise MethodRefusedError("is_archived")
        if not channel.bot_is_member:
            raise MethodRefusedError("not_in_channel")
        if self._post_rate is not None:
            self._post_rate.spend(channel.channel_id)
        return channel

    def _channel_by_id(self, args: Args) -> Channel:
        channel = self._state.channels.get(str(args.required("channel")))
        if channel is None:
            raise MethodRefusedError("channel_not_found")
        return channel

    def _own_message(self, args: Args, *, refusal: str) -> PostedMessage:
        channel = self._channel_by_id(args)
        message = self._state.get(channel.channel_id, str(args.required("ts")))
        if message is None or message.visible_to is not None:
            raise MethodRefusedError("message_not_found")
        if not message.is_from_bot:
            raise MethodRefusedError(refusal)
        return message


def _read_body(args: Args, *, is_update: bool) -> Body:
    raw_blocks, raw_attachments, raw_metadata = (args.given(name) for name in ("blocks", "attachments", "metadata"))
    body = Body(
        text=read_text(args.values.get("text"), is_update=is_update),
        blocks=tuple(read_blocks(raw_blocks)) if raw_blocks is not None else (),
        attachments=tuple(read_attachments(raw_attachments)) if raw_attachments is not None else (),
        metadata=read_metadata(raw_metadata) if raw_metadata is not None else None,
    )
    if body.is_empty:
        raise MethodRefusedError("no_text")
    return body


def _slack_files(node: Any) -> Iterator[Any]:
    """What the images in ``node`` name as their files."""
    if isinstance(node, dict):
        if node.get("slack_file") is not None:
            yield node["slack_file"]
        node = list(node.values())
    for item in node if isinstance(node, list | tuple) else ():
        yield from _slack_files(item)


def _read_thread_ts(args: Args) -> str | None:
    thread_ts = args.text("thread_ts")
    if not thread_ts:
        return None
    seconds, _, micros = thread_ts.partition(".")
    if not (seconds.isdigit() and len(micros) == 6 and micros.isdigit()):
        raise MethodRefusedError("invalid_thread_ts", [f"[ERROR] {thread_ts} is not a valid thread_ts"])
    return thread_ts
