"""The card of a run: a message that reads as the run is now, and the root of the run's thread. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from trainmaster.bot.alerting.compose import TONES, story
from trainmaster.bot.core.alerts.alert import Alert, AlertState
from trainmaster.bot.core.alerts.alert_record import severity_rank
from trainmaster.bot.core.alerts.finding import Severity
from trainmaster.bot.core.conversation.message import Item, Mark, Message, Tone
from trainmaster.bot.core.conversation.tokens import moment, person
from trainmaster.bot.core.conversation.words import capitalized, counted
from trainmaster.bot.core.run.forecast import forecast
from trainmaster.bot.core.run.job import next_start_text
from trainmaster.bot.core.run.state import RunState
from trainmaster.bot.core.run.view import RunView, planned_epochs

_MAX_SHOWN = 10
_CELLS = 10
"""Of a bar: the card changes ten times an epoch."""
_CELLS_PCT = 100 // _CELLS
_STEPS_S: Final = ((3600.0, 300.0), (6 * 3600.0, 600.0), (math.inf, 1800.0))
"""Up to which time left an end is told in steps of what. Forecasts move by seconds with every batch; the card does not
follow them."""
_SOON_S: Final = 600.0
"""What ends sooner than this has no time of day: the card may be edited next when that is past."""
_START_STEP_S: Final = 60.0
_ENDED_TONES = {
    RunState.FINISHED: Tone.GOOD,
    RunState.STOPPED: Tone.NEUTRAL,
    RunState.PENDING: Tone.NEUTRAL,
    RunState.SUSPENDED: Tone.WARNING,
    RunState.UNKNOWN: Tone.WARNING,
    RunState.GAVE_UP: Tone.CRITICAL,
    RunState.REFUSED: Tone.CRITICAL,
    RunState.CRASHED: Tone.CRITICAL,
    RunState.DIED: Tone.CRITICAL,
}


def line_key(fingerprint: str) -> str:
    """Key of an alert's line in the thread of its run."""
    return f"{fingerprint}#line"


def compose_card(view: RunView, firing: Sequence[Alert], facts: Sequence[tuple[str, str]] = ()) -> Message:
    """The run as it is now, what fires on it first. ``facts`` are what else is known of it: what is planned, its host.
    It names no batch, and times and shares in steps, so that it changes seldom."""
    number = view.beat.epoch if view.beat else (view.current.epoch if view.current else None)
    place = f", epoch {number} of {planned_epochs(number, view.total_epochs) or '?'}" if number is not None else ""
    clean = view.last_clean
    level = view.record.level if view.record and view.record.level else "unknown"
    return Message(
        title=f"{view.name}: {'training' if view.state.active else view.state.value}{place}",
        tone=_tone(view, firing),
        body=_progress(view),
        fields=(
            ("Bad batches", f"{view.num_bad:,} ({view.num_skipped:,} skipped)" if view.num_bad else "none"),
            ("Last clean checkpoint", f"epoch {clean.epoch}" if clean else "none yet"),
            ("Attempt", f"{view.attempt}, level {level}"),
            ("Firing", _firing(firing)),
            *facts,
        ),
        items=tuple(_item(alert, view.name) for alert in firing[:_MAX_SHOWN]),
        context=("its alerts and reports are in the thread", "/train status"),
    )


def _progress(view: RunView) -> tuple[str, ...]:
    """How far the run and its epoch are, and when they end, in the reader's own zone."""
    beat, epochs = view.beat, view.total_epochs
    if view.state is RunState.PENDING:
        return (_next_start(view),)
    if not view.state.active or beat is None or not beat.epoch or not epochs:
        return ()
    share = min(1.0, (beat.batch or 0) / beat.batches) if beat.batches else 0.0
    of_run = min(1.0, (beat.epoch - 1 + share) / max(epochs, beat.epoch))
    lines = [
        f"{_bar(of_run)} {100 * of_run:.0f} % of the run",
        f"{_bar(share)} {_CELLS_PCT * int(share * _CELLS)} % of epoch {beat.epoch}",
    ]
    ahead = forecast(view, view.ts)
    ends = []
    if ahead.epoch_end_ts is not None and beat.epoch < epochs:
        ends.append(f"epoch {ahead.epoch} ends {_end(ahead.epoch_end_ts, view.ts)}")
    if ahead.run_end_ts is not None:
        ends.append(f"the run ends {_end(ahead.run_end_ts, view.ts)}")
    told = ", ".join(ends)
    return (*lines, *((f"{capitalized(told)}.",) if told else ()))


def _next_start(view: RunView) -> str:
    job = view.process.job if view.process is not None else None
    if job is not None and job.start_ts is not None:
        start_ts = math.ceil(job.start_ts / _START_STEP_S) * _START_STEP_S
        job = replace(job, start_ts=start_ts if start_ts > view.ts else None)
    told = next_start_text(job, view.attempt + 1)
    return f"{capitalized(told)}."


def _bar(share: float) -> str:
    full = int(share * _CELLS)
    return "▰" * full + "▱" * (_CELLS - full)


def _end(ts: float, now: float) -> str:
    """As exact as the time that is left deserves, and never past."""
    left_s = ts - now
    if left_s < _SOON_S:
        return f"within {_SOON_S / 60:.0f} min"
    step_s = next(step_s for up_to_s, step_s in _STEPS_S if left_s <= up_to_s)
    return moment(math.ceil(ts / step_s) * step_s)


def compose_line(alert: Alert) -> Message:
    """A line of the run's thread: that the alert fired, who has it, when it was over; its own message says the rest."""
    over = alert.state is AlertState.RESOLVED
    state = ", resolved" if over else (", acknowledged" if alert.acked_by else "")
    return Message(
        title=f"{alert.finding.title} ({alert.finding.severity}{state})",
        tone=Tone.GOOD if over else TONES[alert.finding.severity],
        items=story(alert),
        context=() if over else ("its message stands in the channel",),
    )


def _fact(alert: Alert, name: str) -> str:
    """What fires, without the name of the run, which the card has in its title."""
    return alert.finding.title.removeprefix(f"{name}: ")


def _tone(view: RunView, firing: Sequence[Alert]) -> Tone:
    unowned = [alert.finding.severity for alert in firing if alert.acked_by is None]
    worst = max(unowned, key=severity_rank, default=None)
    if worst in {Severity.CRITICAL, Severity.WARNING}:
        return TONES[worst]
    return Tone.PROGRESS if view.state.active else _ENDED_TONES.get(view.state, Tone.WARNING)


def _firing(firing: Sequence[Alert]) -> str:
    if not firing:
        return "nothing"
    owned = sum(alert.acked_by is not None for alert in firing)
    return counted(len(firing), "alert") + (f", {owned} acknowledged" if owned else "")


def _item(alert: Alert, name: str) -> Item:
    mark = Mark.FAILED if alert.finding.severity is Severity.CRITICAL else Mark.WARNING
    return Item(
        mark=mark,
        text=_fact(alert, name),
        detail=f"since {moment(alert.since_ts)}"
        + (f", acknowledged by {person(alert.acked_by)}" if alert.acked_by else ""),
    )
