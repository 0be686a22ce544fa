"""``alerts``: what fires now, and what is silenced until when."""

from __future__ import annotations

from collections.abc import Sequence

from trainmaster.bot.core.alerts.alert import Alert
from trainmaster.bot.core.alerts.finding import Severity
from trainmaster.bot.core.alerts.silence import Silence
from trainmaster.bot.core.conversation.message import Item, Mark, Message, Reply, Tone
from trainmaster.bot.core.conversation.tokens import moment, person
from trainmaster.bot.core.conversation.words import counted
from trainmaster.commands.base import RUN_WORD, Command, Context, Invocation, pattern
from trainmaster.commands.which_run import find_run

_MAX_SHOWN = 20
_MARKS = {Severity.CRITICAL: Mark.FAILED, Severity.WARNING: Mark.WARNING, Severity.INFO: Mark.UNKNOWN}


async def list_alerts(invocation: Invocation, context: Context) -> Reply:
    """Everything that fires now, newest first, and the silences that hold, of all runs or of the one named."""
    view = await find_run(invocation, context) if invocation.words.get("run") else None
    firing = context.alerts.firing(view.run if view else None)
    now = context.clock.now()
    silences = [one for one in context.alerts.silences(now) if view is None or silence_touches(one, view.run)]
    where = f" on {view.name}" if view else ""
    items = [_firing_item(alert, silences, now) for alert in firing[:_MAX_SHOWN]]
    items += [Item(mark=Mark.WAITING, text=silence_text(one, context), detail=_ends(one)) for one in silences]
    context_lines = []
    if len(firing) > _MAX_SHOWN:
        context_lines.append(f"{len(firing) - _MAX_SHOWN} older ones not shown")
    if firing:
        context_lines.append("answer “ack” or “silence 2h” in an alert's thread")
    if silences:
        context_lines.append(f"/train unsilence {silences[0].id}")
    message = Message(
        title=f"{counted(len(firing), 'alert')} firing{where}" if firing else f"Nothing is firing{where}",
        tone=_tone(firing),
        items=tuple(items),
        context=tuple(context_lines) or ("/train status",),
    )
    return Reply(message=message)


def silence_touches(silence: Silence, run: str) -> bool:
    """Whether the silence can cover an alert of the run."""
    if silence.fingerprint is not None:
        return silence.fingerprint.startswith(f"{run}/")
    return silence.run in {None, run}


def silence_text(silence: Silence, context: Context) -> str:
    """What it silences, in words, with the number that ``unsilence`` takes."""
    if silence.fingerprint is not None:
        firing = {alert.fingerprint: alert.finding.title for alert in context.alerts.firing()}
        what = firing.get(silence.fingerprint, f"an alert that no longer fires ({silence.fingerprint})")
    else:
        view = context.runs.find(silence.run) if silence.run else None
        run = view.name if view else silence.run
        checks = f"{silence.check} alerts" if silence.check else "everything"
        what = f"{checks} of {run}" if run else checks
    return f"Silence {silence.id}: {what}"


def _ends(silence: Silence) -> str:
    return f"until {moment(silence.until_ts)}, by {person(silence.by)}"


def _firing_item(alert: Alert, silences: Sequence[Silence], now: float) -> Item:
    detail = f"since {moment(alert.since_ts)}"
    if alert.acked_by:
        detail += f", acknowledged by {person(alert.acked_by)}"
    covering = [one for one in silences if one.covers(alert, now)]
    if covering:
        detail += f", silenced until {moment(max(one.until_ts for one in covering))}"
    return Item(mark=_MARKS[alert.finding.severity], text=alert.finding.title, detail=detail)


def _tone(firing: Sequence[Alert]) -> Tone:
    if not firing:
        return Tone.GOOD
    critical = any(alert.finding.severity is Severity.CRITICAL and alert.acked_by is None for alert in firing)
    return Tone.CRITICAL if critical else Tone.WARNING


ALERTS = Command(
    name="alerts",
    summary="what fires now, and what is silenced",
    examples=("alerts", "alerts of digits"),
    pattern=pattern(rf"(?:list |show )?alerts{RUN_WORD}"),
    action=list_alerts,
)
