"""A batch on its way to a loss: prepared for, judged where its loss is made, and accepted or put back."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from trainmaster.trainer.batches.batch_guard import BatchGuard
from trainmaster.trainer.batches.batchnorm import BatchNormStatistics
from trainmaster.trainer.batches.in_work import BatchInWork
from trainmaster.trainer.batches.labels import bad_labels, num_classes_of
from trainmaster.trainer.batches.outcomes import Emit, StateHealed, WeightsLeapt
from trainmaster.trainer.batches.position import Position
from trainmaster.trainer.batches.progress import RunningLoss
from trainmaster.trainer.batches.weight_watch import WeightWatch
from trainmaster.trainer.batches.window import Rerun, Window
from trainmaster.trainer.data.sampling import is_ghost
from trainmaster.trainer.drill import Drill
from trainmaster.trainer.engines.protocol import EngineTrainer


class Judging:
    """Stands where the live model makes its losses."""

    def __init__(
        self,
        trainer: EngineTrainer,
        model: nn.Module,
        *,
        batches: BatchGuard,
        statistics: BatchNormStatistics,
        weights: WeightWatch,
        work: BatchInWork,
        window: Window,
        rerun: Rerun,
        position: Position,
        running: RunningLoss,
        drill: Drill,
        skip: bool,
        emit: Emit,
    ) -> None:
        self._trainer = trainer
        self._model = model
        self._batches = batches
        self._statistics = statistics
        self._weights = weights
        self._work = work
        self._window = window
        self._rerun = rerun
        self._position = position
        self._running = running
        self._drill = drill
        self._skip = skip
        self._emit = emit
        self._labels_bad = False
        self._flag_before: torch.Tensor | None = None
        self.loss_fresh = False
        """A loss has been made and the loop has not yet asked for the running mean to be updated."""

    def attach(self) -> None:
        """Losses of the live model come through here."""
        self._batches.maker.attach(self._loss)

    def before_batch(self, batch: dict[str, Any]) -> None:
        """``batch``, fresh from the loader, is about to be prepared."""
        opens = not self._position.window_open
        self._position.before_batch(self._trainer)
        self._position.window_open = True
        if not self._batches.maker.attached:
            self.attach()
        if not self._skip:
            return
        self._statistics.reattach()
        self._flag_before = self._statistics.flag()
        # A model on a CPU gets its labels checked as it sees them; on a device that would be one more read.
        self._labels_bad = self._trainer.device.type != "cpu" and bad_labels(batch, num_classes_of(self._model))
        if opens:
            self._window.open()
            self._statistics.start_window()
            self._running.start_window()
        self._work.begin(
            batch,
            may_run_again=self._position.accumulates(self._trainer),
            multi_scale=bool(self._trainer.args.multi_scale),
        )

    def _loss(self, batch: dict[str, Any], preds: Any = None) -> Any:
        if self._rerun.active or self._batches.maker.inside or not self._model.training:
            return self._batches.maker.raw(batch, preds)
        self.loss_fresh = True
        if is_ghost(batch):
            return self._batches.placeholder()
        self._work.meets_the_model(batch)
        self._drill.spoil_statistics(self._model)
        outcome, verdict = self._batches.judge(
            batch, preds, before=self._flag_before, labels_bad=self._labels_bad, spoil=self._drill.loss_spoiler()
        )
        self._work.judged(verdict)
        if verdict.statistics_healed:
            self._emit(StateHealed(what="batchnorm", tensors=verdict.statistics_healed))
        if verdict.reason is None or not self._skip:
            self._running.add(self._batches.host_items)
            if (micro := self._work.accepted(self._batches.host_items)) is not None:
                self._window.micros.append(micro)
        else:
            self._running.know(verdict.losses)
        if verdict.reason is not None:
            if self._skip and (why := self._weights.look()):  # the batch is not to blame
                self._emit(WeightsLeapt(why=why, hopeless=True))
            else:
                self._work.failed(verdict.reason)
            self._work.draw_again()
        return outcome
