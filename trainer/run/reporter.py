"""What the records say about the training: counts, heartbeats, rows for plots."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ultralytics.utils import LOGGER

from trainmaster.trainer.batches.budget import SkipBudget, SkipLimit
from trainmaster.trainer.batches.healing import float_of
from trainmaster.trainer.batches.position import Position
from trainmaster.trainer.batches.progress import RunningLoss
from trainmaster.trainer.batches.step_guard import StepGuard
from trainmaster.trainer.contract import EventKind
from trainmaster.trainer.engines.protocol import EngineTrainer
from trainmaster.trainer.records.recorder import Recorder
from trainmaster.trainer.run.tally import Tally
from trainmaster.trainer.run.validation import numbers_of
from trainmaster.trainer.settings.guard_settings import GuardSettings

SERIES_ROWS_PER_EPOCH: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class LossSums:
    """How far the running loss was at one moment: good batches so far, and the sums of their losses."""

    count: int = 0
    sums: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, running: RunningLoss) -> LossSums:
        """As they are at this moment."""
        return cls(
            count=running.count,
            sums={name: mean * running.count for name, mean in running.as_floats().items()} if running.count else {},
        )

    def since(self, earlier: LossSums) -> dict[str, float]:
        """The mean losses of the good batches between ``earlier`` and this; empty when there were none."""
        count = self.count - earlier.count
        if count <= 0:
            return {}
        return {name: (total - earlier.sums.get(name, 0.0)) / count for name, total in self.sums.items()}


class Reporter:
    """Counts and reports for one attempt."""

    def __init__(
        self,
        recorder: Recorder,
        settings: GuardSettings,
        *,
        position: Position,
        running: RunningLoss,
    ) -> None:
        self._recorder = recorder
        self._position = position
        self._running = running
        limit = SkipLimit(streak=settings.bad_streak, count=settings.bad_count, window=settings.bad_window)
        self.tally = Tally(budget=SkipBudget(limit))
        self._overflows = 0
        self._clipped_before_epoch = 0
        self._row_counts = (0, 0)
        self._row_began = LossSums()
        self._epoch_began = time.monotonic()
        self._counted_since = self._epoch_began
        """Of the epoch, this process may have trained the end alone."""
        self._batch_began: float | None = None
        self._longest_batch_s: float | None = None
        self._images = 0
        self.unknown_metrics: list[str] = []
        """Metrics of the epoch in work that were not finite."""
        self.num_bad_in_validation = 0
        """Validation batches of the epoch in work whose loss was not finite."""

    def epoch_started(self, trainer: EngineTrainer, step: StepGuard) -> None:
        """Counting of an epoch begins."""
        self.tally.start_epoch()
        self._clipped_before_epoch = step.gradients.clipped
        self._epoch_began, self._images = time.monotonic(), 0
        self._counted_since = self._epoch_began
        if self._batch_began is not None:
            self._batch_began = time.monotonic()
        self._row_began = LossSums()
        self._recorder.event(
            EventKind.EPOCH_STARTED, epoch=trainer.epoch + 1, epochs=trainer.epochs, batches=self._position.batches
        )
        self.beat(trainer, step, force=True)

    def counts(self, step: StepGuard) -> dict[str, Any]:
        """Counts of the epoch in work, for a saved state."""
        return {
            "skipped_epoch": self.tally.skipped_epoch,
            "nonfinite_epoch": self.tally.nonfinite_epoch,
            "clipped_epoch": step.gradients.clipped - self._clipped_before_epoch,
            "elapsed_s": time.monotonic() - self._epoch_began,
        }

    def load_counts(self, record: Mapping[str, Any]) -> None:
        """Go on counting in the middle of an epoch."""
        self.tally.skipped_epoch = record["skipped_epoch"]
        self.tally.nonfinite_epoch = record["nonfinite_epoch"]
        self._clipped_before_epoch -= record["clipped_epoch"]
        self._epoch_began -= record["elapsed_s"]
        self._row_began = LossSums.of(self._running)

    def batch_over(self, trainer: EngineTrainer, step: StepGuard, *, images: int) -> None:
        """A batch is over; rows and heartbeat when they are due."""
        self.tally.budget.batch_over()
        self._images += images
        now = time.monotonic()
        if self._batch_began is not None:
            self._longest_batch_s = max(self._longest_batch_s or 0.0, now - self._batch_began)
        self._batch_began = now
        done, batches = self._position.done, self._position.batches
        if done % max(batches // SERIES_ROWS_PER_EPOCH, 1) == 0 or done == batches:
            self._series(trainer, step)
        if self._recorder.beat_due():
            self.beat(trainer, step)

    def epoch_finished(self, trainer: EngineTrainer, step: StepGuard) -> None:
        """The epoch is validated and saved: what it came to is on record."""
        position = self._position
        self._recorder.event(
            EventKind.EPOCH_FINISHED,
            epoch=position.epoch + 1,
            epochs=trainer.epochs,
            batches=position.batches,
            batches_done=position.done,
            skipped=self.tally.skipped_epoch,
            nonfinite=self.tally.nonfinite_epoch,
            clipped=step.gradients.clipped - self._clipped_before_epoch,
            losses=self._running.as_floats(),
            metrics=numbers_of(trainer.metrics),
            fitness=None if trainer.fitness is None else float(trainer.fitness),
            validated=bool(trainer.args.val) or bool(trainer.stop),
            seconds=time.monotonic() - self._epoch_began,
            lr=rate_of(trainer),
            unknown=self.unknown_metrics,
            val_nonfinite=self.num_bad_in_validation,
        )
        self.unknown_metrics, self.num_bad_in_validation = [], 0
        if step.overflows.num > self._overflows:
            num = step.overflows.num - self._overflows
            self.notice(f"fp16: {num} steps of epoch {position.epoch + 1} overflowed; the scaler left them out")
        self._overflows = step.overflows.num
        self.beat(trainer, step, force=True)

    def taken_over(self, class_before: str | None, trainer_class: str) -> None:
        """A run may go on with another class than it began with, but not in silence. Records of version 0.1 call the
        same class without the name of the package."""
        if class_before is not None and trainer_class not in {class_before, f"trainmaster.{class_before}"}:
            self.notice(
                f"trained by {class_before} so far, from here on by {trainer_class}: a class of a script's own "
                "is found again only in a module that can be imported"
            )

    def notice(self, text: str) -> None:
        """Something a person should know, on the console and in the event log."""
        self._recorder.event(EventKind.NOTICE, text=text)
        LOGGER.warning(text)

    def beat(self, trainer: EngineTrainer, step: StepGuard, *, force: bool = False) -> None:
        """The heartbeat has the counts of now, if one is due or forced."""
        now = time.monotonic()
        counted_s = now - self._counted_since
        norms = step.gradients.history.recent()
        self._recorder.beat(
            force=force,
            epoch=self._position.epoch + 1,
            epochs=trainer.epochs,
            batch=self._position.done,
            batches=self._position.batches,
            losses=self._running.as_floats(),
            lr=rate_of(trainer),
            grad_norm=step.grad_norm,
            grad_norm_p50=norms.p50,
            grad_norm_p99=norms.p99,
            grad_norm_max=norms.largest,
            grad_worst=_named(next(iter(step.gradients.worst(1)), None)),
            grad_trend=step.gradients.history.trend,
            skipped=self.tally.skipped,
            skipped_epoch=self.tally.skipped_epoch,
            clipped=step.gradients.clipped,
            clipped_epoch=step.gradients.clipped - self._clipped_before_epoch,
            streak=self.tally.budget.streak,
            images_per_s=self._images / counted_s if counted_s > 0 else None,
            epoch_elapsed_s=now - self._epoch_began,
            longest_batch_s=self._longest_batch_s,
            memory_gib=trainer._get_memory(),  # noqa: SLF001 - what the progress line shows
        )

    def _series(self, trainer: EngineTrainer, step: StepGuard) -> None:
        norms = step.gradients.history.summary()
        skipped, clipped = self._row_counts
        self._row_counts = (self.tally.skipped, step.gradients.clipped)
        began, self._row_began = self._row_began, LossSums.of(self._running)
        self._recorder.series(
            epoch=self._position.epoch + 1,
            batch=self._position.done,
            losses=self._row_began.since(began) or self._running.as_floats(),
            lr=rate_of(trainer),
            grad_norm_p50=norms.p50,
            grad_norm_p99=norms.p99,
            grad_norm_max=norms.largest,
            grad_worst=_named(step.gradients.worst_since()),
            grad_trend=step.gradients.history.trend,
            clipped=step.gradients.clipped - clipped,
            skipped=self.tally.skipped - skipped,
        )


def _named(worst: tuple[str, float] | None) -> dict[str, Any] | None:
    return {"parameter": worst[0], "norm": worst[1]} if worst else None


def rate_of(trainer: EngineTrainer) -> float | None:
    """The learning rate of the weights, which lr0 names: biases warm up from far above it. None before there is one."""
    groups = trainer.optimizer.param_groups if trainer.optimizer else []
    groups = [group for group in groups if group.get("param_group") != "bias"] or groups
    rates = [float_of(group["lr"]) for group in groups]
    return min((rate for rate in rates if rate is not None and math.isfinite(rate)), default=None)
