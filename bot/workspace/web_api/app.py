"""The Web API over HTTP: tokens, scopes, rate limits, faults on demand, and the call itself."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Final

from aiohttp import web

from trainmaster.bot.workspace.refusal import MethodRefusedError
from trainmaster.bot.workspace.state.passes import RateLimit, ResponseUrls, Tickets
from trainmaster.bot.workspace.web_api.args import Args, Methods, read_args
from trainmaster.bot.workspace.web_api.chat_methods import ChatMethods
from trainmaster.bot.workspace.web_api.faults import FaultKind, FaultQueue, InjectedFault
from trainmaster.bot.workspace.web_api.files import Files

SCOPES: Final = {
    "chat.postMessage": "chat:write",
    "chat.postEphemeral": "chat:write",
    "chat.update": "chat:write",
    "chat.delete": "chat:write",
    "reactions.add": "reactions:write",
    "conversations.open": "im:write",
    "conversations.info": "channels:read",
    "conversations.list": "channels:read",
    "conversations.join": "channels:join",
    "conversations.history": "channels:history",
    "conversations.replies": "channels:history",
    "conversations.members": "channels:read",
    "users.info": "users:read",
    "users.list": "users:read",
    "usergroups.users.list": "usergroups:read",
    "files.getUploadURLExternal": "files:write",
    "files.completeUploadExternal": "files:write",
    "pins.add": "pins:write",
    "pins.remove": "pins:write",
    "pins.list": "pins:read",
}
EVENT_SCOPES: Final = ("commands", "app_mentions:read", "im:history")
ALL_SCOPES: Final = frozenset(SCOPES.values()) | frozenset(EVENT_SCOPES)


class WebApi:
    """``/api/METHOD``, ``/respond/CODE`` and ``/upload/v1/SECRET``."""

    def __init__(
        self,
        *,
        bot_token: str,
        app_token: str,
        methods: Methods,
        chat: ChatMethods,
        files: Files,
        response_urls: ResponseUrls,
        tickets: Tickets,
        faults: FaultQueue,
        scopes: Collection[str],
        method_rate: RateLimit | None,
        socket_url: Callable[[str], str],
    ) -> None:
        self._bot_token = bot_token
        self._app_token = app_token
        self._methods = methods
        self._chat = chat
        self._files = files
        self._response_urls = response_urls
        self._tickets = tickets
        self._faults = faults
        self._scopes = frozenset(scopes)
        self._method_rate = method_rate
        self._socket_url = socket_url
        self.calls: list[tuple[str, dict[str, Any]]] = []
        """Every call that got past its token, oldest first: method and arguments."""

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of the Web API."""
        return [
            web.route("*", "/api/{method}", self.call),
            web.post("/respond/{code}", self.respond),
            web.post("/upload/v1/{secret}", self.upload),
        ]

    async def call(self, request: web.Request) -> web.StreamResponse:
        """Answer one call the way Slack does: errors are HTTP 200, except 429."""
        method = request.match_info["method"]
        headers = {"x-oauth-scopes": ",".join(sorted(self._scopes))}
        fault: InjectedFault | None = None
        try:
            args = await read_args(request)
            self._check_token(method, _token(request, args))
            self.calls.append((method, {name: value for name, value in args.values.items() if name != "token"}))
            fault = self._faults.take(method)
            if fault is not None and fault.kind is not FaultKind.RESET_AFTER:
                _raise(fault)
            answer = {"ok": True} | self._run(method, args)
        except MethodRefusedError as refusal:
            return _refuse(refusal, headers)
        except ConnectionResetError:
            return _break_off(request)
        if fault is not None:
            return _break_off(request)
        return web.json_response(answer, headers=headers)

    def _run(self, method: str, args: Args) -> dict[str, Any]:
        if method == "apps.connections.open":
            return {"url": self._socket_url(self._tickets.issue())}
        known = self._methods.get(method)
        if known is None:
            raise MethodRefusedError("unknown_method")
        needed = SCOPES.get(method)
        if needed is not None and needed not in self._scopes:
            raise MethodRefusedError(
                "missing_scope", extra={"needed": needed, "provided": ",".join(sorted(self._scopes))}
            )
        if self._method_rate is not None and method not in {"chat.postMessage", "auth.test", "chat.postEphemeral"}:
            self._method_rate.spend(method)
        return known(args)

    def _check_token(self, method: str, token: str) -> None:
        if not token:
            raise MethodRefusedError("not_authed")
        if token not in {self._bot_token, self._app_token}:
            raise MethodRefusedError("invalid_auth")
        if (token == self._app_token) is not (method == "apps.connections.open"):
            raise MethodRefusedError("not_allowed_token_type")

    async def respond(self, request: web.Request) -> web.Response:
        """Answer a POST to a ``response_url``. A refused message costs no use."""
        code = request.match_info["code"]
        try:
            target = self._response_urls.check(code)
            self._chat.respond(target, await read_args(request))
            self._response_urls.use(code)
        except MethodRefusedError as refusal:
            status = refusal.status if refusal.status != 200 else 400
            return web.json_response(refusal.body(), status=status)
        return web.Response(text="ok")

    async def upload(self, request: web.Request) -> web.Response:
        """Take the bytes of a file, raw or as the one part of a form."""
        if request.content_type == "multipart/form-data":
            parts = [part for part in (await request.post()).values() if isinstance(part, web.FileField)]
            data = parts[0].file.read() if parts else b""
        else:
            data = await request.read()
        if not self._files.receive(request.match_info["secret"], data):
            return web.Response(status=400, text="upload refused")
        return web.Response(text=f"OK - {len(data)}")


def _token(request: web.Request, args: Args) -> str:
    header = request.headers.get("Authorization", "")
    return header.removeprefix("Bearer ").strip() if header.startswith("Bearer ") else args.text("token")


def _raise(fault: InjectedFault) -> None:
    if fault.kind is FaultKind.RESET_BEFORE:
        raise ConnectionResetError
    raise MethodRefusedError(fault.error, status=fault.status, retry_after_s=fault.retry_after_s)


def _refuse(refusal: MethodRefusedError, headers: dict[str, str]) -> web.Response:
    if refusal.retry_after_s is not None:
        headers = headers | {"Retry-After": str(refusal.retry_after_s)}
    return web.json_response(refusal.body(), status=refusal.status, headers=headers)


def _break_off(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
