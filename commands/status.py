"""``status``: how the run is, in one look."""

from __future__ import annotations

from collections.abc import Sequence

from trainmaster.bot.core.conversation.message import Message, Reply, Tone
from trainmaster.bot.core.conversation.tokens import moment
from trainmaster.bot.core.conversation.words import capitalized, counted, listed, losses_text
from trainmaster.bot.core.health.host import HostFact, host_text
from trainmaster.bot.core.run.facts import ProcessStatus
from trainmaster.bot.core.run.forecast import Basis, Forecast, duration, forecast
from trainmaster.bot.core.run.job import next_start_text
from trainmaster.bot.core.run.state import RunState
from trainmaster.bot.core.run.view import RunView, planned_epochs
from trainmaster.commands.base import RUN_WORD, Command, Context, Invocation, pattern
from trainmaster.commands.which_run import about, find_run

_LAYERS_WIDTH = 40
"""Columns of fixed width that a phone shows without scrolling."""
_GAP = "  "
_MAX_FIRING = 5
_MAX_OTHERS = 4
_TONES = {
    RunState.PENDING: Tone.NEUTRAL,
    RunState.SUSPENDED: Tone.WARNING,
    RunState.STOPPED: Tone.WARNING,
    RunState.FINISHED: Tone.GOOD,
    RunState.GAVE_UP: Tone.CRITICAL,
    RunState.REFUSED: Tone.CRITICAL,
    RunState.CRASHED: Tone.CRITICAL,
    RunState.DIED: Tone.CRITICAL,
    RunState.UNKNOWN: Tone.WARNING,
}


async def status(invocation: Invocation, context: Context) -> Reply:
    """State, place, runtime, bad batches, clips, layers, next milestone, last clean checkpoint."""
    view = await find_run(invocation, context)
    now = context.clock.now()
    ahead = forecast(view, now)
    firing = context.alerts.firing(view.run)
    others = [one.name for one in context.runs.all() if one.run != view.run and one.state.active]
    title = f"{view.name}: {view.state.value}{_place(view)}"
    message = Message(
        title=title,
        tone=_TONES.get(view.state, Tone.WARNING if firing else Tone.GOOD),
        body=(
            *watched_only(view),
            *_next_start(view),
            *context.planned(view.run),
            *(f"Firing: {alert.finding.title.removeprefix(f'{view.name}: ')}" for alert in firing[:_MAX_FIRING]),
            *((f"and {len(firing) - _MAX_FIRING:,} more: /train alerts",) if len(firing) > _MAX_FIRING else ()),
        ),
        fields=(
            *_state(view),
            *_untitled_place(view),
            ("Runtime", runtime_text(view, now)),
            ("Bad batches (NaN)", _bad(view)),
            ("Clipped gradients", _clips(view)),
            ("Next milestone", _milestone(view, ahead)),
            ("Last clean checkpoint", clean_text(view)),
            ("Loss", losses_text(view.beat.losses) if view.beat and view.beat.losses else "not reported yet"),
            ("Speed", _speed(view, ahead)),
            ("Host", host_field(view, context.host())),
            *job_fields(view),
        ),
        excerpt=layers_text(view),
        context=(
            f"As of {moment(view.heartbeat.ts)}" if view.heartbeat else "No heartbeat was read",
            about(view, f"/train epoch {view.current.epoch} progress", context) if view.current else "/train help",
            *((f"also running: {listed(others, _MAX_OTHERS)}",) if others else ()),
        ),
    )
    return Reply(message=message)


def watched_only(view: RunView) -> tuple[str, ...]:
    """One line that says why the bot does nothing to the run; none when it may."""
    if view.watched_only:
        return (f"{view.name} is watched only: {view.watched_only}.",)
    return (f"It is not stopped from here: {view.process_fault}.",) if view.process_fault else ()


def _next_start(view: RunView) -> tuple[str, ...]:
    """When the attempt that waits in the queue of a cluster begins; nothing of a run that does not wait."""
    if view.state is not RunState.PENDING:
        return ()
    told = next_start_text(view.process.job if view.process is not None else None, view.attempt + 1)
    return (f"{capitalized(told)}.",)


def job_fields(view: RunView) -> tuple[tuple[str, str], ...]:
    """What its cluster says of the run's job; nothing of a run that is none."""
    known = view.record.job if view.record is not None else None
    if known is None:
        return ()
    job = view.process.job if view.process is not None else None
    partition, node = (job.partition, job.node) if job is not None else (known.partition, known.node)
    restarts = job.restarts if job is not None else known.restart
    limit_ts = job.end_ts if job is not None and job.cause is None else None
    parts = (
        f"{job.address if job is not None else known.id}" + (f" in {partition}" if partition else ""),
        f"on {node}" if node else "on no node yet",
        counted(restarts, "restart"),
        f"limit {moment(limit_ts)}" if limit_ts else "",
        f"preempted {moment(job.preempt_ts)}" if job is not None and job.preempt_ts else "",
        job.cause.text if job is not None and job.cause is not None else "",
    )
    return (("Job", ", ".join(part for part in parts if part)),)


def _place(view: RunView) -> str:
    beat = view.beat
    if beat is None or not beat.epoch:
        return ""
    batch = f", batch {beat.batch:,} of {beat.batches:,}" if beat.batch is not None and beat.batches else ""
    return f", epoch {beat.epoch} of {view.total_epochs or '?'}{batch}"


def _state(view: RunView) -> tuple[tuple[str, str], ...]:
    """What the title does not say of the state."""
    if view.state is RunState.UNKNOWN:
        known = view.process is not None and view.process.status is not ProcessStatus.UNKNOWN
        why = "no evidence" if known else "its process can't be seen from here"
        if view.process is not None and view.record is not None and view.record.job is not None:
            why = view.process.detail
        return (("Why", why),)
    if view.state is RunState.PENDING:
        return ()  # which attempt waits and what for stands above
    phase = view.beat.phase.value.replace("_", " ") if view.beat and view.beat.phase else view.state.value
    now = (("Phase", phase),) if view.state.active and phase != view.state.value else ()
    return (*now, ("Attempt", f"{view.attempt}"))


def _untitled_place(view: RunView) -> tuple[tuple[str, str], ...]:
    """The epoch, and that no batch is done, where the title does not name them."""
    if view.beat is not None and view.beat.epoch:
        return () if view.beat.batch is not None and view.beat.batches else (("Batch", _batch(view)),)
    return (("Epoch", _epoch(view)), ("Batch", _batch(view)))


def _epoch(view: RunView) -> str:
    number = view.beat.epoch if view.beat else (view.current.epoch if view.current else None)
    return f"{'?' if number is None else number} of {planned_epochs(number, view.total_epochs) or '?'}"


def _batch(view: RunView) -> str:
    beat = view.beat
    return "none yet" if beat is None or beat.batch is None else f"{beat.batch:,} of ?"


def runtime_text(view: RunView, now: float) -> str:
    """How long the run takes so far and, when it is not the first, how long this attempt does."""
    if view.record is None or view.record.started_ts is None:
        return "unknown"
    end = now if view.state.active else (view.record.updated_ts or now)
    text = f"{duration(max(0.0, end - view.record.started_ts))} (since {moment(view.record.started_ts)})"
    began_ts = view.began_ts
    if began_ts is None or view.attempt == 1:
        return text
    return f"{duration(max(0.0, end - began_ts))} (since {moment(began_ts)}); attempt {view.attempt}: {text}"


def _bad(view: RunView) -> str:
    if view.num_bad == 0:
        return "0"
    return f"{view.num_bad:,} ({view.num_skipped:,} skipped)"


def _clips(view: RunView) -> str:
    beat = view.beat
    here = f", {beat.clipped_epoch:,} in this epoch" if beat and beat.clipped_epoch is not None else ""
    return f"{view.num_clipped:,}{here}"


def _milestone(view: RunView, ahead: Forecast) -> str:
    if not view.state.active:
        return "none: the run is not at work"
    if ahead.epoch is None or ahead.epoch_end_ts is None:
        return "not known yet"
    last = view.total_epochs is not None and ahead.epoch >= view.total_epochs
    what = "end of training" if last else f"end of epoch {ahead.epoch}"
    text = f"{what} {moment(ahead.epoch_end_ts)} (in {duration(ahead.epoch_left_s or 0.0)})"
    if ahead.run_end_ts is not None and not last:
        text += f"; of the run {moment(ahead.run_end_ts)}"
    return text


def clean_text(view: RunView) -> str:
    """The newest clean checkpoint, with the time it was saved."""
    clean = view.last_clean
    if clean is None:
        return "none yet"
    saved = f", saved {moment(clean.ts)}" if clean.ts else ""
    return f"epoch {clean.epoch}{saved}"


def _speed(view: RunView, ahead: Forecast) -> str:
    parts = []
    if view.beat and view.beat.images_per_s:
        parts.append(f"{view.beat.images_per_s:.1f} images/s")
    if ahead.epoch_s is not None and ahead.basis is not Basis.NONE:
        parts.append(f"{duration(ahead.epoch_s)} an epoch")
    return ", ".join(parts) or "not measured yet"


def host_field(view: RunView, fact: HostFact | None) -> str:
    """The bot sees its own host only; of another one it knows nothing."""
    host = view.record.host if view.record else None
    if fact is None:
        return f"{host or 'unknown'}, not looked at yet"
    if view.record is not None and view.record.job is not None:
        return f"{host or 'a node of the cluster'}: what it has to spare can't be seen from {fact.name}"
    if host is not None and host != fact.name:
        return f"{host}, which can't be seen from {fact.name}"
    return f"{fact.name}: {host_text(fact)}"


def layers_text(view: RunView) -> str:
    """The guard's layers with their settings, one line a layer where a phone shows that; empty when the record tells
    none."""
    if view.record is None or not view.record.layers:
        return ""
    by_layer: dict[str, list[str]] = {}
    for row in view.record.layers:
        layer = f"{row.get('layer', '')} {row.get('name', '')}".strip()
        yours = " (yours)" if row.get("source") == "user" else ""
        by_layer.setdefault(layer, []).append(f"{row.get('setting', '')} {row.get('value', '')}{yours}")
    width = max(len(layer) for layer in by_layer)
    longest = max(len(setting) for settings in by_layer.values() for setting in settings)
    beside = width + len(_GAP) + longest < _LAYERS_WIDTH
    lines = [f"Layers at level {view.record.level or 'unknown'}:"]
    for layer, settings in by_layer.items():
        lines += [] if beside else [layer]
        lines += _in_columns(f"{layer:<{width}}{_GAP}" if beside else _GAP, settings)
    return "\n".join(lines)


def _in_columns(before: str, settings: Sequence[str]) -> list[str]:
    """One row behind ``before``, and more where the settings are wider than a phone."""
    rows, row = [], before + settings[0]
    for setting in settings[1:]:
        if len(row) + 2 + len(setting) < _LAYERS_WIDTH:
            row += f", {setting}"
        else:
            rows.append(f"{row},")
            row = " " * len(before) + setting
    return [*rows, row]


STATUS = Command(
    name="status",
    summary="how the run is: state, place, bad batches, layers, next milestone, last clean checkpoint",
    examples=("status", "status of digits"),
    pattern=pattern(r"(?:show )?status" + RUN_WORD),
    action=status,
)
