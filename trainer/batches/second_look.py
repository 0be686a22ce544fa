"""A second look at a batch that was judged bad, which leaves no trace in the model."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from trainmaster.trainer.batches.batchnorm import BatchNormStatistics
from trainmaster.trainer.batches.labels import num_classes_of, without_bad_labels
from trainmaster.trainer.batches.loss_seam import LossMaker


class SecondLook:
    """Runs batches through the live model and puts its batch-norm statistics back."""

    def __init__(
        self, model: nn.Module, statistics: BatchNormStatistics, maker: LossMaker, device: torch.device
    ) -> None:
        self._model = model
        self._statistics = statistics
        self._maker = maker
        self._device = device

    @contextlib.contextmanager
    def without_trace(self) -> Iterator[None]:
        """What runs through the model within leaves no trace in its batch-norm statistics."""
        try:
            yield
        finally:
            self._statistics.restore()

    @torch.no_grad()
    def finite_in_single_precision(self, batch: dict[str, Any]) -> bool:
        """Whether the loss of ``batch`` is finite without mixed precision: then the batch overflowed, no more."""
        with torch.autocast(self._device.type, enabled=False), contextlib.suppress(RuntimeError, IndexError):
            loss, _ = self._maker.raw(without_bad_labels(batch, num_classes_of(self._model)))
            return bool(torch.isfinite(loss).all())
        return False
