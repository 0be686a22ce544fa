"""Validation losses that one bad image does not turn into NaN."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from trainmaster.trainer.batches.healing import float_of
from trainmaster.trainer.batches.labels import bad_labels, without_bad_labels
from trainmaster.trainer.batches.loss_seam import LossSeam, stock_loss
from trainmaster.trainer.engines.loss_form import LossForm
from trainmaster.trainer.engines.protocol import EngineTrainer
from trainmaster.trainer.stop import StopSwitch


class InterruptibleValidator:
    """A validator that a stop request ends at once; in everything else it is ``validator``.

    For the final evaluation, which strips the optimizer from the checkpoints in place before it validates: the signal
    must wait for the one and need not wait for the other.
    """

    def __init__(self, validator: Any, switch: StopSwitch) -> None:
        self.__dict__.update(_validator=validator, _switch=switch)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Validate.

        Raises:
            StopRequested: somebody asked.
        """
        with self._switch.interruptible():
            return self._validator(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._validator, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._validator, name, value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """Validation batches of one rank by whether their loss was finite, and the sums of the losses that were."""

    num_good: int = 0
    num_bad: int = 0
    sums: Mapping[str, float] = field(default_factory=dict)


def mean_of(counted: Sequence[Counted]) -> dict[str, torch.Tensor]:
    """Mean losses over the good batches of all ranks; empty where there is none."""
    num_good = sum(one.num_good for one in counted)
    names = dict.fromkeys(name for one in counted for name in one.sums)
    totals = {name: sum(one.sums.get(name, 0.0) for one in counted) for name in names}
    return {name: torch.tensor(total / num_good) for name, total in totals.items()} if num_good else {}


class ValidationGuard:
    """Counts validation batches whose loss is not finite; the validator adds a finite number up in its place.

    Its mean goes into results.csv and into the checkpoint, where a NaN reads as poisoned weights; in evaluation mode
    nothing else of a bad image stays.
    """

    def __init__(self, *, coming: Callable[[dict[str, Any]], None], form: LossForm) -> None:
        self._form = form
        self._coming = coming
        self._model: nn.Module | None = None
        self._sums: dict[str, torch.Tensor] = {}
        self._num_good: torch.Tensor | None = None
        self._num = 0
        self._labels_bad = False

    @contextmanager
    def watching(self, model: nn.Module, validator: Any) -> Iterator[None]:
        """Within, losses of ``model`` come through here, and labels that nothing can be made of reach nobody."""
        self._model, self._sums, self._num_good, self._num = model, {}, None, 0
        LossSeam.attach(model, self._loss, self._form)
        try:
            with sound_labels(validator, getattr(model, "nc", None), coming=self._coming, found=self._found):
                yield
        finally:
            LossSeam.detach(model)

    def _found(self, bad: bool) -> None:
        self._labels_bad = bad

    @property
    def counted(self) -> Counted:
        """The batches so far; reads the device."""
        if self._num_good is None:
            return Counted()
        num_good = int(self._num_good)
        sums = {name: float(total) for name, total in self._sums.items()}
        return Counted(num_good=num_good, num_bad=self._num - num_good, sums=sums)

    def _loss(self, batch: dict[str, Any], preds: Any = None) -> Any:
        assert self._model is not None
        own_loss = stock_loss(self._model)
        loss, parts = own_loss(batch, preds)
        items = self._form.read(parts)
        stacked = torch.stack([value.detach().float().reshape(()) for value in items.values()])
        good = torch.isfinite(stacked).all() & (not self._labels_bad)
        known = torch.where(good, stacked, torch.zeros_like(stacked))
        before = torch.stack(list(self._sums.values())) if self._sums else torch.zeros_like(stacked)
        self._sums = dict(zip(items, before + known, strict=True))
        self._num_good = good.to(torch.int64) if self._num_good is None else self._num_good + good
        self._num += 1
        shown = {name: torch.where(good, value, part) for (name, value), part in zip(items.items(), known, strict=True)}
        return loss, shown


@contextmanager
def sound_labels(
    validator: Any,
    num_classes: int | None,
    *,
    coming: Callable[[dict[str, Any]], None],
    found: Callable[[bool], None] = lambda _: None,
) -> Iterator[None]:
    """Within, ``validator`` sees no label that it would choke on; ``found`` learns of each batch whether it had any.

    ``coming`` gets each batch as the loader made it.
    """
    if validator is None:
        yield
        return
    own, preprocess = validator.__dict__.get("preprocess"), validator.preprocess

    def checked(batch: dict[str, Any]) -> dict[str, Any]:
        coming(batch)
        bad = bad_labels(batch, num_classes)  # now: labels on a device are not looked at, which would be a read
        prepared = preprocess(batch)
        bad = bad or bad_labels(prepared, num_classes)
        found(bad)
        return without_bad_labels(prepared, num_classes) if bad else prepared

    validator.preprocess = checked
    try:
        yield
    finally:
        if own is None:
            validator.__dict__.pop("preprocess", None)
        else:
            validator.preprocess = own


def numbers_of(metrics: Mapping[str, Any] | None) -> dict[str, float]:
    """Of ``metrics`` those that are numbers: a callback may put there what it likes."""
    found = {name: float_of(value) for name, value in (metrics or {}).items()}
    return {name: number for name, number in found.items() if number is not None}


def unknown_metrics_to_zero(trainer: EngineTrainer, best_fitness_before: float | None) -> list[str]:
    """Metrics of ``trainer`` that are not finite are 0, its fitness is unknown then; names of those metrics.

    A NaN in the fitness would be the best for ever, since nothing compares as better, and no best.pt would be written
    any more; one in results.csv or in a checkpoint reads as poisoned weights.
    """
    bad = [name for name, number in numbers_of(trainer.metrics).items() if not math.isfinite(number)]
    trainer.metrics = {**(trainer.metrics or {}), **dict.fromkeys(bad, 0.0)}
    if trainer.fitness is not None and not math.isfinite(float(trainer.fitness)):
        trainer.fitness = None
        bad.append("fitness")
        if trainer.best_fitness is not None and not math.isfinite(float(trainer.best_fitness)):
            trainer.best_fitness = best_fitness_before
    return bad
