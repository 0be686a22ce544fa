"""The parts of a guarded batch and step, put together for one training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import torch
from ultralytics.utils import RANK
from ultralytics.utils.torch_utils import unwrap_model

from trainmaster.trainer.batches.agreement import joined, number_of_settings
from trainmaster.trainer.batches.batch_guard import BatchGuard
from trainmaster.trainer.batches.batchnorm import BatchNormStatistics
from trainmaster.trainer.batches.gradients import Gradients, all_finite
from trainmaster.trainer.batches.in_work import BatchInWork
from trainmaster.trainer.batches.judging import Judging
from trainmaster.trainer.batches.movement import StepsTaken
from trainmaster.trainer.batches.outcomes import Emit
from trainmaster.trainer.batches.overflow import Overflows
from trainmaster.trainer.batches.own_numbers import OwnNumbers
from trainmaster.trainer.batches.position import Position
from trainmaster.trainer.batches.progress import RunningLoss
from trainmaster.trainer.batches.recovery import Recovery
from trainmaster.trainer.batches.second_look import SecondLook
from trainmaster.trainer.batches.spikes import SpikeWatch
from trainmaster.trainer.batches.stepping import Stepping
from trainmaster.trainer.batches.weight_watch import WeightWatch
from trainmaster.trainer.batches.window import Rerun, Window
from trainmaster.trainer.drill import Drill
from trainmaster.trainer.engines import compat
from trainmaster.trainer.engines.protocol import EngineTrainer


class StepGuard:
    """Between the training loop and the model, from the first batch to the last.

    What it finds out is emitted at once; it asks nobody anything.
    """

    def __init__(
        self,
        trainer: EngineTrainer,
        *,
        position: Position,
        running: RunningLoss,
        drill: Drill,
        max_norm: float,
        skip: bool,
        emit: Emit,
    ) -> None:
        model = unwrap_model(trainer.model)
        many_ranks = trainer.world_size > 1
        self.statistics = BatchNormStatistics(model)
        self.gradients = Gradients(model, trainer.optimizer)
        self._weights = WeightWatch(model, trainer.ema, trainer.optimizer)
        spikes = SpikeWatch() if skip else None
        form = compat.engine().form(lambda: trainer.loss_names)
        self.batches = BatchGuard(model, self.statistics, skip=skip, agree=many_ranks, spikes=spikes, form=form)
        self.batches.settings = partial(number_of_settings, trainer.optimizer)
        self.batches.cadence = lambda: trainer.accumulate if RANK == 0 else 0.0
        self.batches.join = partial(joined, trainer.model)
        numbers = OwnNumbers(model)
        look = SecondLook(model, self.statistics, numbers, self.batches.maker, trainer.device)
        self.overflows = Overflows(trainer)
        self._window = Window(cut=position.window_open)
        self.rerun = Rerun(trainer, self.statistics, numbers, self._window)
        self._work = BatchInWork(position, self.gradients, look, skip=skip, prepare=self.rerun.prepared, emit=emit)
        self._judging = Judging(
            trainer,
            model,
            batches=self.batches,
            statistics=self.statistics,
            numbers=numbers,
            weights=self._weights,
            work=self._work,
            window=self._window,
            rerun=self.rerun,
            position=position,
            running=running,
            drill=drill,
            skip=skip,
            emit=emit,
        )
        recovery = Recovery(
            trainer=trainer,
            model=model,
            gradients=self.gradients,
            work=self._work,
            window=self._window,
            rerun=self.rerun,
            overflows=self.overflows,
            position=position,
            running=running,
        )
        self._stepping = Stepping(
            trainer,
            model,
            gradients=self.gradients,
            statistics=self.statistics,
            work=self._work,
            window=self._window,
            weights=self._weights,
            recovery=recovery,
            overflows=self.overflows,
            position=position,
            drill=drill,
            max_norm=max_norm,
            skip=skip,
            emit=emit,
        )

    def sound(self) -> bool:
        """All of it is worth saving, healed if need be; False when weights leapt, or momenta that steps have used."""
        self._judging.heal_numbers()
        return self._stepping.sound()

    def mend_window(self) -> None:
        """Gradients of a window that is still open are those of its good batches."""
        self._stepping.mend_window()

    def heal(self) -> None:
        """Statistics and EMA are what training makes of them."""
        self._judging.heal_numbers()
        self._stepping.heal()

    @property
    def ruin(self) -> str | None:
        """Why no weight of this training is worth saving any more, where that is so."""
        return self._weights.ruin

    @property
    def grad_norm(self) -> float | None:
        """Of the gradients that were measured last."""
        return self._stepping.grad_norm

    @property
    def taken(self) -> StepsTaken:
        """The steps of the epoch in work."""
        return self._stepping.taken

    @property
    def loss_fresh(self) -> bool:
        """A loss has been made and the loop has not yet asked for the running mean to be updated."""
        return self._judging.loss_fresh

    def was_replaced(self, what: str) -> None:
        """Somebody has put another in the place of ``what`` of this rank; the others are asked at the next step."""
        self._stepping.replaced = what

    def loss_was_taken(self, mean: Any) -> None:
        """The loop has updated the running mean, or started it over where ``mean`` is None."""
        if mean is not None:
            if self._judging.awaited and not self._judging.loss_fresh:
                self._judging.passed_by(mean)
            self._judging.taken = True
        self._judging.loss_fresh = False

    def attach(self) -> None:
        """Losses of the live model come through here, those of a loss that somebody put on the instance too."""
        self._judging.attach()

    def detach(self) -> None:
        """The live model is as it was."""
        self.batches.maker.detach()

    def batch_started(self) -> None:
        """The loop has got the next batch, and makes its loss next."""
        self._judging.taken = False

    def preparing(self, batch: dict[str, Any]) -> AbstractContextManager[None]:
        """Within, ``batch``, fresh from the loader, is prepared."""
        return self._judging.preparing(batch)

    def optimizer_step(self, own_step: Callable[[], None] | None) -> None:
        """The step that the loop asks for, if it is due and its gradients are good.

        ``own_step`` steps in a way of its own (a subclass's) once the gradients are known to be good.
        """
        self._stepping.step(own_step)

    def go_on(self, gradients: Mapping[str, torch.Tensor]) -> None:
        """The window that an interruption cut through began with ``gradients``, which are there again."""
        # Scaled ones are as they were scaled then.
        if all_finite(gradients.values()) and not self.overflows.possible:
            self._window.mend(gradients)

    def forget_batch(self) -> None:
        """The batch in work is over; nothing of it is held on the device."""
        self._work.forget()
