"""The last look at gradients, within the optimizer's step: they were good when they were measured."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim import optimizer as torch_optimizer

from trainmaster.trainer.batches import precision
from trainmaster.trainer.batches.gradients import all_finite
from trainmaster.trainer.batches.momenta import VERSION
from trainmaster.trainer.engines.protocol import EngineTrainer


class _SpoiledStep(Exception):  # noqa: N818 - a way out of an optimizer's step, no error
    """The gradients are not finite any more."""


class LastLook:
    """Gradients that go bad between the measuring and the step are told before they reach the weights.

    What can write to them there are hooks of the optimizer, a wrapper around its ``step``, and a subclass that steps in
    a way of its own. Where there is none of these, looking costs a comparison a parameter on the host, no read: torch
    counts what is written to a tensor (``_version``). Where there is one, every gradient is looked at: a write to its
    ``.data`` is not counted.
    """

    def __init__(self, trainer: EngineTrainer, model: nn.Module, *, watched: bool) -> None:
        self._trainer = trainer
        self._parameters = list(model.parameters())
        self._watched = watched
        self._within = False
        self._look_at_all = False
        self._measured: list[torch.Tensor] = []
        self._versions: list[int] = []
        self.norm = 0.0
        """Of the gradients of the last step where they may be others than were measured, else 0."""
        self._hooks: Any = trainer.optimizer._optimizer_step_pre_hooks  # noqa: SLF001 - in which order they are called
        self._own = trainer.optimizer.register_step_pre_hook(self._before_step).id

    def take(self, own_step: Callable[[], None] | None) -> bool:
        """Step, by ``own_step`` if there is one; False when the gradients were bad by then, and no step was taken."""
        trainer = self._trainer
        self._within = self._watched
        self._look_at_all = own_step is not None
        self.norm = 0.0
        if self._watched:
            self._hooks.move_to_end(self._own)
            self._measured, self._versions = self._gradients()
        try:
            if own_step is None:
                trainer.scaler.step(trainer.optimizer)
            else:
                with precision.unscaled_already(trainer):
                    own_step()
        except _SpoiledStep:
            trainer.scaler.update()
            return False
        finally:
            self._within = False
            self._measured = []
        return True

    def _before_step(self, *_: Any) -> None:
        if self._within and self._may_be_touched():
            gradients = self._gradients()[0]
            if not all_finite(gradients):
                raise _SpoiledStep
            self.norm = max(self.norm, float(torch.nn.utils.get_total_norm(gradients)))

    def _may_be_touched(self) -> bool:
        others = len(self._hooks) > 1 or torch_optimizer._global_optimizer_pre_hooks  # noqa: SLF001 - called before
        if self._look_at_all or others or _is_wrapped(self._trainer.optimizer) or _is_wrapped(self._trainer.scaler):
            return True
        there, versions = self._gradients()
        as_measured = len(there) == len(self._measured) and all(map(operator.is_, there, self._measured))
        return not as_measured or versions != self._versions

    def _gradients(self) -> tuple[list[torch.Tensor], list[int]]:
        there = [grad for one in self._parameters if (grad := one.grad) is not None]
        return there, list(map(VERSION, there))


def _is_wrapped(stepper: Any) -> bool:
    """Whether somebody's own code stands around the ``step`` of ``stepper``; a learning-rate scheduler of torch does,
    too, and only counts (``torch/optim/lr_scheduler.py``, ``patch_track_step_called``)."""
    step, plain = vars(stepper).get("step"), type(stepper).step
    if not _is_known(plain):
        return True
    return step is not None and not (_is_known(step) and getattr(step, "__wrapped__", None) is plain)


def _is_known(function: Any) -> bool:
    return str(getattr(function, "__module__", "")).partition(".")[0] in {"torch", "ultralytics"}
