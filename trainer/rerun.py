"""Runs the micro-batches of an accumulation window again, to find the one that spoiled the gradients."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from trainer import precision
from trainer.batchnorm import BatchNormStatistics
from trainer.gradients import Measurement


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MicroBatch:
    """A batch of the open accumulation window as the loader gave it, to be run again if need be."""

    index: int
    batch: dict[str, Any]
    python_random: Any
    rng: torch.Tensor
    """State of torch's generator before the batch was prepared, for the record."""


class Rerun:
    """The forward and backward passes of ``trainer``'s loop, without its side effects."""

    def __init__(self, trainer: Any, statistics: BatchNormStatistics) -> None:
        self._trainer = trainer
        self._statistics = statistics
        self.active = False
        """Whether batches are being run again, so that nothing counts twice."""

    def gradients(
        self, micros: list[MicroBatch], measure: Callable[[], Measurement]
    ) -> tuple[Measurement | None, MicroBatch | None]:
        """Gradients and statistics are as if the window held ``micros`` only; or the first of them that is bad."""
        trainer = self._trainer
        trainer.optimizer.zero_grad()
        self._statistics.rewind()
        measured: Measurement | None = None
        for micro in micros:
            with self._running(micro):
                with precision.as_trained(trainer):
                    loss, _ = trainer.model(trainer.preprocess_batch(dict(micro.batch)))
                    total = loss.sum() * max(trainer.world_size, 1)
                trainer.scaler.scale(total).backward()
            measured = measure()
            if not (measured.finite and measured.statistics_finite):
                return None, micro
            self._statistics.accept()
        return measured, None

    def prepared(self, micro: MicroBatch) -> dict[str, Any]:
        """``micro`` as the model gets it."""
        with self._running(micro):
            prepared: dict[str, Any] = self._trainer.preprocess_batch(dict(micro.batch))
        return prepared

    @contextlib.contextmanager
    def _running(self, micro: MicroBatch) -> Iterator[None]:
        now = random.getstate()
        if micro.python_random is not None:
            random.setstate(micro.python_random)
        self.active = True
        try:
            yield
        finally:
            self.active = False
            random.setstate(now)
