"""A second Slack stand-in, written from Slack's documentation alone and sharing no line with :mod:`workspace`.

People's acts are built by hand, so that they can be forged, torn, replayed and sent at the wrong moment. The wire:
docs.slack.dev, "Using Socket Mode" and the page of each method.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web

from tests.attack.strict_web import ACK_S, BOT, BOT_USER, CHANNEL, TEAM, Json, Post, StrictWeb


@dataclass(kw_only=True)
class Envelope:
    """Something sent to the bot. ``acked_s`` is how long it took to be acknowledged."""

    body: Json
    sent_s: float
    acked: asyncio.Event = field(default_factory=asyncio.Event)
    acked_s: float | None = None


class StrictSlack(StrictWeb):
    """Use :meth:`start`; ``api_url`` and the tokens go into the bot's environment."""

    def __init__(self) -> None:
        super().__init__()
        self.sockets: list[web.WebSocketResponse] = []
        self.takes_sockets = True
        self._envelopes: dict[str, Envelope] = {}
        self._runner: web.AppRunner | None = None

    # -- life ---------------------------------------------------------------------------------------------------------

    @classmethod
    async def start(cls) -> StrictSlack:
        """Listening on loopback."""
        slack = cls()
        await slack.listen()
        return slack

    async def listen(self) -> None:
        """Listening (again) at the same address."""
        app = web.Application(client_max_size=2**20)
        app.router.add_route("*", "/api/{method}", self.api)  # Slack takes GET for what only reads
        app.router.add_post("/hook/{key}", self.hook)
        app.router.add_post("/upload/{file}", self._upload)
        app.router.add_get("/link", self._link)
        self._runner = web.AppRunner(app, shutdown_timeout=0.2)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def _upload(self, request: web.Request) -> web.Response:
        await request.read()
        return web.Response(text="OK")

    async def close(self) -> None:
        """Gone, as a server that is switched off; :meth:`listen` brings it back."""
        self.drop_sockets()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @property
    def api_url(self) -> str:
        """For ``SLACK_API_URL``."""
        return f"http://127.0.0.1:{self.port}/api/"

    def drop_sockets(self) -> None:
        """Every socket is reset without a word."""
        for socket in self.sockets:
            transport = socket._req.transport if socket._req else None
            if transport is not None:
                transport.abort()
        self.sockets.clear()

    def drop_connections(self) -> None:
        """Every connection is reset, whatever is under way on it."""
        server = self._runner.server if self._runner is not None else None
        for connection in server.connections if server is not None else ():
            if connection.transport is not None:
                connection.transport.abort()
        self.sockets.clear()

    def freeze(self) -> None:
        """Open sockets fall silent: nothing is answered or closed any more."""
        self.sockets.clear()

    # -- what people do -----------------------------------------------------------------------------------------------

    async def send(self, kind: str, payload: Json, *, envelope_id: str | None = None, **extra: Any) -> Envelope:
        """An envelope of our own making, on the newest socket."""
        await self.until(lambda: bool(self.sockets), what="a socket")
        body = {
            "envelope_id": envelope_id or secrets.token_hex(16),
            "type": kind,
            "accepts_response_payload": kind != "events_api",
            "payload": payload,
            **extra,
        }
        envelope = Envelope(body=body, sent_s=time.monotonic())
        self._envelopes[body["envelope_id"]] = envelope
        await self.sockets[-1].send_str(json.dumps(body))
        return envelope

    async def command(self, user: str, text: str, *, channel: str = CHANNEL, **forged: Any) -> Envelope:
        """``/train TEXT``."""
        payload = {
            "token": "t",
            "team_id": TEAM,
            "channel_id": channel,
            "user_id": user,
            "command": "/train",
            "text": text,
            "api_app_id": "A0",
            "response_url": self.response_url(user),
            "trigger_id": self.trigger(),
        }
        return await self.send("slash_commands", {**payload, **forged})

    def click_payload(self, user: str, post: Post, action: str, **forged: Any) -> Json:
        """What Slack sends for a click on ``action`` of ``post``; ``forged`` replaces parts of the action."""
        known = [one for one in post.buttons() if one["action_id"] == action]
        button = known[0] if known else {"value": ""}
        pressed = {
            "action_id": action,
            "block_id": "b",
            "type": "button",
            "value": button["value"],
            "action_ts": f"{time.time():.6f}",
        }
        container = {"type": "message", "message_ts": post.ts, "channel_id": post.channel, "is_ephemeral": False}
        return {
            "type": "block_actions",
            "team": {"id": TEAM},
            "user": {"id": user, "team_id": TEAM},
            "api_app_id": "A0",
            "token": "t",
            "container": container,
            "trigger_id": self.trigger(),
            "channel": {"id": post.channel, "name": "alerts"},
            "message": {"type": "message", "ts": post.ts, "text": post.text, "bot_id": BOT, "user": BOT_USER},
            "response_url": self.response_url(user),
            "actions": [{**pressed, **forged}],
        }

    async def click(self, user: str, post: Post, action: str, **forged: Any) -> Envelope:
        """A click, genuine unless ``forged``."""
        return await self.send("interactive", self.click_payload(user, post, action, **forged))

    def form_payload(self, user: str, view: Json, reason: Any) -> Json:
        """The form ``view`` as it comes back with ``reason`` typed in."""
        (block,) = (block for block in view["blocks"] if block["type"] == "input")
        values = {block["block_id"]: {block["element"]["action_id"]: {"type": "plain_text_input", "value": reason}}}
        sent = {"id": "V" + secrets.token_hex(4), "type": "modal", "hash": "1.x", "state": {"values": values}}
        return {
            "type": "view_submission",
            "team": {"id": TEAM},
            "user": {"id": user},
            "api_app_id": "A0",
            "token": "t",
            "trigger_id": self.trigger(),
            "view": {**view, **sent},
            "response_urls": [],
        }

    async def event(self, event: Json, *, event_id: str | None = None) -> Envelope:
        """Something that happened in a channel."""
        payload = {
            "token": "t",
            "team_id": TEAM,
            "api_app_id": "A0",
            "type": "event_callback",
            "event_id": event_id or "Ev" + secrets.token_hex(5),
            "event_time": int(time.time()),
            "authorizations": [{"team_id": TEAM, "user_id": BOT_USER, "is_bot": True}],
            "event": event,
        }
        return await self.send("events_api", payload)

    # -- what the bot did ---------------------------------------------------------------------------------------------

    def newest(self, *words: str, channel: str = CHANNEL) -> Post | None:
        """The newest message of the bot in ``channel`` that shows all ``words``."""
        mine = [post for post in self.posts.values() if post.channel == channel]
        return next((one for one in reversed(mine) if all(word in one.shown for word in words)), None)

    def cards(self) -> list[Post]:
        """Messages on which a plan can be approved now."""
        return [p for p in self.posts.values() if any(b["action_id"] == "approve" for b in p.buttons())]

    def told(self, user: str) -> list[str]:
        """What that person alone was told, first to last."""
        return [whisper.text for whisper in self.whispers if whisper.user == user]

    async def until(self, holds: Callable[[], Any], *, what: str = "", timeout_s: float = 30.0) -> Any:
        """What ``holds`` answers once that is true; looked at whenever the bot did something."""
        try:
            async with asyncio.timeout(timeout_s):
                while not (found := holds()):
                    self.changed.clear()
                    await self.changed.wait()
                return found
        except TimeoutError:
            seen = [post.versions[-1][:300] for post in self.posts.values()][-6:]
            raise AssertionError(f"not seen within {timeout_s:g} s: {what}; {seen} {self.whispers[-4:]}") from None

    async def answered(self, user: str, number: int = 1, *, timeout_s: float = 30.0) -> list[str]:
        """What ``user`` was told, once that are ``number`` answers at least."""
        return await self.until(
            lambda: self.told(user) if len(self.told(user)) >= number else None,
            what=f"answer {number} to {user}",
            timeout_s=timeout_s,
        )

    # -- the socket --------------------------------------------------------------------------------------------------

    async def _link(self, request: web.Request) -> web.StreamResponse:
        if not self.takes_sockets:
            return web.Response(status=503)
        if request.query.get("ticket") not in self.tickets:
            self.breaches.append("a socket with a used ticket")
            return web.Response(status=403)
        self.tickets.discard(request.query["ticket"])
        socket = web.WebSocketResponse(autoping=False)
        await socket.prepare(request)
        await socket.send_json({"type": "hello", "num_connections": 1, "connection_info": {"app_id": "A0"}})
        self.sockets.append(socket)
        self.changed.set()
        async for message in socket:
            if socket not in self.sockets:
                continue  # frozen: read from the wire, never answered
            if message.type is WSMsgType.PING:
                await socket.pong(message.data)
            elif message.type is WSMsgType.TEXT:
                self._acknowledged(message.data)
        if socket in self.sockets:
            self.sockets.remove(socket)
        return socket

    def _acknowledged(self, text: str) -> None:
        try:
            body = json.loads(text)
            envelope = self._envelopes[body["envelope_id"]]
        except (ValueError, KeyError, TypeError):
            self.breaches.append(f"an answer on the socket to nothing that was sent: {text[:80]}")
            return
        envelope.acked_s = time.monotonic() - envelope.sent_s
        if envelope.acked_s > ACK_S:
            self.breaches.append(f"acknowledged after {envelope.acked_s:.1f} s")
        envelope.acked.set()
        self.changed.set()
