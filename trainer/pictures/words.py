"""What the pictures show, in words: for a screen reader, and for whom the picture does not reach."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import median
from typing import Final

from trainmaster.trainer.pictures.story import BadBatch, EpochEnd, PlotRow, Story

MAX_ALT_CHARS: Final = 1900
"""Slack takes 2,000 of an image's alternative text."""
_ROWS_BEFORE: Final = 24
_ROWS_LATEST: Final = 4
"""Rows before a bad batch that are looked at; the latest are held against the others."""
_FEWEST_ROWS: Final = 8
NORM_GREW: Final = 2.0
LOSS_GREW: Final = 1.15
"""A median norm, or a median loss, of the latest rows over that of those before, from which on it was a trend. Chosen,
not measured: medians of four rows hardly reach either by chance, and a run that diverges passes both."""
_MAX_NAMED: Final = 3
MAX_PARTS: Final = 6
"""Losses that are drawn and told; a pose model has five."""
_LEVEL_PCT: Final = 2.0
"""Of the largest value: a curve that moves by less is level."""
_MAX_LIMITS: Final = 3

Row = PlotRow | EpochEnd


def plain(value: float, digits: int = 3) -> str:
    """``value`` as a person writes it: ``0.01``, ``1,490``, ``2.5e6``; no markup of any kind."""
    rounded = float(f"{value:.{digits}g}")
    if not math.isfinite(rounded):  # a mark far beyond an axis, of a value near the end of all numbers
        return str(rounded)
    if rounded == 0 or 1e-4 <= abs(rounded) < 1e6:
        return f"{rounded:,.{max(digits, 6)}g}"
    mantissa, _, exponent = f"{rounded:.{digits - 1}e}".partition("e")
    return f"{mantissa.rstrip('0').rstrip('.') if '.' in mantissa else mantissa}e{int(exponent)}"


def loss_names(rows: Sequence[Row]) -> list[str]:
    """The losses that are drawn and told."""
    return list(dict.fromkeys(name for row in rows for name in row.losses))[:MAX_PARTS]


def limits_of(story: Story, rows: Sequence[PlotRow]) -> list[float]:
    """What the gradient norm was clipped at, in the order of ``rows``, as far as it is known; neighbours differ."""
    known = [story.max_norms[row.attempt] for row in rows if row.attempt in story.max_norms]
    return [limit for at, limit in enumerate(known) if not at or limit != known[at - 1]]


def limits_text(limits: Sequence[float], told: Callable[[float], str] = plain) -> str:
    """``5``, or ``500, then 5``."""
    named = [told(limit) for limit in limits]
    return ", then ".join(named if len(named) <= _MAX_LIMITS else [named[0], "others", named[-1]])


def spike_or_trend(story: Story, bad: BadBatch) -> str:
    """Whether what came before the bad batch was already on its way up, in a sentence."""
    place = (bad.epoch, bad.batch)
    before = [row for row in story.rows if row.attempt == bad.attempt and (row.epoch, row.batch) < place]
    before = before[-_ROWS_BEFORE:]
    if len(before) < _FEWEST_ROWS:
        return "Spike or trend? Too little was trained before it to tell."
    norm = _growth([row.norm_p50 for row in before])
    loss = _growth([row.loss for row in before])
    if norm is None and loss is None:
        return "Spike or trend? No loss and no gradient norm before it is known."
    grew = [
        *([f"the gradient norm had grown {norm:.1f} times"] if norm is not None and norm >= NORM_GREW else []),
        *([f"the loss had risen {100 * (loss - 1):.0f} %"] if loss is not None and loss >= LOSS_GREW else []),
    ]
    if grew:
        return f"A trend, not a spike: before the bad batch {' and '.join(grew)}."
    calm = [
        *([f"the loss moved by {100 * (loss - 1):+.0f} %"] if loss is not None else []),
        *([f"the gradient norm was {norm:.1f} times its usual"] if norm is not None else []),
    ]
    return f"A spike, not a trend: before the bad batch {' and '.join(calm)}."


def _growth(values: Sequence[float]) -> float | None:
    """Median of the latest over the median of those before; None where too few are known."""
    latest = [value for value in values[-_ROWS_LATEST:] if math.isfinite(value)]
    earlier = [value for value in values[:-_ROWS_LATEST] if math.isfinite(value)]
    if len(latest) < 2 or len(earlier) < _FEWEST_ROWS - _ROWS_LATEST or median(earlier) <= 0:
        return None
    return median(latest) / median(earlier)


def run_text(story: Story) -> str:
    """The whole run as its curves show it."""
    ends, rows = story.kept_ends(), story.kept_rows()
    newest = story.newest_epoch
    of = f" of {story.epochs}" if story.epochs else ""
    sentences = [f"Curves of {story.name}, {'nothing trained yet' if newest is None else f'up to epoch {newest}{of}'}."]
    sentences += _losses(rows or ends, _epoch)
    sentences += _norms(rows, limits_of(story, rows), _epoch)
    sentences += _fitness(ends)
    sentences += _rate(rows or ends, _epoch)
    sentences += _bad(story.bad, guarded=story.guarded)
    if len(story.starts) > 1:
        sentences.append(f"{len(story.starts)} attempts.")
    sentences += [f"Attempt {attempt} went back to the end of epoch {epoch}." for attempt, epoch in story.rollbacks()]
    return _fitted(sentences)


def epoch_text(story: Story, epoch: int) -> str:
    """One epoch as its curves show it."""
    rows = rows_of(story, epoch)
    bad = bad_of(story, epoch)
    sentences = [f"Curves of {story.name}, epoch {epoch}."]
    sentences += _losses(rows, _batch) + _norms(rows, limits_of(story, rows), _batch) + _rate(rows, _batch)
    sentences += _bad(bad, guarded=story.guarded)
    if bad:
        sentences.append(spike_or_trend(story, bad[-1]))
    return _fitted(sentences)


def _epoch(row: Row) -> str:
    return f"epoch {row.epoch}"


def _batch(row: Row) -> str:
    return f"batch {row.batch:,}" if isinstance(row, PlotRow) else _epoch(row)


def rows_of(story: Story, epoch: int) -> list[PlotRow]:
    """The rows of the newest pass of an epoch, and of the passes before it as far as they were not given up. Where only
    the epoch's end is known, that is one row at its last batch."""
    rows = [row for row in story.rows if row.epoch == epoch and not story.given_up(row.attempt, row.epoch, row.batch)]
    return rows or [
        PlotRow(attempt=end.attempt, epoch=epoch, batch=story.batches or 1, losses=end.losses, lr=end.lr)
        for end in story.kept_ends()
        if end.epoch == epoch
    ]


def bad_of(story: Story, epoch: int) -> list[BadBatch]:
    """The bad batches of an epoch, as of :func:`rows_of`."""
    return [one for one in story.bad if one.epoch == epoch and not story.given_up(one.attempt, one.epoch, one.batch)]


def _losses(rows: Sequence[Row], at: Callable[[Row], str]) -> list[str]:
    told: list[tuple[str, str]] = []
    finite = False
    for name in loss_names(rows):
        known = [row.losses[name] for row in rows if math.isfinite(row.losses.get(name, math.nan))]
        odd = _not_finite([(row, row.losses[name]) for row in rows if name in row.losses], at)
        finite = finite or bool(known)
        told.append((f"{name.removesuffix('_loss')} loss{_moved(known)}", odd))
    everywhere = told[0][1] if len(told) > 1 and len({odd for _, odd in told}) == 1 else ""
    if everywhere:
        return [*(f"{one}." for one, _ in told if finite), f"Losses are {everywhere}."]
    return [f"{one}{', ' if odd else ''}{odd}." for one, odd in told] or ["No loss is known."]


def _moved(known: Sequence[float]) -> str:
    """From the first to the last point of a curve as it is drawn, and how far it went besides."""
    if not known:
        return ""
    first, last, low, high = known[0], known[-1], min(known), max(known)
    if len(known) == 1:
        return f" {plain(first)}, one point"
    level = _LEVEL_PCT / 100 * max(abs(low), abs(high))
    if high - low <= level:
        alike = plain(low) == plain(high)
        return f" stayed level {f'at {plain(last)}' if alike else f'between {plain(low)} and {plain(high)}'}"
    way = "fell" if last < first - level else "rose" if last > first + level else "went"
    beyond = [
        *([f"highest {plain(high)}"] if plain(high) != plain(max(first, last)) else []),
        *([f"lowest {plain(low)}"] if plain(low) != plain(min(first, last)) else []),
    ]
    return ", ".join([f" {way} from {plain(first)} to {plain(last)}", *beyond])


def _not_finite(points: Sequence[tuple[Row, float]], at: Callable[[Row], str]) -> str:
    """Where values that are known are no finite numbers; empty where all are."""
    odd = [place for place, (_, value) in enumerate(points) if not math.isfinite(value)]
    if not odd:
        return ""
    since = at(points[odd[0]][0])
    if len(odd) == len(points) - odd[0]:
        return f"not finite from {since} on"
    return f"not finite at {len(odd):,} of {len(points):,} points, first in {since}"


def _norms(rows: Sequence[PlotRow], limits: Sequence[float], at: Callable[[Row], str]) -> list[str]:
    middle = [row.norm_p50 for row in rows if math.isfinite(row.norm_p50)]
    largest = [row.norm_max for row in rows if math.isfinite(row.norm_max)]
    odd = _not_finite([(row, row.norm_max) for row in rows if not math.isnan(row.norm_max)], at)
    if not middle and not largest and not odd:
        return []
    parts = [
        *([f"median {plain(median(middle))}"] if middle else []),
        *([f"largest {plain(max(largest))}"] if largest else []),
        *([odd] if odd else []),
        *([f"clipped at {limits_text(limits, lambda limit: f'{limit:g}')}"] if limits else []),
    ]
    return [f"Gradient norm: {', '.join(parts)}."]


def _fitness(ends: Sequence[EpochEnd]) -> list[str]:
    known = [end for end in ends if math.isfinite(end.fitness)]
    if not known:
        return ["No fitness is known."] if ends else []
    best, last = max(known, key=lambda end: end.fitness), known[-1]
    since = ", none since" if last is not ends[-1] else ""
    now = f"Fitness {plain(last.fitness)} after epoch {last.epoch}{since}"
    return [f"{now}; best {plain(best.fitness)}, epoch {best.epoch}."]


def _rate(rows: Sequence[Row], at: Callable[[Row], str]) -> list[str]:
    known = [row for row in rows if math.isfinite(row.lr)]
    if not known:
        return []
    last = known[-1]
    return [f"Learning rate {plain(last.lr)}{f' in {at(last)}, none since' if last is not rows[-1] else ''}."]


def _bad(bad: Sequence[BadBatch], *, guarded: bool) -> list[str]:
    if not bad:
        return ["No bad batch."] if guarded else ["Nothing guards this run: its bad batches are not known."]
    named = ", ".join(f"epoch {one.epoch} batch {one.batch:,}" for one in bad[-_MAX_NAMED:])
    more = f"the last ones {named}" if len(bad) > _MAX_NAMED else named
    return [f"{len(bad):,} bad batch{'es' if len(bad) > 1 else ''}: {more}."]


def _fitted(sentences: Sequence[str]) -> str:
    text = " ".join(sentences)
    return text if len(text) <= MAX_ALT_CHARS else text[: MAX_ALT_CHARS - 1] + "…"
