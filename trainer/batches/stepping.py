"""The optimizer step: measured, made good if need be, clipped, taken."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import nn

from trainmaster.trainer.batches.batchnorm import BatchNormStatistics
from trainmaster.trainer.batches.gradients import Gradients, Measurement
from trainmaster.trainer.batches.healing import ema_fault, heal_optimizer, mend_settings
from trainmaster.trainer.batches.in_work import BatchInWork
from trainmaster.trainer.batches.last_look import LastLook
from trainmaster.trainer.batches.movement import StepsTaken
from trainmaster.trainer.batches.outcomes import Emit, GradientsGrew, Hopeless, StateHealed
from trainmaster.trainer.batches.overflow import Overflows
from trainmaster.trainer.batches.position import Position
from trainmaster.trainer.batches.recovery import Recovery
from trainmaster.trainer.contract import SkipReason
from trainmaster.trainer.drill import Drill
from trainmaster.trainer.engines.protocol import EngineTrainer


class Stepping:
    """Takes the steps of one attempt."""

    def __init__(
        self,
        trainer: EngineTrainer,
        model: nn.Module,
        *,
        gradients: Gradients,
        statistics: BatchNormStatistics,
        work: BatchInWork,
        recovery: Recovery,
        overflows: Overflows,
        position: Position,
        drill: Drill,
        max_norm: float,
        skip: bool,
        emit: Emit,
    ) -> None:
        self._trainer = trainer
        self._model = model
        self._gradients = gradients
        self._statistics = statistics
        self._work = work
        self._recovery = recovery
        self._overflows = overflows
        self._position = position
        self._drill = drill
        self.max_norm = max_norm
        self._skip = skip
        self._emit = emit
        self._last_look = LastLook(trainer, model, watched=skip)
        self.grad_norm: float | None = None
        """Of the gradients that were measured last."""
        self.taken = StepsTaken()
        """Those of the epoch in work."""

    def step(self, own_step: Callable[[], None] | None) -> None:
        """The step that the loop asks for, if it is due and its gradients are good.

        ``own_step`` steps in a way of its own (a subclass's) once the gradients are known to be good.
        """
        trainer = self._trainer
        if not self._position.due(trainer):
            return
        if not self._gradients.there():  # every batch of the window was skipped
            trainer.optimizer.zero_grad()
            return
        self._drill.spoil_gradients(self._model)
        trainer.scaler.unscale_(trainer.optimizer)
        measured: Measurement | None = self._measure()
        if measured is not None and not measured.finite and self._skip:
            if self._overflows.mend_scale():
                self._emit(StateHealed(what="scaler", tensors=1))
            measured = self._recovery.recover(measured, self._measure)
        if measured is not None:
            self._take(measured, own_step)

    def _measure(self) -> Measurement:
        measured = self._gradients.measure(self._statistics.flag(), states=self._skip)
        self.grad_norm = measured.norm
        return measured

    def _take(self, measured: Measurement, own_step: Callable[[], None] | None) -> None:
        trainer = self._trainer
        if self._skip:
            if bad := mend_settings(trainer.optimizer):
                self._give_up(f"the optimizer's {bad}, and a step with that would spoil every weight")
                return
            if bad := ema_fault(trainer.ema):
                self._give_up(f"the EMA's {bad}, and with that it would leave the model, and it is what is saved")
                return
            self._heal(measured)
        elif not measured.finite and not self._overflows.count():
            self._work.failed(SkipReason.NONFINITE_GRADIENT, norm=measured.norm)
        if measured.finite:
            self._overflows.end_streak()
            self.taken.note(min(measured.norm, self.max_norm), trainer.optimizer, plain=own_step is None)
        self._gradients.clip(measured.norm, self.max_norm)
        warning = self._gradients.note(measured.norm)
        if warning is not None:
            self._emit(GradientsGrew(norm=measured.norm, warning=warning, worst=self._gradients.worst()))
        if not self._last_look.take(own_step):
            self._recovery.drop_window(math.nan)
        elif own_step is None:
            trainer.scaler.update()
            trainer.optimizer.zero_grad()
            if trainer.ema:
                trainer.ema.update(trainer.model)

    def _give_up(self, why: str) -> None:
        """No step is taken any more."""
        self._emit(Hopeless(why=why))
        self._trainer.optimizer.zero_grad()

    def _heal(self, measured: Measurement) -> None:
        if not measured.statistics_finite:
            self._statistics.restore()
            self._emit(StateHealed(what="batchnorm", tensors=1))
        if not measured.optimizer_finite:
            num_tensors = heal_optimizer(self._trainer.optimizer, largest=self._gradients.momenta.largest)
            if num_tensors:
                self._emit(StateHealed(what="optimizer", tensors=num_tensors))
