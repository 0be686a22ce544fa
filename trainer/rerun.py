"""Runs the micro-batches of an accumulation window again, to find the one that spoiled the gradients."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import torch

from trainer import precision
from trainer.batchnorm import BatchNormStatistics
from trainer.gradients import Measurement

MAX_CULPRITS: Final = 3
"""Bad micro-batches looked for in one accumulation window before all of it is dropped: each costs a run of the rest."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MicroBatch:
    """A batch of the open accumulation window, to be run again if need be."""

    index: int
    batch: dict[str, Any]
    """As the loader gave it, unless it ``is_prepared``."""
    python_random: Any
    rng: torch.Tensor | None
    """State of torch's generator before the batch was prepared, for the record."""
    is_prepared: bool = False
    """Whether the batch is as the model got it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """Which micro-batches of a window spoil its gradients.

    When it ``is_over``, ``measured`` is of the gradients that are there now: those of the ``good`` ones, if any.
    """

    culprits: list[MicroBatch]
    good: list[MicroBatch]
    measured: Measurement | None
    is_over: bool


class Rerun:
    """The forward and backward passes of ``trainer``'s loop, without its side effects."""

    def __init__(self, trainer: Any, statistics: BatchNormStatistics) -> None:
        self._trainer = trainer
        self._statistics = statistics
        self.active = False
        """Whether batches are being run again, so that nothing counts twice."""

    def search(self, micros: list[MicroBatch], measure: Callable[[], Measurement]) -> Search | None:
        """Look for the bad ones among ``micros``; None when there is no memory for that.

        Without the gradient scaler: what is not finite here is no overflow of the scale.
        """
        culprits: list[MicroBatch] = []
        try:
            while len(culprits) <= MAX_CULPRITS:
                good = [micro for micro in micros if micro not in culprits]
                measured, culprit = self._gradients(good, measure)
                if culprit is None:
                    return Search(culprits=culprits, good=good, measured=measured, is_over=True)
                culprits.append(culprit)
        except torch.OutOfMemoryError:  # outside the part of the loop that can deal with it
            return None
        return Search(culprits=culprits, good=[], measured=None, is_over=False)

    def scaled_gradients(self, micros: list[MicroBatch], measure: Callable[[], Measurement]) -> Measurement:
        """Those of ``micros``, through the scaler, ready for its step; they may overflow."""
        scaler = self._trainer.scaler
        self._forget()
        for micro in micros:
            with self._running(micro):
                scaler.scale(self._loss(micro)).backward()
            self._statistics.accept()
        scaler.unscale_(self._trainer.optimizer)
        return measure()

    def prepared(self, micro: MicroBatch) -> dict[str, Any]:
        """``micro`` as the model gets it."""
        if micro.is_prepared:
            return micro.batch
        with self._running(micro):
            return self._prepared(micro)

    def _gradients(
        self, micros: list[MicroBatch], measure: Callable[[], Measurement]
    ) -> tuple[Measurement | None, MicroBatch | None]:
        """Gradients and statistics are as if the window held ``micros`` only; or the first of them that is bad."""
        self._forget()
        measured: Measurement | None = None
        for micro in micros:
            with self._running(micro):
                self._loss(micro).backward()
            measured = measure()
            if not (measured.finite and measured.statistics_finite):
                return None, micro
            self._statistics.accept()
        return measured, None

    def _forget(self) -> None:
        self._trainer.optimizer.zero_grad()
        self._statistics.rewind()

    def _loss(self, micro: MicroBatch) -> torch.Tensor:
        trainer = self._trainer
        with precision.as_trained(trainer):
            loss, _ = trainer.model(micro.batch if micro.is_prepared else self._prepared(micro))
            total: torch.Tensor = loss.sum() * max(trainer.world_size, 1)
        return total

    def _prepared(self, micro: MicroBatch) -> dict[str, Any]:
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
