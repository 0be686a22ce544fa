"""What an alert says: its one message through its life, and the words in its thread. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from trainmaster.bot.alerting.dedup import NotifyReason
from trainmaster.bot.core.alerts.alert import Alert, AlertState
from trainmaster.bot.core.alerts.alert_record import Told
from trainmaster.bot.core.alerts.finding import Finding, Nature, Severity
from trainmaster.bot.core.alerts.silence import Silence
from trainmaster.bot.core.conversation.known_by import has_ids, without_ids
from trainmaster.bot.core.conversation.message import ActionId, Button, Item, Mark, Message, Tone
from trainmaster.bot.core.conversation.tokens import moment, person
from trainmaster.bot.core.conversation.words import quoted
from trainmaster.bot.core.health.no_run import ABOUT_NO_RUN
from trainmaster.bot.core.run.forecast import duration

TONES: Final[Mapping[Severity, Tone]] = {
    Severity.INFO: Tone.NEUTRAL,
    Severity.WARNING: Tone.WARNING,
    Severity.CRITICAL: Tone.CRITICAL,
}

_COMMAND: Final = re.compile(r"/train (?:status|resume|stop now|execute rollback|epoch \d+ progress)")
_MAX_NAME: Final = 60
"""A longer name than this would be most of the small print."""


def compose_alert(
    alert: Alert, *, mentions: tuple[str, ...] = (), silence_s: float, silence: Silence | None = None
) -> Message:
    """The alert's message as it is to read now: what happened and what to press. Its figures and its log are in its
    thread for who asks, except where nobody has to do anything: a report is its figures. It names no length of time
    while the alert fires, so that time alone never edits it."""
    if alert.state is AlertState.RESOLVED:
        return _resolved(alert)
    finding = _for_the_channel(alert.finding)
    reports = finding.severity is Severity.INFO
    details = None if reports else _details(alert.finding)
    told = story(alert) if alert.acked_by else ()
    when = f"{'since' if finding.nature is Nature.CONDITION else 'at'} {moment(alert.since_ts)}"
    context: list[str] = [] if told else [when]
    if alert.times_fired > 1:
        context.append(f"fired {alert.times_fired} times")
    if silence is not None:
        context.append(f"silenced until {moment(silence.until_ts)} by {person(silence.by)}")
    if finding.hint:
        context.append(finding.hint)
    return Message(
        title=finding.title,
        tone=TONES[finding.severity],
        body=finding.body,
        fields=finding.fields if reports else (),
        items=(*(finding.items if reports else ()), *told),
        excerpt=finding.excerpt if reports else "",
        context=(" · ".join(context),) if context else (),
        buttons=(*finding.buttons, *_buttons(alert, silence, silence_s), *_more(alert, details)),
        mentions=mentions,
        details=details,
    )


def _for_the_channel(finding: Finding) -> Finding:
    """Without the ids and paths that foreign words in it may hold; the details have those words as they are."""
    # Of a hint, which may be a command, no part can be left out.
    hint = "what to do stands in the details" if has_ids(finding.hint) else _of_its_run(finding)
    return replace(finding, body=tuple(map(without_ids, finding.body)), hint=hint)


def _of_its_run(finding: Finding) -> str:
    """The hint; a command is about the run of the alert wherever it is typed, and not about the newest."""
    name, *facts = finding.title.split(": ")  # of more than two parts the name may be the first two
    about_it = len(facts) == 1 and finding.run not in ABOUT_NO_RUN and len(name) <= _MAX_NAME
    return f"{finding.hint} of {quoted(name)}" if about_it and _COMMAND.fullmatch(finding.hint) else finding.hint


def _details(finding: Finding) -> Message | None:
    """What the alert's message leaves to its thread; None when there is nothing."""
    # Small print is not read out: nobody wants to hear a process id.
    small = [line for line in (*finding.body, finding.hint) if has_ids(line)]
    small += [f"{label}: {value}" for label, value in finding.fields if has_ids(f"{label} {value}")]
    if not (finding.fields or finding.items or finding.excerpt or small):
        return None
    return Message(
        title=f"{finding.title}: details",
        fields=tuple(field for field in finding.fields if not has_ids(" ".join(field))),
        items=finding.items,
        excerpt=finding.excerpt,
        context=tuple(small),
    )


def _more(alert: Alert, details: Message | None) -> tuple[Button, ...]:
    if details is None:
        return ()
    return (Button(action=ActionId.DETAILS, label="Details", value=alert.fingerprint),)


def compose_word(alert: Alert, why: NotifyReason, told: Told, now: float, *, mentions: tuple[str, ...]) -> Message:
    """What is said in the alert's thread, so that the thread keeps what the edits of the message replace. ``told`` is
    what was told before it."""
    finding = _for_the_channel(alert.finding)
    base = Message(title=finding.title, tone=TONES[finding.severity], body=finding.body, mentions=mentions)
    hint = (finding.hint,) if finding.hint else ()
    if why is NotifyReason.REFIRED:
        return replace(
            base,
            title=f"{finding.title} (again, time {alert.times_fired})",
            fields=finding.fields,
            excerpt=finding.excerpt,
            context=(f"at {moment(alert.since_ts)}, last told {moment(told.ts)}",),
        )
    if why is NotifyReason.RAISED:
        told_as = f"It was told as {told.severity} {moment(told.ts)}."
        return replace(
            base, title=f"{finding.title} (now {finding.severity})", body=(told_as, *finding.body), context=hint
        )
    if why is NotifyReason.RESOLVED:
        # The message itself gives up the excerpt; its thread keeps it.
        title = finding.resolution or f"{finding.title} (resolved)"
        return Message(title=title, tone=Tone.GOOD, items=story(alert), excerpt=finding.excerpt)
    since_ts = told.fired_ts if why is NotifyReason.ESCALATED else alert.since_ts
    ack = Button(action=ActionId.ACK, label="Acknowledge", value=alert.fingerprint)
    title = f"{finding.title} (unacknowledged for {duration(now - since_ts)})"
    return replace(base, title=title, context=hint, buttons=(ack,))


def word_key(alert: Alert, why: NotifyReason, told: Told) -> str:
    """The key of that word; the same word has the same key however often it is composed. ``told`` is what was told
    before it."""
    fired, number = alert.times_fired, ""
    if why is NotifyReason.REPEAT:
        number = f".{told.num_repeats + 1}"
    elif why is NotifyReason.ESCALATED:
        number = f".{told.num_escalations + 1}"
    name = "refire" if why is NotifyReason.REFIRED else why.value
    return f"{alert.fingerprint}#{name}{fired}{number}"


def _resolved(alert: Alert) -> Message:
    finding = _for_the_channel(alert.finding)
    context = [finding.hint] if finding.hint else []
    if alert.times_fired > 1:
        context.insert(0, f"fired {alert.times_fired} times")
    details = _details(alert.finding)
    title = finding.resolution or f"{finding.title} (resolved)"
    name, _, fact = finding.title.partition(": ")
    was = (f"Was: {fact if title.startswith(f'{name}: ') else finding.title}",) if finding.resolution else ()
    return Message(
        title=title,
        tone=Tone.GOOD,
        body=(*was, *finding.body),
        items=story(alert),
        context=(" · ".join(context),) if context else (),
        buttons=_more(alert, details),
        details=details,
    )


def story(alert: Alert) -> tuple[Item, ...]:
    """Fired, acknowledged, resolved: each with its time."""
    items = [Item(mark=Mark.WARNING, text="Fired", detail=moment(alert.since_ts))]
    if alert.acked_by is not None and alert.acked_ts is not None:
        items.append(
            Item(mark=Mark.DONE, text=f"Acknowledged by {person(alert.acked_by)}", detail=moment(alert.acked_ts))
        )
    if alert.state is AlertState.RESOLVED and alert.resolved_ts is not None:
        lasted = duration(alert.resolved_ts - alert.since_ts)
        items.append(Item(mark=Mark.DONE, text="Resolved", detail=f"{moment(alert.resolved_ts)}, after {lasted}"))
    return tuple(items)


def _buttons(alert: Alert, silence: Silence | None, silence_s: float) -> tuple[Button, ...]:
    if alert.finding.severity is Severity.INFO:
        return ()
    buttons = []
    if alert.acked_by is None:
        buttons.append(Button(action=ActionId.ACK, label="Acknowledge", value=alert.fingerprint))
    if silence is None:
        label = f"Silence {_whole(silence_s)}"
        buttons.append(Button(action=ActionId.SILENCE, label=label, value=alert.fingerprint))
    else:
        buttons.append(Button(action=ActionId.UNSILENCE, label="Unsilence", value=alert.fingerprint))
    return tuple(buttons)


def _whole(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours} h" if hours and not rest else duration(seconds)
