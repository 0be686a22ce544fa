"""Stretches of an epoch, as the trainer's series tells them: the measure of what is normal for this very run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

MAX_STRETCHES_KEPT: Final = 300
"""Newest of a run; a trainer writes about 50 an epoch. Bounds memory and the cost of a check."""


NUM_COMPARED: Final = 25
"""Stretches that one is compared with: half an epoch."""
MIN_COMPARED: Final = 10
_MAD_TO_DEVIATION: Final = 1.4826
"""Of a normal distribution."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesRow:
    """A row of ``series.jsonl``, which covers the batches since the row before. ``loss`` is the sum of its losses."""

    ts: float | None
    attempt: int
    epoch: int
    batch: int
    loss: float
    norm_p50: float | None = None
    norm_p99: float | None = None
    clipped: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesWindow:
    """The batches between two rows. ``batch_s`` is None for the first of an epoch, whose start no row tells."""

    ts: float | None
    attempt: int
    epoch: int
    batch: int
    num_batches: int
    loss: float
    loss_before: float | None
    """Median over the stretches before it; None while there are too few."""
    loss_deviation: float | None
    """Of those: robust, by the median absolute deviation, so that one earlier spike does not move it."""
    batch_s: float | None
    norm_p50: float | None
    norm_p99: float | None
    clipped: int | None


def with_rows(known: tuple[SeriesWindow, ...], rows: Iterable[SeriesRow]) -> tuple[SeriesWindow, ...]:
    """``known`` with ``rows`` taken in, in order; the newest :data:`MAX_STRETCHES_KEPT`."""
    stretches = list(known)
    for row in rows:
        stretches.append(_stretch(stretches[-NUM_COMPARED:], row))
        if len(stretches) > 2 * MAX_STRETCHES_KEPT:
            del stretches[:-MAX_STRETCHES_KEPT]
    return tuple(stretches[-MAX_STRETCHES_KEPT:])


def _stretch(earlier: Sequence[SeriesWindow], row: SeriesRow) -> SeriesWindow:
    before = earlier[-1] if earlier else None
    losses = [one.loss for one in earlier if one.attempt == row.attempt and math.isfinite(one.loss)]
    middle = median(losses) if len(losses) >= MIN_COMPARED else None
    follows = before is not None and (before.attempt, before.epoch) == (row.attempt, row.epoch)
    start = before.batch if before is not None and follows and before.batch < row.batch else 0
    num_batches = max(1, row.batch - start)
    took_s = None
    if before is not None and follows and start and before.ts is not None and row.ts is not None:
        took_s = row.ts - before.ts
    return SeriesWindow(
        ts=row.ts,
        attempt=row.attempt,
        epoch=row.epoch,
        batch=row.batch,
        num_batches=num_batches,
        loss=row.loss,
        loss_before=middle,
        loss_deviation=None if middle is None else _MAD_TO_DEVIATION * median(abs(loss - middle) for loss in losses),
        # A clock that was set makes a stretch of less than nothing, which says nothing of the speed.
        batch_s=took_s / num_batches if took_s is not None and took_s > 0 else None,
        norm_p50=_finite(row.norm_p50),
        norm_p99=_finite(row.norm_p99),
        clipped=row.clipped,
    )


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
