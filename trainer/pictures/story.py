"""What the pictures are drawn from: the rows, epochs, bad batches and attempts of a run, as its files tell them.

Standard library only. Every file may be missing, torn, or of a run that nobody guards.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from trainmaster.trainer.checkpoints.plain_file import opened_plain
from trainmaster.trainer.contract import EventKind, RunLayout, decode_number, read_json
from trainmaster.visible import visible

MAX_ROWS: Final = 4000
"""Kept of a series; more can't be told apart on a picture of a thousand pixels. Neighbours are merged."""
MAX_BYTES_READ: Final = 256 * 2**20
"""Of one file, from its end: a month of rows has less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlotRow:
    """Some batches in a row of one attempt; ``batch`` is the last of them. A loss that is not finite is NaN, one that
    is not known is missing. A norm that is not finite is infinite; what else is not known is NaN."""

    attempt: int
    epoch: int
    batch: int
    losses: Mapping[str, float]
    lr: float = math.nan
    norm_p50: float = math.nan
    norm_max: float = math.nan

    @property
    def loss(self) -> float:
        """Sum of the parts; NaN when one is."""
        return sum(self.losses.values()) if self.losses else math.nan


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochEnd:
    """A finished epoch of one attempt. Losses as in :class:`PlotRow`."""

    attempt: int
    epoch: int
    losses: Mapping[str, float]
    fitness: float = math.nan
    lr: float = math.nan


@dataclass(frozen=True, slots=True, kw_only=True)
class BadBatch:
    """A batch that the guard judged bad."""

    attempt: int
    epoch: int
    batch: int
    reason: str
    drill: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """A run. ``starts`` maps an attempt to the first epoch that it trains, None for a fresh start; ``batches`` is how
    many an epoch has. ``max_norms`` maps an attempt to the gradient norm at which it clips, as far as that is known."""

    name: str
    rows: tuple[PlotRow, ...] = ()
    ends: tuple[EpochEnd, ...] = ()
    bad: tuple[BadBatch, ...] = ()
    starts: Mapping[int, int | None] = field(default_factory=dict)
    batches: int = 0
    epochs: int | None = None
    max_norms: Mapping[int, float] = field(default_factory=dict)
    guarded: bool = True

    @property
    def newest_epoch(self) -> int | None:
        """The last one that anything is known of, in the newest attempt."""
        last = max(
            (*((row.attempt, row.epoch) for row in self.rows), *((e.attempt, e.epoch) for e in self.ends)), default=None
        )
        return None if last is None else last[1]

    def place(self, epoch: int, batch: int) -> float:
        """Epochs since the start: 2.5 is the middle of epoch 3."""
        return epoch - 1 + (min(1.0, batch / self.batches) if self.batches else 1.0)

    def given_up(self, attempt: int, epoch: int, batch: int | None = None) -> bool:
        """Whether a later attempt trained that again. ``batch`` None: the end of the epoch."""
        for later, first in self.starts.items():
            if later <= attempt or first is None or epoch < first:
                continue
            if epoch > first:
                return True
            began = min((row.batch for row in self.rows if row.attempt == later and row.epoch == first), default=None)
            if batch is None or (began is not None and batch >= began):
                return True
        return False

    def kept_rows(self) -> list[PlotRow]:
        """The rows that no later attempt trained again."""
        return [row for row in self.rows if not self.given_up(row.attempt, row.epoch, row.batch)]

    def kept_ends(self) -> list[EpochEnd]:
        """The epochs that no later attempt trained again."""
        return [end for end in self.ends if not self.given_up(end.attempt, end.epoch)]

    def rollbacks(self) -> tuple[tuple[int, int], ...]:
        """(attempt, the epoch whose end it went back to) of each attempt that trains an epoch again that was done."""
        return tuple(
            (attempt, first - 1)
            for attempt, first in sorted(self.starts.items())
            if first is not None and any(end.attempt < attempt and end.epoch >= first for end in self.ends)
        )


def read_story(root: Path) -> Story:
    """The run in ``root``; without a guard's records, what ``results.csv`` has."""
    layout = RunLayout(root)
    record = read_json(layout.run_json) or {}
    ends, bad, starts, batches, max_norms = _events(layout)
    guarded = layout.run_json.is_file()
    if not guarded:
        ends = _results(layout.results_csv)
    rows = _thinned(_rows(layout))
    batches = batches or max((row.batch for row in rows), default=0)
    epochs = record.get("epochs")
    return Story(
        name=visible(layout.name),
        rows=tuple(rows),
        ends=tuple(ends),
        bad=tuple(bad),
        starts=starts,
        batches=batches,
        epochs=epochs if isinstance(epochs, int) else None,
        max_norms={**_max_norm(record), **max_norms},
        guarded=guarded,
    )


def _rows(layout: RunLayout) -> Iterator[PlotRow]:
    for record in _records(layout.series):
        attempt, epoch, batch = (_whole(record.get(key)) for key in ("attempt", "epoch", "batch"))
        if epoch is None or batch is None:
            continue
        yield PlotRow(
            attempt=attempt or 1,
            epoch=epoch,
            batch=batch,
            losses=_numbers(record.get("losses")),
            lr=_number(record.get("lr")),
            norm_p50=_norm(record.get("grad_norm_p50")),
            norm_max=_norm(record.get("grad_norm_max")),
        )


def _thinned(rows: Iterator[PlotRow]) -> list[PlotRow]:
    """At most :data:`MAX_ROWS` rows over the whole, neighbours of one epoch merged: means, and the largest norm."""
    kept: list[PlotRow] = []
    every = 1
    open_: list[PlotRow] = []
    for row in rows:
        if open_ and (len(open_) >= every or (open_[0].attempt, open_[0].epoch) != (row.attempt, row.epoch)):
            kept.append(_merged(open_))
            open_ = []
        open_.append(row)
        if len(kept) >= MAX_ROWS:
            pairs = [kept[at : at + 2] for at in range(0, len(kept), 2)]
            kept = [
                _merged(pair) if len({(one.attempt, one.epoch) for one in pair}) == 1 else pair[-1] for pair in pairs
            ]
            every *= 2
    return [*kept, *([_merged(open_)] if open_ else [])]


def _merged(rows: list[PlotRow]) -> PlotRow:
    if len(rows) == 1:
        return rows[0]
    last = rows[-1]
    return PlotRow(
        attempt=last.attempt,
        epoch=last.epoch,
        batch=last.batch,
        losses={name: _mean(row.losses.get(name, math.nan) for row in rows) for name in last.losses},
        lr=last.lr,
        norm_p50=_mean((row.norm_p50 for row in rows), _unless_known(row.norm_p50 for row in rows)),
        norm_max=max(
            (row.norm_max for row in rows if math.isfinite(row.norm_max)),
            default=_unless_known(row.norm_max for row in rows),
        ),
    )


def _unless_known(norms: Iterator[float]) -> float:
    """What stands for norms none of which is finite."""
    return math.inf if any(math.isinf(norm) for norm in norms) else math.nan


def _mean(values: Iterator[float], default: float = math.nan) -> float:
    known = [value for value in values if math.isfinite(value)]
    return sum(value / len(known) for value in known) if known else default


def _events(
    layout: RunLayout,
) -> tuple[list[EpochEnd], list[BadBatch], dict[int, int | None], int, dict[int, float]]:
    ends, bad, batches = [], [], 0
    starts: dict[int, int | None] = {}
    max_norms: dict[int, float] = {}
    for event in _records(layout.events):
        kind, attempt = event.get("kind"), _whole(event.get("attempt")) or 1
        epoch, batch = _whole(event.get("epoch")), _whole(event.get("batch"))
        if kind == EventKind.RUN_STARTED:
            starts[attempt] = _whole(event.get("from_epoch"))
            settings = event.get("settings")
            limit = _number(settings.get("max_norm")) if isinstance(settings, dict) else math.nan
            if limit > 0:
                max_norms[attempt] = limit
        elif kind == EventKind.BAD_BATCH and epoch and batch:
            bad.append(
                BadBatch(
                    attempt=attempt,
                    epoch=epoch,
                    batch=batch,
                    reason=str(event.get("reason") or ""),
                    drill=event.get("drill") is True,
                )
            )
        elif kind == EventKind.EPOCH_FINISHED and epoch:
            ends.append(
                EpochEnd(
                    attempt=attempt,
                    epoch=epoch,
                    losses=_numbers(event.get("losses")),
                    fitness=_number(event.get("fitness")),
                    lr=_number(event.get("lr")),
                )
            )
        batches = _whole(event.get("batches")) or batches
    return ends, bad, starts, batches, max_norms


def _results(path: Path) -> list[EpochEnd]:
    """Of a run that nobody guards: Ultralytics' own table. Its fitness is 0.1 mAP50 + 0.9 mAP50-95, as its default is
    (ultralytics/utils/metrics.py)."""
    ends: list[EpochEnd] = []
    try:
        with io.TextIOWrapper(opened_plain(path), encoding="utf-8", errors="replace", newline="") as stream:
            table = [
                {str(key).strip(): str(value).strip() for key, value in row.items()} for row in csv.DictReader(stream)
            ]
    except (OSError, csv.Error):
        return []
    for number, row in enumerate(table, 1):
        losses = _numbers({key.removeprefix("train/"): value for key, value in row.items() if key.startswith("train/")})
        half, full = (_number(row.get(f"metrics/mAP50{end}(B)")) for end in ("", "-95"))
        ends.append(
            EpochEnd(
                attempt=1,
                epoch=int(_number(row.get("epoch"), float(number))),
                losses=losses,
                fitness=0.1 * half + 0.9 * full,
                lr=_number(row.get("lr/pg0")),
            )
        )
    return ends


def _records(path: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of ``path`` that are objects."""
    try:
        with opened_plain(path) as stream:
            size = stream.seek(0, 2)
            stream.seek(max(0, size - MAX_BYTES_READ))
            for line in stream:
                try:
                    record = json.loads(line)
                except ValueError:
                    continue
                if isinstance(record, dict):
                    yield record
    except OSError:
        return


def _max_norm(record: Mapping[str, Any]) -> dict[int, float]:
    """What the newest attempt clips at, by the record of the run, which has no other's."""
    layers = record.get("layers")
    for row in layers if isinstance(layers, list) else ():
        if isinstance(row, dict) and row.get("setting") == "max_norm":
            limit = _number(row.get("value"))
            return {_whole(record.get("attempt")) or 1: limit} if limit > 0 else {}
    return {}


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _number(value: object, missing: float = math.nan) -> float:
    """A finite number; NaN, or ``missing``, for anything else."""
    number = _any_number(value)
    return number if number is not None and math.isfinite(number) else missing


def _norm(value: object) -> float:
    number = _any_number(value)
    return math.nan if number is None else number if math.isfinite(number) else math.inf


def _any_number(value: object) -> float | None:
    number = decode_number(value)
    if number is None and isinstance(value, str):
        try:
            number = float(value)
        except ValueError:
            return None
    return number


def _numbers(value: object) -> dict[str, float]:
    """Those of ``value`` that are known; NaN where one is not finite."""
    known = {str(name): _any_number(item) for name, item in value.items()} if isinstance(value, dict) else {}
    return {name: item if math.isfinite(item) else math.nan for name, item in known.items() if item is not None}
