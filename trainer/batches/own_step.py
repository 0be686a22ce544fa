"""The optimizer step of a subclass that steps in a way of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from trainmaster.trainer.batches import precision
from trainmaster.trainer.batches.gradients import all_finite
from trainmaster.trainer.engines.protocol import EngineTrainer


class _SpoiledStep(Exception):  # noqa: N818 - a way out of an optimizer's step, no error
    """The gradients are not finite any more."""


class OwnStep:
    """Gradients that go bad within such a step are told before they reach the weights."""

    def __init__(self, trainer: EngineTrainer, model: nn.Module, *, watched: bool) -> None:
        self._trainer = trainer
        self._model = model
        self._watched = watched
        self._within = False
        trainer.optimizer.register_step_pre_hook(self._before_step)

    def take(self, own_step: Callable[[], None]) -> bool:
        """Step by ``own_step``; False when its gradients were bad by then, and no step was taken."""
        self._within = self._watched
        try:
            with precision.unscaled_already(self._trainer):
                own_step()
        except _SpoiledStep:
            self._trainer.scaler.update()
            return False
        finally:
            self._within = False
        return True

    def _before_step(self, *_: Any) -> None:
        if self._within and not all_finite(
            parameter.grad for parameter in self._model.parameters() if parameter.grad is not None
        ):
            raise _SpoiledStep
