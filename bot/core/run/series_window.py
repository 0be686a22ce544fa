"""Stretches of an epoch, as the trainer's series tells them: the measure of what is normal for this very run."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

MAX_STRETCHES_KEPT: Final = 300
"""Newest of a run; a trainer writes about 50 an epoch. Bounds memory and the cost of a check."""


NUM_COMPARED: Final = 25
"""Stretches that one is compared with: half an epoch."""
MIN_COMPARED: Final = 10
_NUM_TELLING: Final = MAX_STRETCHES_KEPT + NUM_COMPARED
"""Rows that the newest stretches are made of and compared with."""
_MAD_TO_DEVIATION: Final = 1.4826
"""Of a normal distribution."""


class SeriesRow(NamedTuple):
    """A row of ``series.jsonl``, which covers the batches since the row before. ``loss`` is the sum of its losses."""

    ts: float | None
    attempt: int
    epoch: int
    batch: int
    loss: float
    norm_p50: float | None = None
    norm_p99: float | None = None
    clipped: int | None = None


class SeriesWindow(NamedTuple):
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
    """Of those: robust, by the median absolute deviation, so that one earlier spike does not move it. None, too, where
    the loss is not above the highest of them but one: what has been reached twice is no spike."""
    batch_s: float | None
    norm_p50: float | None
    clipped: int | None


def with_rows(known: tuple[SeriesWindow, ...], rows: Sequence[SeriesRow]) -> tuple[SeriesWindow, ...]:
    """``known`` with ``rows`` taken in, in order; the newest :data:`MAX_STRETCHES_KEPT`."""
    if len(rows) > _NUM_TELLING:  # a long history: what nobody compares with any more is not even looked at
        known, rows = (), rows[-_NUM_TELLING:]
    stretches = list(known)
    compared = _Compared(stretches[-NUM_COMPARED:])
    for row in rows:
        one = _stretch(stretches[-1] if stretches else None, compared.losses(row.attempt), row)
        stretches.append(one)
        compared.add(row.attempt, row.loss)
    return tuple(stretches[-MAX_STRETCHES_KEPT:])


class _Compared:
    """The newest stretches, and their losses in order of size: sorting them at every row is most of a first look."""

    def __init__(self, newest: Iterable[SeriesWindow]) -> None:
        self._newest = deque([(one.attempt, one.loss) for one in newest], maxlen=NUM_COMPARED)
        self._attempt: int | None = None
        self._losses: list[float] = []

    def losses(self, attempt: int) -> Sequence[float]:
        """The finite losses of that attempt, the smallest first; until the next :meth:`add`."""
        if attempt != self._attempt:
            self._attempt = attempt
            self._losses = sorted([loss for of, loss in self._newest if of == attempt and math.isfinite(loss)])
        return self._losses

    def add(self, attempt: int, loss: float) -> None:
        """It is the newest, and the oldest gives way."""
        if len(self._newest) == NUM_COMPARED:
            of, oldest = self._newest[0]
            if of == self._attempt and math.isfinite(oldest):
                del self._losses[bisect_left(self._losses, oldest)]
        self._newest.append((attempt, loss))
        if attempt == self._attempt and math.isfinite(loss):
            insort(self._losses, loss)


def _stretch(before: SeriesWindow | None, losses: Sequence[float], row: SeriesRow) -> SeriesWindow:
    """``losses`` are those that it is compared with, the smallest first."""
    ts, attempt, epoch, batch, loss, norm_p50, _, clipped = row
    middle = deviation = None
    if len(losses) >= MIN_COMPARED:
        middle = _middle(losses)
        if loss > losses[-2]:  # in a long history nearly none is, and it would be most of the work
            deviation = _MAD_TO_DEVIATION * _deviation(losses, middle)
    start, took_s = 0, None
    if before is not None and before.attempt == attempt and before.epoch == epoch and before.batch < batch:
        start = before.batch
        if start and before.ts is not None and ts is not None:
            took_s = ts - before.ts
    num_batches = max(1, batch - start)
    return SeriesWindow(
        ts=ts,
        attempt=attempt,
        epoch=epoch,
        batch=batch,
        num_batches=num_batches,
        loss=loss,
        loss_before=middle,
        loss_deviation=deviation,
        # A clock that was set makes a stretch of less than nothing, which says nothing of the speed.
        batch_s=took_s / num_batches if took_s is not None and took_s > 0 else None,
        norm_p50=_finite(norm_p50),
        clipped=clipped,
    )


def _deviation(losses: Sequence[float], middle: float) -> float:
    return _middle(sorted([abs(loss - middle) for loss in losses]))


def _middle(ordered: Sequence[float]) -> float:
    """The median of what is in order already, many times as fast as :func:`statistics.median`."""
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
