"""Runs the micro-batches of an accumulation window again, to find the one that spoiled the gradients."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from ultralytics.utils.torch_utils import unwrap_model

from trainmaster.trainer.batches import precision
from trainmaster.trainer.batches.agreement import any_rank
from trainmaster.trainer.batches.batch_guard import BatchVerdict
from trainmaster.trainer.batches.batchnorm import BatchNormStatistics
from trainmaster.trainer.batches.gradients import Measurement, restore_gradients
from trainmaster.trainer.batches.own_numbers import OwnNumbers
from trainmaster.trainer.data.sampling import random_state, set_random_state
from trainmaster.trainer.engines.protocol import EngineTrainer


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MicroBatch:
    """A batch of the open accumulation window, to be run again if need be."""

    epoch: int
    """From 0, as ``index`` is: a window may reach over the end of an epoch."""
    index: int
    batch: dict[str, Any]
    """As the loader gave it, unless it ``is_prepared``."""
    drawn_from: Mapping[str, Any] | None
    """Random state before the batch was prepared, or before it met the model where it ``is_prepared``: what either
    draws (sizes, dropout) follows from it."""
    is_prepared: bool = False
    """Whether the batch is as the model got it."""
    verdict: BatchVerdict | None = None
    """None until its loss was judged."""
    items: Mapping[str, torch.Tensor] = field(default_factory=dict)
    """Its losses, as the running mean takes them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """Which micro-batches of a window spoil its gradients.

    When it ``is_over``, ``measured`` is of the gradients that are there now: those of the ``good`` ones, if any.
    """

    culprits: list[MicroBatch]
    good: list[MicroBatch]
    measured: Measurement | None
    is_over: bool


class Window:
    """The batches since the last optimizer step, for as long as they can be run again."""

    def __init__(self, *, cut: bool) -> None:
        self.micros: list[MicroBatch] = []
        self.cut = cut
        """Whether an interruption cut through it: what came before that can't run again."""
        self._num_good = self._num_skipped = 0
        self.before: Mapping[str, torch.Tensor] = {}
        """Gradients that batches of an earlier process made, where they are known."""

    def open(self) -> None:
        """A new one begins."""
        self.micros, self.cut, self.before = [], False, {}
        self._num_good = self._num_skipped = 0

    def count(self, *, skipped: bool) -> None:
        """One batch more has its loss."""
        self._num_skipped += skipped
        self._num_good += not skipped

    def keep(self, good: list[MicroBatch]) -> None:
        """Of its batches that may run again only the ``good`` ones were."""
        num_lost = len(self.micros) - len(good)
        self.micros = good
        self._num_good -= num_lost
        self._num_skipped += num_lost

    def is_empty(self, *, gradients: bool) -> bool:
        """Whether every batch of it was skipped, and no process before this one has left ``gradients`` in it; counting
        starts over. That there are none does not tell: some step each weight within the backward pass, and some set
        gradients to zeros where others drop them."""
        empty = self._num_skipped > 0 and not self._num_good and not (gradients and (self.cut or self.before))
        self._num_good = self._num_skipped = 0
        return empty

    def mend(self, gradients: Mapping[str, torch.Tensor]) -> None:
        """It was cut, and what came before is known: ``gradients``."""
        if self.cut:
            self.before, self.cut = gradients, False


class Rerun:
    """The forward and backward passes of ``trainer``'s loop, without its side effects."""

    def __init__(
        self, trainer: EngineTrainer, statistics: BatchNormStatistics, numbers: OwnNumbers, window: Window
    ) -> None:
        self._trainer = trainer
        self._window = window
        self._statistics = statistics
        self._numbers = numbers
        self.active = False
        """Whether batches are being run again, so that nothing counts twice."""

    def search(self, micros: list[MicroBatch], measure: Callable[[], Measurement]) -> Search | None:
        """Look for the bad ones among ``micros``; None when there is no memory for that.

        Each runs once or twice, however many are bad. Without the gradient scaler: what is not finite here is no
        overflow of the scale. All ranks find the same.

        Raises:
            torch.OutOfMemoryError: there are several ranks. The others wait in the midst of their backward pass, so
                this one ends the run, and with it them.
        """
        try:
            measured, first = self._gradients(micros, measure)
            if first is None:
                return Search(culprits=[], good=micros, measured=measured, is_over=True)
            culprits = [first, *self._bad_alone(micros[micros.index(first) + 1 :], measure)]
            good = [micro for micro in micros if micro not in culprits]
            measured, still_bad = self._gradients(good, measure)
        except torch.OutOfMemoryError:  # outside the part of the loop that can deal with it
            if self._trainer.world_size > 1:
                raise
            return None
        return Search(culprits=culprits, good=good, measured=measured, is_over=still_bad is None)

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
        measured = measure() if self._window.before else None
        for micro in micros:
            with self._running(micro):
                self._loss(micro).backward()
            measured = measure()
            if self._any_rank(not (measured.finite and measured.statistics_finite)):
                return None, micro
            self._statistics.accept()
        return measured, None

    def _any_rank(self, bad: bool) -> bool:
        """Whether it is ``bad`` in one of the ranks: gradients are shared, but batch-norm statistics are each rank's
        own, and ranks that part here wait for each other for ever."""
        if self._trainer.world_size <= 1:
            return bad
        return bool(any_rank(torch.tensor(float(bad), device=self._trainer.device)))

    def _bad_alone(self, micros: list[MicroBatch], measure: Callable[[], Measurement]) -> list[MicroBatch]:
        """Those of ``micros`` that are bad when nothing else is in the window."""
        return [micro for micro in micros if self._gradients([micro], measure)[1] is not None]

    def _forget(self) -> None:
        self._trainer.optimizer.zero_grad()
        restore_gradients(unwrap_model(self._trainer.model), self._window.before)
        self.rewind()

    def rewind(self) -> None:
        """What a forward pass writes is as it was when the window began."""
        self._statistics.rewind()
        self._numbers.rewind()

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
        now = random_state()
        if micro.drawn_from is not None:
            set_random_state(micro.drawn_from)
        self.active = True
        try:
            yield
        finally:
            self.active = False
            set_random_state(now)
