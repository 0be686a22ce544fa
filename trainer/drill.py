"""A planned fault, to see the alarm work: asked of a running trainer by a file, or by a setting at its start."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from trainmaster.trainer.arguments import ArgumentsError, is_number
from trainmaster.trainer.contract import RunLayout, read_json, replace_json

if TYPE_CHECKING:  # a drill is asked for without torch, whose loading takes seconds; a training has loaded it
    import torch

MAX_BATCHES: Final = 5
"""A drill shows the alarm; half the default streak that ends a run is enough for that."""


class DrillFault(StrEnum):
    """What is put into a batch."""

    NAN_IMAGE = "nan-image"
    NAN_GRADIENT = "nan-gradient"
    NAN_BATCHNORM = "nan-batchnorm"
    INF_LOSS = "inf-loss"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedFault:
    """``fault`` in batch ``batch`` of ``epoch``, both from 1."""

    fault: DrillFault
    epoch: int
    batch: int


def check_fault(text: str) -> DrillFault:
    """The fault of that name.

    Raises:
        ArgumentsError: no such fault.
    """
    try:
        return DrillFault(text)
    except ValueError:
        raise ArgumentsError(f"unknown fault {text!r}", f"faults: {', '.join(DrillFault)}") from None


def parse_plan(text: str) -> PlannedFault:
    """``nan-image@2:5`` is a NaN in an image of batch 5 of epoch 2.

    Raises:
        ArgumentsError: it is nothing of that form.
    """
    name, _, place = text.partition("@")
    epoch, _, batch = place.partition(":")
    if not (is_number(epoch) and is_number(batch) and int(epoch) and int(batch)):
        raise ArgumentsError(f"drill={text!r} names no place", "write drill=nan-image@2:5 for epoch 2 batch 5")
    return PlannedFault(fault=check_fault(name), epoch=int(epoch), batch=int(batch))


def request(layout: RunLayout, fault: DrillFault, num_batches: int) -> None:
    """The running trainer spoils its next ``num_batches`` batches.

    Raises:
        ArgumentsError: the number is none that a drill allows.
        OSError: the run directory cannot be written.
    """
    if not 1 <= num_batches <= MAX_BATCHES:
        raise ArgumentsError(f"batches={num_batches} is not within 1 and {MAX_BATCHES}")
    replace_json(layout.drill, {"fault": fault, "batches": num_batches})


class Drill:
    """The faults that are due in this process."""

    def __init__(self, layout: RunLayout, plan: str | None) -> None:
        self._path = layout.drill
        self._plan = parse_plan(plan) if plan else None
        self._requested: DrillFault | None = None
        self._left = 0
        self._gradient_due = False
        self.fault: DrillFault | None = None
        """What spoils the batch in work, or None."""

    def next_batch(self, *, epoch: int, batch: int) -> None:
        """Batch ``batch`` of ``epoch`` (from 1) begins: :attr:`fault` is what spoils it."""
        self.fault = DrillFault.NAN_GRADIENT if self._gradient_due else None
        if self._gradient_due:  # under accumulation not every batch has a step whose gradients could be spoiled
            return
        if self._plan is not None and (self._plan.epoch, self._plan.batch) == (epoch, batch):
            self.fault = self._plan.fault
        elif self._left:
            self._left -= 1
            self.fault = self._requested
        self._gradient_due = self.fault is DrillFault.NAN_GRADIENT

    def poll(self) -> None:
        """Take up a request, if there is one; a disk that does not say has none."""
        with contextlib.suppress(OSError):
            if not self._path.exists():
                return
            with contextlib.suppress(ArgumentsError, TypeError, ValueError):
                record = read_json(self._path) or {}
                self._requested = check_fault(str(record.get("fault")))
                self._left = min(int(record.get("batches", 1)), MAX_BATCHES)
        with contextlib.suppress(OSError):
            self._path.unlink()

    def spoil_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        """``batch`` as the model gets it."""
        if self.fault is not DrillFault.NAN_IMAGE:
            return batch
        images = batch["img"].clone()
        images[0, :, 0, 0] = float("nan")
        return {**batch, "img": images}

    def loss_spoiler(self) -> Callable[[torch.Tensor], torch.Tensor] | None:
        """What is done to the loss, or None."""
        if self.fault is not DrillFault.INF_LOSS:
            return None
        return lambda loss: loss * float("inf")

    def spoil_statistics(self, model: torch.nn.Module) -> None:
        """The model's first batch-norm statistic is not finite, if that is planned."""
        if self.fault is DrillFault.NAN_BATCHNORM:
            means = (getattr(module, "running_mean", None) for module in model.modules())
            mean: torch.Tensor | None = next((one for one in means if one is not None), None)
            if mean is not None:
                mean.data[0] = float("nan")

    def spoil_gradients(self, model: torch.nn.Module) -> None:
        """One gradient is not finite, if that is planned."""
        if self.fault is DrillFault.NAN_GRADIENT:
            for parameter in model.parameters():
                if parameter.grad is not None:
                    parameter.grad.data.view(-1)[0] = float("nan")
                    self._gradient_due = False
                    return
