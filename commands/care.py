"""Alerts taken, silenced and heard again: on record with the outcome, and said where everybody sees it."""

from __future__ import annotations

import contextlib

from trainmaster.bot.core.alerts.alert import Alert
from trainmaster.bot.core.conversation.known_by import without_ids
from trainmaster.bot.core.conversation.message import Message, Tone
from trainmaster.bot.core.conversation.tokens import moment, person
from trainmaster.bot.core.run.forecast import duration
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


def take(context: Context, fingerprint: str, user: str, now: float, *, called: str = "this alert") -> tuple[Alert, str]:
    """The alert, which has an owner: whoever was first; and what :func:`on_record` says.

    Raises:
        CommandError: it no longer fires.
    """
    with context.together():
        alert = context.alerts.ack(fingerprint, user, now)
        if alert is None:
            raise CommandError("alert-over", f"{called} no longer fires.", "/train alerts")
        outcome = "done" if alert.acked_by in {None, user} else f"taken before by {alert.acked_by}"
        title, run = alert.finding.title, alert.finding.run
        return alert, on_record(context, user, "alert.acked", run, outcome=outcome, alert=title)


def quieten(
    context: Context, fingerprint: str, user: str, until_ts: float, now: float, *, called: str = "this alert"
) -> tuple[Alert, str]:
    """The alert, which makes no sound until then; and what :func:`on_record` says.

    Raises:
        CommandError: it no longer fires.
    """
    with context.together():
        alert = context.alerts.silence(fingerprint, user, until_ts, now)
        if alert is None:
            raise CommandError("alert-over", f"{called} no longer fires.", "/train alerts")
        title, run = alert.finding.title, alert.finding.run
        return alert, on_record(context, user, "alert.silenced", run, what=title, until_ts=until_ts)


def hear_again(context: Context, fingerprint: str, user: str, now: float) -> tuple[Alert, str] | None:
    """The alert, which no silence covers any more; and what :func:`on_record` says. None when none did."""
    with context.together():
        alert = context.alerts.unsilence(fingerprint, user, now)
        if alert is None:
            return None
        return alert, on_record(context, user, "alert.unsilenced", alert.finding.run, what=alert.finding.title)


def quiet_message(what: str, user: str, until_ts: float, seconds: float, unrecorded: str) -> Message:
    """That ``what`` makes no sound for ``seconds``, and who wanted that."""
    return Message(
        title=f"{what}: silent for {duration(seconds)}, until {moment(until_ts)}",
        tone=Tone.NEUTRAL,
        body=(f"Silenced by {person(user)}.", *([unrecorded] if unrecorded else [])),
    )


async def in_public(context: Context, channel: str, message: Message, key: str) -> None:
    """Everybody reads it: where it was said, or in the alert channel when few see that place."""
    if not await context.roles.reaches(channel):
        context.outbox.put(key, message)


def word_key(alert: Alert | None, what: str, now: float) -> str:
    """Of the public word; one an act."""
    return f"word/{what}/{alert.fingerprint if alert else 'all'}/{now:.3f}"
