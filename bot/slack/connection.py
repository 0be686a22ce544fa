"""The app on Slack: tokens checked, channel found, socket open and kept open."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
from slack_bolt.adapter.socket_mode.aiohttp import AsyncSocketModeHandler
from slack_bolt.async_app import AsyncApp
from slack_bolt.authorization import AuthorizeResult
from slack_sdk.http_retry.builtin_async_handlers import (
    AsyncConnectionErrorRetryHandler,
    AsyncRateLimitErrorRetryHandler,
)
from slack_sdk.socket_mode.async_client import AsyncBaseSocketModeClient
from slack_sdk.socket_mode.request import SocketModeRequest
from slack_sdk.web.async_client import AsyncWebClient

from trainmaster.bot.core.conversation.request import Handler
from trainmaster.bot.core.health.address import is_loopback_url
from trainmaster.bot.errors import ChatError
from trainmaster.bot.ports import Posted
from trainmaster.bot.slack.answers import Answers, Illustrate
from trainmaster.bot.slack.channel import resolve_channel
from trainmaster.bot.slack.chat import OnCallSource, SlackChat
from trainmaster.bot.slack.faults import translated
from trainmaster.bot.slack.files import SlackFiles
from trainmaster.bot.slack.hearing import Hearing
from trainmaster.bot.slack.identity import Identity, identity_of
from trainmaster.bot.slack.inbox import Inbox
from trainmaster.bot.slack.incoming import ENVELOPE_ID
from trainmaster.bot.slack.people import SlackPeople
from trainmaster.bot.slack.pins import SlackPins
from trainmaster.bot.slack.routes import register
from trainmaster.bot.slack.scopes import FILES_SCOPE, PINS_SCOPE, missing_scopes
from trainmaster.bot.slack.seen_events import SeenBefore

_LOG = logging.getLogger(__name__)

_REQUEST_TIMEOUT: Final = aiohttp.ClientTimeout(total=15.0, connect=5.0)
_SIGN_IN_S: Final = 6.0
"""A connection that died keeps nothing waiting."""
_CLOSE_TIMEOUT_S: Final = 5.0

MustRun = Callable[[str, Callable[[], Awaitable[None]]], asyncio.Task[None]]
"""Begins work of that name that is to go on for as long as the bot runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SocketLimits:
    """How long the socket may be silent."""

    open_timeout_s: float = 15.0
    """From Slack's address to an open socket; slack_sdk by itself would try for ever."""
    ping_interval_s: float = 5.0
    """slack_sdk gives a socket up after four of these, so a frozen one is replaced within about half a minute."""
    alive_s: float = 20.0
    """Four pings without an answer are no longer called alive."""
    reopen_s: float = 45.0
    """slack_sdk reconnects by itself, but tries one single-use address for ever when the first attempt with it fails
    (slack_sdk 3.47, ``connect`` in socket_mode/aiohttp). After so long a silence the whole client is replaced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlackAccess:
    """How to reach the workspace. The tokens show in no ``repr``."""

    bot_token: str = field(repr=False)
    app_token: str = field(repr=False)
    api_url: str
    channel: str
    """Id or ``#name`` of the alert channel."""
    on_call: OnCallSource
    hints: bool = False
    """Whether a bare command in the alert channel gets a private hint."""


class _SocketHandler(AsyncSocketModeHandler):
    """Passes on Socket Mode's id of each delivery, which is the same when it is delivered again."""

    async def handle(self, client: AsyncBaseSocketModeClient, req: SocketModeRequest) -> None:
        """The payload that Bolt sees carries the id of its delivery (slack_bolt 1.30 drops it)."""
        if isinstance(req.payload, dict):
            req.payload[ENVELOPE_ID] = req.envelope_id
        await super().handle(client, req)  # type: ignore[arg-type]  # an async client, as slack_bolt itself passes it


class SlackConnection:
    """Made inside the event loop. ``chat`` works from the start and raises :class:`ChatError` while Slack is away, so
    that the outbox can begin before :meth:`connect` succeeds."""

    def __init__(
        self,
        access: SlackAccess,
        limits: SocketLimits = SocketLimits(),
        seen: SeenBefore | None = None,
        heard_ts: float | None = None,
    ) -> None:
        """``seen`` remembers across restarts what Slack delivered; without one it is remembered in this process.
        ``heard_ts`` is when an earlier process last listened."""
        self._hearing = Hearing(time.time, heard_ts)
        self._seen = seen
        self._access = access
        self._limits = limits
        self._proxy_cleared = is_loopback_url(access.api_url)
        self._session = aiohttp.ClientSession(timeout=_REQUEST_TIMEOUT)
        self._client = self._make_client([AsyncConnectionErrorRetryHandler(), AsyncRateLimitErrorRetryHandler()])
        self._one_try = self._make_client([])
        self.files = SlackFiles(self._one_try, self._session)
        self.pins = SlackPins(self._one_try)
        self._illustrate: Illustrate | None = None
        self._channel = access.channel
        self.people = SlackPeople(self._client, lambda: self._channel)
        self._answering_chat = SlackChat(self._client, access.on_call, names=lambda: self.people.names)
        self._posting_chat = SlackChat(
            self._make_client([AsyncRateLimitErrorRetryHandler()]),
            access.on_call,
            names=lambda: self.people.names,
            own_bot_id=self._own_bot_id,
        )
        self._chat = SlackChat(
            self._one_try, access.on_call, names=lambda: self.people.names, own_bot_id=self._own_bot_id
        )
        self._identity: Identity | None = None
        self._signed_in = False
        self._inbox: Inbox | None = None
        self._app: AsyncApp | None = None
        self._socket: AsyncSocketModeHandler | None = None
        self._opened_at = float("-inf")
        self._must_run: MustRun = _begun
        self._keeper: asyncio.Task[None] | None = None
        self._learner: asyncio.Task[None] | None = None

    @property
    def chat(self) -> SlackChat:
        """For the outbox: every failure is told at once, none is retried here."""
        return self._chat

    @property
    def channel(self) -> str:
        """Id of the alert channel; as it was configured until :meth:`connect` has looked it up."""
        return self._channel

    def link(self, posted: Posted) -> str:
        """Address of a message, as Slack's own “copy link” gives it; empty before :meth:`connect`."""
        url = self._identity.url if self._identity else ""
        return f"{url.rstrip('/')}/archives/{posted.channel}/p{posted.ts.replace('.', '')}" if url else ""

    def may_upload(self) -> bool:
        """Whether the app was given the scope for pictures, as far as Slack tells."""
        return self._may(FILES_SCOPE) is not False

    def may_pin(self) -> bool | None:
        """Whether the app was given the scope for pins; None where Slack does not tell, and before :meth:`connect`."""
        return self._may(PINS_SCOPE)

    def _may(self, scope: str) -> bool | None:
        scopes = self._identity.scopes if self._identity else None
        return None if scopes is None else scope in scopes

    async def refresh_homes(self) -> None:
        """Pages that people looked at lately read as things are now."""
        if self._inbox is not None:
            await self._inbox.home.refresh()

    def keep_open_with(self, must_run: MustRun) -> None:
        """The socket is kept open by what ``must_run`` begins, which survives every fault. Call it before
        :meth:`connect`."""
        self._must_run = must_run

    def illustrate_with(self, illustrate: Illustrate) -> None:
        """Answers that ask for pictures have theirs made so. Call it before :meth:`connect`."""
        self._illustrate = illustrate

    @property
    def identity(self) -> Identity | None:
        """Who the bot is; None before :meth:`connect`."""
        return self._identity

    def _own_bot_id(self) -> str | None:
        return self._identity.bot_id if self._identity is not None else None

    async def sign_in(self) -> Identity:
        """Token and channel are good: what waits can be posted, whether or not a socket is to be had.

        Raises:
            ChatError: as :meth:`connect`.
        """
        identity = await self.check_token()
        lacking = missing_scopes(identity.scopes) if identity.scopes is not None else ()
        if lacking:
            _LOG.warning("the app lacks scopes: %s; trainmaster manifest prints the manifest", ", ".join(lacking))
        self._channel = await self.check_channel(join=True)
        self._signed_in = True
        return identity

    async def connect(self, handler: Handler) -> Identity:
        """Tokens and channel are good, every route answers, the socket is open and will be kept open.

        Raises:
            ChatRefused: a person must mend something (token, channel, scope); trying again is of no use.
            ChatError: Slack could not be reached; may be called again.
        """
        identity = self._identity if self._signed_in and self._identity else await self.sign_in()
        answers = Answers(
            self._answering_chat,
            self._session,
            self._client.proxy,
            illustrate=self._illustrate,
            poster=self._posting_chat,
        )
        self._inbox = Inbox(
            handler=handler,
            answers=answers,
            client=self._client,
            bot_user=identity.user,
            team=identity.team_id,
            hints_in=(lambda: self._channel) if self._access.hints else None,
            seen=self._seen,
            said_since=self._hearing.said_since,
        )
        self._app = self._make_app(identity)
        register(self._app, self._inbox)
        await self._open_socket()
        self._keeper = self._keeper or self._must_run("keep the socket open", self._keep_open)
        self._learner = self._learner or asyncio.create_task(
            self.people.learn(self._access.on_call.users), name="slack-names"
        )
        return identity

    async def check_token(self) -> Identity:
        """The bot token is good; tells whose it is.

        Raises:
            ChatError: as :meth:`connect`.
        """
        async with translated(f"signing in at {self._access.api_url}"), asyncio.timeout(_SIGN_IN_S):
            answer = await self._one_try.auth_test()
        self._identity = identity_of(answer, self._access.api_url)
        self.people.team = self._identity.team_id
        return self._identity

    async def check_app_token(self) -> str:
        """The app-level token is good; returns an address for one connection.

        Raises:
            ChatError: as :meth:`connect`.
        """
        async with translated("opening a socket with SLACK_APP_TOKEN"):
            answer = await self._client.apps_connections_open(app_token=self._access.app_token)
        url = answer.get("url")
        if not isinstance(url, str):
            raise ChatError("slack-answer", f"{self._access.api_url} told no address for the socket.")
        return url

    async def check_channel(self, *, join: bool) -> str:
        """The id of the alert channel, which exists and has the bot in it, or has it now if it may ``join``.

        Raises:
            ChatError: as :meth:`connect`.
        """
        return await resolve_channel(self._one_try, self._access.channel, join=join)

    def silence_s(self) -> float | None:
        """Seconds since the socket's last sign of life; None while none is open."""
        socket = self._socket
        session = socket.client.current_session if socket else None
        if socket is None or session is None or session.closed:
            return None
        last: float | None = socket.client.last_ping_pong_time
        return max(0.0, time.time() - max(last or self._opened_at, self._opened_at))

    def alive(self) -> bool:
        """Whether Slack answered a ping lately: what the watchdog asks."""
        silence_s = self.silence_s()
        return silence_s is not None and silence_s <= self._limits.alive_s

    async def close(self) -> None:
        """Answers under way are finished, nothing stays open."""
        for task in (self._keeper, self._learner):
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
        self._keeper = self._learner = None
        await self._close_socket(self._socket)
        self._socket = None
        if self._inbox is not None:
            await self._inbox.settle(_CLOSE_TIMEOUT_S)
        await self._session.close()

    def _make_client(self, retry_handlers: list[Any]) -> AsyncWebClient:
        client = AsyncWebClient(
            token=self._access.bot_token,
            base_url=self._access.api_url,
            session=self._session,
            retry_handlers=retry_handlers,
        )
        if self._proxy_cleared:
            client.proxy = None  # taken from HTTPS_PROXY by slack_sdk, NO_PROXY or not
        return client

    def _make_app(self, identity: Identity) -> AsyncApp:
        result = AuthorizeResult(
            enterprise_id=None,
            team_id=identity.team_id,
            bot_user_id=identity.user,
            bot_id=identity.bot_id,
            bot_token=self._access.bot_token,
        )

        async def authorize() -> AuthorizeResult:
            return result

        bolt_log = _LOG.getChild("bolt")
        bolt_log.setLevel(logging.ERROR)  # else Bolt warns of every event that is none of ours
        return AsyncApp(
            name=bolt_log.name,  # Bolt gives the logger of that name the level of ``logger``
            client=self._client,
            authorize=authorize,
            logger=bolt_log,
            request_verification_enabled=False,  # that is for HTTP; here the socket was opened with our own token
        )

    async def _open_socket(self) -> None:
        url = await self.check_app_token()
        assert self._app is not None
        socket = _SocketHandler(
            self._app,
            self._access.app_token,
            logger=_LOG.getChild("socket"),
            web_client=self._client,
            ping_interval=self._limits.ping_interval_s,
        )
        if self._proxy_cleared:
            socket.client.proxy = None
        socket.client.wss_uri = url
        try:
            async with asyncio.timeout(self._limits.open_timeout_s):
                await socket.connect_async()  # type: ignore[no-untyped-call]  # slack_bolt
        except TimeoutError as error:
            await self._close_socket(socket)
            raise ChatError(
                "slack-socket", "Slack gave an address for the socket, which could not be opened.", "check the network"
            ) from error
        except BaseException:
            await self._close_socket(socket)
            raise
        old, self._socket = self._socket, socket
        self._opened_at = time.time()
        self._hearing.listens()
        await self._close_socket(old)

    async def _close_socket(self, socket: AsyncSocketModeHandler | None) -> None:
        if socket is None:
            return
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await socket.close_async()  # type: ignore[no-untyped-call]  # slack_bolt
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            _LOG.warning("the socket did not close properly: %s", error or type(error).__name__)

    async def _keep_open(self) -> None:
        last_alive = time.time()
        while True:
            if self.alive():
                self._hearing.listens()
            await asyncio.sleep(self._limits.ping_interval_s)
            now = time.time()
            last_alive = min(last_alive, now)  # the clock may be put back
            if self.alive():
                last_alive = now
            elif now - last_alive >= self._limits.reopen_s:
                last_alive = now
                try:
                    await self._open_socket()
                    _LOG.warning("the socket was silent for %g s and was replaced", self._limits.reopen_s)
                except ChatError as error:
                    _LOG.warning("the socket is silent and could not be replaced: %s", error)
                except Exception:  # noqa: BLE001 - the tick: logged, and the watchdog tells that the socket is silent
                    _LOG.exception("the socket is silent and could not be replaced")


def _begun(name: str, work: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
    async def once() -> None:
        await work()

    return asyncio.create_task(once(), name=name)
