"""The curves of a run or of one epoch: loss parts, gradient norm with the clip line, fitness, learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import median
from typing import TYPE_CHECKING, Final

from trainmaster.trainer.pictures import canvas
from trainmaster.trainer.pictures.canvas import BACK, BAD, CLIP, INK, MARKS, PALE, PARTS
from trainmaster.trainer.pictures.story import EpochEnd, PlotRow, Story
from trainmaster.trainer.pictures.words import bad_of, rows_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MAX_PARTS: Final = len(PARTS)
_MAX_LINES: Final = 40
"""Bad batches that get a line of their own; more would be a curtain, and get a tick at the top alone."""
_MAX_LABELS: Final = 6
_LOG_FROM: Final = 30.0
"""Largest over median norm from which on the axis is logarithmic."""
_CUT_FROM: Final = 4.0
"""Largest over median loss from which on the axis is cut, so that one spike does not flatten the rest."""
_DOTS_UP_TO: Final = 12

Place = Callable[[int, int], float]


def run_figure(story: Story) -> Figure:
    """The whole run over its epochs. What a rollback gave up is pale."""
    figure, (losses, norms, fitness, rate) = canvas.new_figure(6.6, (3.0, 2.2, 1.5, 1.1))
    newest = story.newest_epoch
    of = f" of {story.epochs}" if story.epochs else ""
    canvas.head(figure, story.name, "nothing yet" if newest is None else f"epoch {newest}{of}")
    kept = [row for row in story.rows if not story.given_up(row.attempt, row.epoch, row.batch)]
    gone = [row for row in story.rows if story.given_up(row.attempt, row.epoch, row.batch)]
    ends = [end for end in story.ends if not story.given_up(end.attempt, end.epoch)]
    _losses(losses, kept, gone, story.place, ends=[] if kept else ends)
    _norms(norms, kept, gone, story)
    _fitness(fitness, ends, [end for end in story.ends if story.given_up(end.attempt, end.epoch)])
    _rate(rate, [(story.place(row.epoch, row.batch), row.lr) for row in kept] or [(end.epoch, end.lr) for end in ends])
    _attempts(losses, story)
    _bad((losses, norms), [story.place(bad.epoch, bad.batch) for bad in story.bad])
    rate.set_xlabel("epoch")
    _whole_ticks(rate)
    places = [*(story.place(row.epoch, row.batch) for row in story.rows), *(float(end.epoch) for end in story.ends)]
    rate.set_xlim(0, 1.02 * max([1.0, *places]))
    return figure


def epoch_figure(story: Story, epoch: int) -> Figure:
    """One epoch over its batches, with the epoch before as a dotted line."""
    figure, (losses, norms, rate) = canvas.new_figure(5.6, (3.0, 2.4, 1.1))
    canvas.head(figure, story.name, f"epoch {epoch}")
    rows = rows_of(story, epoch)
    _losses(losses, rows, [], _by_batch)
    _before(losses, story, epoch)
    _norms(norms, rows, [], story, place=_by_batch)
    _rate(rate, [(row.batch, row.lr) for row in rows])
    _bad((losses, norms), [bad.batch for bad in bad_of(story, epoch)])
    rate.set_xlabel(f"batch of {story.batches:,}" if story.batches else "batch")
    last = max((row.batch for row in rows), default=1)
    rate.set_xlim(0, max(story.batches if last > story.batches / 2 else last * 1.25, 1))
    _whole_ticks(rate)
    return figure


def _by_batch(_: int, batch: int) -> float:
    return float(batch)


def _losses(
    axes: Axes, kept: Sequence[PlotRow], gone: Sequence[PlotRow], place: Place, ends: Sequence[EpochEnd] = ()
) -> None:
    axes.set_title("Loss")
    names = list(
        dict.fromkeys(
            name for losses in (*(row.losses for row in kept), *(end.losses for end in ends)) for name in losses
        )
    )[:_MAX_PARTS]
    drawn: list[float] = []
    for name, colour, dash in zip(names, PARTS, MARKS, strict=False):
        for rows, of_kept in ((gone, False), (kept, True)):
            points = [(place(row.epoch, row.batch), row.losses.get(name, math.nan)) for row in rows]
            if of_kept and ends:
                points = [(float(end.epoch), end.losses.get(name, math.nan)) for end in ends]
            label = canvas.short(name.removesuffix("_loss"), 14) if of_kept else None
            _line(
                axes,
                points,
                colour if of_kept else PALE,
                dash if of_kept else "-",
                label,
                width=1.8 if of_kept else 1.0,
            )
            drawn += [value for _, value in points if math.isfinite(value)]
    if not drawn:
        _nothing(axes, "no loss is known" if not names else "no finite loss")
        return
    _cut(axes, drawn)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper right", ncols=min(3, len(names)), handlelength=2.2, columnspacing=1.0)


def _before(axes: Axes, story: Story, epoch: int) -> None:
    ends = [end for end in story.ends if end.epoch == epoch - 1 and not story.given_up(end.attempt, end.epoch)]
    if not ends:
        return
    for number, (name, colour) in enumerate(zip(ends[-1].losses, PARTS, strict=False)):
        value = ends[-1].losses[name]
        if math.isfinite(value):
            axes.axhline(
                value, color=colour, linewidth=0.9, linestyle=":", label=f"epoch {epoch - 1}" if not number else None
            )
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper right", ncols=4, handlelength=1.6, columnspacing=1.0)


def _norms(
    axes: Axes, kept: Sequence[PlotRow], gone: Sequence[PlotRow], story: Story, place: Place | None = None
) -> None:
    axes.set_title("Gradient norm")
    at = place or story.place
    # Not every batch is a step of the optimizer: rows without a norm are no gap.
    middle = [(at(row.epoch, row.batch), row.norm_p50) for row in kept if math.isfinite(row.norm_p50)]
    largest = [(at(row.epoch, row.batch), row.norm_max) for row in kept if math.isfinite(row.norm_max)]
    known = [value for _, value in (*middle, *largest) if math.isfinite(value) and value > 0]
    if not known:
        _nothing(axes, "not known: only a guarded run measures it" if not story.guarded else "none is known yet")
        return
    _line(axes, [(at(row.epoch, row.batch), row.norm_p50) for row in gone], PALE, "-", None, width=1.0)
    _line(axes, middle, PARTS[0], "-", "median", width=1.8)
    axes.scatter(
        [x for x, _ in largest], [y for _, y in largest], s=7, color=PARTS[1], label="largest", zorder=3, linewidths=0
    )
    clip = story.max_norm
    if math.isfinite(clip) and 0 < clip < 100 * max(known):
        axes.axhline(clip, color=CLIP, linewidth=1.4, linestyle="--", label=f"clipped at {clip:g}")
    if max(known) > _LOG_FROM * median(known):
        axes.set_yscale("log")
        axes.set_ylim(None, max(known) * 12)
    else:
        axes.set_ylim(0, 1.35 * max(known))
    axes.legend(loc="upper right", ncols=3, handlelength=1.6, columnspacing=1.0)


def _fitness(axes: Axes, ends: Sequence[EpochEnd], gone: Sequence[EpochEnd]) -> None:
    axes.set_title("Fitness")
    points = [(float(end.epoch), end.fitness) for end in ends]
    known = [(x, y) for x, y in points if math.isfinite(y)]
    if not known:
        _nothing(axes, "no validation yet")
        return
    pale = [(float(end.epoch), end.fitness) for end in gone if math.isfinite(end.fitness)]
    _line(axes, pale, PALE, "-", None, width=1.0)
    _line(axes, points, PARTS[2], "-", None, width=1.8)
    best = max(known, key=lambda point: point[1])
    axes.scatter([best[0]], [best[1]], s=34, color=PARTS[2], zorder=4)
    axes.set_title(f"best {best[1]:.3g}, epoch {best[0]:.0f}", loc="right", fontsize=9.5, fontweight="normal")
    axes.set_ylim(min(0.0, *(y for _, y in known)), max(best[1] * 1.15, 0.01))


def _rate(axes: Axes, points: Sequence[tuple[float, float]]) -> None:
    axes.set_title("Learning rate")
    if not any(math.isfinite(value) for _, value in points):
        _nothing(axes, "not known")
        return
    _line(axes, points, INK, "-", None, width=1.6)
    axes.set_ylim(0, None)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.3g}")


def _line(
    axes: Axes, points: Sequence[tuple[float, float]], colour: str, dash: str, label: str | None, *, width: float
) -> None:
    """With gaps where a value is not known; single points are dots."""
    if not points:
        return
    few = sum(math.isfinite(value) for _, value in points) <= _DOTS_UP_TO
    alone = sum(math.isfinite(value) for _, value in points) == 1
    xs, ys = zip(*points, strict=True)
    marker = "o" if alone or few else ""
    axes.plot(
        xs,
        ys,
        color=colour,
        linestyle=dash,
        linewidth=width,
        label=label,
        marker=marker,
        markersize=5 if alone else 2.5,
    )


def _cut(axes: Axes, values: Sequence[float]) -> None:
    """From zero; a spike far above the rest leaves the sheet, and how high it went is said."""
    middle, top = median(values), max(values)
    if middle > 0 and top > _CUT_FROM * middle:
        ordered = sorted(values)
        limit = max(ordered[int(0.97 * (len(ordered) - 1))], 2 * middle) * 1.4
        if top > limit:
            axes.set_ylim(min(0.0, *values), limit)
            axes.annotate(f"▲ up to {top:.3g}", (0.01, 0.98), xycoords="axes fraction", va="top", fontsize=9, color=BAD)
            return
    axes.set_ylim(min(0.0, *values), max(top * 1.4, 1e-6))


def _attempts(axes: Axes, story: Story) -> None:
    """Where attempts began, and where they went back to."""
    back = dict(story.rollbacks())
    later = [attempt for attempt in sorted(story.starts) if attempt > 1]
    for attempt in later:
        rows = [row for row in story.rows if row.attempt == attempt]
        first = story.starts[attempt]
        if rows:
            place = story.place(rows[0].epoch, rows[0].batch)
        elif first is not None:
            place = float(first - 1)
        else:
            continue
        colour = BACK if attempt in back else PALE
        for panel in axes.figure.axes:
            panel.axvline(place, color=colour, linewidth=1.2, linestyle="-" if attempt in back else "--", zorder=1)
        if len(later) <= _MAX_LABELS:
            text = f"back to {back[attempt]}" if attempt in back else f"attempt {attempt}"
            axes.annotate(
                text,
                (place, 0.04),
                xycoords=("data", "axes fraction"),
                xytext=(3, 0),
                textcoords="offset points",
                fontsize=8,
                color=BACK if attempt in back else INK,
            )


def _bad(panels: Sequence[Axes], places: Sequence[float]) -> None:
    """A red tick at the top of the first panel for each bad batch, and a line where there are few."""
    if not places:
        return
    for panel in panels if len(places) <= _MAX_LINES else ():
        for place in places:
            panel.axvline(place, color=BAD, linewidth=1.0, alpha=0.45, zorder=1)
    top = panels[0]
    top.plot(
        places, [1.0] * len(places), "v", color=BAD, markersize=7, transform=top.get_xaxis_transform(), clip_on=False
    )
    count = f"{len(places):,} bad batch{'es' if len(places) > 1 else ''}"
    top.set_title(f"▼ {count}", loc="right", fontsize=9.5, color=BAD, fontweight="normal")


def _whole_ticks(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415 - with the rest of matplotlib

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=7))


def _nothing(axes: Axes, why: str) -> None:
    axes.text(0.5, 0.5, why, transform=axes.transAxes, ha="center", va="center", color=INK, fontsize=10)
    axes.set_yticks([])
