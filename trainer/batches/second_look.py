"""A second look at a batch that was judged bad, which leaves no trace in the model."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from trainmaster.trainer.batches.batchnorm import BatchNormStatistics
from trainmaster.trainer.batches.gradients import all_finite
from trainmaster.trainer.batches.labels import num_classes_of, without_bad_labels
from trainmaster.trainer.batches.loss_seam import LossMaker
from trainmaster.trainer.batches.own_numbers import OwnNumbers
from trainmaster.trainer.data.sampling import random_state, set_random_state


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """What a batch did when it ran again through the weights that it met."""

    loss: float
    losses_finite: bool
    statistics: float
    """0, NaN or infinite, as :meth:`BatchNormStatistics.flag` tells it."""
    gradients_finite: bool | None
    """None when it did not run backward."""

    @property
    def sound(self) -> bool:
        """Whether nothing of it is bad."""
        return self.losses_finite and math.isfinite(self.statistics) and self.gradients_finite is not False


class SecondLook:
    """Runs batches through the live model and puts its batch-norm statistics back."""

    def __init__(
        self,
        model: nn.Module,
        statistics: BatchNormStatistics,
        numbers: OwnNumbers,
        maker: LossMaker,
        device: torch.device,
    ) -> None:
        self._model = model
        self._statistics = statistics
        self._numbers = numbers
        self._maker = maker
        self._device = device

    @contextlib.contextmanager
    def without_trace(self) -> Iterator[None]:
        """What runs through the model within leaves no trace: not in its buffers, nor in what it holds beside them, not
        in any random generator.

        Gradients, optimizer and scaler are nobody's business within.
        """
        rng = random_state()
        with torch.no_grad():  # those of a validation (inference tensors) take no part in training
            kept = [
                (module._buffers, name, buffer, buffer.clone())  # noqa: SLF001 - as attribute access reads them
                for module in self._model.modules()
                for name, buffer in module._buffers.items()  # noqa: SLF001 - as above
                if buffer is not None and not buffer.is_inference()
            ]
        try:
            with self._numbers.without_trace():
                yield
        finally:
            with torch.no_grad():
                for buffers, name, buffer, value in kept:
                    buffer.copy_(value)
                    buffers[name] = buffer  # a forward pass may put another in its place
            set_random_state(rng)

    def again(self, batch: dict[str, Any], rng: Mapping[str, Any], *, backward: bool) -> Again:
        """What ``batch``, as the model got it, does now, drawing from ``rng``; to be called within
        :meth:`without_trace`.

        Its gradients are computed beside those that are there, and no hook of theirs runs: under DDP, no other rank
        takes part.

        Raises:
            Exception: it can't be run: there is no memory, or a loss of the user's own has taken from the batch what it
                needs.
        """
        set_random_state(rng)
        with torch.set_grad_enabled(backward):
            loss, items = self._maker.raw(batch)
            total = loss.sum()
            learned = [parameter for parameter in self._model.parameters() if parameter.requires_grad]
            gradients = torch.autograd.grad(total, learned, allow_unused=True) if backward else ()
        known = [gradient for gradient in gradients if gradient is not None]
        return Again(
            loss=float(total.detach()),
            losses_finite=all_finite([total.detach(), *(value.detach().float() for value in items.values())]),
            statistics=float(self._statistics.flag()),
            gradients_finite=all_finite(known) if backward else None,
        )

    @torch.no_grad()
    def finite_in_single_precision(self, batch: dict[str, Any]) -> bool:
        """Whether the loss of ``batch`` is finite without mixed precision: then the batch overflowed, no more."""
        with torch.autocast(self._device.type, enabled=False), contextlib.suppress(Exception):
            loss, _ = self._maker.raw(without_bad_labels(batch, num_classes_of(self._model)))
            return bool(torch.isfinite(loss).all())
        return False
