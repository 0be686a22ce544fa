"""Answers go where they were asked for: channel, thread, or only to the person."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import aiohttp

from trainmaster.bot.core.conversation.message import Message, Reply
from trainmaster.bot.core.conversation.picture import Picture, Sketch
from trainmaster.bot.core.conversation.plainer import plainer_forms
from trainmaster.bot.errors import ChatError, OperationError
from trainmaster.bot.ports import INTERNAL_ERROR, ChatRefused, Posted
from trainmaster.bot.slack import limits
from trainmaster.bot.slack.chat import SlackChat
from trainmaster.bot.slack.faults import CONTENT_ERRORS, translated
from trainmaster.bot.slack.forms import in_a_form
from trainmaster.bot.slack.render import render

_LOG = logging.getLogger(__name__)

KEY: Final = "answer"
"""How the metadata keys of answers begin; each has one of its own, by which it is found when Slack's reply is lost."""
_MAYBE_TAKEN: Final = frozenset({"slack-unreachable", "slack-answer", "slack-unwell", INTERNAL_ERROR})
"""Slugs of what leaves open whether Slack took the message."""
_LOOK_S: Final = 4.0
"""A person waits for the answer: rather twice than late."""
_CLOCKS_DIFFER_S: Final = 300.0
"""Slack has another clock; the key tells which message it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where an answer goes. ``response_url`` is Slack's own way back to a command or a click; it works in channels that
    the bot is not in. ``prefer_url``: for a slash command, which leaves nothing in the channel to answer under."""

    user: str
    channel: str
    thread_ts: str | None = None
    root_ts: str | None = None
    """The thread that a public answer opens or joins; a private one is shown there only if the thread exists."""
    response_url: str | None = None
    prefer_url: bool = False


Illustrate = Callable[[Sketch], Awaitable[tuple[Picture, ...]]]
PICTURE_WAITS_S: Final = (0.0, 3.0, 10.0)
Send = Callable[[], Awaitable[None]]


class Answers:
    """Sends replies. A way that fails is followed by the next; only when all fail is the person left without, and that
    is logged."""

    def __init__(
        self,
        chat: SlackChat,
        session: aiohttp.ClientSession,
        proxy: str | None,
        illustrate: Illustrate | None = None,
        *,
        poster: SlackChat | None = None,
    ) -> None:
        """``poster`` posts what everybody reads, and repeats no call whose reply was lost; ``chat`` if not given."""
        self._chat = chat
        self._poster = poster or chat
        self._session = session
        self._proxy = proxy
        self._illustrate = illustrate

    async def give(self, reply: Reply, place: Place) -> None:
        """The reply is with the person, or in the channel for all."""
        if reply.private:
            for message in (reply.message, *reply.thread)[: limits.RESPONSE_URL_USES]:
                await self._private(message, place)
            return
        await self._public(reply, place)

    async def _public(self, reply: Reply, place: Place) -> None:
        root_ts = place.root_ts or place.thread_ts
        try:
            posted = await self._post(place.channel, reply.message, root_ts)
        except ChatError as error:
            _LOG.info("an answer to %s could not be posted: %s", place.user, error)
            await self._public_by_url(reply, place)
            return
        for message in reply.thread:
            try:
                await self._post(place.channel, message, root_ts or posted.ts)
            except ChatError as error:
                _LOG.warning("a part of an answer to %s was lost: %s", place.user, error)
        if reply.sketch is not None and self._illustrate is not None:
            await self._add_pictures(reply.message, posted, await self._drawn(reply.sketch))

    async def _drawn(self, sketch: Sketch) -> tuple[Picture, ...]:
        assert self._illustrate is not None
        try:
            return await self._illustrate(sketch)
        except (ChatError, OperationError) as error:
            _LOG.info("an answer stays without its picture: %s", error)
            return ()

    async def _add_pictures(self, message: Message, posted: Posted, pictures: tuple[Picture, ...]) -> None:
        """The answer shows them; Slack first has to look at a new file, and refuses it until then."""
        for wait_s in PICTURE_WAITS_S if pictures else ():
            await asyncio.sleep(wait_s)
            try:
                await self._chat.update(posted, replace(message, pictures=pictures))
            except ChatError as error:
                _LOG.info("an answer does not show its picture yet: %s", error)
            else:
                return

    async def _public_by_url(self, reply: Reply, place: Place) -> None:
        async def respond() -> None:
            for message in (reply.message, *reply.thread)[: limits.RESPONSE_URL_USES]:
                await self._respond(message, place, public=True)

        await self._first_that_works(place, [respond] if place.response_url else [])

    async def _private(self, message: Message, place: Place) -> None:
        async def whisper() -> None:
            if place.channel.startswith("D"):
                await self._post(place.channel, message, place.thread_ts)
            else:
                await in_a_form(
                    _forms(message),
                    lambda form: self._chat.whisper(place.channel, place.user, form, thread_ts=place.thread_ts),
                )

        async def respond() -> None:
            await self._respond(message, place, public=False)

        async def direct() -> None:
            await self._post(place.user, message, None)

        by_url = [respond] if place.response_url else []
        ways = [*by_url, whisper, direct] if place.prefer_url else [whisper, *by_url, direct]
        await self._first_that_works(place, ways)

    async def _first_that_works(self, place: Place, ways: Sequence[Send]) -> None:
        for way in ways:
            try:
                await way()
            except ChatError as error:
                _LOG.info("a way to answer %s failed: %s", place.user, error)
            else:
                return
        _LOG.error("an answer to %s in %s was lost: every way failed", place.user, place.channel)

    async def _post(self, channel: str, message: Message, thread_ts: str | None) -> Posted:
        """It stands there once, as far as that can be known.

        Raises:
            ChatError: Slack does not take it.
        """
        key, began_ts = f"{KEY}/{secrets.token_hex(8)}", time.time()

        async def post() -> Posted:
            return await in_a_form(
                _forms(message), lambda form: self._poster.post(channel, form, thread_ts=thread_ts, key=key)
            )

        try:
            return await post()
        except ChatError as error:
            if error.slug not in _MAYBE_TAKEN:
                raise
            try:
                async with asyncio.timeout(_LOOK_S):
                    found = await self._poster.find(
                        channel, key, thread_ts=thread_ts, since_ts=began_ts - _CLOCKS_DIFFER_S
                    )
            except (ChatError, TimeoutError):
                raise error from None
        return found or await post()

    async def _respond(self, message: Message, place: Place, *, public: bool) -> None:
        await in_a_form(_forms(message), lambda form: self._respond_once(form, place, public=public))

    async def _respond_once(self, message: Message, place: Place, *, public: bool) -> None:
        rendered = render(message, self._chat.names())
        payload: dict[str, Any] = {
            "text": rendered.text,
            "blocks": list(rendered.blocks),
            "response_type": "in_channel" if public else "ephemeral",
            "replace_original": False,
        }
        if place.thread_ts is not None:
            payload["thread_ts"] = place.thread_ts
        async with (
            translated("answering"),
            self._session.post(str(place.response_url), json=payload, proxy=self._proxy) as answer,
        ):
            body = (await answer.text())[:200]
            if any(name in body for name in CONTENT_ERRORS):
                raise ChatRefused("slack-content", f"Slack refuses the answer ({body}).", content=True)
            if answer.status != 200 or '"ok":false' in body.replace(" ", ""):
                raise ChatError("slack-response-url", f"Slack refused an answer ({answer.status}: {body}).")


def _forms(message: Message) -> Iterator[Message]:
    yield message
    yield from plainer_forms(message)
