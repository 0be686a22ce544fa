"""Validation losses that one bad image does not turn into NaN."""

from __future__ import annotations

import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from trainer.batch_guard import LossSeam, bad_labels, without_bad_labels
from trainer.stop import StopSwitch


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


class ValidationGuard:
    """Leaves validation batches whose loss is not finite out of the mean, and counts them.

    The mean goes into results.csv and into the checkpoint, where a NaN reads as poisoned weights; in evaluation mode
    nothing else of a bad image stays.
    """

    def __init__(self) -> None:
        self._model: nn.Module | None = None
        self._sums: dict[str, torch.Tensor] = {}
        self._num_good: torch.Tensor | None = None
        self._num_bad: torch.Tensor | None = None

    @contextmanager
    def watching(self, model: nn.Module) -> Iterator[None]:
        """Within, losses of ``model`` come through here."""
        self._model, self._sums, self._num_good, self._num_bad = model, {}, None, None
        LossSeam.attach(model, self._loss)
        try:
            yield
        finally:
            LossSeam.detach(model)

    @property
    def num_bad(self) -> int:
        """Batches left out; reads the device."""
        return 0 if self._num_bad is None else int(self._num_bad)

    def _loss(self, batch: dict[str, Any], preds: Any = None) -> Any:
        assert self._model is not None
        labels_bad = bad_labels(batch)
        own_loss = types.MethodType(type(self._model).loss, self._model)
        loss, items = own_loss(without_bad_labels(batch) if labels_bad else batch, preds)
        stacked = torch.stack([value.detach().float() for value in items.values()])
        good = torch.isfinite(stacked).all() & (not labels_bad)
        before = torch.stack(list(self._sums.values())) if self._sums else torch.zeros_like(stacked)
        num_before = self._num_good if self._num_good is not None else torch.zeros((), device=stacked.device)
        after = before + torch.where(good, stacked, torch.zeros_like(stacked))
        num_after = num_before + good
        self._sums = dict(zip(items, after, strict=True))
        self._num_good = num_after
        bad = (~good).to(torch.int64)
        self._num_bad = bad if self._num_bad is None else self._num_bad + bad
        mean = after / num_after.clamp(min=1)
        shown = {name: torch.where(good, value, part) for (name, value), part in zip(items.items(), mean, strict=True)}
        return loss, shown
