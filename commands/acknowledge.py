"""``alerts``, ``ack`` and ``silence``: what is firing, and who has it."""

from __future__ import annotations

from bot.core.alert import Alert
from bot.core.forecast import duration
from bot.core.message import Item, Mark, Message, Reply, Tone
from bot.core.tokens import moment, person
from bot.errors import CommandError
from commands.base import Command, Context, Invocation, find_run, pattern, thread_key

_UNITS_S = {"m": 60.0, "h": 3600.0, "d": 86400.0}
_MAX_SILENCE_S = 7 * 86400.0
"""A silence that outlives a week is a forgotten one."""


async def list_alerts(invocation: Invocation, context: Context) -> Reply:
    """Everything that fires now, newest first."""
    firing = context.alerts.firing()
    if not firing:
        return Reply(message=Message(title="Nothing is firing", tone=Tone.GOOD, context=("/train status",)))
    message = Message(
        title=f"{len(firing)} alert{'s' if len(firing) != 1 else ''} firing",
        tone=Tone.WARNING,
        items=tuple(
            Item(
                mark=Mark.WARNING,
                text=alert.finding.title,
                detail=f"since {moment(alert.since_ts)}"
                + (f", acknowledged by {person(alert.acked_by)}" if alert.acked_by else ""),
            )
            for alert in firing[:20]
        ),
        context=("answer “ack” or “silence 2h” in an alert's thread",),
    )
    return Reply(message=message)


async def ack(invocation: Invocation, context: Context) -> Reply:
    """The alert of this thread, or the only one firing, has an owner; it no longer escalates."""
    alert = await _meant(invocation, context)
    acked = context.alerts.ack(alert.fingerprint, invocation.request.user, context.clock.now())
    if acked is None:
        raise CommandError("alert-over", f"“{alert.finding.title}” no longer fires.", "/train alerts")
    by = person(acked.acked_by) if acked.acked_by else "nobody"
    return Reply(message=Message(title=f"Acknowledged by {by}: {acked.finding.title}", tone=Tone.GOOD))


async def silence(invocation: Invocation, context: Context) -> Reply:
    """The alert of this thread, or the only one firing, makes no sound for a while.

    Raises:
        CommandError: no end, or one beyond a week.
    """
    seconds = float(invocation.words["number"]) * _UNITS_S[invocation.words["unit"].lower()]
    if not 0 < seconds <= _MAX_SILENCE_S:
        raise CommandError(
            "silence-length",
            f"{invocation.words['number']}{invocation.words['unit']} can't be a silence: more than 0 and at most 7d.",
            "/train silence 2h",
        )
    alert = await _meant(invocation, context)
    now = context.clock.now()
    silenced = context.alerts.silence(alert.fingerprint, invocation.request.user, now + seconds, now)
    if silenced is None:
        raise CommandError("alert-over", f"“{alert.finding.title}” no longer fires.", "/train alerts")
    title = f"Silent for {duration(seconds)}, until {moment(now + seconds)}: {alert.finding.title}"
    return Reply(message=Message(title=title, tone=Tone.NEUTRAL))


async def _meant(invocation: Invocation, context: Context) -> Alert:
    key = thread_key(invocation.request, context)
    firing = context.alerts.firing()
    for alert in firing:
        if key is not None and alert.fingerprint == key:
            return alert
    if len(firing) == 1:
        return firing[0]
    if not firing:
        raise CommandError("nothing-fires", "no alert is firing.", "/train alerts")
    view = await find_run(invocation, context)
    of_run = [alert for alert in firing if alert.finding.run == view.run]
    if len(of_run) == 1:
        return of_run[0]
    raise CommandError(
        "which-alert", f"{len(firing)} alerts are firing.", "say it in the thread of the one that is meant"
    )


ALERTS = Command(
    name="alerts",
    summary="what fires now",
    examples=("alerts",),
    pattern=pattern(r"(?:list |show )?alerts"),
    action=list_alerts,
)
ACK = Command(
    name="ack",
    summary="take the alert of this thread",
    examples=("ack",),
    pattern=pattern(r"ack(?:nowledge)?"),
    action=ack,
)
SILENCE = Command(
    name="silence 2h",
    summary="keep the alert of this thread quiet for a while",
    examples=("silence 2h", "silence 30m"),
    pattern=pattern(r"silence(?: for)? (?P<number>\d{1,4})\s*(?P<unit>[mhd])"),
    action=silence,
)
