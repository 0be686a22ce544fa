"""Every route of the app, in one place."""

from __future__ import annotations

from typing import Any

from slack_bolt.async_app import AsyncApp

from bot.core.message import ActionId
from bot.slack.desk import Ack, Desk
from bot.slack.incoming import COMMAND, REJECT_FORM


def register(app: AsyncApp, desk: Desk) -> None:
    """``app`` answers ``/train``, mentions, direct messages, replies in our threads, our buttons and our form."""

    async def slash(body: dict[str, Any], ack: Ack) -> None:
        await desk.slash(body, ack)

    async def mention(body: dict[str, Any]) -> None:
        await desk.mention(body)

    async def message(body: dict[str, Any]) -> None:
        await desk.message(body)

    async def button(body: dict[str, Any], ack: Ack) -> None:
        await desk.button(body, ack)

    async def rejected(body: dict[str, Any], ack: Ack) -> None:
        await desk.rejected(body, ack)

    app.command(COMMAND)(slash)
    app.event("app_mention")(mention)
    app.event("message")(message)
    for action in ActionId:
        app.action(action.value)(button)
    app.view(REJECT_FORM)(rejected)
