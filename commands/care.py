"""Alerts taken, silenced and heard again: on record with the outcome, and said where everybody sees it."""

from __future__ import annotations

import contextlib

from trainmaster.bot.core.alerts.alert import Alert
from trainmaster.bot.core.conversation.known_by import without_ids
from trainmaster.bot.core.conversation.message import Message
from trainmaster.bot.errors import CommandError, StoreError
from trainmaster.commands.base import Context


def on_record(
    context: Context, user: str, action: str, subject: str, *, outcome: str = "done", **detail: object
) -> str:
    """What was done stands in the audit log; else the fault, in words, for the answer: an alert that somebody took is
    taken, whether or not the disk takes a line now, and gets its line later. Call it in the transaction of the act, so
    that both hold or neither."""
    try:
        context.gate.note(user, action, subject, outcome=outcome, **detail)
    except StoreError as error:
        with contextlib.suppress(StoreError):  # what it can't be written to is told already
            context.gate.note_later(user, action, subject, outcome=outcome, **detail)
        return f"This is not in the audit log yet: {without_ids(error.message)}"
    return ""


def refuse_told_elsewhere(context: Context, fingerprint: str, what: str) -> None:
    """This bot tells the alert of ``fingerprint``, or where that is empty all of them: who repeats an alert and
    calls people for it, must know who took it.

    Raises:
        CommandError: another one tells it here.
    """
    if other := context.told_by(fingerprint):
        raise CommandError(
            "watched-only",
            f"another Trainmaster tells the alerts here ({other}), and this one can't {what} for it; nothing was done.",
            "try once more: of two bots of one app Slack asks either",
        )


def taken(alert: Alert, user: str) -> str:
    """What came of taking the alert, for the audit log: whoever was first has it."""
    return "done" if alert.acked_by in {None, user} else f"taken before by {alert.acked_by}"


async def in_public(context: Context, channel: str, message: Message, key: str) -> None:
    """Everybody reads it: where it was said, or in the alert channel when few see that place."""
    if not await context.roles.reaches(channel):
        context.outbox.put(key, message)


def word_key(alert: Alert | None, what: str, now: float) -> str:
    """Of the public word; one an act."""
    return f"word/{what}/{alert.fingerprint if alert else 'all'}/{now:.3f}"
