"""A batch on its way to a loss: prepared for, judged where its loss is made, and accepted or put back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from trainmaster.trainer.batches.agreement import first_said, of_all
from trainmaster.trainer.batches.batch_guard import BatchGuard, BatchVerdict
from trainmaster.trainer.batches.batchnorm import BatchNormStatistics
from trainmaster.trainer.batches.in_work import BatchInWork
from trainmaster.trainer.batches.labels import bad_labels, num_classes_of
from trainmaster.trainer.batches.loss_seam import Loss
from trainmaster.trainer.batches.outcomes import Emit, Remark, StateHealed, WeightsLeapt
from trainmaster.trainer.batches.own_numbers import OwnNumbers
from trainmaster.trainer.batches.position import Position
from trainmaster.trainer.batches.progress import RunningLoss
from trainmaster.trainer.batches.weight_watch import WeightWatch
from trainmaster.trainer.batches.window import Rerun, Window
from trainmaster.trainer.contract import SkipReason
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
        numbers: OwnNumbers,
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
        self._numbers = numbers
        self._alone = skip and trainer.world_size <= 1  # ranks would part ways
        if skip:
            batches.doubted = self._numbers.leapt
            batches.draw_again = work.draw_again
            work.undo = self._numbers.undo
        self._labels_bad = False
        self._flag_before: torch.Tensor | None = None
        self.awaited = False
        """A batch has begun whose loss is not there yet: the loop's next update of its running mean is of that one."""
        self.taken = False
        """The loop has taken the loss of its batch: one that is made until the next is none of the loop's."""
        self._preparing = False
        self._any_good = False
        self._told_passed_by = self._told_parting = False
        self.loss_fresh = False
        """A loss has been made and the loop has not yet asked for the running mean to be updated."""

    def attach(self) -> None:
        """Losses of the live model come through here."""
        self._batches.maker.attach(self._loss)

    @contextmanager
    def preparing(self, batch: dict[str, Any]) -> Iterator[None]:
        """Within, ``batch``, fresh from the loader, is prepared; a loss that is made for that (of an adversary, say) is
        none of the loop's."""
        self.before_batch(batch)
        self._preparing = True
        try:
            yield
        finally:
            self._preparing = False

    def before_batch(self, batch: dict[str, Any]) -> None:
        """``batch``, fresh from the loader, is about to be prepared."""
        self.awaited = True
        opens = not self._position.window_open
        self._position.before_batch(self._trainer)
        self._position.window_open = True
        if not self._batches.maker.attached:
            self.attach()
        if not self._skip:
            return
        self._flag_before = self._statistics.take_over()
        # A model on a CPU gets its labels checked as it sees them; on a device that would be one more read.
        self._labels_bad = self._trainer.device.type != "cpu" and bad_labels(batch, num_classes_of(self._model))
        if opens:
            self._window.open()
            self._statistics.start_window()
            self._numbers.start_window()
            self._running.start_window()
        self._work.begin(batch, may_run_again=self._position.accumulates(self._trainer))

    def _loss(self, batch: dict[str, Any], preds: Any = None) -> Any:
        if self._rerun.active or self._batches.maker.inside or not (is_ghost(batch) or self._is_trained_on()):
            return self._batches.maker.raw(batch, preds)
        self.loss_fresh, self.awaited = True, False
        if is_ghost(batch):
            return self._batches.placeholder(ran=not self._trainer.args.compile)
        self._work.meets_the_model(batch, again=preds is not None)
        if self._skip:
            self._numbers.meet()
        self._drill.spoil_statistics(self._model)
        outcome, verdict = self._judged(batch, preds)
        self._work.judged(verdict)
        if cadence := self._batches.cadence_agreed:  # one that steps alone would wait for the others
            self._trainer.accumulate = cadence
        if not self._batches.same_settings and not self._told_parting:
            self._told_parting = True
            self._emit(Remark(text="the ranks step at other rates than each other, so their weights part ways"))
        if verdict.statistics_healed:
            self._emit(StateHealed(what="batchnorm", tensors=verdict.statistics_healed))
        if verdict.reason is None or not self._skip:
            self._running.add(self._batches.host_items)
            self._numbers.note(self._position.epoch)
            self._any_good = True
            self._window.count(skipped=False)
            if (micro := self._work.accepted(self._batches.host_items)) is not None:
                self._window.micros.append(micro)
        else:
            self._window.count(skipped=True)
            self._running.know(verdict.losses)
        if verdict.reason is not None:
            if self._skip and (why := self._ruin() or self._begun_with_ruin(verdict)):  # the batch is not to blame
                self._emit(WeightsLeapt(why=why, hopeless=True))
            else:
                self._work.failed(verdict.reason)
            self._work.draw_again()
        return outcome

    def _ruin(self) -> str | None:
        """What has leapt in the weights of any rank."""
        why = self._weights.look()
        if self._trainer.world_size > 1:
            why = self._weights.ruin = first_said(of_all(why))
        return why

    def _begun_with_ruin(self, verdict: BatchVerdict) -> str | None:
        """What of the weights has made the first batch look bad, and would every other."""
        is_spike = verdict.reason is SkipReason.BATCHNORM_SPIKE
        why = None if self._any_good or not is_spike else self._weights.beyond()
        return f"{why}, and no batch is to blame for what comes of that" if why else None

    def _judged(self, batch: dict[str, Any], preds: Any) -> tuple[Loss, BatchVerdict]:
        spoil = self._drill.loss_spoiler()
        outcome, verdict = self._batches.judge(
            batch, preds, before=self._flag_before, labels_bad=self._labels_bad, spoil=spoil
        )
        if verdict.reason is None or not self._skip:
            return outcome, verdict
        # Where ranks would part ways by running it again, the batch is lost, and the next one is good.
        if not (num_healed := self._numbers.heal(leaps=self._alone or verdict.reason is SkipReason.LOSS_SPIKE)):
            return outcome, verdict
        if not self._alone:
            self._emit(StateHealed(what=self._numbers.what, tensors=num_healed))
            return outcome, verdict
        self._work.draw_again()
        outcome, verdict = self._batches.judge(batch, None, labels_bad=self._labels_bad, spoil=spoil)
        if verdict.reason is not None:
            num_healed -= self._numbers.heal_again()
        if num_healed:
            self._emit(StateHealed(what=self._numbers.what, tensors=num_healed))
        return outcome, verdict

    def heal_numbers(self) -> None:
        """What is held beside weights and buffers can be, before it is saved or validated, where it could: a batch can
        look good without that. So it is in the EMA. Reads the device."""
        if not self._skip:
            return
        if num_healed := self._numbers.heal(leaps=False):
            self._emit(StateHealed(what=self._numbers.what, tensors=num_healed))
        ema = self._trainer.ema
        if ema and (num_healed := self._numbers.heal_copy(ema.ema)):
            self._emit(StateHealed(what="ema", tensors=num_healed))

    def _is_trained_on(self) -> bool:
        """Whether this is the loop's loss, and none that a callback evaluates, or a step of its own that looks at the
        batch once more (SAM). Some train in evaluation mode, so that batch norm stays as it is."""
        if self.taken or self._preparing:
            return False
        return self._model.training or (self.awaited and torch.is_grad_enabled())

    def passed_by(self, mean: Any) -> None:
        """The loop has a loss that was not made here, but by a ``forward`` of somebody's own: it is shown as the loop
        reckons it, and batches are judged by their gradients alone, which is told once."""
        self.awaited = False
        self._window.count(skipped=False)
        self._running.show(self._batches.maker.form.read(mean))
        if self._skip and not self._told_passed_by:
            self._told_passed_by = True
            what = "the model makes its loss elsewhere than in its method loss"
            self._emit(Remark(text=f"{what}: batches are judged by their gradients alone"))
