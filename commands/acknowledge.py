"""``ack``: who has the alert."""

from __future__ import annotations

from collections.abc import Sequence

from trainmaster.bot.core.alerts.alert import Alert, card_key
from trainmaster.bot.core.conversation.message import Message, Reply, Tone
from trainmaster.bot.core.conversation.tokens import person
from trainmaster.bot.core.conversation.words import counted
from trainmaster.bot.errors import CommandError
from trainmaster.commands.base import Command, Context, Fits, Invocation, Needs, pattern, thread_key
from trainmaster.commands.care import in_public, on_record, take, word_key
from trainmaster.commands.which_run import find_run

_MAX_SHOWN = 10


async def ack(invocation: Invocation, context: Context) -> Reply:
    """The alert of this thread, or the only one firing, has an owner; it no longer escalates. In the thread of a run,
    every alert that fires on it."""
    of_run = _alerts_of_thread(invocation, context)
    if len(of_run) > 1:
        return await _ack_all(of_run, invocation, context)
    alert = of_run[0] if of_run else await meant_alert(invocation, context)
    user, now = invocation.request.user, context.clock.now()
    meant = acted_on(alert, invocation, context)
    acked, unrecorded = take(context, meant, user, now, called=f"“{alert.finding.title}”")
    by = person(acked.acked_by) if acked.acked_by else "nobody"
    message = Message(
        title=f"{acked.finding.title}: acknowledged by {by}", tone=Tone.GOOD, body=(unrecorded,) if unrecorded else ()
    )
    await in_public(context, invocation.request.channel, message, word_key(acked, "ack", now))
    return Reply(message=message)


def _alerts_of_thread(invocation: Invocation, context: Context) -> tuple[Alert, ...]:
    key = thread_key(invocation.request, context)
    firing = context.alerts.firing() if key is not None else ()
    return tuple(alert for alert in firing if key == card_key(alert.finding.run) and alert.acked_by is None)


async def _ack_all(alerts: Sequence[Alert], invocation: Invocation, context: Context) -> Reply:
    user, now = invocation.request.user, context.clock.now()
    with context.together():
        each = (context.alerts.ack(alert.fingerprint, user, now) for alert in alerts)
        acked = [one for one in each if one is not None]
        unrecorded = [
            fault
            for one in acked
            if (fault := on_record(context, user, "alert.acked", one.finding.run, alert=one.finding.title))
        ]
    message = Message(
        title=f"Acknowledged by {person(user)}: {counted(len(acked), 'alert')} of this run",
        tone=Tone.GOOD,
        body=(*(one.finding.title for one in acked[:_MAX_SHOWN]), *unrecorded[:1]),
        context=(f"and {len(acked) - _MAX_SHOWN} more",) if len(acked) > _MAX_SHOWN else (),
    )
    await in_public(context, invocation.request.channel, message, word_key(acked[0] if acked else None, "ack", now))
    return Reply(message=message)


async def meant_alert(invocation: Invocation, context: Context) -> Alert:
    """The alert in whose thread it was said, else the only one firing, else the only one of the run.

    Raises:
        CommandError: none fires, or it could be several.
    """
    key = thread_key(invocation.request, context)
    firing = context.alerts.firing()
    for alert in firing:
        if key is not None and alert.fingerprint == key:
            return alert
    told_there = [alert for alert in firing if key is not None and alert.told_with == key]
    if told_there:  # of many that are told in one message, the first is over
        return told_there[0]
    if len({alert.told_with or alert.fingerprint for alert in firing}) == 1:
        return firing[0]
    if not firing:
        raise CommandError("no-alert", "no alert is firing.", "/train alerts")
    view = await find_run(invocation, context)
    of_run = [alert for alert in firing if alert.finding.run == view.run]
    if len(of_run) == 1:
        return of_run[0]
    raise CommandError(
        "which-alert", f"{len(firing)} alerts are firing.", "say it in the thread of the one that is meant"
    )


def acted_on(alert: Alert, invocation: Invocation, context: Context) -> str:
    """Fingerprint of what is acted on. Alerts that are told in one message are meant together, unless it was said in
    the thread of a run."""
    key = thread_key(invocation.request, context)
    return alert.fingerprint if key == card_key(alert.finding.run) else alert.told_with or alert.fingerprint


ACK = Command(
    name="ack",
    summary="take the alert of this thread",
    examples=("ack",),
    pattern=pattern(r"ack(?:nowledge)?"),
    action=ack,
    needs=Needs.CARE,
    what="take alerts",
    fits=Fits.ALERT,
)
