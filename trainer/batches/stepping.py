"""The optimizer step: measured, made good if need be, clipped, taken."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import torch
from torch import nn

from trainmaster.trainer.batches.agreement import Agreed, Doubts, any_rank, first_said, of_all, take_over
from trainmaster.trainer.batches.batchnorm import BatchNormStatistics
from trainmaster.trainer.batches.gradients import Gradients, Measurement, all_finite
from trainmaster.trainer.batches.healing import ema_fault, heal_ema, heal_optimizer, mend_settings
from trainmaster.trainer.batches.in_work import BatchInWork
from trainmaster.trainer.batches.last_look import LastLook
from trainmaster.trainer.batches.movement import StepsTaken
from trainmaster.trainer.batches.outcomes import Emit, GradientsGrew, Hopeless, Remark, StateHealed, WeightsLeapt
from trainmaster.trainer.batches.overflow import Overflows
from trainmaster.trainer.batches.position import Position
from trainmaster.trainer.batches.recovery import Recovery
from trainmaster.trainer.batches.weight_watch import WeightWatch
from trainmaster.trainer.batches.window import Window
from trainmaster.trainer.contract import SkipReason
from trainmaster.trainer.drill import Drill
from trainmaster.trainer.engines.protocol import EngineTrainer

ROUNDING: Final = 0.01
"""Share of its norm by which one gradient may differ between ranks; those of other batches differ by more."""


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
        window: Window,
        weights: WeightWatch,
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
        self._window = window
        self._weights = weights
        self._recovery = recovery
        self._overflows = overflows
        self._position = position
        self._drill = drill
        self._max_norm = max_norm
        self._skip = skip
        self._emit = emit
        self._many = trainer.world_size > 1
        self._unusable: str | None = None
        """What of this rank's settings no step can be taken with, in words."""
        self._started_over = False
        """Whether the state of this rank's optimizer is not that of the others, since it was healed for a save, say."""
        self._told_parting = self._told_writing = False
        self.replaced: str | None = None
        """What of this rank was replaced since the last step, where there are several."""
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
        if self._window.is_empty(gradients=self._gradients.there()) and self._skip:
            trainer.optimizer.zero_grad()
            return
        self._drill.spoil_gradients(self._model)
        trainer.scaler.unscale_(trainer.optimizer)
        if self._many and self._skip:
            self._unusable = self._unusable_settings()
        measured = self._measure()
        used: Measurement | None = measured
        is_bad = self._is_bad(measured)
        if is_bad is None:
            return
        if is_bad and self._skip:
            if self._overflows.mend_scale():
                self._emit(StateHealed(what="scaler", tensors=1))
            used = self._recovery.recover(measured, self._measure)
            if self._many:
                self._weights.ruin = first_said(of_all(self._weights.ruin))
            if self._weights_are_ruined():  # the window that ran again was the eighth step's
                return
        if used is not None:
            self._take(used, own_step, is_bad=is_bad and not self._skip)

    def mend_window(self) -> None:
        """Gradients of a window that is still open are those of its good batches, before a state is saved of them: what
        is not finite in them is told now. Reads the device.

        Not under the gradient scaler, whose overflows are no batch's fault, nor where there are other ranks, which may
        not be saving: a state leaves out what is not finite.
        """
        if not self._skip or self._many or not self._position.window_open or self._overflows.possible:
            return
        if not all_finite(one.grad for one in self._model.parameters() if one.grad is not None):
            self._recovery.recover(self._measure(), self._measure)

    def _is_bad(self, measured: Measurement) -> bool | None:
        """Whether the gradient is not finite, in any rank; None where no step is to be taken."""
        if self._many:
            agreed = self._agreed(measured)
            if self._skip and not self._goes_on(agreed):
                return None
            return agreed.gradient
        if self._weights_are_ruined():
            return None
        if not measured.optimizer_finite and self._skip and not self._heals_momenta():  # a window run again looks anew
            return None
        return not measured.finite

    def _measure(self) -> Measurement:
        signs = self._weights.signs() if not self._weights.ruin else []
        ask = self._ask if self._many else None
        measured = self._gradients.measure(self._statistics.flag(), states=self._skip, signs=signs, ask=ask)
        self.grad_norm = measured.norm
        if not measured.sound:
            self._judge_weights()
        if measured.parted and not self._told_parting:
            self._told_parting = True
            self._emit(Remark(text="the ranks step with other gradients than each other, so their weights part ways"))
        return measured

    def _ask(self, doubt: torch.Tensor, norm: torch.Tensor) -> list[torch.Tensor]:
        alone = self._weights.ruin or self._unusable or self.replaced or self._started_over
        own = torch.ones_like(doubt) if alone else doubt
        doubted, most, least = any_rank(torch.stack([own, norm, -norm]))
        return [doubted, (most + least > ROUNDING * most).float()]

    def _agreed(self, measured: Measurement) -> Agreed:
        """What all ranks have against the step."""
        if not measured.doubted:
            return Agreed.of([Doubts()])
        own = Doubts(gradient=not measured.finite)
        if self._skip:
            ruin = self._weights.ruin
            if not measured.optimizer_finite:
                ruin = ruin or self._used_already(self._gradients.momenta.leapt())
            if own.gradient and not all_finite(self._model.parameters()):
                ruin = ruin or "weights are not finite, and no batch can mend that"
            momenta = not measured.optimizer_finite or self._started_over
            own = replace(own, ruin=ruin, hopeless=self._unusable, momenta=momenta, replaced=self.replaced)
            self.replaced = None
        return Agreed.of(of_all(own))

    def _goes_on(self, agreed: Agreed) -> bool:
        """Whether every rank can step, once the optimizer's state is the same in all; else each of them ends."""
        if agreed.ruin:
            self._weights.ruin = agreed.ruin  # what another rank's weights made of the gradients is in these, too
            return not self._weights_are_ruined()
        if agreed.hopeless:
            self._give_up(agreed.hopeless)
            return False
        if agreed.momenta:
            if agreed.whole is None and not self._heals_momenta():
                return False
            if num_tensors := take_over(self._trainer.optimizer, agreed.whole or 0):
                self._emit(StateHealed(what="optimizer", tensors=num_tensors))
            self._gradients.momenta.healed()
            self._started_over = False
        return True

    def _unusable_settings(self) -> str | None:
        """Why no step can be taken with what somebody has set, in words; what of it can't be is put right."""
        if bad := mend_settings(self._trainer.optimizer):
            return f"the optimizer's {bad}, and a step with that would spoil every weight"
        if bad := ema_fault(self._trainer.ema):
            return f"the EMA's {bad}, and with that it would leave the model, and it is what is saved"
        return None

    def _take(self, measured: Measurement, own_step: Callable[[], None] | None, *, is_bad: bool) -> None:
        trainer = self._trainer
        if self._skip:
            if not self._many and (bad := self._unusable_settings()):
                self._give_up(bad)
                return
            if not self._heals(measured):
                return
        elif is_bad and not self._overflows.count():
            self._work.failed(SkipReason.NONFINITE_GRADIENT, norm=measured.norm)
        # One of its own clips as it likes; clipped twice, a gradient is another one in its last bits.
        limit = self._max_norm if own_step is None or self._skip else math.inf
        if measured.finite:
            self._overflows.end_streak()
            there = self._gradients.there()
            self.taken.note(min(measured.norm, limit), trainer.optimizer, plain=own_step is None, there=there)
        self._gradients.clip(measured.norm, limit)
        self._weights.feed(min(measured.norm, limit))
        warning = self._gradients.note(measured.norm)
        if warning is not None:
            self._emit(GradientsGrew(norm=measured.norm, warning=warning, worst=self._gradients.worst()))
        taken = self._last_look.take(own_step)
        if (norm := self._last_look.norm) > measured.norm:  # a hook, or a step in a way of its own, made them larger
            self._gradients.momenta.feed(norm)
            self._weights.feed(norm)
        if not taken and self._many:  # the others have stepped
            self._give_up("the gradients were not finite any more when the step was taken, in one of the ranks")
        elif not taken:
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

    def sound(self) -> bool:
        """Whether weights and momenta are worth saving: nothing leapt that can't be healed. Reads the device."""
        self.mend_window()
        self.heal()
        if self._overflows.mend_scale():
            self._emit(StateHealed(what="scaler", tensors=1))
        if bad := ema_fault(self._trainer.ema):
            self._weights.ruin = self._weights.ruin or f"the EMA's {bad}, so it is no average of the weights any more"
        momenta = self._gradients.momenta
        momenta.signs(self._trainer.device, whole=True)
        return self._weights.ruin is None and self._heals_momenta()

    def heal(self) -> None:
        """Statistics and EMA are what training makes of them. Reads the device."""
        if num_tensors := self._statistics.heal():
            self._emit(StateHealed(what="batchnorm", tensors=num_tensors))
        self._weights.look()
        self._heal_average()
        ema = self._trainer.ema
        if self._skip and ema and (num_tensors := heal_ema(ema.ema, self._trainer.model)):
            self._weights.average_was_healed()
            self._emit(StateHealed(what="ema", tensors=num_tensors))

    def _judge_weights(self) -> None:
        """What the look of this step found is told, at level observe too, or healed."""
        known, why = self._weights.ruin, self._weights.judge()
        self._heal_average()
        if self._skip:
            return
        for told in (None if known else why, self._weights.average()):
            if told is not None:
                self._emit(WeightsLeapt(why=told, hopeless=False))

    def _weights_are_ruined(self) -> bool:
        """Whether no step may follow, as a weight has leapt."""
        if not self._skip or self._weights.ruin is None:  # a look before a save may have found it, too
            return False
        self._emit(WeightsLeapt(why=self._weights.ruin, hopeless=True))
        self._trainer.optimizer.zero_grad()
        return True

    def _heal_average(self) -> None:
        if not self._told_writing and self._weights.average() is None and (why := self._weights.written_to()):
            self._told_writing = True
            self._emit(Remark(text=why))
        if self._skip and (num_tensors := self._weights.heal_average()):
            self._emit(StateHealed(what="ema", tensors=num_tensors))

    def _heals(self, measured: Measurement) -> bool:
        """What is bad besides the gradients is put right; False when it can't be, and no step is taken."""
        if not measured.statistics_finite:
            self._statistics.restore()
            self._emit(StateHealed(what="batchnorm", tensors=1))
        elif not self._work.is_judged:  # nobody has accepted what its forward pass left
            self._statistics.accept()
        if not measured.optimizer_finite:
            return self._heals_momenta()
        return True

    def _heals_momenta(self) -> bool:
        """The optimizer's state is one that steps make; False where steps may have carried another into the weights."""
        momenta = self._gradients.momenta
        leapt = momenta.leapt()
        if why := self._used_already(leapt):
            self._weights.ruin = why
            self._emit(WeightsLeapt(why=why, hopeless=True))
            self._trainer.optimizer.zero_grad()
            return False
        leapt += momenta.leapt_squares()
        num_tensors = heal_optimizer(self._trainer.optimizer, largest=momenta.largest, leapt=leapt)
        momenta.healed()
        if num_tensors:
            self._started_over = self._many
            self._emit(StateHealed(what="optimizer", tensors=num_tensors))
        return True

    def _used_already(self, leapt: list[torch.Tensor]) -> str | None:
        """What of ``leapt`` steps may have carried into the weights, in words."""
        if not self._gradients.momenta.may_have_stepped(leapt):
            return None
        largest = max(float(one.abs().amax()) for one in leapt)
        return f"a momentum leapt to {largest:.3g}, which no gradient does, and steps may have used it"
