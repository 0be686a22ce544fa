"""The curves of a run or of one epoch: loss parts, gradient norm with the clip line, fitness, learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import median
from typing import TYPE_CHECKING, Final

from trainmaster.trainer.pictures import canvas
from trainmaster.trainer.pictures.canvas import BACK, BAD, CLIP, INK, MARKS, PALE, PARTS
from trainmaster.trainer.pictures.story import EpochEnd, PlotRow, Story
from trainmaster.trainer.pictures.words import Row, bad_of, limits_of, limits_text, loss_names, plain, rows_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MAX_LINES: Final = 40
"""Bad batches that get a line of their own; more would be a curtain, and get a tick at the top alone."""
_MAX_LABELS: Final = 6
_LABEL_WIDTH: Final = 0.16
"""Of the panel: labels of attempts that are nearer to each other would lie upon each other."""
_LOG_FROM: Final = 30.0
"""Largest over median norm from which on the axis is logarithmic."""
_CUT_FROM: Final = 4.0
"""Largest over median loss from which on the axis is cut, so that one spike does not flatten the rest."""
_DOTS_UP_TO: Final = 12
_LIMIT_ROOM: Final = 2.5
"""Limit over largest norm up to which the picture reaches to the clip line."""
_HIGHEST: Final = 1e300
"""Where an axis ends at last: matplotlib computes with what lies beyond."""

Place = Callable[[Row], float]


def run_figure(story: Story) -> Figure:
    """The whole run over its epochs. What a rollback gave up is pale."""
    figure, (losses, norms, fitness, rate) = canvas.new_figure(6.6, (3.0, 2.2, 1.5, 1.1))
    newest = story.newest_epoch
    of = f" of {story.epochs}" if story.epochs else ""
    canvas.head(figure, story.name, "nothing yet" if newest is None else f"epoch {newest}{of}")
    kept, ends = story.kept_rows(), story.kept_ends()
    gone = [row for row in story.rows if story.given_up(row.attempt, row.epoch, row.batch)]
    at = _by_epoch(story)
    _losses(losses, kept or ends, gone, at)
    _norms(norms, kept, gone, story, at)
    _fitness(fitness, ends, [end for end in story.ends if story.given_up(end.attempt, end.epoch)])
    _rate(rate, [(at(row), row.lr) for row in kept or ends])
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
    _norms(norms, rows, [], story, _by_batch)
    _rate(rate, [(_by_batch(row), row.lr) for row in rows])
    _bad((losses, norms), [bad.batch for bad in bad_of(story, epoch)])
    rate.set_xlabel(f"batch of {story.batches:,}" if story.batches else "batch")
    last = max((row.batch for row in rows), default=1)
    rate.set_xlim(0, max(story.batches if last > story.batches / 2 else last * 1.25, 1))
    _whole_ticks(rate)
    return figure


def _by_epoch(story: Story) -> Place:
    return lambda row: story.place(row.epoch, row.batch) if isinstance(row, PlotRow) else float(row.epoch)


def _by_batch(row: Row) -> float:
    return float(row.batch) if isinstance(row, PlotRow) else math.nan


def _losses(axes: Axes, kept: Sequence[Row], gone: Sequence[PlotRow], at: Place) -> None:
    axes.set_title("Loss")
    names = loss_names(kept)
    drawn: list[float] = []
    for name, colour, dash in zip(names, PARTS, MARKS, strict=False):
        pale = [(at(row), row.losses.get(name, math.nan)) for row in gone]
        points = [(at(row), row.losses.get(name, math.nan)) for row in kept]
        _line(axes, pale, PALE, "-", None, width=1.0)
        _line(axes, points, colour, dash, canvas.short(name.removesuffix("_loss"), 14), width=1.8)
        drawn += [value for _, value in (*pale, *points) if math.isfinite(value)]
    odd = [at(row) for row in kept if not all(math.isfinite(row.losses.get(name, 0.0)) for name in names)]
    if not drawn:
        _nothing(axes, "no finite loss" if odd else "no loss is known")
        _odd(axes, odd)
        return
    _odd(axes, odd)
    _cut(axes, drawn)
    axes.legend(loc="upper right", ncols=min(4, len(names) + 1), handlelength=2.0, columnspacing=1.0)


def _odd(axes: Axes, places: Sequence[float]) -> None:
    """A red cross on the ground for each value that is not finite, as a line can't show it."""
    if places:
        axes.plot(
            places,
            [0.0] * len(places),
            "x",
            color=BAD,
            markersize=6,
            markeredgewidth=1.6,
            transform=axes.get_xaxis_transform(),
            clip_on=False,
            zorder=5,
            label="not finite",
        )


def _before(axes: Axes, story: Story, epoch: int) -> None:
    ends = [end for end in story.kept_ends() if end.epoch == epoch - 1]
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


def _norms(axes: Axes, kept: Sequence[PlotRow], gone: Sequence[PlotRow], story: Story, at: Place) -> None:
    axes.set_title("Gradient norm")
    # Not every batch is a step of the optimizer: rows without a norm are no gap.
    middle = [(at(row), row.norm_p50) for row in kept if math.isfinite(row.norm_p50)]
    largest = [(at(row), row.norm_max) for row in kept if math.isfinite(row.norm_max)]
    known = [value for _, value in (*middle, *largest) if value > 0]
    odd = [at(row) for row in kept if math.isinf(row.norm_max)]
    if not known:
        why = "none is finite" if odd else "0 throughout" if largest or middle else "none is known yet"
        _nothing(axes, why if story.guarded else "not known: only a guarded run measures it")
        _odd(axes, odd)
        return
    _line(axes, [(at(row), row.norm_p50) for row in gone if row.norm_p50 > 0], PALE, "-", None, width=1.0)
    _line(axes, middle, PARTS[0], "-", "median", width=1.8)
    axes.scatter(
        [x for x, _ in largest], [y for _, y in largest], s=7, color=PARTS[1], label="largest", zorder=3, linewidths=0
    )
    _odd(axes, odd)
    limits = limits_of(story, kept)
    if max(known) > _LOG_FROM * median(known):
        axes.set_yscale("log")
        low = min(known) / 2
        low = min([low, *(limit / 2 for limit in limits if limit > low / 1000)])
        above = max(12.0, (max(known) / low) ** 0.35)  # the legend's room
        top = min(above * max(known), _HIGHEST)
    else:
        near = [limit for limit in limits if limit <= _LIMIT_ROOM * max(known)]
        low, top = 0.0, min(1.35 * max([*known, *near]), _HIGHEST)
    axes.set_ylim(low, top)
    _clips(axes, kept, story, at)
    axes.legend(loc="upper right", ncols=4, handlelength=1.4, columnspacing=0.9, handletextpad=0.6)


def _clips(axes: Axes, kept: Sequence[PlotRow], story: Story, at: Place) -> None:
    """The limit of each attempt over what that attempt trained. One that lies beyond the picture is said in words."""
    low, top = axes.get_ylim()
    xs: list[float] = []
    ys: list[float] = []
    before = 0.0
    for row in kept:
        limit = story.max_norms.get(row.attempt, math.nan)
        if ys and ys[-1] == limit:
            xs[-1] = at(row)
        else:
            xs += [before, at(row)]
            ys += [limit, limit]
        before = at(row)
    limits = limits_of(story, kept)
    seen = [limit for limit in limits if low <= limit <= top]
    if seen:
        label = f"clipped at {limits[0]:g}" if len(limits) == 1 else "clipped at"
        axes.plot(xs, ys, color=CLIP, linewidth=1.4, linestyle="--", label=label)
    if len(limits) == 1 and not seen:
        axes.set_title(f"limit {limits[0]:g}, above the picture", loc="right", fontsize=9.5, fontweight="normal")
    elif len(limits) > 1:
        told = limits_text(limits, lambda limit: f"{limit:g}" if low <= limit <= top else f"{limit:g} (above)")
        axes.set_title(f"limit {told}", loc="right", fontsize=9.5, fontweight="normal", color=CLIP)


def _fitness(axes: Axes, ends: Sequence[EpochEnd], gone: Sequence[EpochEnd]) -> None:
    axes.set_title("Fitness")
    points = [(float(end.epoch), end.fitness) for end in ends]
    known = [(x, y) for x, y in points if math.isfinite(y)]
    if not known:
        _nothing(axes, "no fitness is known")
        return
    pale = [(float(end.epoch), end.fitness) for end in gone if math.isfinite(end.fitness)]
    _line(axes, pale, PALE, "-", None, width=1.0)
    _line(axes, points, PARTS[2], "-", None, width=1.8)
    best = max(known, key=lambda point: point[1])
    axes.scatter([best[0]], [best[1]], s=34, color=PARTS[2], zorder=4)
    axes.set_title(f"best {plain(best[1])}, epoch {best[0]:.0f}", loc="right", fontsize=9.5, fontweight="normal")
    axes.set_ylim(min(0.0, *(y for _, y in known)), max(best[1] * 1.15, 0.01))


def _rate(axes: Axes, points: Sequence[tuple[float, float]]) -> None:
    axes.set_title("Learning rate")
    if not any(math.isfinite(value) for _, value in points):
        _nothing(axes, "not known")
        return
    _line(axes, points, INK, "-", None, width=1.6)
    axes.set_ylim(0, None)


def _line(
    axes: Axes, points: Sequence[tuple[float, float]], colour: str, dash: str, label: str | None, *, width: float
) -> None:
    """With gaps where a value is not known; points that no line reaches are dots."""
    if not points:
        return
    xs, ys = zip(*points, strict=True)
    known = [math.isfinite(value) for value in ys]
    few, alone = sum(known) <= _DOTS_UP_TO, sum(known) == 1
    around = [False, *known, False]
    dots = [at for at, one in enumerate(known) if one and (few or not (around[at] or around[at + 2]))]
    axes.plot(
        xs,
        ys,
        color=colour,
        linestyle=dash,
        linewidth=width,
        label=label,
        marker="o" if dots else "",
        markevery=dots or None,
        markersize=5 if alone else 2.5,
    )


def _cut(axes: Axes, values: Sequence[float]) -> None:
    """From zero; a spike far above the rest leaves the sheet, and how high it went is said."""
    middle, top = median(values), max(values)
    if middle > 0 and top > _CUT_FROM * middle:
        ordered = sorted(values)
        limit = max(ordered[int(0.97 * (len(ordered) - 1))], 2 * middle) * 1.4
        if top > limit:
            axes.set_ylim(max(min(0.0, *values), -_HIGHEST), min(limit, _HIGHEST))
            axes.set_title(f"▲ up to {plain(top)}", loc="center", fontsize=9.5, color=BAD, fontweight="normal")
            return
    axes.set_ylim(max(min(0.0, *values), -_HIGHEST), min(max(top * 1.4, 1e-6), _HIGHEST))


def _attempts(axes: Axes, story: Story) -> None:
    """Where attempts began, and where they went back to."""
    back = dict(story.rollbacks())
    later = [attempt for attempt in sorted(story.starts) if attempt > 1]
    width = max([1.0, *(story.place(row.epoch, row.batch) for row in story.rows), *(one.epoch for one in story.ends)])
    labelled: list[float] = []
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
        if len(later) <= _MAX_LABELS and all(abs(place - one) >= _LABEL_WIDTH * width for one in labelled):
            labelled.append(place)
            left = place < (1 - _LABEL_WIDTH) * width
            text = f"back to {back[attempt]}" if attempt in back else f"attempt {attempt}"
            axes.annotate(
                text,
                (place, 0.04),
                xycoords=("data", "axes fraction"),
                xytext=(3 if left else -3, 0),
                textcoords="offset points",
                ha="left" if left else "right",
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
