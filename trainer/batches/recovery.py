"""Gradients that are not finite: which batch of the window spoiled them, and what is left without it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from trainmaster.trainer.batches.gradients import Gradients, Measurement, all_finite
from trainmaster.trainer.batches.in_work import BatchInWork
from trainmaster.trainer.batches.overflow import Overflows
from trainmaster.trainer.batches.position import Position
from trainmaster.trainer.batches.progress import RunningLoss
from trainmaster.trainer.batches.window import MicroBatch, Rerun, Window
from trainmaster.trainer.contract import SkipReason
from trainmaster.trainer.engines.protocol import EngineTrainer


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """Looks for the bad batch by running the window again; without one, gives the window up."""

    trainer: EngineTrainer
    model: nn.Module
    gradients: Gradients
    work: BatchInWork
    window: Window
    rerun: Rerun
    overflows: Overflows
    position: Position
    running: RunningLoss

    def recover(self, measured: Measurement, measure: Callable[[], Measurement]) -> Measurement | None:
        """Gradients that can be stepped with after all, or None when no step is taken."""
        scaled = self.overflows.possible
        micros = self.window.micros or ([self.work.as_it_is()] if scaled else [])
        worst = self.gradients.worst()
        if not all_finite(self.model.parameters()):
            self.drop_window(measured.norm)
            return None
        found = None
        if not self.window.cut and len(micros) > (0 if scaled or self.window.before else 1):
            found = self.rerun.search(micros, measure)
        if found is None and scaled:
            self._leave_to_the_scaler(measured.norm)
            return None
        if found is None or not found.is_over:
            self.drop_window(measured.norm)
            return None
        again = found.measured
        self.window.keep(found.good)
        self.overflows.forget()
        if scaled and found.good:
            again = self.rerun.scaled_gradients(found.good, measure)
        overflowed = again is not None and not again.finite
        if found.culprits or not overflowed:
            self._report_culprits(found.culprits, measured.norm, worst)
        if overflowed:
            self._leave_to_the_scaler(measured.norm, proven=True)
            return None
        return again

    def drop_window(self, norm: float) -> None:
        """No step: gradients, statistics, running loss and window are as before its first batch."""
        worst = self.gradients.worst()
        self.trainer.optimizer.zero_grad()
        self.overflows.forget()
        self.rerun.rewind()
        lost: list[MicroBatch] = self.window.micros
        doubt = len(lost) > 1
        for micro in lost or (None,):
            self.work.failed(SkipReason.NONFINITE_GRADIENT, micro, norm=norm, worst=worst, by_association=doubt)
        self._running_without(lost)
        self.window.keep([])
        self.window.before = {}
        if not doubt:
            self.work.draw_again()

    def _report_culprits(self, culprits: list[MicroBatch], norm: float, worst: list[tuple[str, float]]) -> None:
        for micro in culprits:
            self.work.failed(SkipReason.NONFINITE_GRADIENT, micro, norm=norm, worst=worst)
        if culprits:
            self._running_without(culprits)
        else:  # it did not happen again: nothing is lost, but somebody should know
            self.work.failed(SkipReason.NONFINITE_GRADIENT, norm=norm, worst=worst, action="recomputed")

    def _leave_to_the_scaler(self, norm: float, *, proven: bool = False) -> None:
        if not self.overflows.leave_out(proven=proven):
            self.drop_window(norm)

    def _running_without(self, lost: list[MicroBatch]) -> None:
        """The running loss is that of the good batches of the epoch."""
        epoch = self.position.epoch
        self.running.rewind(micro.items for micro in self.window.micros if micro.epoch == epoch and micro not in lost)
