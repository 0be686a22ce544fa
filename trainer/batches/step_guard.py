"""One batch and one optimizer step under guard: judge, skip, run again, heal, count."""

from __future__ import annotations

import contextlib
import math
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

import torch
from torch import nn
from ultralytics.utils.torch_utils import unwrap_model

from trainmaster.trainer.batches import precision
from trainmaster.trainer.batches.batch_guard import BadBatch, BatchGuard, BatchVerdict, LossSeam, SpikeWatch
from trainmaster.trainer.batches.batchnorm import BatchNormStatistics
from trainmaster.trainer.batches.gradients import Gradients, Measurement, all_finite
from trainmaster.trainer.batches.healing import heal_optimizer, mend_settings
from trainmaster.trainer.batches.labels import bad_labels, num_classes_of, without_bad_labels
from trainmaster.trainer.batches.position import Position
from trainmaster.trainer.batches.progress import RunningLoss
from trainmaster.trainer.batches.window import MicroBatch, Rerun
from trainmaster.trainer.contract import EventKind, SkipReason
from trainmaster.trainer.data.sampling import is_ghost, random_state
from trainmaster.trainer.drill import Drill

MAX_OVERFLOWS: Final = 20
"""float16 overflows in a row that pass as the scaler's normal search, where batches can't be run again without it: each
halves a scale that starts at 65,536."""


class _SpoiledStep(Exception):  # noqa: N818 - a way out of an optimizer's step, no error
    """The gradients are not finite any more."""


class StepGuard:
    """Between the training loop and the model, from the first batch to the last."""

    def __init__(
        self,
        trainer: Any,
        *,
        position: Position,
        running: RunningLoss,
        drill: Drill,
        max_norm: float,
        skip: bool,
        on_bad: Callable[[BadBatch], None],
        on_event: Callable[..., None],
        on_hopeless: Callable[[str], None],
    ) -> None:
        self._trainer = trainer
        self._model: nn.Module = unwrap_model(trainer.model)
        self._position = position
        self._running = running
        self._drill = drill
        self.max_norm = max_norm
        self._skip = skip
        self._on_bad = on_bad
        self._on_event = on_event
        self._on_hopeless = on_hopeless
        self._many_ranks = trainer.world_size > 1
        self.statistics = BatchNormStatistics(self._model)
        self.gradients = Gradients(self._model, trainer.optimizer)
        self.spikes = SpikeWatch()
        self.batches = BatchGuard(
            self._model,
            self.statistics,
            skip=skip,
            agree=self._many_ranks,
            spikes=self.spikes if skip and not self._many_ranks else None,
        )
        self._own_loss: Callable[..., Any] | None = None
        self._stepping_their_way = False
        trainer.optimizer.register_step_pre_hook(self._before_their_step)
        self._window: list[MicroBatch] = []
        self._window_cut = position.window_open
        self._micro: MicroBatch | None = None
        self._rng: torch.Tensor | None = None
        self._batch: dict[str, Any] = {}
        self._labels_bad = False
        self._before: torch.Tensor | None = None
        self._verdict: BatchVerdict | None = None
        self.rerun = Rerun(trainer, self.statistics)
        self.loss_fresh = False
        """A loss has been made and the loop has not yet asked for the running mean to be updated."""
        self.grad_norm: float | None = None
        self.overflows = 0
        self.steps_taken = 0
        self._overflow_streak = 0

    def attach(self) -> None:
        """Losses of the live model come through here, those of a loss that somebody put on the instance too."""
        own_loss = self._model.__dict__.get("loss")
        if own_loss is not None and not isinstance(own_loss, LossSeam):
            self._own_loss = own_loss
            self.batches.use(own_loss)
        LossSeam.attach(self._model, self._loss)

    def detach(self) -> None:
        """The live model is as it was."""
        LossSeam.detach(self._model)
        if self._own_loss is not None:
            self._model.__dict__["loss"] = self._own_loss

    def before_batch(self, batch: dict[str, Any]) -> None:
        """``batch``, fresh from the loader, is about to be prepared."""
        opens = not self._position.window_open
        self._position.before_batch(self._trainer)
        self._position.window_open = True
        if not isinstance(self._model.__dict__.get("loss"), LossSeam):
            self.attach()
        if not self._skip:
            return
        self.statistics.reattach()
        self._before = self.statistics.flag()
        # A model on a CPU gets its labels checked as it sees them; on a device that would be one more read.
        self._labels_bad = self._trainer.device.type != "cpu" and bad_labels(batch, num_classes_of(self._model))
        if opens:
            self._window, self._window_cut, self.rerun.before = [], False, {}
            self.statistics.start_window()
            self._running.start_window()
        self._rng = torch.get_rng_state()
        self._micro = None
        if self._position.accumulates(self._trainer):  # else nothing runs it again, and held, it costs what it weighs
            state = random.getstate() if self._trainer.args.multi_scale else None
            place = {"epoch": self._position.epoch, "index": self._position.index}
            self._micro = MicroBatch(**place, batch=dict(batch), python_random=state, rng=self._rng)

    @contextlib.contextmanager
    def untouched_statistics(self) -> Iterator[None]:
        """What runs through the model within leaves no trace in its batch-norm statistics."""
        try:
            yield
        finally:
            self.statistics.restore()

    @torch.no_grad()
    def finite_in_single_precision(self, batch: dict[str, Any]) -> bool:
        """Whether the loss of ``batch`` is finite without mixed precision: then the batch overflowed, no more."""
        with torch.autocast(self._trainer.device.type, enabled=False), contextlib.suppress(RuntimeError, IndexError):
            loss, _ = self.batches.raw_loss(without_bad_labels(batch, num_classes_of(self._model)))
            return bool(torch.isfinite(loss).all())
        return False

    def go_on(self, gradients: Mapping[str, torch.Tensor]) -> None:
        """The window that an interruption cut through began with ``gradients``, which are there again."""
        whole = (
            all_finite(gradients.values()) and not self._trainer.scaler.is_enabled()
        )  # else scaled as they were then
        if gradients and whole and self._window_cut:
            self.rerun.before, self._window_cut = gradients, False

    def forget_batch(self) -> None:
        """The batch in work is over; nothing of it is held on the device."""
        self._batch = {}
        self._micro = None

    def _loss(self, batch: dict[str, Any], preds: Any = None) -> Any:
        if self.rerun.active or self.batches.inside or not self._model.training:
            return self.batches.raw_loss(batch, preds)
        self.loss_fresh = True
        if is_ghost(batch):
            return self.batches.placeholder()
        self._batch = batch
        self._drill.spoil_statistics(self._model)
        outcome, verdict = self.batches.judge(
            batch, preds, before=self._before, labels_bad=self._labels_bad, spoil=self._drill.loss_spoiler()
        )
        self._verdict = verdict
        if verdict.statistics_healed:
            self._on_event(EventKind.STATE_HEALED, what="batchnorm", tensors=verdict.statistics_healed)
        if verdict.reason is None or not self._skip:
            self._running.add(self.batches.host_items)
            if self._micro is not None:
                self._micro = replace(self._micro, verdict=verdict, items=self.batches.host_items)
                self._window.append(self._micro)
        else:
            self._running.know(verdict.losses)
        if verdict.reason is not None:
            self._report(verdict.reason)
            self._draw_again()
        return outcome

    def optimizer_step(self, stock_step: Callable[[], None] | None) -> None:
        """The step that the loop asks for, if it is due and its gradients are good.

        ``stock_step`` steps in a way of its own (a subclass's) once the gradients are known to be good.
        """
        trainer = self._trainer
        if not self._position.due(trainer):
            return
        if not self.gradients.there():  # every batch of the window was skipped
            trainer.optimizer.zero_grad()
            return
        self._drill.spoil_gradients(self._model)
        trainer.scaler.unscale_(trainer.optimizer)
        measured = self._measure()
        if not measured.finite and self._skip:
            measured = self._recover(measured)
        if measured is not None:
            self._take(measured, stock_step)

    def _measure(self) -> Measurement:
        measured = self.gradients.measure(self.statistics.flag(), states=self._skip)
        self.grad_norm = measured.norm
        return measured

    def _take(self, measured: Measurement, stock_step: Callable[[], None] | None) -> None:
        trainer = self._trainer
        if self._skip:
            if bad := mend_settings(trainer.optimizer):
                self._on_hopeless(f"the optimizer's {bad}, and a step with that would spoil every weight")
                trainer.optimizer.zero_grad()
                return
            self._heal(measured)
        elif not measured.finite and not self._count_overflow():
            self._report(SkipReason.NONFINITE_GRADIENT, norm=measured.norm)
        if measured.finite:
            self._overflow_streak = 0
        self.gradients.clip(measured.norm, self.max_norm)
        warning = self.gradients.note(measured.norm)
        if warning is not None:
            self._on_event(
                EventKind.GRADIENT_WARNING,
                grad_norm=measured.norm,
                median=warning.median,
                factor=warning.factor,
                trend=warning.trend,
                worst=[{"parameter": name, "norm": norm} for name, norm in self.gradients.worst()],
            )
        self.steps_taken += 1
        if stock_step is not None:
            self._step_their_way(stock_step)
            return
        trainer.scaler.step(trainer.optimizer)
        trainer.scaler.update()
        trainer.optimizer.zero_grad()
        if trainer.ema:
            trainer.ema.update(trainer.model)

    def _step_their_way(self, stock_step: Callable[[], None]) -> None:
        """A subclass's own step; gradients that went bad within it are told before they reach the weights."""
        self._stepping_their_way = self._skip
        try:
            with precision.unscaled_already(self._trainer):
                stock_step()
        except _SpoiledStep:
            self._trainer.scaler.update()
            self._drop_window(math.nan)
        finally:
            self._stepping_their_way = False

    def _before_their_step(self, *_: Any) -> None:
        if self._stepping_their_way and not all_finite(
            parameter.grad for parameter in self._model.parameters() if parameter.grad is not None
        ):
            raise _SpoiledStep

    def _heal(self, measured: Measurement) -> None:
        if not measured.statistics_finite:
            self.statistics.restore()
            self._on_event(EventKind.STATE_HEALED, what="batchnorm", tensors=1)
        if not measured.optimizer_finite:
            num_tensors = heal_optimizer(self._trainer.optimizer)
            if num_tensors:
                self._on_event(EventKind.STATE_HEALED, what="optimizer", tensors=num_tensors)

    def _recover(self, measured: Measurement) -> Measurement | None:
        """Gradients that can be stepped with after all, or None when no step is taken."""
        scaled = self._trainer.scaler.is_enabled()
        micros = self._window or ([self._in_work()] if scaled else [])
        worst = self.gradients.worst()
        if not all_finite(self._model.parameters()):
            self._drop_window(measured.norm)
            return None
        found = None
        if not self._window_cut and len(micros) > (0 if scaled or self.rerun.before else 1):
            found = self.rerun.search(micros, self._measure)
        if found is None and scaled:
            self._overflow(measured.norm)
            return None
        if found is None or not found.is_over:
            self._drop_window(measured.norm)
            return None
        again = found.measured
        self._forget_overflow()
        if scaled and found.good:
            again = self.rerun.scaled_gradients(found.good, self._measure)
        overflowed = again is not None and not again.finite
        if found.culprits or not overflowed:
            self._report_culprits(found.culprits, measured.norm, worst)
        if overflowed:
            self._overflow(measured.norm)
            return None
        return again

    def _in_work(self) -> MicroBatch:
        """The batch in work, to be run again as it is."""
        return MicroBatch(
            epoch=self._position.epoch,
            index=self._position.index,
            batch=self._batch,
            python_random=None,
            rng=self._rng,
            is_prepared=True,
            verdict=self._verdict,
        )

    def _report_culprits(self, culprits: list[MicroBatch], norm: float, worst: list[tuple[str, float]]) -> None:
        for micro in culprits:
            self._report(SkipReason.NONFINITE_GRADIENT, micro, norm=norm, worst=worst)
        if culprits:
            self._running_without(culprits)
        else:  # it did not happen again: nothing is lost, but somebody should know
            self._report(SkipReason.NONFINITE_GRADIENT, norm=norm, worst=worst, action="recomputed")

    def _overflow(self, norm: float) -> None:
        """float16: the scaler leaves the step out and lowers its scale, as it would unguarded."""
        trainer = self._trainer
        trainer.scaler.step(trainer.optimizer)
        trainer.scaler.update()
        if self._count_overflow():
            trainer.optimizer.zero_grad()
            if trainer.ema:
                trainer.ema.update(trainer.model)
        else:
            self._drop_window(norm)

    def _count_overflow(self) -> bool:
        """Gradients are not finite; whether that is the scaler's business, as it is until it goes on and on."""
        if not self._trainer.scaler.is_enabled():
            return False
        self.overflows += 1
        self._overflow_streak += 1
        if self._overflow_streak <= MAX_OVERFLOWS:
            return True
        self._overflow_streak = 0
        return False

    def _forget_overflow(self) -> None:
        """The scaler is as it was before it saw the gradients."""
        scaler = self._trainer.scaler
        if scaler.is_enabled():
            scaler.update(new_scale=scaler.get_scale())

    def _drop_window(self, norm: float) -> None:
        """No step: gradients, statistics, running loss and window are as before its first batch."""
        worst = self.gradients.worst()
        self._trainer.optimizer.zero_grad()
        self._forget_overflow()
        self.statistics.rewind()
        reason, doubt = SkipReason.NONFINITE_GRADIENT, len(self._window) > 1
        for micro in self._window or [None]:
            self._report(reason, micro, norm=norm, worst=worst, by_association=doubt)
        self._running_without(self._window)
        if not doubt:
            self._draw_again()

    def _running_without(self, lost: list[MicroBatch]) -> None:
        """The running loss is that of the good batches of the epoch."""
        epoch = self._position.epoch
        self._running.rewind(micro.items for micro in self._window if micro.epoch == epoch and micro not in lost)

    def _draw_again(self) -> None:
        """What comes next draws what it would have drawn (dropout does) if this batch had not been there."""
        if self._skip and self._rng is not None:
            torch.set_rng_state(self._rng)

    def _report(
        self,
        reason: SkipReason,
        micro: MicroBatch | None = None,
        *,
        norm: float | None = None,
        worst: list[tuple[str, float]] | None = None,
        action: str | None = None,
        by_association: bool = False,
    ) -> None:
        """``micro`` was judged bad; None for the batch in work."""
        in_work = micro is None or micro is self._micro
        # What a forward pass draws (dropout) comes from torch's generator; the others stand as they stood.
        before = self._rng if micro is None else micro.rng
        self._on_bad(
            BadBatch(
                epoch=self._position.epoch if micro is None else micro.epoch,
                index=self._position.index if micro is None else micro.index,
                reason=reason,
                action=action or ("skipped" if self._skip else "observed"),
                verdict=self._verdict if micro is None else micro.verdict,
                grad_norm=norm,
                worst=worst or [],
                batch=self._batch if micro is None or in_work else self.rerun.prepared(micro),
                rng=random_state() | ({} if before is None else {"torch": before}),
                by_association=by_association,
            )
        )
