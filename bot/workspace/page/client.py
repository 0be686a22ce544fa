"""Acting on the page without a browser: the headless demo and the tests use this."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import parse_qs, urlsplit

import aiohttp

from trainmaster.bot.workspace.page.gate import PAGE_TOKEN_HEADER

T = TypeVar("T")
_LINE_LIMIT_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came of an action. ``error`` is what Slack would show, such as ``operation_timeout``."""

    ok: bool
    error: str = ""
    ts: str = ""
    errors: dict[str, str]
    """Texts at the inputs of a modal: block id -> text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageView:
    """All that the page shows at one moment. Messages are dicts as on the wire, with ``channel`` and ``visible_to``."""

    messages: tuple[dict[str, Any], ...]
    views: tuple[dict[str, Any], ...]
    """Open modals: ``user`` and ``view``."""
    homes: tuple[dict[str, Any], ...]
    """The Home of the app: ``user`` and ``view``."""
    channels: tuple[dict[str, Any], ...]
    app_connected: bool

    def channel_id(self, channel: str) -> str:
        """Return the id of a channel given by id or name; a person's name or id is their conversation with the bot."""
        word = channel.removeprefix("#").removeprefix("@")
        for entry in self.channels:
            if word in {entry["id"], entry["name"], entry["person"]}:
                return str(entry["id"])
        raise KeyError(channel)

    def in_channel(self, channel: str) -> list[dict[str, Any]]:
        """Return what everybody in the channel sees, replies too, oldest first."""
        channel_id = self.channel_id(channel)
        return [m for m in self.messages if m["channel"] == channel_id and m["visible_to"] is None]

    def only_for(self, user_id: str) -> list[dict[str, Any]]:
        """Return what only this person sees, oldest first."""
        return [m for m in self.messages if m["visible_to"] == user_id]


class PageClient:
    """One open page. People are given by id or name, channels by id, ``#name``, or ``dm``."""

    def __init__(self, page_url: str) -> None:
        parts = urlsplit(page_url)
        self._base = f"{parts.scheme}://{parts.netloc}"
        self._headers = {PAGE_TOKEN_HEADER: parse_qs(parts.query).get("token", [""])[0]}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """The connection is closed; the client may be used again."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def slash(
        self, person: str, command: str, text: str, channel: str, *, thread_ts: str | None = None
    ) -> Answer:
        """Type ``/command text`` in a channel; returns when the app acknowledged it or Slack gave up."""
        return await self._act("slash", person=person, command=command, text=text, channel=channel, thread_ts=thread_ts)

    async def say(self, person: str, channel: str, text: str, *, thread_ts: str | None = None) -> Answer:
        """Post a message; ``@trainmaster`` in it is a mention. The answer has its ``ts``."""
        return await self._act("say", person=person, channel=channel, text=text, thread_ts=thread_ts)

    async def click(
        self,
        person: str,
        message_ts: str,
        action_id: str,
        channel: str,
        *,
        block_id: str | None = None,
        value: str | None = None,
        choice: Any = None,
    ) -> Answer:
        """Press a button, or choose in a menu (``choice`` is the value of the option).

        A button that the message showed before its last edit works too, as on a page that lags behind.
        """
        return await self._act(
            "click",
            person=person,
            channel=channel,
            message_ts=message_ts,
            action_id=action_id,
            block_id=block_id,
            value=value,
            choice=choice,
        )

    async def submit(self, person: str, view_id: str, values: dict[str, Any]) -> Answer:
        """Send a modal off; ``values`` maps action ids to what was typed or chosen."""
        return await self._act("submit", person=person, view_id=view_id, values=values)

    async def close_view(self, person: str, view_id: str) -> Answer:
        """Put a modal away."""
        return await self._act("close_view", person=person, view_id=view_id)

    async def open_home(self, person: str) -> Answer:
        """Open the Home of the app; what it shows comes with ``homes``."""
        return await self._act("home", person=person)

    async def shortcut(self, person: str, message_ts: str, callback_id: str, channel: str) -> Answer:
        """Choose a shortcut in the menu of a message."""
        return await self._act(
            "shortcut", person=person, channel=channel, message_ts=message_ts, callback_id=callback_id
        )

    async def look(self) -> PageView:
        """Return what the page shows now."""
        async with self._open().get(f"{self._base}/page/state", headers=self._headers) as response:
            response.raise_for_status()
            return _view(await response.json())

    async def messages(self, channel: str) -> list[dict[str, Any]]:
        """Return what everybody in the channel sees, replies too, oldest first."""
        return (await self.look()).in_channel(channel)

    async def ephemerals(self, person: str) -> list[dict[str, Any]]:
        """Return what only this person (by id) sees, oldest first."""
        return (await self.look()).only_for(person)

    async def wait_for(self, predicate: Callable[[PageView], T | None], timeout_s: float) -> T:
        """Return the first true value of ``predicate``, asked now and after every change.

        Raises:
            TimeoutError: it never was; the text says what was shown last.
        """
        last: PageView | None = None
        try:
            async with asyncio.timeout(timeout_s), self._changes() as views:
                async for last in views:
                    if found := predicate(last):
                        return found
        except TimeoutError as fault:
            shown = [f"{m['user']}: {m['text'][:100]}" for m in last.messages[-5:]] if last else []
            raise TimeoutError(f"not seen within {timeout_s:g} s; last shown: {shown}") from fault
        raise TimeoutError("the workspace went away")

    @asynccontextmanager
    async def _changes(self) -> AsyncIterator[AsyncIterator[PageView]]:
        timeout = aiohttp.ClientTimeout(total=None, sock_read=None)
        async with (
            aiohttp.ClientSession(timeout=timeout, read_bufsize=_LINE_LIMIT_BYTES) as session,
            session.get(f"{self._base}/page/stream", headers=self._headers) as response,
        ):
            response.raise_for_status()
            yield _follow(response)

    async def _act(self, action: str, **body: Any) -> Answer:
        url = f"{self._base}/page/{action}"
        async with self._open().post(url, json=body, headers=self._headers) as response:
            answer = await response.json(content_type=None)
        errors = answer.get("errors")
        return Answer(
            ok=bool(answer["ok"]),
            error=str(answer.get("error", "")),
            ts=str(answer.get("ts", "")),
            errors=errors if isinstance(errors, dict) else {},
        )

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession()
        return self._session


def _view(snapshot: dict[str, Any]) -> PageView:
    return PageView(
        messages=tuple(snapshot["messages"]),
        views=tuple(snapshot["views"]),
        homes=tuple(snapshot["homes"]),
        channels=tuple(snapshot["channels"]),
        app_connected=snapshot["app_connected"],
    )


async def _follow(response: aiohttp.ClientResponse) -> AsyncIterator[PageView]:
    snapshot: dict[str, Any] = {}
    async for line in response.content:
        change = json.loads(line)
        match change["type"]:
            case "snapshot":
                snapshot = change
            case "message":
                new = change["message"]
                kept = [m for m in snapshot["messages"] if (m["channel"], m["ts"]) != (new["channel"], new["ts"])]
                snapshot["messages"] = sorted([*kept, new], key=lambda m: str(m["ts"]))
            case "deleted":
                gone = (change["channel"], change["ts"])
                snapshot["messages"] = [m for m in snapshot["messages"] if (m["channel"], m["ts"]) != gone]
            case "view":
                kept = [v for v in snapshot["views"] if v["view"]["id"] != change["view"]["id"]]
                snapshot["views"] = [*kept, {"user": change["user"], "view": change["view"]}]
            case "view_closed":
                snapshot["views"] = [v for v in snapshot["views"] if v["view"]["id"] != change["view_id"]]
            case "home":
                kept = [h for h in snapshot["homes"] if h["user"] != change["user"]]
                snapshot["homes"] = [*kept, {"user": change["user"], "view": change["view"]}]
            case "presence":
                snapshot["app_connected"] = change["app_connected"]
        yield _view(snapshot)
