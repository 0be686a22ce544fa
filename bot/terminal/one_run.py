"""One run in full: bars, charts, counts, and what happened last. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from rich.style import Style
from rich.text import Text

from trainmaster.bot.core.conversation.words import number_text
from trainmaster.bot.core.run.forecast import duration, forecast
from trainmaster.bot.core.run.state import RunState
from trainmaster.bot.core.run.view import EpochView
from trainmaster.bot.terminal.canvas import (
    BAD,
    FAINT,
    GOOD,
    PLAIN,
    STRONG,
    WARNING,
    Canvas,
    Shown,
    place_of,
    shares_of,
    state_of,
    watched_from_its_start,
)

NARROW: Final = 60
"""Cells below which notes beside charts and seconds of events go, and times left have a line of their own."""
_MAX_PARTS: Final = 4
"""Losses that have a chart of their own; a pose model has five."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedLine:
    """A line, and how soon it gives way where there is little room: those with the highest ``rank`` go first."""

    line: Text
    rank: int


def run_rows(shown: Shown, canvas: Canvas) -> list[RankedLine]:
    """Everything about the run but what happened in it."""
    return [
        RankedLine(line=_title(shown, canvas), rank=0),
        *(RankedLine(line=line, rank=1) for line in _bars(shown, canvas)),
        RankedLine(line=Text(""), rank=8),
        *_charts(shown, canvas),
        *(RankedLine(line=line, rank=rank) for rank, line in _counts(shown, canvas)),
    ]


def _title(shown: Shown, canvas: Canvas) -> Text:
    view = shown.view
    state, style = state_of(view, canvas)
    attempt = f", attempt {view.attempt}" if view.attempt > 1 else ""
    tail = f"attempt {view.attempt + 1} {state}" if view.state is RunState.PENDING else f"{state}{attempt}"
    room = max(canvas.width // 3, canvas.width - len(tail) - 2)
    name = canvas.glyphs.padded(canvas.glyphs.middle(canvas.glyphs.text(view.name), room), room)
    return canvas.line((name, STRONG), "  ", (tail, style))


def _bars(shown: Shown, canvas: Canvas) -> list[Text]:
    view = shown.view
    epoch, epochs, batch, batches = place_of(view)
    of_epoch, of_run = shares_of(view)
    epoch_left = run_left = ""
    if watched_from_its_start(view):
        ahead = forecast(view, canvas.now)
        if ahead.epoch_left_s is not None and ahead.epoch_end_ts is not None:
            epoch_left = f"{duration(ahead.epoch_left_s)} left"
        if ahead.run_left_s is not None and ahead.run_end_ts is not None:
            run_left = f"{duration(ahead.run_left_s)} left"
    at = f"batch {batch:,}" + (f" of {batches:,}" if batches else "") if batch is not None else ""
    number = "?" if epoch is None else str(epoch)
    whole = f"epoch {number} of {'?' if epochs is None else epochs}"
    if canvas.width >= NARROW:
        return [_bar(canvas, "epoch", of_epoch, at, epoch_left), _bar(canvas, "run", of_run, whole, run_left)]
    bars = [_bar(canvas, "epoch", of_epoch, at, ""), _bar(canvas, "run", of_run, whole, "")]
    left = ", ".join(f"{what} {time}" for what, time in (("epoch", epoch_left), ("run", run_left)) if time)
    return [*bars, canvas.line((f"{'left':<{_LABEL}} ", FAINT), left.replace(" left", ""))] if left else bars


def _bar(canvas: Canvas, label: str, share: float | None, at: str, left: str) -> Text:
    pct = "   ?" if share is None else f"{math.floor(100 * share):3d}%"
    words = f"{at}, {left}" if at and left else at or left
    words_width = min(36, max(20, canvas.width // 2 - 6))
    width = canvas.width - _LABEL - 1 - len(pct) - 2 - words_width
    style = GOOD if share is not None and share >= 1 else Style(color="cyan")
    drawn = canvas.glyphs.bar(share or 0.0, max(4, width))
    return canvas.line((f"{label:<{_LABEL}} ", FAINT), (drawn, style), f" {pct} {words}")


_LABEL: Final = 9


def _charts(shown: Shown, canvas: Canvas) -> list[RankedLine]:
    view = shown.view
    totals, parts = _losses_by_epoch(shown)
    within = _within_epoch(shown)
    norms = [one.norm_p50 for one in view.stretches if one.norm_p50 is not None]
    finished = [epoch for epoch in view.story() if epoch.finished]
    fitness = [epoch.fitness for epoch in finished if epoch.fitness is not None and epoch.validated]
    rates = [epoch.lr for epoch in finished if epoch.lr is not None]
    limit = view.max_norms.get(view.attempt)
    newest_norm = view.beat.grad_norm if view.beat and view.state.active else None
    rows = [_chart(canvas, "loss", totals, 2, "epochs")]
    rows += [_chart(canvas, f" {name.removesuffix('_loss')}", part, 7, "") for name, part in list(parts.items())]
    rows.append(_chart(canvas, "in epoch", within, 3, ""))
    clip = "" if limit is None else f"clip {number_text(limit)}"
    rows.append(_chart(canvas, "gradient", norms, 3, clip, newest=newest_norm))
    rows.append(_chart(canvas, "fitness", fitness, 5, f"best {number_text(max(fitness))}" if fitness else ""))
    rows.append(_chart(canvas, "rate", rates, 9, ""))
    return [row for row in rows if row is not None]


def _chart(
    canvas: Canvas, label: str, values: Sequence[float], rank: int, note: str, *, newest: float | None = None
) -> RankedLine | None:
    """A chart with the newest value in figures; None where there is nothing to show."""
    if not values and newest is None:
        return None
    value = newest if newest is not None else values[-1]
    style = PLAIN if math.isfinite(value) else BAD
    room = max(4, canvas.width - _LABEL - 1 - _FIGURE - 1 - (_NOTE if canvas.width >= NARROW else 0))
    drawn = canvas.glyphs.chart(values, room)
    if note == "epochs":
        note = f"{len(values)} epochs" if len(values) != 1 else "1 epoch"
    name = canvas.glyphs.padded(canvas.glyphs.text(label), _LABEL)
    parts: list[tuple[str, Style] | str] = [(f"{name} ", FAINT), (f"{number_text(value):>{_FIGURE}} ", style)]
    parts += [(one, BAD if one == canvas.glyphs.nonfinite else Style(color="cyan")) for one in _runs(drawn, canvas)]
    if note and canvas.width >= NARROW:
        parts.append((f"{'':{room - len(drawn)}} {note}", FAINT))
    return RankedLine(line=canvas.line(*parts), rank=rank)


_FIGURE: Final = 9
_NOTE: Final = 15


def _runs(drawn: str, canvas: Canvas) -> list[str]:
    """``drawn`` in pieces, so that what is not finite has its own colour."""
    mark = canvas.glyphs.nonfinite
    pieces: list[str] = []
    for one in drawn:
        if one == mark or not pieces or pieces[-1] == mark:
            pieces.append(one)
        else:
            pieces[-1] += one
    return pieces


def _losses_by_epoch(shown: Shown) -> tuple[list[float], dict[str, list[float]]]:
    """The sum and each part by epoch, the running one included."""
    view = shown.view
    known: dict[int, dict[str, float]] = {number: dict(losses) for number, losses in shown.epoch_losses.items()}
    for epoch in view.story():
        if epoch.losses:
            known[epoch.epoch] = dict(epoch.losses)
    beat, current = view.beat, view.current
    over = current is not None and beat is not None and current.epoch == beat.epoch and current.finished
    if beat is not None and beat.epoch and beat.losses and not over:
        known[beat.epoch] = dict(beat.losses)
    ordered = [known[number] for number in sorted(known)]
    totals = [sum(losses.values()) for losses in ordered]
    names = list(ordered[-1]) if ordered else []
    parts = {name: [losses[name] for losses in ordered if name in losses] for name in names[:_MAX_PARTS]}
    return totals, parts if len(names) > 1 else {}


def _within_epoch(shown: Shown) -> list[float]:
    current = shown.view.current
    if current is not None and current.series:
        return [loss for _, loss in current.series]
    return list(shown.frame_losses)


def _counts(shown: Shown, canvas: Canvas) -> list[tuple[int, Text]]:
    view = shown.view
    lines = [(1, _bad(shown, canvas))]
    clean = view.last_clean
    if view.guarded:
        words = "none" if clean is None else f"after epoch {clean.epoch}, {canvas.glyphs.text(clean.file)}"
        lines.append((4, canvas.line(("clean     ", FAINT), (words, PLAIN if clean else WARNING))))
    speed = _speed(shown, canvas)
    if speed:
        lines.append((6, canvas.line(("speed     ", FAINT), speed)))
    lines += [(2, canvas.line((f"! {canvas.glyphs.text(error)}", WARNING))) for error in view.read_errors[:2]]
    return lines


def _bad(shown: Shown, canvas: Canvas) -> Text:
    view = shown.view
    current = view.current
    here = current.num_bad if current is not None else 0
    in_weights = sum(epoch.num_in_weights for epoch in view.story())
    if view.guarded:
        bad = f"{view.num_bad:,} bad batches" if view.num_bad != 1 else "1 bad batch"
        words = f"{bad} ({view.num_skipped:,} skipped, {here:,} in this epoch)" if view.num_bad else bad
        clips = f", {view.num_clipped:,} clipped steps"
    else:
        count = sum(1 for epoch in view.story() if epoch.num_bad)
        words = f"losses not finite in {count:,} of {len(view.story()):,} epochs" if count else "all losses finite"
        words = words if view.story() else "no epoch seen yet"
        clips = ""
    style = BAD if in_weights else (WARNING if view.num_bad else PLAIN)
    return canvas.line(("NaN       ", FAINT), (words, style), clips)


def _speed(shown: Shown, canvas: Canvas) -> str:
    view = shown.view
    parts = []
    beat = view.beat
    if beat is not None and beat.images_per_s and view.state.active:
        parts.append(f"{number_text(beat.images_per_s)} images/s")
    took = _newest(view.story(), lambda epoch: epoch.seconds)
    if took is not None and took > 0:
        parts.append(f"{duration(took)} an epoch")
    if beat is not None and beat.memory_gib and view.state.active:
        parts.append(f"{beat.memory_gib:.1f} GiB of GPU memory")
    record = view.record
    if record is not None and record.started_ts is not None:
        ended = not view.state.active and view.state is not RunState.UNKNOWN
        newest = max(record.updated_ts or 0.0, beat.ts if beat else 0.0) or canvas.now
        lasted = duration(max(0.0, (newest if ended else canvas.now) - record.started_ts))
        parts.append(f"{'ran' if ended else 'running'} for {lasted}")
    return ", ".join(parts)


def _newest(epochs: Sequence[EpochView], value: Callable[[EpochView], float | None]) -> float | None:
    known = [found for epoch in epochs if (found := value(epoch)) is not None]
    return known[-1] if known else None
