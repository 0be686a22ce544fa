"""Between Slack and the handler: in time, once, and never silent."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from slack_sdk.web.async_client import AsyncWebClient

from trainmaster.bot.core.conversation.message import Message, Reply, Tone
from trainmaster.bot.core.conversation.request import Handler, Origin, Press, Request
from trainmaster.bot.core.conversation.words import capitalized
from trainmaster.bot.errors import ChatError, TrainmasterError
from trainmaster.bot.slack import incoming
from trainmaster.bot.slack.answers import Answers, Place
from trainmaster.bot.slack.faults import translated
from trainmaster.bot.slack.home import HomePages
from trainmaster.bot.slack.seen_events import SeenBefore, SeenEvents

_LOG = logging.getLogger(__name__)
_PLAIN_WORD: Final = re.compile(r"[a-z]+(?:['’][a-z]+)?(?=[ ,:;.]|$)")

ACK_AT_LATEST_S: Final = 2.0
"""Slack gives 3 s. A decision is acknowledged once it is committed, but never later than this."""
OPEN_FORM_S: Final = 3.0
"""So long Slack takes a form for a click (docs.slack.dev, trigger_id); the decision waits for no longer pause."""

Ack = Callable[[], Awaitable[Any]]
Payload = Mapping[str, Any]


class Inbox:
    """Takes in what people say and press, asks the handler, and brings the answers. Nothing here raises: an exception
    just after an ``ack`` would make Bolt lose it."""

    def __init__(
        self,
        *,
        handler: Handler,
        answers: Answers,
        client: AsyncWebClient,
        bot_user: str,
        team: str | None = None,
        hints_in: Callable[[], str] | None = None,
        seen: SeenBefore | None = None,
        said_since: Callable[[], float | None] = lambda: None,
    ) -> None:
        """``said_since``: since when what is delivered now, without a time, may have been said."""
        self._said_since = said_since
        self._team = team
        self._hints_in = hints_in
        self._handler = handler
        self._answers = answers
        self._client = client
        self._bot_user = bot_user
        self._seen = seen or SeenEvents()
        self._seen_here = SeenEvents()
        self.home = HomePages(client, handler)
        self._open: set[asyncio.Task[Any]] = set()
        self._under_way: set[str] = set()
        """Keys of clicks that are being carried out."""

    async def slash(self, body: Payload, ack: Ack) -> None:
        """A slash command: acknowledged at once, as its answer is what shows that it was carried out."""
        await ack()
        request = incoming.slash_request(body, self._team)
        if request is None:
            _LOG.warning("a slash command without user or channel was ignored")
            return
        if not self._is_first(*incoming.delivery_keys(body)):
            _LOG.info("a slash command was delivered again and not carried out again")
            return
        request = replace(request, since_ts=self._said_since())
        url = body.get("response_url")
        place = _place(request, response_url=url if isinstance(url, str) else None, prefer_url=True)
        await self._track(self._command(request, place))

    async def shortcut(self, body: Payload, ack: Ack) -> None:
        """The shortcut on a message; only the person who used it reads the answer."""
        await ack()
        request = incoming.shortcut_request(body, self._team)
        if request is None:
            _LOG.warning("a shortcut without user or message was ignored")
            return
        url = body.get("response_url")
        place = replace(_place(request), thread_ts=None, response_url=url if isinstance(url, str) else None)
        await self._track(self._command(request, place))

    async def home_opened(self, body: Payload) -> None:
        """Somebody looks at their Home."""
        user = incoming.home_opener(body, self._team)
        if user:
            await self._track(self.home.opened(user))

    async def mention(self, body: Payload) -> None:
        """A mention in a channel; answered in its thread if it was said in one."""
        request = incoming.mention_request(body, self._bot_user, self._team)
        if request is None or not self._is_first(incoming.event_key(body)):
            return
        if self._is_first(incoming.words_key(request)) or not incoming.is_edit(body):
            await self._track(self._command(request, _place(request)))

    async def message(self, body: Payload) -> None:
        """A direct message, or talk in a thread: of that only what is a command, under a message of ours."""
        bare = incoming.bare_words(body, self._bot_user, self._team)
        if bare is not None:
            await self._track(self._hint(bare))
            return
        talk = incoming.message_talk(body, self._bot_user, self._team)
        if talk is None or not self._is_first(incoming.event_key(body)):
            return
        request = talk.request
        if request.origin is Origin.THREAD and not self._is_meant(talk):
            return
        await self._track(self._command(request, _place(request)))

    async def button(self, body: Payload, ack: Ack) -> None:
        """A pressed button: what it changes is committed first, then acknowledged. Some only ask for a reason."""
        press = incoming.press(body, self._team)
        if press is None:
            await ack()
            _LOG.warning("a click without action, user or message was ignored")
            return
        if press.pressed_ts is None:
            press = replace(press, pressed_ts=self._said_since())
        url = body.get("response_url")
        place = _press_place(press, url if isinstance(url, str) else None)
        if press.action in incoming.ASKS_WHY:
            await ack()
            if not await self._asked_why(press):
                await self._track(self._press(press, place, _acked))
            return
        keys = incoming.delivery_keys(body) if press.action in incoming.ADDS_UP else ()
        if any(map(self._was_done, keys)):
            await ack()
            _LOG.info("a click was delivered again and not carried out again")
            return
        self._under_way.update(keys)
        try:
            await self._track(self._press(press, place, ack, keys))
        finally:
            self._under_way.difference_update(keys)

    async def reason_given(self, body: Payload, ack: Ack) -> None:
        """The form with the reason, sent off."""
        press = incoming.reason_given(body, self._team)
        if press is None:
            await ack()
            _LOG.warning("a form without user or subject was ignored")
            return
        await self._track(self._press(press, _press_place(press, None), ack))

    async def settle(self, timeout_s: float) -> None:
        """What is being answered is finished, or the time is over."""
        if self._open:
            await asyncio.wait(self._open, timeout=timeout_s)

    def _is_first(self, *keys: str) -> bool:
        """Whether none of these was delivered before. All are remembered; while the store can't, in this process."""
        first = True
        for key in keys:
            new_here = self._seen_here.first(key)
            try:
                first = self._seen.first(key) and new_here and first
            except TrainmasterError as error:
                _LOG.warning("what Slack delivered before can't be looked up: %s", error)
                first = new_here and first
        return first

    def _was_done(self, key: str) -> bool:
        """Whether the click was carried out. It is known only afterwards: what a kill cut off must come again."""
        if key in self._under_way:
            return True
        try:
            return self._seen_here.known(key) or self._seen.known(key)
        except TrainmasterError as error:
            _LOG.warning("what Slack delivered before can't be looked up: %s", error)
            return False

    async def _track(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._open.add(task)
        task.add_done_callback(self._open.discard)
        await task

    async def _hint(self, request: Request) -> None:
        """A command that was said to nobody is not carried out; the person alone reads how it is given."""
        if self._hints_in is None or request.channel != self._hints_in() or request.foreign:
            return
        if not self._handler.is_command(request.text):
            return
        message = Message(
            title=f"“{request.text}” was not carried out: say it to me",
            body=(f"Here: /train {request.text}. Or mention me in front of it, or say it in a thread of mine.",),
            context=("Only you see this; CHANNEL_HINTS=off turns it off.",),
        )
        await self._answer(_is(Reply(message=message, private=True)), _place(request))

    def _is_meant(self, talk: incoming.Talk) -> bool:
        request = talk.request
        try:
            ours = talk.under_bot or self._handler.is_ours(request.channel, request.thread_ts or "")
            return ours and self._handler.is_command(request.text)
        except TrainmasterError as error:
            _LOG.warning("a reply in a thread was not understood: %s", error)
            return False

    async def _command(self, request: Request, place: Place) -> None:
        await self._answer(_told(self._handler.command(request), request.id, request.text), place)

    async def _press(self, press: Press, place: Place, ack: Ack, keys: tuple[str, ...] = ()) -> None:
        done = self._done_once(self._handler.action(press), keys)
        asked = asyncio.ensure_future(_told(done, press.id, press.action.value))
        await asyncio.wait({asked}, timeout=ACK_AT_LATEST_S)
        await ack()
        await self._answer(asked, place)

    async def _done_once(self, work: Awaitable[Reply | None], keys: tuple[str, ...]) -> Reply | None:
        """What ``work`` answers; a click that was not refused is remembered by its ``keys``."""
        reply = await work
        self._is_first(*keys)
        return reply

    async def _answer(self, asked: Awaitable[Reply | None], place: Place) -> None:
        reply = await asked
        if reply is None:
            return
        try:
            await self._answers.give(reply, place)
        except Exception:  # noqa: BLE001 - logged; a person who lost an answer asks again
            _LOG.exception("an answer to %s in %s was lost", place.user, place.channel)

    async def _asked_why(self, press: Press) -> bool:
        """Whether the form is open. If Slack will not open it, the decision counts without a reason: it is what was
        pressed, and a reject or a continue changes nothing in the world."""
        try:
            async with asyncio.timeout(OPEN_FORM_S), translated("opening the form for a reason"):
                await self._client.views_open(trigger_id=press.id, view=incoming.reason_form(press))
        except (ChatError, TimeoutError) as error:
            _LOG.warning("the form for a reason could not be opened: %s", error or "no answer in time")
            return False
        return True


async def _is(reply: Reply) -> Reply:
    return reply


async def _acked() -> None:
    """The ack of what was acknowledged before: nothing is sent."""


async def _told(answer: Awaitable[Reply | None], id_: str, what: str) -> Reply | None:
    """The handler's answer, or what went wrong, in words: the command's edge, where everything is caught."""
    try:
        return await answer
    except TrainmasterError as error:
        return _failure(error)
    except Exception:  # noqa: BLE001 - the edge of a command: logged, and told to who asked
        mark = secrets.token_hex(4)
        _LOG.exception("%s failed (mark %s, Slack's id %s)", what[:80], mark, id_)
        message = Message(
            title="That failed inside Trainmaster",
            tone=Tone.CRITICAL,
            body=(f"The bot's log has the details under the mark {mark}.",),
            context=("/train status shows what holds now",),
        )
        return Reply(message=message, private=True)


def _failure(error: TrainmasterError) -> Reply:
    title = _sentence(error.message)
    _LOG.info("refused: %s", error)
    context = (error.hint,) if error.hint else ()
    return Reply(message=Message(title=title, tone=Tone.WARNING, context=context), private=True)


def _sentence(text: str) -> str:
    """``text`` with a capital, unless it begins with what is no plain word: a setting, a file, a quotation. An error
    that is about a run begins with another word than its name."""
    return capitalized(text) if _PLAIN_WORD.match(text) else text


def _place(request: Request, *, response_url: str | None = None, prefer_url: bool = False) -> Place:
    return Place(
        user=request.user,
        channel=request.channel,
        thread_ts=request.thread_ts,
        response_url=response_url,
        prefer_url=prefer_url,
    )


def _press_place(press: Press, response_url: str | None) -> Place:
    return Place(
        user=press.user,
        channel=press.channel,
        thread_ts=press.thread_ts,
        root_ts=press.thread_ts or press.message_ts,
        response_url=response_url,
    )
