"""What the pictures show, in words: for a screen reader, and for whom the picture does not reach."""

from __future__ import annotations

import math
from collections.abc import Sequence
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
    ends = [end for end in story.ends if not story.given_up(end.attempt, end.epoch)]
    rows = [row for row in story.rows if not story.given_up(row.attempt, row.epoch, row.batch)]
    newest = story.newest_epoch
    of = f" of {story.epochs}" if story.epochs else ""
    sentences = [f"Curves of {story.name}, {'nothing trained yet' if newest is None else f'up to epoch {newest}{of}'}."]
    sentences += _losses(ends if len(ends) > 1 else rows)
    sentences += _norms(rows, story.max_norm)
    sentences += _fitness(ends)
    sentences += _rate(rows or ends)
    sentences += _bad(story.bad)
    if len(story.starts) > 1:
        sentences.append(f"{len(story.starts)} attempts.")
    sentences += [f"Attempt {attempt} went back to the end of epoch {epoch}." for attempt, epoch in story.rollbacks()]
    return _fitted(sentences)


def epoch_text(story: Story, epoch: int) -> str:
    """One epoch as its curves show it."""
    rows = rows_of(story, epoch)
    bad = bad_of(story, epoch)
    sentences = [f"Curves of {story.name}, epoch {epoch}."]
    sentences += _losses(rows) + _norms(rows, story.max_norm) + _rate(rows) + _bad(bad)
    if bad:
        sentences.append(spike_or_trend(story, bad[-1]))
    return _fitted(sentences)


def rows_of(story: Story, epoch: int) -> list[PlotRow]:
    """The rows of the newest pass of an epoch, and of the passes before it as far as they were not given up."""
    return [row for row in story.rows if row.epoch == epoch and not story.given_up(row.attempt, row.epoch, row.batch)]


def bad_of(story: Story, epoch: int) -> list[BadBatch]:
    """The bad batches of an epoch, as of :func:`rows_of`."""
    return [one for one in story.bad if one.epoch == epoch and not story.given_up(one.attempt, one.epoch, one.batch)]


def _losses(rows: Sequence[PlotRow | EpochEnd]) -> list[str]:
    told = []
    for name in dict.fromkeys(name for row in rows for name in row.losses):
        known = [row.losses[name] for row in rows if math.isfinite(row.losses.get(name, math.nan))]
        what = name.removesuffix("_loss")
        if not known:
            told.append(f"{what} loss: no finite value.")
        elif len(known) == 1:
            told.append(f"{what} loss {known[0]:.3g}.")
        else:
            first, last = _edge(known[: len(known) // 8 + 1]), _edge(known[-(len(known) // 8 + 1) :])
            went = "fell" if last < 0.98 * first else "rose" if last > 1.02 * first else ""
            moved = f"{went} from {first:.3g} to {last:.3g}" if went else f"stayed level at {last:.3g}"
            told.append(f"{what} loss {moved}.")
    return told or ["No loss is known."]


def _edge(values: Sequence[float]) -> float:
    return float(median(values))


def _norms(rows: Sequence[PlotRow], max_norm: float) -> list[str]:
    middle = [row.norm_p50 for row in rows if math.isfinite(row.norm_p50)]
    largest = [row.norm_max for row in rows if math.isfinite(row.norm_max)]
    if not middle and not largest:
        return []
    parts = [
        *([f"median {median(middle):.3g}"] if middle else []),
        *([f"largest {max(largest):.3g}"] if largest else []),
        *([f"clipped at {max_norm:g}"] if math.isfinite(max_norm) and max_norm > 0 else []),
    ]
    return [f"Gradient norm: {', '.join(parts)}."]


def _fitness(ends: Sequence[EpochEnd]) -> list[str]:
    known = [end for end in ends if math.isfinite(end.fitness)]
    if not known:
        return ["No fitness is known."] if ends else []
    best = max(known, key=lambda end: end.fitness)
    return [
        f"Fitness {known[-1].fitness:.3g} after epoch {known[-1].epoch}; best {best.fitness:.3g}, epoch {best.epoch}."
    ]


def _rate(rows: Sequence[PlotRow | EpochEnd]) -> list[str]:
    known = [row.lr for row in rows if math.isfinite(row.lr)]
    if not known:
        return []
    return [f"Learning rate {known[-1]:.3g}."]


def _bad(bad: Sequence[BadBatch]) -> list[str]:
    if not bad:
        return ["No bad batch."]
    named = ", ".join(f"epoch {one.epoch} batch {one.batch:,}" for one in bad[-_MAX_NAMED:])
    more = f"the last ones {named}" if len(bad) > _MAX_NAMED else named
    return [f"{len(bad):,} bad batch{'es' if len(bad) > 1 else ''}: {more}."]


def _fitted(sentences: Sequence[str]) -> str:
    text = " ".join(sentences)
    return text if len(text) <= MAX_ALT_CHARS else text[: MAX_ALT_CHARS - 1] + "…"
