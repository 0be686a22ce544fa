"""``epoch N progress``: one epoch in detail, running or finished, with its five criteria."""

from __future__ import annotations

import math
from pathlib import PurePath

from trainmaster.bot.core.conversation.message import Message, Reply, Table, Tone
from trainmaster.bot.core.conversation.picture import Sketch
from trainmaster.bot.core.conversation.tokens import moment
from trainmaster.bot.core.conversation.words import REASON_TEXT, counted, losses_text, number_text
from trainmaster.bot.core.run.epoch_report import epoch_fields, judge_epoch
from trainmaster.bot.core.run.forecast import duration, forecast
from trainmaster.bot.core.run.view import EpochView, RunView
from trainmaster.bot.errors import CommandError
from trainmaster.commands.base import RUN_WORD, Command, Context, Invocation, pattern
from trainmaster.commands.which_run import about, find_run

_BARS = "▁▂▃▄▅▆▇█"
_SPARK_WIDTH = 26
_MAX_SHOWN = 8
_DONE = {"observed": "went into the weights"}


async def epoch_progress(invocation: Invocation, context: Context) -> Reply:
    """The epoch asked for; without a number, the running one.

    Raises:
        CommandError: the run has no such epoch (yet); says which it has.
    """
    view = await find_run(invocation, context)
    epoch = _choose(view, invocation.integer("number"))
    report = judge_epoch(view, epoch, context.report_limits)
    running = not epoch.finished and epoch == view.current and view.state.active
    state = "finished" if epoch.finished else ("running" if running else "not finished")
    fields = epoch_fields(epoch) if epoch.finished else _running_fields(view, epoch, context.clock.now())
    left_out = epoch.num_bad - min(len(epoch.bad_batches), _MAX_SHOWN) if epoch.bad_batches else 0
    message = Message(
        title=f"{view.name}: epoch {epoch.epoch} of {epoch.epochs or view.total_epochs or '?'}, {state}",
        tone=Tone.CRITICAL if report.num_failed else (Tone.WARNING if epoch.num_bad else Tone.GOOD),
        fields=fields,
        items=tuple(one.item for one in report.judged),
        table=_bad_batches(epoch),
        excerpt=_curve(epoch),
        context=(
            f"{report.num_met} of {len(report.judged)} criteria met{'' if epoch.finished else ' so far'}",
            f"attempt {epoch.attempt}",
            *((f"{counted(left_out, 'earlier bad batch', 'earlier bad batches')} not shown",) if left_out > 0 else ()),
            about(view, "/train status", context),
        ),
    )
    return Reply(message=message, sketch=_sketch(view, epoch))


def _sketch(view: RunView, epoch: EpochView) -> Sketch | None:
    """The epoch's curves, and its newest bad batch; of a run without a guard, what its table has of the whole run."""
    if view.watched_only:
        return None
    if not view.guarded:
        return Sketch(run=view.run, curves=True)
    kept = [bad.incident for bad in epoch.bad_batches if bad.incident]
    return Sketch(run=view.run, epoch=epoch.epoch, incident=kept[-1] if kept else None)


def _choose(view: RunView, number: int | None) -> EpochView:
    if number is None:
        if view.current is None:
            raise CommandError("no-epoch-yet", f"run {view.name} has not begun its first epoch.", "/train status")
        return view.current
    epoch = view.epoch(number)
    if epoch is not None:
        return epoch
    story = view.story()
    known = "It has begun none"
    if story:
        first, last = story[0].epoch, story[-1].epoch
        known = f"It has epochs {first} to {last}" if last > first else f"It has epoch {first}"
    planned = f", {view.total_epochs} are planned" if view.total_epochs else ""
    raise CommandError(
        "epoch-unknown",
        f"run {view.name} has no epoch {number}. {known}{planned}.",
        f"/train epoch {story[-1].epoch} progress" if story else "/train status",
    )


def _running_fields(view: RunView, epoch: EpochView, now: float) -> tuple[tuple[str, str], ...]:
    """What no criterion says."""
    fields: list[tuple[str, str]] = []
    beat = view.beat
    if beat and beat.epoch == epoch.epoch:
        if beat.epoch_elapsed_s is not None:
            fields.append(("Running for", duration(beat.epoch_elapsed_s)))
        if beat.losses:
            fields.append(("Mean loss so far", losses_text(beat.losses)))
        if beat.grad_norm is not None:
            fields.append(("Gradient norm", number_text(beat.grad_norm)))
    ahead = forecast(view, now)
    if ahead.epoch == epoch.epoch and ahead.epoch_end_ts is not None:
        fields.append(("Ends", f"{moment(ahead.epoch_end_ts)} (in {duration(ahead.epoch_left_s or 0.0)})"))
    return tuple(fields)


def _bad_batches(epoch: EpochView) -> Table | None:
    """Which they were; what was done with each only where that differs: else the criterion says it of all."""
    shown = epoch.bad_batches[-_MAX_SHOWN:]
    if not shown:
        return None
    differ = len({bad.action for bad in epoch.bad_batches}) > 1
    return Table(
        header=("Batch", "Why", *(("What was done",) if differ else ()), "Images"),
        rows=tuple(
            (
                f"{bad.batch:,}",
                REASON_TEXT.get(bad.reason, bad.reason) + (" (drill)" if bad.drill else ""),
                *((_DONE.get(bad.action, bad.action),) if differ else ()),
                ", ".join(PurePath(image).name for image in bad.images[:3])
                + (f" and {len(bad.images) - 3} more" if len(bad.images) > 3 else ""),
            )
            for bad in shown
        ),
    )


def _curve(epoch: EpochView) -> str:
    """The loss over the epoch as one line of bars; empty with fewer than four points."""
    points = [loss for _, loss in epoch.series if math.isfinite(loss)]
    if len(points) < 4:
        return ""
    width = min(_SPARK_WIDTH, len(points))
    means = []
    for column in range(width):
        chunk = points[column * len(points) // width : (column + 1) * len(points) // width]
        means.append(sum(chunk) / len(chunk))
    low, high = min(means), max(means)
    scale = (len(_BARS) - 1) / (high - low) if high > low else 0.0
    bars = "".join(_BARS[round((value - low) * scale)] for value in means)
    return f"loss {points[0]:.3g} {bars} {points[-1]:.3g}"


EPOCH = Command(
    name="epoch N progress",
    summary="one epoch in detail, running or finished, with its five criteria",
    examples=("epoch 4 progress", "epoch progress", "epoch 4"),
    pattern=pattern(r"(?:show )?epoch(?: (?P<number>\d+))?(?: progress)?" + RUN_WORD),
    action=epoch_progress,
)
