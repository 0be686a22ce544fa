"""Every route of the app, in one place."""

from __future__ import annotations

from typing import Any

from slack_bolt.async_app import AsyncApp

from trainmaster.bot.core.conversation.message import ActionId
from trainmaster.bot.slack.inbox import Ack, Inbox
from trainmaster.bot.slack.incoming import COMMAND, CONTINUE_FORM, REJECT_FORM


def register(app: AsyncApp, inbox: Inbox) -> None:
    """``app`` answers ``/train``, mentions, direct messages, replies in our threads, our buttons and our forms."""

    async def slash(body: dict[str, Any], ack: Ack) -> None:
        await inbox.slash(body, ack)

    async def mention(body: dict[str, Any]) -> None:
        await inbox.mention(body)

    async def message(body: dict[str, Any]) -> None:
        await inbox.message(body)

    async def button(body: dict[str, Any], ack: Ack) -> None:
        await inbox.button(body, ack)

    async def reason_given(body: dict[str, Any], ack: Ack) -> None:
        await inbox.reason_given(body, ack)

    app.command(COMMAND)(slash)
    app.event("app_mention")(mention)
    app.event("message")(message)
    for action in ActionId:
        app.action(action.value)(button)
    for form in (REJECT_FORM, CONTINUE_FORM):
        app.view(form)(reason_given)
