"""The real Slack side of the bot against the local workspace, with a handler that only keeps what it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from trainmaster.bot.core.conversation.message import Message, Reply
from trainmaster.bot.core.conversation.request import Press, Request
from trainmaster.bot.slack.chat import OnCallSource
from trainmaster.bot.slack.connection import SlackAccess, SlackConnection, SocketLimits
from trainmaster.bot.slack.scopes import BOT_SCOPES
from trainmaster.bot.workspace.page.client import PageClient, PageView
from trainmaster.bot.workspace.server import Workspace, WorkspaceOptions
from trainmaster.bot.workspace.state.people import Channel, Person, SlashCommand

ON_CALL = OnCallSource(users=("U0ANNA",))
PEOPLE = (
    Person(user_id="U0ANNA", name="anna", real_name="Anna Keller", on_call=True),
    Person(user_id="U0BEN", name="ben", real_name="Ben Ortiz"),
)
CHANNELS = (
    Channel(channel_id="C0TRAIN", name="training"),
    Channel(channel_id="C0OTHER", name="other", bot_is_member=False),
    Channel(channel_id="C0OLD", name="old", is_archived=True),
)
WAIT_S = 5.0


def options(**changed: Any) -> WorkspaceOptions:
    return WorkspaceOptions(
        **{"scopes": frozenset({*BOT_SCOPES, "connections:write"}), "event_retry_delays_s": (), **changed}
    )


@asynccontextmanager
async def running_workspace(**changed: Any) -> AsyncIterator[Workspace]:
    workspace = await Workspace.start(
        port=0,
        people=list(PEOPLE),
        channels=list(CHANNELS),
        commands=[SlashCommand(name="/train", description="", usage_hint="")],
        options=options(**changed),
    )
    try:
        yield workspace
    finally:
        await workspace.close()


def access(workspace: Workspace, **changed: Any) -> SlackAccess:
    settings = {
        "bot_token": workspace.bot_token,
        "app_token": workspace.app_token,
        "api_url": workspace.api_url,
        "channel": "#training",
        "on_call": ON_CALL,
    }
    return SlackAccess(**{**settings, **changed})


@asynccontextmanager
async def connection_to(workspace: Workspace, **changed: Any) -> AsyncIterator[SlackConnection]:
    """Not connected yet."""
    limits = changed.pop("limits", SocketLimits())
    connection = SlackConnection(access(workspace, **changed), limits)
    try:
        yield connection
    finally:
        await connection.close()


def echo(request: Request | Press) -> Reply:
    return Reply(message=Message(title=f"heard {request.text if isinstance(request, Request) else request.value}"))


@dataclass
class Listener:
    """Implements :class:`trainmaster.bot.core.conversation.request.Handler`."""

    answer: Callable[[Request | Press], Reply | None] = echo
    asked: list[Request | Press] = field(default_factory=list)
    was_asked: asyncio.Event = field(default_factory=asyncio.Event)

    async def command(self, request: Request) -> Reply | None:
        return self._keep(request)

    async def action(self, press: Press) -> Reply | None:
        return self._keep(press)

    def is_command(self, text: str) -> bool:
        return text == "status"

    def is_ours(self, channel: str, ts: str) -> bool:
        return True

    def _keep(self, asked: Request | Press) -> Reply | None:
        self.asked.append(asked)
        self.was_asked.set()
        return self.answer(asked)


@dataclass(frozen=True)
class Scene:
    workspace: Workspace
    connection: SlackConnection
    listener: Listener
    page: PageClient

    async def shown(self, text: str, channel: str = "training") -> dict[str, Any]:
        """The message of the bot that begins with ``text``, once everybody in the channel sees it."""
        return await self._see(lambda view: view.in_channel(channel), text)

    async def shown_only_to(self, user: str, text: str) -> dict[str, Any]:
        """As :meth:`shown`, for an answer that one person sees."""
        return await self._see(lambda view: view.only_for(user), text)

    async def _see(self, among: Callable[[PageView], list[dict[str, Any]]], text: str) -> dict[str, Any]:
        def found(view: PageView) -> dict[str, Any] | None:
            return next((one for one in among(view) if one["text"].startswith(text)), None)

        return await self.page.wait_for(found, WAIT_S)


@asynccontextmanager
async def connected(**changed: Any) -> AsyncIterator[Scene]:
    limits = changed.pop("limits", SocketLimits())
    on_call = changed.pop("on_call", ON_CALL)
    channel = changed.pop("channel", "#training")
    async with (
        running_workspace(**changed) as workspace,
        connection_to(workspace, limits=limits, on_call=on_call, channel=channel) as connection,
        PageClient(workspace.page_url) as page,
    ):
        listener = Listener()
        await connection.connect(listener)
        yield Scene(workspace, connection, listener, page)
