"""When an epoch and a run end, from what was measured; pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from statistics import median

from trainmaster.bot.core.run.view import EpochView, RunView

_EPOCHS_USED = 5
"""The newest ones: an epoch's time drifts with the host's load and the mosaic's end, and old ones mislead."""


class Basis(StrEnum):
    """What the time of an epoch rests on."""

    MEASURED = "measured"
    """Finished epochs of this run."""
    RUNNING = "running"
    """The running epoch alone, scaled up; the validation is not in it."""
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """As of ``now``. A time that nothing supports is None, never a guess."""

    now: float
    basis: Basis
    epoch_s: float | None
    """Of one whole epoch."""
    num_measured: int
    epoch: int | None
    """The running one."""
    epoch_left_s: float | None
    epoch_end_ts: float | None
    run_left_s: float | None
    run_end_ts: float | None


def forecast(view: RunView, now: float) -> Forecast:
    """When the running epoch and the run will be over if nothing goes wrong."""
    epoch_s, num_measured, basis = _epoch_time(view)
    running = view.current if view.state.active else None
    if running is not None and running.finished:
        running = None
    epoch_left_s = _epoch_left(view, running, epoch_s, now)
    run_left_s = None
    if epoch_left_s is not None and epoch_s is not None and running is not None and view.total_epochs:
        run_left_s = epoch_left_s + epoch_s * max(0, view.total_epochs - running.epoch)
    return Forecast(
        now=now,
        basis=basis,
        epoch_s=epoch_s,
        num_measured=num_measured,
        epoch=running.epoch if running else None,
        epoch_left_s=epoch_left_s,
        epoch_end_ts=None if epoch_left_s is None else now + epoch_left_s,
        run_left_s=run_left_s,
        run_end_ts=None if run_left_s is None else now + run_left_s,
    )


def epochs_end_ts(forecast: Forecast, *, start_ts: float, from_epoch: int, epochs: int | None) -> float | None:
    """When a run that goes on after ``from_epoch`` at ``start_ts`` has done all its ``epochs``."""
    if forecast.epoch_s is None or epochs is None:
        return None
    return start_ts + forecast.epoch_s * max(0, epochs - from_epoch)


def batch_s(view: RunView) -> float | None:
    """The time of one batch, from the running epoch."""
    beat = view.beat
    if beat is None or not beat.batch or beat.epoch_elapsed_s is None:
        return None
    return beat.epoch_elapsed_s / beat.batch


def duration(seconds: float) -> str:
    """``seconds`` as people say it: ``45 s``, ``12 min``, ``5 h 20 min``, ``3 d 4 h``."""
    if not math.isfinite(seconds):
        return "an unknown time"
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def _epoch_time(view: RunView) -> tuple[float | None, int, Basis]:
    measured = [epoch.seconds for epoch in view.story() if epoch.finished and epoch.seconds and epoch.seconds > 0]
    if measured:
        newest = measured[-_EPOCHS_USED:]
        return median(newest), len(newest), Basis.MEASURED
    each_s, beat = batch_s(view), view.beat
    if each_s is not None and beat is not None and beat.batches:
        return each_s * beat.batches, 0, Basis.RUNNING
    return None, 0, Basis.NONE


def _epoch_left(view: RunView, running: EpochView | None, epoch_s: float | None, now: float) -> float | None:
    if running is None or epoch_s is None:
        return None
    beat = view.beat
    if beat is not None and beat.epoch == running.epoch and beat.epoch_elapsed_s is not None:
        elapsed_s = beat.epoch_elapsed_s + max(0.0, now - beat.ts)
        each_s = batch_s(view)
        if each_s is not None and beat.batches and beat.batch:
            # The rate of this very epoch, and what measured epochs needed beyond their batches (validation, saving).
            batches_left_s = each_s * (beat.batches - beat.batch) - max(0.0, now - beat.ts)
            return max(0.0, batches_left_s, epoch_s - elapsed_s)
        return max(0.0, epoch_s - elapsed_s)
    if running.started_ts is not None:
        return max(0.0, epoch_s - (now - running.started_ts))
    return None
