"""What the channel is told once a day, and after the bot was away. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trainmaster.bot.core.conversation.message import Item, Mark, Message, Table, Tone
from trainmaster.bot.core.conversation.tokens import moment
from trainmaster.bot.core.conversation.words import counted
from trainmaster.bot.core.run.forecast import duration, forecast
from trainmaster.bot.core.run.period import Period, lived, period
from trainmaster.bot.core.run.state import RunState
from trainmaster.bot.core.run.view import RunView

_MAX_RUNS = 40
_TROUBLED = frozenset({RunState.DIED, RunState.CRASHED, RunState.GAVE_UP, RunState.REFUSED})


def compose_digest(
    views: Sequence[RunView], alerts: Mapping[str, tuple[int, int]], since_ts: float, now: float
) -> Message | None:
    """The day in a table, a row for each run that was at work since ``since_ts``; None when none was. ``alerts`` is by
    run how many were told since then, and how many of them somebody acknowledged."""
    alive = [view for view in views if lived(view, since_ts)]
    if not alive:
        return None
    rows = tuple(_row(view, alerts.get(view.run, (0, 0)), since_ts, now) for view in alive[:_MAX_RUNS])
    at_work = sum(view.state.active for view in alive)
    num_alerts = sum(alerts.get(view.run, (0, 0))[0] for view in alive)
    left_out = len(alive) - len(rows)
    fired = counted(num_alerts, "alert")
    return Message(
        title=f"Digest: {counted(at_work, 'run')} at work, {fired} in {duration(now - since_ts)}",
        tone=Tone.NEUTRAL,
        table=Table(
            header=("Run", "State", "Epochs done", "NaN (skipped)", "Clipped", "Alerts", "Last clean", "Ends"),
            rows=rows,
        ),
        context=(
            f"since {moment(since_ts)}",
            *((f"{counted(left_out, 'run')} not shown",) if left_out else ()),
            "/train status",
        ),
    )


def _row(view: RunView, alerts: tuple[int, int], since_ts: float, now: float) -> tuple[str, ...]:
    since = period(view, since_ts)
    told, acked = alerts
    clean, ahead = view.last_clean, forecast(view, now)
    running = view.beat.epoch if view.beat else None
    place = f", epoch {running} of {view.total_epochs or '?'}" if running and view.state.active else ""
    return (
        view.name,
        f"{view.state.value}{place}",
        f"{since.num_epochs}",
        f"{since.num_bad:,} ({since.num_skipped:,})" if since.num_bad else "0",
        f"{since.num_clipped:,}",
        f"{told}, {acked} acknowledged" if told else "0",
        f"epoch {clean.epoch}" if clean else "none",
        moment(ahead.run_end_ts) if ahead.run_end_ts is not None else ("unknown" if view.state.active else "–"),
    )


def compose_absence(views: Sequence[RunView], away_since_ts: float, now: float) -> Message:
    """The bot is back: how long nobody watched, and what happened meanwhile to which run."""
    eventful = [(view, since) for view in views if (since := period(view, away_since_ts)).eventful]
    items = tuple(_missed(view, since) for view, since in eventful[:_MAX_RUNS])
    troubled = any(since.ended in _TROUBLED or since.num_bad for _, since in eventful)
    what = "What happened meanwhile:" if items else f"Nothing happened meanwhile on {counted(len(views), 'run')}."
    return Message(
        title=f"Trainmaster was away for {duration(now - away_since_ts)}",
        tone=Tone.WARNING if troubled else Tone.NEUTRAL,
        body=(f"Nobody watched from {moment(away_since_ts)} to {moment(now)}. {what}",),
        items=items,
        context=("each of these is also told as an alert or a report of its own", "/train alerts") if items else (),
    )


def _missed(view: RunView, since: Period) -> Item:
    parts = []
    if since.ended is not None:
        parts.append(since.ended.value)
    if since.num_epochs:
        parts.append(f"{counted(since.num_epochs, 'epoch')} finished")
    if since.num_bad:
        parts.append(f"{counted(since.num_bad, 'bad batch', 'bad batches')} ({since.num_skipped:,} skipped)")
    mark = Mark.FAILED if since.ended in _TROUBLED else Mark.WARNING if since.num_bad else Mark.DONE
    return Item(mark=mark, text=view.name, detail=", ".join(parts))
