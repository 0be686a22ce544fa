"""What the page, and :class:`client.PageClient`, may do: look, follow, and act as a person."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from trainmaster.bot.workspace.page.gate import PAGE_TOKEN_HEADER, is_token
from trainmaster.bot.workspace.page.interactions import Interactions
from trainmaster.bot.workspace.refusal import MethodRefusedError
from trainmaster.bot.workspace.socket_mode.sockets import SocketHub
from trainmaster.bot.workspace.state.people import Channel, Person
from trainmaster.bot.workspace.state.state import WorkspaceState
from trainmaster.bot.workspace.web_api.files import Files

STATIC_DIR: Final = Path(__file__).parents[1] / "static"
_CONTENT_TYPES: Final = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_KEEPALIVE_S: Final = 15.0

Action = Callable[[Person, dict[str, Any]], Awaitable[dict[str, Any]]]


class PageApi:
    """Everything under ``/page/``, the page itself, its files and uploaded pictures."""

    def __init__(
        self, *, state: WorkspaceState, interactions: Interactions, hub: SocketHub, files: Files, token: str
    ) -> None:
        self._state = state
        self._interactions = interactions
        self._hub = hub
        self._files = files
        self._token = token
        self._closing = asyncio.Event()
        self._actions: dict[str, Action] = {
            "say": self._say,
            "slash": self._slash,
            "click": self._click,
            "act_in_view": self._act_in_view,
            "submit": self._submit,
            "close_view": self._close_view,
            "home": self._home,
            "shortcut": self._shortcut,
        }

    def routes(self) -> list[web.RouteDef]:
        """Return the routes that the page calls."""
        return [
            web.get("/", self.page),
            web.get("/static/{name}", self.static),
            web.get("/files/{secret}", self.file),
            web.get("/page/state", self.snapshot),
            web.get("/page/stream", self.stream),
            web.post("/page/{action}", self.act),
        ]

    def close(self) -> None:
        """End every stream of news to an open page."""
        self._closing.set()

    async def page(self, request: web.Request) -> web.Response:
        """Return the page to whoever has the link with the secret."""
        if not is_token(request.query.get("token", ""), self._token):
            text = "Open the link that the program printed: it ends in ?token=… and changes with every start.\n"
            return web.Response(status=403, text=text)
        return _static_file("index.html")

    async def static(self, request: web.Request) -> web.Response:
        """Return a script or style of the page: nothing secret in them."""
        name = request.match_info["name"]
        if name not in {path.name for path in STATIC_DIR.iterdir()}:
            raise web.HTTPNotFound
        return _static_file(name)

    async def file(self, request: web.Request) -> web.Response:
        """Return an uploaded picture; anything else only as a download."""
        file = self._files.by_secret(request.match_info["secret"])
        if file is None or file.data is None:
            raise web.HTTPNotFound
        is_picture = file.mimetype.startswith("image/")
        headers = {} if is_picture else {"Content-Disposition": "attachment"}
        return web.Response(body=file.data, content_type=file.mimetype, headers=headers)

    async def snapshot(self, request: web.Request) -> web.Response:
        """Return everything at once."""
        self._want_token(request)
        return web.json_response(self._snapshot())

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Send a snapshot, then every change, one JSON object a line, until the page goes away."""
        self._want_token(request)
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson", "X-Accel-Buffering": "no"})
        await response.prepare(request)
        closing = asyncio.create_task(self._closing.wait())
        try:
            with self._state.feed() as feed:
                await _send_line(response, self._snapshot())
                while not closing.done():
                    change = asyncio.create_task(feed.get())
                    done, _ = await asyncio.wait(
                        {change, closing}, timeout=_KEEPALIVE_S, return_when=asyncio.FIRST_COMPLETED
                    )
                    if change in done:
                        await _send_line(response, self._complete(change.result()))
                    else:
                        change.cancel()
                        await _send_line(response, self._presence())
        except ConnectionError:
            pass  # the page was closed
        finally:
            closing.cancel()
        return response

    async def act(self, request: web.Request) -> web.Response:
        """Do something as a person."""
        self._want_token(request)
        action = self._actions.get(request.match_info["action"])
        try:
            if action is None:
                raise MethodRefusedError("unknown_action", status=404)
            if request.content_type != "application/json":
                raise MethodRefusedError("json_expected", status=415)
            body = await request.json()
            answer = await action(self._person(body), body)
        except MethodRefusedError as refusal:
            return web.json_response(refusal.body(), status=refusal.status if refusal.status != 200 else 400)
        except (ValueError, KeyError, TypeError, AttributeError) as fault:
            return web.json_response({"ok": False, "error": "bad_request", "message": repr(fault)}, status=400)
        return web.json_response(answer)

    # -- actions

    async def _say(self, person: Person, body: dict[str, Any]) -> dict[str, Any]:
        channel = self._channel(person, body)
        return await self._interactions.say(person, channel, str(body["text"]), thread_ts=body.get("thread_ts"))

    async def _slash(self, person: Person, body: dict[str, Any]) -> dict[str, Any]:
        channel = self._channel(person, body)
        return await self._interactions.slash(
            person, channel, str(body["command"]), str(body.get("text", "")), thread_ts=body.get("thread_ts")
        )

    async def _click(self, person: Person, body: dict[str, Any]) -> dict[str, Any]:
        return await self._interactions.click(
            person,
            self._channel(person, body),
            str(body["message_ts"]),
            str(body["action_id"]),
            block_id=body.get("block_id"),
            value=body.get("value"),
            choice=body.get("choice"),
            values=body.get("values"),
        )

    async def _act_in_view(self, person: Person, body: dict[str, Any]) -> dict[str, Any]:
        return await self._interactions.act_in_view(
            person, str(body["view_id"]), str(body["action_id"]), choice=body.get("choice"), values=body["values"]
        )

    async def _submit(self, person: Person, body: dict[str, Any]) -> dict[str, Any]:
        return await self._interactions.submit(person, str(body["view_id"]), dict(body["values"]))

    async def _close_view(self, person: Person, body: dict[str, Any]) -> dict[str, Any]:
        return await self._interactions.close_view(person, str(body["view_id"]))

    async def _home(self, person: Person, _: dict[str, Any]) -> dict[str, Any]:
        return await self._interactions.open_home(person)

    async def _shortcut(self, person: Person, body: dict[str, Any]) -> dict[str, Any]:
        return await self._interactions.shortcut(
            person, self._channel(person, body), str(body["message_ts"]), str(body["callback_id"])
        )

    # -- parts

    def _want_token(self, request: web.Request) -> None:
        if not is_token(request.headers.get(PAGE_TOKEN_HEADER, ""), self._token):
            raise web.HTTPForbidden(text=json.dumps({"ok": False, "error": "forbidden", "message": "no page token"}))

    def _person(self, body: dict[str, Any]) -> Person:
        person = self._state.find_person(str(body["person"]))
        if person is None:
            raise MethodRefusedError("no_such_person", status=404)
        return person

    def _channel(self, person: Person, body: dict[str, Any]) -> Channel:
        channel = self._state.find_channel(str(body["channel"]), person=person)
        if channel is None or channel.person_id not in {None, person.user_id}:
            raise MethodRefusedError("channel_not_found", status=404)
        return channel

    def _snapshot(self) -> dict[str, Any]:
        return self._state.snapshot() | {"app_connected": self._hub.num_connected > 0}

    def _presence(self) -> dict[str, Any]:
        return {"type": "presence", "app_connected": self._hub.num_connected > 0}

    def _complete(self, change: dict[str, Any]) -> dict[str, Any]:
        return self._snapshot() if change["type"] == "channels" else change


async def _send_line(response: web.StreamResponse, value: dict[str, Any]) -> None:
    await response.write(json.dumps(value).encode() + b"\n")


def _static_file(name: str) -> web.Response:
    path = STATIC_DIR / name
    return web.Response(body=path.read_bytes(), content_type=_CONTENT_TYPES[path.suffix], charset="utf-8")
