"""The workspace as a whole: start it, point the app to ``api_url`` and a browser to ``page_url``."""

from __future__ import annotations

import asyncio
import secrets
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

from aiohttp import web

from trainmaster.bot.workspace.blocks import limits
from trainmaster.bot.workspace.page.api import PageApi
from trainmaster.bot.workspace.page.gate import guard
from trainmaster.bot.workspace.page.interactions import Interactions
from trainmaster.bot.workspace.socket_mode.events import ALL_SUBSCRIPTIONS, EventSource
from trainmaster.bot.workspace.socket_mode.sockets import SocketHub
from trainmaster.bot.workspace.state.passes import (
    METHOD_RATE,
    POST_RATE,
    Rate,
    RateLimit,
    ResponseUrls,
    Tickets,
    TriggerIds,
)
from trainmaster.bot.workspace.state.people import Channel, Person, SlashCommand
from trainmaster.bot.workspace.state.state import WorkspaceState
from trainmaster.bot.workspace.web_api.app import ALL_SCOPES, WebApi
from trainmaster.bot.workspace.web_api.chat_methods import ChatMethods
from trainmaster.bot.workspace.web_api.directory_methods import DirectoryMethods
from trainmaster.bot.workspace.web_api.faults import FaultQueue
from trainmaster.bot.workspace.web_api.files import MAX_FILE_BYTES, Files
from trainmaster.bot.workspace.web_api.pin_methods import PinMethods
from trainmaster.bot.workspace.web_api.views import view_methods

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkspaceOptions:
    """How strict and how quick the workspace is."""

    usergroups: Mapping[str, Sequence[str]] | None = None
    """User ids by user group; None is a workspace on the free plan, which has no user groups."""
    scopes: frozenset[str] = ALL_SCOPES
    subscriptions: frozenset[str] = ALL_SUBSCRIPTIONS
    """Events of the app's manifest."""
    post_rate: Rate | None = POST_RATE
    """Posts a channel; None switches the limit off."""
    method_rate: Rate | None = METHOD_RATE
    """Calls of every other method."""
    ack_timeout_s: float = limits.ACK_TIMEOUT_S
    event_retry_delays_s: tuple[float, ...] = limits.EVENT_RETRY_DELAYS_S


_DEFAULT: Final = WorkspaceOptions()


class Workspace:
    """A running workspace. What is in it lives as long as this object; :meth:`restart` keeps it."""

    def __init__(
        self,
        *,
        people: Sequence[Person],
        channels: Sequence[Channel],
        commands: Sequence[SlashCommand],
        clock: Callable[[], float] = time.time,
        options: WorkspaceOptions = _DEFAULT,
    ) -> None:
        self.bot_token = f"xoxb-local-{secrets.token_hex(12)}"
        self.app_token = f"xapp-local-{secrets.token_hex(12)}"
        self._page_token = secrets.token_urlsafe(24)
        self._port = 0
        self._runner: web.AppRunner | None = None
        self._listening: socket.socket | None = None
        self._page: PageApi | None = None

        self.state = WorkspaceState(people=people, channels=channels, commands=commands, clock=clock)
        self.sockets = SocketHub(ack_timeout_s=options.ack_timeout_s, event_retry_delays_s=options.event_retry_delays_s)
        self.sockets.on_change = lambda: self.state.publish(
            {"type": "presence", "app_connected": self.sockets.num_connected > 0}
        )
        self.faults = FaultQueue()
        self._tickets = Tickets()
        response_urls, triggers = ResponseUrls(clock), TriggerIds(clock)
        events = EventSource(state=self.state, hub=self.sockets, subscriptions=options.subscriptions)
        self._files = Files(state=self.state, events=events, base_url=lambda: self._base_url)
        chat = ChatMethods(
            state=self.state,
            events=events,
            post_rate=RateLimit(options.post_rate, clock) if options.post_rate else None,
        )
        directory = DirectoryMethods(state=self.state, usergroups=options.usergroups)
        self.web_api = WebApi(
            bot_token=self.bot_token,
            app_token=self.app_token,
            methods=chat.methods()
            | directory.methods()
            | view_methods(self.state, triggers)
            | self._files.methods()
            | PinMethods(state=self.state).methods(),
            chat=chat,
            files=self._files,
            response_urls=response_urls,
            tickets=self._tickets,
            faults=self.faults,
            scopes=options.scopes,
            method_rate=RateLimit(options.method_rate, clock) if options.method_rate else None,
            socket_url=lambda ticket: f"ws://{LOOPBACK}:{self._port}/link/?ticket={ticket}",
        )
        self._interactions = Interactions(
            state=self.state,
            hub=self.sockets,
            events=events,
            response_urls=response_urls,
            triggers=triggers,
            response_url_of=lambda code: f"{self._base_url}/respond/{code}",
        )

    @classmethod
    async def start(
        cls,
        *,
        port: int = 0,
        people: Sequence[Person],
        channels: Sequence[Channel],
        commands: Sequence[SlashCommand],
        clock: Callable[[], float] = time.time,
        options: WorkspaceOptions = _DEFAULT,
    ) -> Self:
        """The workspace listens on 127.0.0.1; port 0 takes a free one.

        ``clock`` returns seconds since the epoch and rules message ids, expiry and rates; acknowledgements are timed
        by the event loop.

        Raises:
            OSError: the port is taken.
        """
        workspace = cls(
            people=people,
            channels=channels,
            commands=commands,
            clock=clock,
            options=options,
        )
        workspace._port = port
        await workspace.come_up()
        return workspace

    @property
    def _base_url(self) -> str:
        return f"http://{LOOPBACK}:{self._port}"

    @property
    def api_url(self) -> str:
        """What the Slack client takes as its base URL."""
        return f"{self._base_url}/api/"

    @property
    def page_url(self) -> str:
        """The page, with the secret that lets somebody act on it."""
        return f"{self._base_url}/?token={self._page_token}"

    async def come_up(self) -> None:
        """Listen, on the same port as before if there was one."""
        self._page = PageApi(
            state=self.state,
            interactions=self._interactions,
            hub=self.sockets,
            files=self._files,
            token=self._page_token,
        )
        app = web.Application(middlewares=[guard(lambda: self._port)], client_max_size=MAX_FILE_BYTES + 1024)
        app.add_routes([*self.web_api.routes(), *self._page.routes(), web.get("/link/", self._link)])
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        self._listening = socket.create_server((LOOPBACK, self._port))
        await web.SockSite(self._runner, self._listening).start()
        self._port = self._listening.getsockname()[1]

    async def go_down(self) -> None:
        """Close every connection and stop listening; the state stays."""
        if self._page is not None:
            self._page.close()
        runner, self._runner = self._runner, None
        # Nobody is let in any more before somebody is sent away, who would be back at once and hang.
        listening, self._listening = self._listening, None
        if listening is not None:
            asyncio.get_running_loop().remove_reader(listening)
            await asyncio.sleep(0)  # asyncio forgets a connection that it has accepted in the turn of the end
        for site in list(runner.sites) if runner is not None else ():
            await site.stop()
        await self.sockets.disconnect()
        if runner is not None:
            await runner.cleanup()

    async def restart(self) -> None:
        """Go down and come up again on the same port."""
        await self.go_down()
        await self.come_up()

    async def close(self) -> None:
        """Nothing listens any more, and nothing is waited for."""
        await self.sockets.close()
        await self.go_down()

    async def _link(self, request: web.Request) -> web.StreamResponse:
        if not self._tickets.take(request.query.get("ticket", "")):
            return web.Response(status=403, text="the ticket is unknown or was used before")
        return await self.sockets.serve(request)
