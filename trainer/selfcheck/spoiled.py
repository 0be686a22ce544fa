"""A guarded trainer in which one chosen batch goes wrong, and which takes note of every tensor before and after it."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Final

import torch
from ultralytics.utils import RANK

from trainmaster.trainer.guard import GuardedDetectionTrainer
from trainmaster.trainer.selfcheck.made import tensors

PLAN_VARIABLE: Final = "TRAINMASTER_SELFCHECK"
"""``FAULT:BATCH:RANK``, for processes that Ultralytics starts itself."""


class Spoil(StrEnum):
    """What goes wrong in the training that is watched."""

    NOTHING = "nothing"
    NAN_IMAGE = "NaN in an image"
    NAN_GRADIENT = "NaN in a gradient"
    NAN_BUFFER = "NaN in a batch-norm buffer"
    OUT_OF_MEMORY = "out of memory"
    KILL = "kill -9"


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoilPlan:
    """``fault`` in batch ``batch`` of the run (from 0), in rank ``rank`` only (-1: the only process)."""

    fault: Spoil
    batch: int
    rank: int = -1

    @classmethod
    def inherited(cls) -> SpoilPlan | None:
        """What the environment plans."""
        words = os.environ.get(PLAN_VARIABLE, "").split(":")
        return cls(fault=Spoil(words[0]), batch=int(words[1]), rank=int(words[2])) if len(words) == 3 else None

    def exported(self) -> str:
        """As :meth:`inherited` reads it."""
        return f"{self.fault.value}:{self.batch}:{self.rank}"


class SpoiledTrainer(GuardedDetectionTrainer):
    """See the module. ``plan`` is what goes wrong, else what the environment plans."""

    plan: ClassVar[SpoilPlan | None] = SpoilPlan.inherited()

    def __init__(self, *args: Any, **keywords: Any) -> None:
        self.before: dict[str, torch.Tensor] = {}
        self.after: dict[str, torch.Tensor] = {}
        self.number = -1
        self._done = False
        super().__init__(*args, **keywords)
        if _note not in self.callbacks["on_train_batch_start"]:  # a rank is given those of the launcher's trainer
            self.add_callback("on_train_batch_start", _note)

    @property
    def due(self) -> Spoil | None:
        """What goes wrong in the batch at work."""
        plan = self.plan
        if plan is None or self._done or plan.rank != RANK or self.number != plan.batch:
            return None
        return plan.fault

    def preprocess_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        """As in the base class; perhaps with a NaN in an image, or with no memory left."""
        batch = super().preprocess_batch(batch)
        model: Any = self.model
        match self.due:
            case Spoil.NAN_IMAGE:
                batch["img"][0, 0, 0, 0] = float("nan")
            case Spoil.NAN_BUFFER:
                with torch.no_grad():
                    norm: Any = next(m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d))
                    norm.running_mean[0] = float("nan")
            case Spoil.OUT_OF_MEMORY:
                self._done = True
                raise torch.OutOfMemoryError(f"{self.device.type.upper()} out of memory (made by the selfcheck)")
        return batch

    def optimizer_step(self) -> None:
        """As in the base class; perhaps with a NaN in a gradient, or killed in its middle."""
        match self.due:
            case Spoil.NAN_GRADIENT:
                model: Any = self.model
                gradient = next(p.grad for p in model.parameters() if p.grad is not None)
                gradient.view(-1)[0] = float("nan")
            case Spoil.KILL:
                os.kill(os.getpid(), signal.SIGKILL)
        super().optimizer_step()


def _note(trainer: SpoiledTrainer) -> None:
    """Every tensor as the spoilt batch and the one after it begin."""
    trainer.number += 1
    plan = trainer.plan
    if plan is not None and trainer.number == plan.batch:
        trainer.before = tensors(trainer)
    elif plan is not None and trainer.number == plan.batch + 1:
        trainer.after = tensors(trainer)
