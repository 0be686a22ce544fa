"""The channel: implements :class:`trainmaster.bot.ports.Chat` on Slack's Web API."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from slack_sdk.web.async_client import AsyncWebClient

from trainmaster.bot.core.conversation.message import Message
from trainmaster.bot.core.conversation.tokens import NOBODY_KNOWN
from trainmaster.bot.errors import ChatError
from trainmaster.bot.ports import ChatRefused, MessageGone, Posted
from trainmaster.bot.slack.faults import translated
from trainmaster.bot.slack.render import render

_LOG = logging.getLogger(__name__)

METADATA_EVENT: Final = "trainmaster_message"
"""``metadata.event_type`` of every message; its payload carries the message's key, as Slack has no idempotency key."""

ON_CALL_CACHE_S: Final = 5.0
"""Several clicks at once ask Slack once; a change of the group counts within seconds."""


_PEOPLE: Final = ("U", "W")
"""How ids of people begin."""
_PAGE: Final = 200
_MAX_PAGES: Final = 5
"""Messages since a reply was lost; Slack advises at most 200 at once (docs.slack.dev, conversations.history)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnCallSource:
    """Who may decide: the members of ``usergroup`` as Slack tells them now, else ``users``."""

    users: tuple[str, ...] = ()
    usergroup: str | None = None


class SlackChat:
    """Posts, edits, and knows who is on call. Retries nothing: the outbox does, and minds the order."""

    def __init__(
        self,
        client: AsyncWebClient,
        on_call: OnCallSource,
        monotonic: Callable[[], float] = time.monotonic,
        names: Callable[[], Mapping[str, str]] = lambda: NOBODY_KNOWN,
        *,
        own_bot_id: Callable[[], str | None] = lambda: None,
    ) -> None:
        """``names`` is what people are called, by id, as far as that is known; ``own_bot_id`` is who the bot is, None
        before it is known."""
        self._own_bot_id = own_bot_id
        self._client = client
        self.names = names
        self._on_call = on_call
        self._monotonic = monotonic
        self._members: frozenset[str] = frozenset()
        self._members_until = float("-inf")
        self._blind: set[str] = set()
        """Where the app may not look messages up: an installation of before that was asked for."""
        self._direct: dict[str, str] = {}
        """By person the conversation that they and the bot have."""
        self._look_up: asyncio.Task[frozenset[str]] | None = None
        self._refused_files: set[str] = set()

    async def post(self, channel: str, message: Message, *, thread_ts: str | None, key: str) -> Posted:
        """As :class:`trainmaster.bot.ports.Chat` says of it."""
        rendered = render(message, self.names())
        async with self._minding(message), translated(f"posting to {channel}"):
            answer = await self._client.chat_postMessage(
                channel=channel,
                text=rendered.text,
                blocks=list(rendered.blocks),
                thread_ts=thread_ts,
                metadata={"event_type": METADATA_EVENT, "event_payload": {"key": key}},
                unfurl_links=False,
                unfurl_media=False,
            )
        posted_to, ts = answer.get("channel"), answer.get("ts")
        if not isinstance(ts, str):
            raise ChatError("slack-answer", f"posting to {channel}: Slack told no time stamp of the message.")
        if isinstance(posted_to, str) and channel.startswith(_PEOPLE):
            self._direct[channel] = posted_to
        return Posted(channel=posted_to if isinstance(posted_to, str) else channel, ts=ts)

    async def update(self, posted: Posted, message: Message) -> None:
        """As :class:`trainmaster.bot.ports.Chat` says of it."""
        rendered = render(message, self.names())
        async with self._minding(message), translated(f"editing a message in {posted.channel}"):
            await self._client.chat_update(
                channel=posted.channel, ts=posted.ts, text=rendered.text, blocks=list(rendered.blocks)
            )

    def refused(self, file: str) -> bool:
        """Whether Slack refused the last message with that picture: it takes a file only when it has looked at it."""
        return file in self._refused_files

    @asynccontextmanager
    async def _minding(self, message: Message) -> AsyncIterator[None]:
        files = {picture.file for picture in message.pictures}
        try:
            yield
        except ChatRefused as error:
            if error.content:
                self._refused_files |= files
            raise
        self._refused_files -= files

    async def find(self, channel: str, key: str, *, thread_ts: str | None, since_ts: float) -> Posted | None:
        """See :class:`trainmaster.bot.alerting.sending.SearchableChat`. Of several the newest. Only messages of this
        very bot count: metadata can be copied by others."""
        if channel.startswith(_PEOPLE):
            channel = await self._conversation_with(channel)
        if channel in self._blind or not channel.startswith(("C", "G", "D")):
            return None
        cursor: str | None = None
        newest: str | None = None
        for _ in range(_MAX_PAGES):
            answer = await self._page(channel, thread_ts, since_ts, cursor)
            listed: Any = answer.get("messages")
            own = self._own_bot_id()
            stamps = [str(one["ts"]) for one in listed if _key_of(one, own) == key] if isinstance(listed, list) else []
            newest = max([*stamps, *([newest] if newest else [])], key=float, default=None)
            following: Any = answer.get("response_metadata")
            cursor = following.get("next_cursor") if isinstance(following, dict) else None
            if not cursor or (newest and thread_ts is None):  # a channel is listed newest first, a thread oldest first
                break
        return Posted(channel=channel, ts=newest) if newest else None

    async def answers(self) -> bool:
        """Whether ``auth.test`` is answered now, whatever else is not."""
        try:
            async with translated("asking whether Slack answers"):
                await self._client.auth_test()
        except ChatError:
            return False
        return True

    async def _conversation_with(self, user: str) -> str:
        """The channel of direct messages with ``user``; empty when the app may not ask for it.

        Raises:
            ChatError: it can't be told now.
        """
        if user not in self._direct and user not in self._blind:
            try:
                async with translated(f"looking for the direct messages to {user}"):
                    answer = await self._client.conversations_open(users=user)
            except ChatRefused as error:
                self._note_blind(user, error)
                return ""
            told: Any = answer.get("channel")
            if isinstance(told, dict) and isinstance(told.get("id"), str):
                self._direct[user] = told["id"]
        return self._direct.get(user, "")

    def _note_blind(self, where: str, error: ChatRefused) -> None:
        self._blind.add(where)
        _LOG.warning("%s A message there whose reply is lost may come twice.", error)

    async def _page(
        self, channel: str, thread_ts: str | None, since_ts: float, cursor: str | None
    ) -> Mapping[str, Any]:
        what: dict[str, Any] = {
            "channel": channel,
            "oldest": f"{since_ts:.6f}",
            "limit": _PAGE,
            "include_all_metadata": True,
        }
        if cursor:
            what["cursor"] = cursor
        try:
            async with translated(f"looking for a message in {channel}"):
                if thread_ts is not None:
                    return (await self._client.conversations_replies(ts=thread_ts, **what)).data  # type: ignore[return-value]  # a dict
                return (await self._client.conversations_history(**what)).data  # type: ignore[return-value]  # a dict
        except MessageGone:
            return {}
        except ChatRefused as error:
            self._note_blind(channel, error)
            return {}

    async def whisper(self, channel: str, user: str, message: Message, *, thread_ts: str | None) -> None:
        """Only ``user`` sees it, and only while they have Slack open.

        Raises:
            ChatError: as :meth:`post`.
        """
        rendered = render(message, self.names())
        async with translated(f"answering in {channel}"):
            await self._client.chat_postEphemeral(
                channel=channel, user=user, text=rendered.text, blocks=list(rendered.blocks), thread_ts=thread_ts
            )

    async def on_call(self) -> frozenset[str]:
        """The group's members as Slack tells them now; the static list when there is no group, when Slack does not
        answer, or when the group is empty. Never everybody."""
        group = self._on_call.usergroup
        fallback = frozenset(self._on_call.users)
        if group is None:
            return fallback
        if self._monotonic() < self._members_until:
            return self._members
        # Fifty clicks in one moment are one question: Slack takes about twenty a minute.
        if self._look_up is None or self._look_up.done():
            self._look_up = asyncio.create_task(self._members_of(group, fallback))
        return await asyncio.shield(self._look_up)

    async def _members_of(self, group: str, fallback: frozenset[str]) -> frozenset[str]:
        try:
            async with translated(f"looking up the user group {group}"):
                answer = await self._client.usergroups_users_list(usergroup=group)
        except ChatError as error:
            _LOG.warning("%s The static list decides: %s", error, ", ".join(sorted(fallback)) or "nobody")
            return fallback
        listed: Any = answer.get("users")
        members = frozenset(one for one in listed if isinstance(one, str)) if isinstance(listed, list) else frozenset()
        if not members:
            _LOG.warning("user group %s has no members; the static list decides", group)
            return fallback
        self._members, self._members_until = members, self._monotonic() + ON_CALL_CACHE_S
        return members


def _key_of(message: Any, own: str | None) -> str | None:
    """The key in a message's metadata, if the bot ``own`` wrote it; any bot, while its own id is not known."""
    if not isinstance(message, dict) or not isinstance(message.get("ts"), str):
        return None
    by = message.get("bot_id")
    if not by or (own is not None and by != own):
        return None
    metadata = message.get("metadata")
    if not isinstance(metadata, dict) or metadata.get("event_type") != METADATA_EVENT:
        return None
    payload = metadata.get("event_payload")
    key = payload.get("key") if isinstance(payload, dict) else None
    return key if isinstance(key, str) else None
