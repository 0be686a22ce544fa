"""Every route of the app, in one place."""

from __future__ import annotations

from typing import Any

from slack_bolt.async_app import AsyncApp

from trainmaster.bot.core.conversation.message import ActionId
from trainmaster.bot.slack.inbox import Ack, Inbox
from trainmaster.bot.slack.incoming import COMMAND, CONTINUE_FORM, EXPLAIN_SHORTCUT, REJECT_FORM


def register(app: AsyncApp, inbox: Inbox) -> None:
    """``app`` answers ``/train``, mentions, direct messages, replies in our threads, our buttons our forms, the
    shortcut on a message, and whoever opens their Home."""

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

    async def shortcut(body: dict[str, Any], ack: Ack) -> None:
        await inbox.shortcut(body, ack)

    async def home_opened(body: dict[str, Any]) -> None:
        await inbox.home_opened(body)

    app.command(COMMAND)(slash)
    app.shortcut(EXPLAIN_SHORTCUT)(shortcut)
    app.event("app_home_opened")(home_opened)
    app.event("app_mention")(mention)
    app.event("message")(message)
    for action in ActionId:
        app.action(action.value)(button)
    for form in (REJECT_FORM, CONTINUE_FORM):
        app.view(form)(reason_given)
