"""App Home: each person's page, published when they open it and when it would read otherwise."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any, Final

from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from trainmaster.bot.core.conversation.message import Message
from trainmaster.bot.core.conversation.plainer import plainer_forms
from trainmaster.bot.core.conversation.request import Handler
from trainmaster.bot.errors import ChatError, TrainmasterError
from trainmaster.bot.ports import UNKNOWN_ANSWER
from trainmaster.bot.slack import limits
from trainmaster.bot.slack.faults import error_name, translated
from trainmaster.bot.slack.forms import in_a_form
from trainmaster.bot.slack.render import render

_LOG = logging.getLogger(__name__)

MAX_VIEWERS: Final = 50
VIEWER_S: Final = 24 * 3600.0
"""Who has not opened the page for so long, or not among so many, gets it anew when they do."""
OFF_S: Final = 3600.0
"""So long nothing is published after Slack refused: the app has no Home tab, or was installed before it had one."""
_NO_HOMES: Final = "not_enabled"
"""What Slack answers for every person where the app has no Home tab."""
_REFUSED: Final = (UNKNOWN_ANSWER, "slack-content")
"""The same page would be refused again; one that reads otherwise may not be."""


def home_view(parts: Sequence[Message]) -> dict[str, Any]:
    """The page as ``views.publish`` takes it, within Slack's number of blocks."""
    blocks: list[dict[str, Any]] = []
    for part in parts:
        drawn = [block for block in render(part).blocks if block["type"] != "table"]
        if len(blocks) + len(drawn) + 1 > limits.HOME_BLOCKS:
            break
        blocks += [*([{"type": "divider"}] if blocks else []), *drawn]
    return {"type": "home", "blocks": blocks}


def _plainer_views(parts: Sequence[Message]) -> Iterator[dict[str, Any]]:
    """For a Slack that refuses the page, down to words."""
    plainer = [plainer_forms(part) for part in parts]
    yield home_view([forms[-2] for forms in plainer])
    words = [render(forms[-1]).text for forms in plainer]
    yield {"type": "home", "blocks": [_words_alone(text) for text in words[: limits.HOME_BLOCKS] if text]}


def _words_alone(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text[: limits.SECTION_CHARS]}}


class HomePages:
    """Remembers who looked lately and what they were shown; forgets it at a restart, after which a page is as it was
    until somebody opens it."""

    def __init__(
        self, client: AsyncWebClient, handler: Handler, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._client = client
        self._handler = handler
        self._monotonic = monotonic
        self._viewers: OrderedDict[str, tuple[float, str]] = OrderedDict()
        """Since when, and a digest of what was published."""
        self._off_until = float("-inf")
        self._one_at_a_time = asyncio.Lock()

    async def opened(self, user: str) -> None:
        """The person sees their page as things are now."""
        self._viewers.pop(user, None)
        self._viewers[user] = (self._monotonic(), "")
        while len(self._viewers) > MAX_VIEWERS:
            self._viewers.popitem(last=False)
        await self._publish(user)

    async def refresh(self) -> None:
        """The pages that were opened lately read as things are now; what has not changed is not sent."""
        now = self._monotonic()
        for user, (since, _) in tuple(self._viewers.items()):
            if now - since > VIEWER_S:
                del self._viewers[user]
            else:
                await self._publish(user)

    async def _publish(self, user: str) -> None:
        async with self._one_at_a_time:
            await self._publish_now(user)

    async def _publish_now(self, user: str) -> None:
        if self._monotonic() < self._off_until:
            return
        try:
            parts = await self._handler.home(user)
            view = home_view(parts)
        except TrainmasterError as error:
            _LOG.warning("the Home of %s can't be made: %s", user, error)
            return
        digest = hashlib.sha256(json.dumps(view, ensure_ascii=True).encode()).hexdigest()
        since, shown = self._viewers.get(user, (0.0, ""))
        if digest == shown:
            return
        try:
            await in_a_form(chain([view], _plainer_views(parts)), partial(self._show, user))
        except ChatError as error:
            _LOG.info("%s", error)
            if error.slug == "slack-scope" or _name_of(error) == _NO_HOMES:
                self._off_until = self._monotonic() + OFF_S
                return
            if error.slug not in _REFUSED:
                return  # it may pass, and is tried again
            # It is of this person or this page (they left, it is too large): no reason to keep it from the others.
        if user in self._viewers:
            self._viewers[user] = (since, digest)

    async def _show(self, user: str, view: dict[str, Any]) -> None:
        async with translated(f"publishing the Home of {user}"):
            await self._client.views_publish(user_id=user, view=view)


def _name_of(error: ChatError) -> str:
    return error_name(error.__cause__) if isinstance(error.__cause__, SlackApiError) else ""
