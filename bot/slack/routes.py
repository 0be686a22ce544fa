"""Every route of the app, in one place."""

from __future__ import annotations

from slack_bolt.async_app import AsyncApp

from trainmaster.bot.core.conversation.message import ActionId
from trainmaster.bot.slack.inbox import Inbox
from trainmaster.bot.slack.incoming import COMMAND, CONTINUE_FORM, EXPLAIN_SHORTCUT, REJECT_FORM


def register(app: AsyncApp, inbox: Inbox) -> None:
    """``app`` answers ``/train``, mentions, direct messages, replies in our threads, our buttons, our forms,
    the shortcut on a message, and whoever opens their Home."""
    app.command(COMMAND)(inbox.slash)
    app.shortcut(EXPLAIN_SHORTCUT)(inbox.shortcut)
    app.event("app_home_opened")(inbox.home_opened)
    app.event("app_mention")(inbox.mention)
    app.event("message")(inbox.message)
    for action in ActionId:
        app.action(action.value)(inbox.button)
    for form in (REJECT_FORM, CONTINUE_FORM):
        app.view(form)(inbox.reason_given)
