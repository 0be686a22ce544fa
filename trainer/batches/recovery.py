"""Gradients that are not finite: which batch of the window spoiled them, and what is left without it."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from trainmaster.trainer.batches.batchnorm import BatchNormStatistics
from trainmaster.trainer.batches.gradients import Gradients, Measurement, all_finite
from trainmaster.trainer.batches.in_work import BatchInWork
from trainmaster.trainer.batches.overflow import Overflows
from trainmaster.trainer.batches.position import Position
from trainmaster.trainer.batches.progress import RunningLoss
from trainmaster.trainer.batches.window import MicroBatch, Rerun, Window
from trainmaster.trainer.contract import SkipReason
from trainmaster.trainer.engines.protocol import EngineTrainer


class Recovery:
    """Looks for the bad batch by running the window again; without one, gives the window up."""

    def __init__(
        self,
        trainer: EngineTrainer,
        model: nn.Module,
        *,
        gradients: Gradients,
        statistics: BatchNormStatistics,
        work: BatchInWork,
        window: Window,
        rerun: Rerun,
        overflows: Overflows,
        position: Position,
        running: RunningLoss,
    ) -> None:
        self._trainer = trainer
        self._model = model
        self._gradients = gradients
        self._statistics = statistics
        self._work = work
        self._window = window
        self._rerun = rerun
        self._overflows = overflows
        self._position = position
        self._running = running

    def recover(self, measured: Measurement, measure: Callable[[], Measurement]) -> Measurement | None:
        """Gradients that can be stepped with after all, or None when no step is taken."""
        scaled = self._overflows.possible
        micros = self._window.micros or ([self._work.as_it_is()] if scaled else [])
        worst = self._gradients.worst()
        if not all_finite(self._model.parameters()):
            self.drop_window(measured.norm)
            return None
        found = None
        if not self._window.cut and len(micros) > (0 if scaled or self._window.before else 1):
            found = self._rerun.search(micros, measure)
        if found is None and scaled:
            self._leave_to_the_scaler(measured.norm)
            return None
        if found is None or not found.is_over:
            self.drop_window(measured.norm)
            return None
        again = found.measured
        self._overflows.forget()
        if scaled and found.good:
            again = self._rerun.scaled_gradients(found.good, measure)
        overflowed = again is not None and not again.finite
        if found.culprits or not overflowed:
            self._report_culprits(found.culprits, measured.norm, worst)
        if overflowed:
            self._leave_to_the_scaler(measured.norm, proven=True)
            return None
        return again

    def drop_window(self, norm: float) -> None:
        """No step: gradients, statistics, running loss and window are as before its first batch."""
        worst = self._gradients.worst()
        self._trainer.optimizer.zero_grad()
        self._overflows.forget()
        self._statistics.rewind()
        lost: list[MicroBatch] = self._window.micros
        doubt = len(lost) > 1
        for micro in lost or (None,):
            self._work.failed(SkipReason.NONFINITE_GRADIENT, micro, norm=norm, worst=worst, by_association=doubt)
        self._running_without(lost)
        if not doubt:
            self._work.draw_again()

    def _report_culprits(self, culprits: list[MicroBatch], norm: float, worst: list[tuple[str, float]]) -> None:
        for micro in culprits:
            self._work.failed(SkipReason.NONFINITE_GRADIENT, micro, norm=norm, worst=worst)
        if culprits:
            self._running_without(culprits)
        else:  # it did not happen again: nothing is lost, but somebody should know
            self._work.failed(SkipReason.NONFINITE_GRADIENT, norm=norm, worst=worst, action="recomputed")

    def _leave_to_the_scaler(self, norm: float, *, proven: bool = False) -> None:
        if not self._overflows.leave_out(proven=proven):
            self.drop_window(norm)

    def _running_without(self, lost: list[MicroBatch]) -> None:
        """The running loss is that of the good batches of the epoch."""
        epoch = self._position.epoch
        self._running.rewind(micro.items for micro in self._window.micros if micro.epoch == epoch and micro not in lost)
