"""A Web API that misbehaves in every way seen in the field; shares no code with the workspace. Bytes in, bytes out."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import parse_qsl


class Mischief(StrEnum):
    """What becomes of one call. The effect comes before the answer, so some lose only the answer."""

    NONE = "none"
    RESET_BEFORE = "reset before the effect"
    RESET_AFTER = "reset after the effect"
    FROZEN_BEFORE = "never answered, without effect"
    FROZEN_AFTER = "never answered, after the effect"
    HTML_502 = "a proxy's page"
    HTML_200 = "a captive portal"
    PLAIN_200 = "plain text"
    BAD_JSON = "JSON cut off"
    BAD_UTF8 = "bytes that are no text"
    LIST = "JSON that is no object"
    EMPTY = "an empty body"
    LIMITED = "429 with Retry-After"
    LIMITED_MUTE = "429 without Retry-After"
    LIMITED_200 = "ok false, ratelimited"
    INTERNAL = "ok false, internal_error"
    NO_TS = "ok true, and no ts"


TOOK_EFFECT = frozenset({Mischief.RESET_AFTER, Mischief.FROZEN_AFTER, Mischief.NO_TS})
"""The message stands, and the caller cannot know where: it has to look for it."""


@dataclass
class Stood:
    """A message as it stands."""

    key: str
    text: str
    thread_ts: str | None

    def as_slack_lists_it(self, ts: str) -> dict[str, object]:
        event = {"event_type": "trainmaster_message", "event_payload": {"key": self.key}}
        return {"type": "message", "bot_id": "B1", "ts": ts, "text": self.text, "metadata": event}


@dataclass
class HostileSlack:
    """Listens on a port of its own; :meth:`down` and :meth:`up` keep the port and the messages."""

    chance: random.Random
    share: float = 0.5
    """Of calls that go wrong."""
    kinds: tuple[Mischief, ...] = tuple(one for one in Mischief if one is not Mischief.NONE)
    messages: dict[str, Stood] = field(default_factory=dict)
    counts: dict[Mischief, int] = field(default_factory=dict)
    port: int = 0
    _server: asyncio.Server | None = None
    _open: set[asyncio.StreamWriter] = field(default_factory=set)
    _seq: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api/"

    async def up(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def down(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in tuple(self._open):
            writer.transport.abort()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                while await self._call(reader, writer):
                    pass
        finally:
            self._open.discard(writer)
            writer.close()

    async def _call(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        method = head[0].split()[1].partition("?")[0].rsplit("/", 1)[-1]
        is_json = headers.get("content-type", "").startswith("application/json")
        args = json.loads(body) if is_json else dict(parse_qsl(body.decode()))
        mischief = self.chance.choice(self.kinds) if self.chance.random() < self.share else Mischief.NONE
        self.counts[mischief] = self.counts.get(mischief, 0) + 1
        answer: dict[str, object] = {"ok": False, "error": "internal_error"}
        if mischief in TOOK_EFFECT or mischief is Mischief.NONE:
            answer = self._effect(method, args)
        return await self._answer(writer, mischief, answer)

    def _effect(self, method: str, args: dict[str, object]) -> dict[str, object]:
        text = str(args.get("text", ""))
        if method == "chat.postMessage":
            thread_ts = args.get("thread_ts")
            if thread_ts is not None and thread_ts not in self.messages:
                return {"ok": False, "error": "thread_not_found"}
            metadata = args["metadata"]
            event = json.loads(metadata) if isinstance(metadata, str) else metadata
            assert isinstance(event, dict)
            ts = f"1700000000.{next(self._seq):06d}"
            key = str(event["event_payload"]["key"])
            thread = None if thread_ts is None else str(thread_ts)
            self.messages[ts] = Stood(key=key, text=text, thread_ts=thread)
            return {"ok": True, "channel": args["channel"], "ts": ts}
        if method in {"conversations.history", "conversations.replies"}:
            return {"ok": True, "messages": [one.as_slack_lists_it(ts) for ts, one in self.messages.items()]}
        assert method == "chat.update"
        stood = self.messages.get(str(args["ts"]))
        if stood is None:
            return {"ok": False, "error": "message_not_found"}
        stood.text = text
        return {"ok": True, "channel": args["channel"], "ts": args["ts"]}

    async def _answer(self, writer: asyncio.StreamWriter, mischief: Mischief, answer: dict[str, object]) -> bool:
        if mischief in {Mischief.RESET_BEFORE, Mischief.RESET_AFTER}:
            writer.transport.abort()
            return False
        if mischief in {Mischief.FROZEN_BEFORE, Mischief.FROZEN_AFTER}:
            await asyncio.sleep(30)
            return False
        good = json.dumps(answer).encode()
        without_ts = json.dumps({name: value for name, value in answer.items() if name != "ts"}).encode()
        limited = b'{"ok":false,"error":"ratelimited"}'
        status, kind, body, extra = {
            Mischief.HTML_502: ("502 Bad Gateway", "text/html", b"<h1>Bad gateway</h1>", ""),
            Mischief.HTML_200: ("200 OK", "text/html", b"<h1>Please sign in</h1>", ""),
            Mischief.PLAIN_200: ("200 OK", "text/plain", b"ok", ""),
            Mischief.BAD_JSON: ("200 OK", "application/json", b'{"ok":tr', ""),
            Mischief.BAD_UTF8: ("200 OK", "application/json", b'{"ok":"\xff\xfe"}', ""),
            Mischief.LIST: ("200 OK", "application/json", b"[1]", ""),
            Mischief.EMPTY: ("200 OK", "application/json", b"", ""),
            Mischief.LIMITED: ("429 Too Many Requests", "application/json", limited, "Retry-After: 0\r\n"),
            Mischief.LIMITED_MUTE: ("429 Too Many Requests", "text/plain", b"slow down", ""),
            Mischief.LIMITED_200: ("200 OK", "application/json", limited, ""),
            Mischief.INTERNAL: ("200 OK", "application/json", b'{"ok":false,"error":"internal_error"}', ""),
            Mischief.NO_TS: ("200 OK", "application/json", without_ts, ""),
        }.get(mischief, ("200 OK", "application/json", good, ""))
        head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}; charset=utf-8\r\nContent-Length: {len(body)}\r\n{extra}\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        return True
