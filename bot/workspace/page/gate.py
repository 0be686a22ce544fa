"""Who may talk to the workspace: only programs on this machine, and only the page that was opened with the secret link.

A web page from elsewhere can send requests to 127.0.0.1 too. Three things keep it from pressing Approve: the ``Host``
must be the loopback address (else a foreign name points here: DNS rebinding), an ``Origin`` must be our own, and
everything that the page does carries the secret in a header of its own. There is no cookie, so nothing is sent along by
itself; cookies would also be shared with every other port of 127.0.0.1.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from trainmaster.bot.errors import SettingsError

PAGE_TOKEN_HEADER: Final = "X-Workspace-Token"  # noqa: S105  # the name of a header
_LOOPBACK_NAMES: Final = frozenset({"127.0.0.1", "localhost"})

SECURITY_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def is_own_host(host: str, port: int) -> bool:
    """Whether a ``Host`` header names the loopback address and our port."""
    try:
        parts = urlsplit(f"//{host}")
        return parts.hostname in _LOOPBACK_NAMES and (parts.port or 80) == port
    except ValueError:
        return False


def is_own_origin(origin: str, port: int) -> bool:
    """Whether an ``Origin`` header names our own page."""
    scheme, _, host = origin.partition("://")
    return scheme == "http" and is_own_host(host, port)


def guard(port_of: Callable[[], int]) -> Middleware:
    """Return a middleware that refuses every request from elsewhere with 403, and adds the security headers."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        port = port_of()
        if not is_own_host(request.headers.get("Host", ""), port):
            return _forbid("this is 127.0.0.1 only: the Host header names another machine")
        origin = request.headers.get("Origin")
        if origin is not None and not is_own_origin(origin, port):
            return _forbid("requests of other web pages are refused")
        if request.headers.get("Sec-Fetch-Site", "none") not in {"none", "same-origin"} and not _is_opening(request):
            return _forbid("requests of other web pages are refused")
        response = await handler(request)
        if not response.prepared:
            for name, value in SECURITY_HEADERS.items():
                response.headers.setdefault(name, value)
        return response

    return check


def _is_opening(request: web.Request) -> bool:
    # Following the link from a chat or a terminal in the browser: no harm without the secret, which the handler checks.
    return request.method == "GET" and request.headers.get("Sec-Fetch-Mode") == "navigate" and request.path == "/"


def is_token(given: str, expected: str) -> bool:
    """Whether the secret is right, in constant time."""
    # Headers may hold bytes that are no text; they come as surrogates.
    return hmac.compare_digest(given.encode(errors="surrogateescape"), expected.encode())


def _forbid(why: str) -> web.Response:
    return web.json_response({"ok": False, "error": "forbidden", "message": why}, status=403, headers=SECURITY_HEADERS)


def refuse_real_tokens(environ: Mapping[str, str], *, own_tokens: frozenset[str] = frozenset()) -> None:
    """Return when no Slack token is set but the workspace's own.

    Raises:
        SettingsError: a real token is there; a stand-in beside it could send a drill to real people, or the reverse.
    """
    foreign = [
        name
        for name in ("SLACK_BOT_TOKEN", "SLACK_APP_TOKEN")
        if environ.get(name, "").strip() and environ[name] not in own_tokens
    ]
    if foreign:
        raise SettingsError(
            "real-tokens-present",
            f"the local workspace does not start beside Slack tokens, and {' and '.join(foreign)} "
            f"{'is' if len(foreign) == 1 else 'are'} set.",
            "`trainmaster run` uses them; to try the local workspace, unset them for this one command.",
        )
