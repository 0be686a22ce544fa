"""What the records say about the training: counts, heartbeats, rows for plots, incidents."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import torch
from ultralytics.utils import LOGGER
from ultralytics.utils.torch_utils import unwrap_model

from trainmaster.trainer.batches import precision
from trainmaster.trainer.batches.batch_guard import BadBatch, SkipBudget, SkipLimit
from trainmaster.trainer.batches.position import Position
from trainmaster.trainer.batches.progress import RunningLoss
from trainmaster.trainer.batches.step_guard import StepGuard
from trainmaster.trainer.contract import EventKind, SkipReason
from trainmaster.trainer.data.quarantine import note_offence
from trainmaster.trainer.data.tracing import sources_of, sources_of_samples
from trainmaster.trainer.drill import Drill
from trainmaster.trainer.incidents.incident import Incidents, diagnose, first_bad_module, undiagnosed
from trainmaster.trainer.incidents.incident_weights import Scenes, digests_of
from trainmaster.trainer.records.recorder import Recorder, encoded
from trainmaster.trainer.settings.guard_settings import GuardSettings

SERIES_ROWS_PER_EPOCH: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """How far the running loss was at one moment: good batches so far, and the sums of their losses."""

    count: int = 0
    sums: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, running: RunningLoss) -> Stretch:
        """Now."""
        return cls(
            count=running.count,
            sums={name: mean * running.count for name, mean in running.as_floats().items()} if running.count else {},
        )

    def since(self, earlier: Stretch) -> dict[str, float]:
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
        drill: Drill,
    ) -> None:
        self._recorder = recorder
        self._settings = settings
        self._position = position
        self._running = running
        self._drill = drill
        self._incidents = Incidents(recorder.layout)
        self._scenes = Scenes(recorder.layout.incidents)
        self.budget = SkipBudget(
            SkipLimit(streak=settings.bad_streak, count=settings.bad_count, window=settings.bad_window)
        )
        self.skipped = self.skipped_epoch = 0
        self._nonfinite_epoch = self._overflows = 0
        self._clipped_before_epoch = 0
        self._row_counts = (0, 0)
        self._row_began = Stretch()
        self._epoch_began = time.monotonic()
        self._batch_began: float | None = None
        self._longest_batch_s: float | None = None
        self._images = 0
        self.give_up: str | None = None
        """Why the run should end after the batch in work."""

    def epoch_started(self, trainer: Any, step: StepGuard) -> None:
        """Counting of an epoch begins."""
        self.skipped_epoch = self._nonfinite_epoch = 0
        self._clipped_before_epoch = step.gradients.clipped
        self._epoch_began, self._images = time.monotonic(), 0
        if self._batch_began is not None:
            self._batch_began = time.monotonic()
        self._row_began = Stretch()
        self._recorder.event(
            EventKind.EPOCH_STARTED, epoch=trainer.epoch + 1, epochs=trainer.epochs, batches=self._position.batches
        )
        self.beat(trainer, step, force=True)

    def counts(self, step: StepGuard) -> dict[str, Any]:
        """Counts of the epoch in work, for a saved state."""
        return {
            "skipped_epoch": self.skipped_epoch,
            "nonfinite_epoch": self._nonfinite_epoch,
            "clipped_epoch": step.gradients.clipped - self._clipped_before_epoch,
            "elapsed_s": time.monotonic() - self._epoch_began,
        }

    def load_counts(self, record: Mapping[str, Any]) -> None:
        """Go on counting in the middle of an epoch."""
        self.skipped_epoch = record["skipped_epoch"]
        self._nonfinite_epoch = record["nonfinite_epoch"]
        self._clipped_before_epoch -= record["clipped_epoch"]
        self._epoch_began -= record["elapsed_s"]
        self._row_began = Stretch.of(self._running)

    def batch_over(self, trainer: Any, step: StepGuard, *, images: int) -> None:
        """A batch is over; rows and heartbeat when they are due."""
        self.budget.batch_over()
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

    def epoch_finished(self, trainer: Any, step: StepGuard) -> None:
        """Validated and saved."""
        position = self._position
        self._recorder.event(
            EventKind.EPOCH_FINISHED,
            epoch=position.epoch + 1,
            epochs=trainer.epochs,
            batches=position.batches,
            batches_done=position.done,
            skipped=self.skipped_epoch,
            nonfinite=self._nonfinite_epoch,
            clipped=step.gradients.clipped - self._clipped_before_epoch,
            losses=self._running.as_floats(),
            metrics={name: float(value) for name, value in (trainer.metrics or {}).items()},
            fitness=None if trainer.fitness is None else float(trainer.fitness),
            validated=bool(trainer.args.val) or bool(trainer.stop),
            seconds=time.monotonic() - self._epoch_began,
            lr=rate_of(trainer),
        )
        if step.overflows > self._overflows:
            num = step.overflows - self._overflows
            self.notice(f"fp16: {num} steps of epoch {position.epoch + 1} overflowed; the scaler left them out")
        self._overflows = step.overflows
        self.beat(trainer, step, force=True)

    def bad_batch(self, trainer: Any, step: StepGuard, bad: BadBatch) -> None:
        """Count it, keep it, tell it."""
        position = self._position
        lost = bad.action == "skipped"
        self._nonfinite_epoch += bad.reason is not SkipReason.LOSS_SPIKE
        self.skipped += lost
        self.skipped_epoch += lost
        here = (bad.epoch, bad.index) == (position.epoch, position.index)
        # What falls with its window has done nothing: the window counts as one.
        counts = lost and (here or not bad.by_association)
        spent = self.budget.spend(batches_per_epoch=position.batches) if counts else None
        drilled = self._drill.fault is not None and here
        facts = {
            "reason": bad.reason,
            "epoch": bad.epoch + 1,
            "batch": bad.index + 1,
            "batches": position.batches,
            "action": bad.action,
            "losses": bad.verdict.losses if bad.verdict else {},
            "grad_norm": bad.grad_norm,
            "lr": rate_of(trainer),
            "images": sources_of(bad.batch),
        }
        model = unwrap_model(trainer.model)
        labels_bad = bool(bad.verdict and bad.verdict.labels_bad)
        try:
            found = diagnose(model, bad.batch, labels_bad=labels_bad)
        except torch.OutOfMemoryError:  # the engine would take it for the batch's own and halve the batch size
            found = undiagnosed(labels_bad=labels_bad)
        self._recorder.event(
            EventKind.BAD_BATCH,
            **facts,
            skipped_epoch=self.skipped_epoch,
            skipped_total=self.skipped,
            streak=self.budget.streak,
            incident=self._keep(trainer, step, bad, {**facts, **found, "drill": drilled}),
            cause=found["cause"],
            **({"drill": True} if drilled else {}),
        )
        LOGGER.warning(
            f"bad batch: epoch {bad.epoch + 1} batch {bad.index + 1}/{position.batches}: {bad.reason}, "
            f"{bad.action} ({self.skipped_epoch} this epoch, {self.budget.streak} in a row)"
        )
        if bad.action != "observed":
            many = f"{found['bad_weights']} weights are not finite, and no batch can mend that"
            self.give_up = many if found["bad_weights"] else spent or self.give_up

    def taken_over(self, class_before: str | None, trainer_class: str) -> None:
        """A run may go on with another class than it began with, but not in silence."""
        if class_before not in {None, trainer_class}:
            self.notice(
                f"trained by {class_before} so far, from here on by {trainer_class}: a class of a script's own "
                "is found again only in a module that can be imported"
            )

    def notice(self, text: str) -> None:
        """Something a person should know, on the console and in the event log."""
        self._recorder.event(EventKind.NOTICE, text=text)
        LOGGER.warning(text)

    def hopeless(self, why: str) -> None:
        """The run should end after the batch in work."""
        self.give_up = why
        LOGGER.warning(f"giving up after this batch: {why}")

    def here(self, kind: EventKind, **fields: Any) -> None:
        """An event at the batch in work."""
        self._recorder.event(kind, epoch=self._position.epoch + 1, batch=self._position.index + 1, **fields)

    def beat(self, trainer: Any, step: StepGuard, *, force: bool = False) -> None:
        """A heartbeat."""
        elapsed_s = time.monotonic() - self._epoch_began
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
            skipped=self.skipped,
            skipped_epoch=self.skipped_epoch,
            clipped=step.gradients.clipped,
            clipped_epoch=step.gradients.clipped - self._clipped_before_epoch,
            streak=self.budget.streak,
            images_per_s=self._images / elapsed_s if elapsed_s > 0 else None,
            epoch_elapsed_s=elapsed_s,
            longest_batch_s=self._longest_batch_s,
            memory_gib=trainer._get_memory(),  # noqa: SLF001 - what the progress line shows
        )

    def _keep(self, trainer: Any, step: StepGuard, bad: BadBatch, facts: dict[str, Any]) -> str | None:
        module, fp32_finite = None, None
        if bad.action == "skipped" and bad.verdict is not None and bad.verdict.reason in _OF_FORWARD_PASS:
            with step.untouched_statistics():
                module = first_bad_module(unwrap_model(trainer.model), bad.batch)
                fp32_finite = step.finite_in_single_precision(bad.batch)
        details = {
            **facts,
            "ts": time.time(),
            "run": self._recorder.run,
            "attempt": self._recorder.attempt,
            "level": self._settings.level,
            "loss": bad.verdict.loss if bad.verdict else None,
            "precision": precision.name_of(trainer),
            "rng": digests_of(bad.rng),
            "by_association": bad.by_association,
            "first_bad_module": module,
            "fp32_replay_finite": fp32_finite,
            "worst_gradients": [{"parameter": name, "norm": norm} for name, norm in bad.worst],
        }
        suspects = sources_of_samples(bad.batch, facts["bad_images"] + facts["badly_labelled"]) or facts["images"]
        name = None
        try:
            keep_scene = partial(self._scenes.keep, trainer=trainer, rng=bad.rng, steps=step.steps_taken)
            name = self._incidents.record(encoded(details), bad.batch, suspects, keep_scene)
            if bad.action == "skipped" and not (facts["drill"] or bad.by_association):
                note_offence(self._recorder.layout, suspects, name)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
            self._recorder.storage_fault("incidents", error)
        return name

    def _series(self, trainer: Any, step: StepGuard) -> None:
        norms = step.gradients.history.summary()
        skipped, clipped = self._row_counts
        self._row_counts = (self.skipped, step.gradients.clipped)
        began, self._row_began = self._row_began, Stretch.of(self._running)
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
            skipped=self.skipped - skipped,
        )


_OF_FORWARD_PASS: Final = frozenset({SkipReason.NONFINITE_LOSS, SkipReason.NONFINITE_BATCHNORM})


def _named(worst: tuple[str, float] | None) -> dict[str, Any] | None:
    return {"parameter": worst[0], "norm": worst[1]} if worst else None


def rate_of(trainer: Any) -> float | None:
    """The learning rate of the weights, which lr0 names: biases warm up from far above it. None before there is one."""
    groups = trainer.optimizer.param_groups if trainer.optimizer else []
    rates = [group["lr"] for group in groups if group.get("param_group") != "bias"] or [g["lr"] for g in groups]
    return min((rate for rate in rates if math.isfinite(rate)), default=None)
