"""Kinds of trouble with Slack, as a stand-in can make them: what the wire shows, from its first moment to its last."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiohttp import web

from tests.attack.strict_slack import StrictSlack
from tests.attack.strict_web import Serve, Trouble

CAPTIVE: Final = "<html><head><title>Sign in</title></head><body>Welcome to the guest network</body></html>"
NO_NAMES: Final = "no-names"
"""A file of that name beside the bot: no host's name can be looked up there (:data:`RESOLVER`)."""
RESOLVER: Final = f"""
import pathlib, socket
_ask, _flag = socket.getaddrinfo, pathlib.Path(__file__).parents[1] / "{NO_NAMES}"

def _answer(host, *args, **kwargs):
    if host == "localhost" and _flag.exists():
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    return _ask(host, *args, **kwargs)

socket.getaddrinfo = _answer
"""
"""``sitecustomize`` of the bot's process."""


Around = Callable[[StrictSlack, Path], AbstractAsyncContextManager[None]]


@contextlib.asynccontextmanager
async def _nothing(slack: StrictSlack, folder: Path) -> AsyncIterator[None]:
    yield


@dataclass(frozen=True, kw_only=True)
class Kind:
    """``trouble`` stands between the bot and Slack's methods, ``around`` is what else is wrong meanwhile. ``pause_s``:
    what the last answer of the trouble asks to wait for. ``passes``: alerts are told while it lasts. ``lasts_s``: how
    long, at least. ``ends_starts``: a bot that begins meanwhile ends, and says what a person must mend."""

    name: str
    trouble: Trouble | None = None
    around: Around = _nothing
    pause_s: float = 0.0
    passes: bool = False
    ends_starts: bool = False
    lasts_s: float = 3.0


def _answering(response: Callable[[], web.StreamResponse], only: str = "") -> Trouble:
    async def trouble(request: web.Request, serve: Serve) -> web.StreamResponse:
        await request.read()
        return response() if request.match_info["method"].startswith(only) else await serve(request)

    return trouble


def _status(status: int, text: str = "upstream connect error", **headers: str) -> Trouble:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return _answering(lambda: web.Response(status=status, text=text, headers=named))


def _limited(wait: str | None, only: str = "") -> Trouble:
    headers = {} if wait is None else {"Retry-After": wait}
    body = {"ok": False, "error": "ratelimited"}
    return _answering(lambda: web.json_response(body, status=429, headers=headers), only)


def _not_ok(error: str, only: str = "") -> Trouble:
    return _answering(lambda: web.json_response({"ok": False, "error": error}), only)


def _reset(request: web.Request) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def _reset_before(request: web.Request, serve: Serve) -> web.StreamResponse:
    return _reset(request)


def _lost_reply(only: str = "") -> Trouble:
    async def trouble(request: web.Request, serve: Serve) -> web.StreamResponse:
        answer = await serve(request)
        return _reset(request) if request.match_info["method"].startswith(only) else answer

    return trouble


def _cut_reply(*, takes: bool, reset: bool) -> Trouble:
    """Half of the answer arrives: then a reset, or an end that pretends to be one."""

    async def trouble(request: web.Request, serve: Serve) -> web.StreamResponse:
        await request.read()
        whole = await serve(request) if takes else web.json_response({"ok": True, "channel": "C0ALERTS", "ts": "1.1"})
        body = (
            bytes(whole.body) if isinstance(whole, web.Response) and isinstance(whole.body, bytes) else b'{"ok": true'
        )
        if not reset:
            return web.Response(body=body[: len(body) // 2], content_type="application/json")
        answer = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": str(len(body))})
        await answer.prepare(request)
        with contextlib.suppress(ConnectionError):
            await answer.write(body[: len(body) // 2])
        await asyncio.sleep(0.02)
        return _reset(request)

    return trouble


def _silent(only: str = "") -> Trouble:
    """Calls are read and never answered; when Slack returns, those connections stay dead."""

    async def trouble(request: web.Request, serve: Serve) -> web.StreamResponse:
        await request.read()
        if not request.match_info["method"].startswith(only):
            return await serve(request)
        await asyncio.sleep(600)
        return web.Response(status=504)

    return trouble


async def _trickling(request: web.Request, serve: Serve) -> web.StreamResponse:
    """One byte of an answer a second, for ever."""
    await request.read()
    answer = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": "5000"})
    await answer.prepare(request)
    with contextlib.suppress(ConnectionError):
        for _ in range(600):
            await answer.write(b" ")
            await asyncio.sleep(1)
    return answer


@contextlib.asynccontextmanager
async def _switched_off(slack: StrictSlack, folder: Path) -> AsyncIterator[None]:
    await slack.close()
    yield
    await slack.listen()


@contextlib.asynccontextmanager
async def _no_names(slack: StrictSlack, folder: Path) -> AsyncIterator[None]:
    (folder / NO_NAMES).touch()
    await asyncio.sleep(11)  # aiohttp remembers an address for 10 s
    slack.drop_connections()
    yield
    (folder / NO_NAMES).unlink()


def _sockets(end: Callable[[StrictSlack], Awaitable[None]]) -> Around:
    """Open ones end so, and no new one is to be had."""

    @contextlib.asynccontextmanager
    async def around(slack: StrictSlack, folder: Path) -> AsyncIterator[None]:
        slack.takes_sockets = False
        await end(slack)
        yield
        slack.takes_sockets = True

    return around


async def _dead(slack: StrictSlack) -> None:
    slack.drop_sockets()


async def _frozen(slack: StrictSlack) -> None:
    slack.freeze()


def _sent_away(reason: str) -> Callable[[StrictSlack], Awaitable[None]]:
    async def end(slack: StrictSlack) -> None:
        for socket in slack.sockets:
            await socket.send_json({"type": "disconnect", "reason": reason, "debug_info": {"host": "wss"}})
        slack.freeze()

    return end


KINDS: Final = (
    Kind(name="500", trouble=_status(500, "oops")),
    Kind(name="502", trouble=_status(502, CAPTIVE)),
    Kind(name="503", trouble=_status(503)),
    Kind(name="503 for half a minute", trouble=_status(503), lasts_s=35.0),
    Kind(name="504", trouble=_status(504)),
    Kind(name="503, no sockets", trouble=_status(503), around=_sockets(_dead)),
    Kind(name="429 for 1 s", trouble=_limited("1"), pause_s=1.0),
    Kind(name="429 for 30 s", trouble=_limited("30"), pause_s=30.0),
    Kind(name="429 for 120 s", trouble=_limited("120"), pause_s=120.0),
    Kind(name="429 without a time", trouble=_limited(None), pause_s=5.0),
    Kind(name="429 with a time that is none", trouble=_limited("soon"), pause_s=5.0),
    Kind(name="429 for posts only", trouble=_limited("3", "chat.postMessage"), pause_s=3.0),
    Kind(name="connection refused", around=_switched_off),
    Kind(name="connection refused for half a minute", around=_switched_off, lasts_s=35.0),
    Kind(name="reset before the answer", trouble=_reset_before),
    Kind(name="reset in the answer", trouble=_cut_reply(takes=False, reset=True)),
    Kind(name="reset in the answer, taken", trouble=_cut_reply(takes=True, reset=True)),
    Kind(name="answers lost", trouble=_lost_reply()),
    Kind(name="answers lost for half a minute", trouble=_lost_reply(), lasts_s=35.0),
    Kind(name="answers to posts lost", trouble=_lost_reply("chat.postMessage")),
    Kind(name="never answered", trouble=_silent()),
    Kind(name="posts never answered", trouble=_silent("chat.postMessage")),
    Kind(name="answers a byte a second", trouble=_trickling),
    Kind(name="half an answer", trouble=_cut_reply(takes=False, reset=False)),
    Kind(name="half an answer, taken", trouble=_cut_reply(takes=True, reset=False)),
    Kind(name="a captive portal", trouble=_status(200, CAPTIVE, Content_Type="text/html")),
    Kind(name="internal_error", trouble=_not_ok("internal_error")),
    Kind(name="fatal_error", trouble=_not_ok("fatal_error")),
    Kind(name="service_unavailable", trouble=_not_ok("service_unavailable")),
    Kind(name="ratelimited, with status 200", trouble=_not_ok("ratelimited"), pause_s=5.0),
    Kind(name="request_timeout", trouble=_not_ok("request_timeout")),
    Kind(name="team_added_to_org", trouble=_not_ok("team_added_to_org")),
    Kind(name="an error nobody knows", trouble=_not_ok("flux_capacitor_drained")),
    Kind(name="not_in_channel", trouble=_not_ok("not_in_channel", "chat.postMessage")),
    Kind(name="invalid_auth", trouble=_not_ok("invalid_auth"), ends_starts=True),
    Kind(name="names that can't be looked up", around=_no_names),
    Kind(name="sockets dead", around=_sockets(_dead), passes=True),
    Kind(name="sockets frozen", around=_sockets(_frozen), passes=True),
    Kind(name="disconnect: warning", around=_sockets(_sent_away("warning")), passes=True),
    Kind(name="disconnect: refresh_requested", around=_sockets(_sent_away("refresh_requested")), passes=True),
)
