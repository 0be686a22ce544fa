"""What a criterion holds beside the model: the bins of its boxes, its gains, weights of classes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from trainmaster.trainer.batches.batch_guard import ABSURD
from trainmaster.trainer.batches.healing import float_of

MAX_DEPTH: Final = 4
"""Objects within objects: an end-to-end criterion holds two, and each an assigner."""

LEAP: Final = 1e6
"""Times what a good batch was judged with: nobody turns a gain up so far, and beyond :data:`ABSURD` none trains."""

_Slots = dict[Any, Any] | list[Any]
_Place = tuple[_Slots, Any]


class CriterionNumbers:
    """Numbers and tensors of the criterion of ``model``. One that is not finite makes every batch look bad, and so may
    one that leapt beyond anything that trains.

    Looking costs nothing while batches are good: what the criterion holds is noted once an epoch, and compared when a
    batch was judged bad. A change that somebody may have meant is left alone.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._kept: list[tuple[_Place, Any]] = []
        self._noted_in: tuple[int, int] | None = None
        self._replaced: dict[int, Any] = {}
        """By its place among what is kept, what the last healing took for a leap."""

    def note(self, epoch: int) -> None:
        """A batch of ``epoch`` was good with what the criterion holds now. No read."""
        criterion = getattr(self._model, "criterion", None)
        if criterion is None or self._noted_in == (id(criterion), epoch):
            return
        self._noted_in = id(criterion), epoch
        self._kept = [(place, _copied(value)) for place, value in self._numbers_in(criterion)]

    @torch.no_grad()
    def leapt(self) -> bool:
        """Whether any of it leapt beyond anything that trains since it was noted. Reads the device."""
        return any(_leapt(_at(place), kept) for place, kept in self._kept)

    @torch.no_grad()
    def heal(self) -> int:
        """What is not finite any more, or leapt, is as it was noted; how many are. Reads the device."""
        num_healed = 0
        self._replaced = {}
        for index, (place, kept) in enumerate(self._kept):
            now = _at(place)
            if now is None or not _is_finite(kept):
                continue
            if _is_finite(now):
                if not _leapt(now, kept):
                    continue
                self._replaced[index] = _copied(now)
            _put(place, kept)
            num_healed += 1
        return num_healed

    @torch.no_grad()
    def heal_again(self) -> int:
        """The batch is bad with what was noted, too: what it spoils is put right once more, and what had leapt before
        it is given back, as the next batch may tell; how many those are. Reads the device."""
        before = self._replaced
        self.heal()
        given_back = before.keys() - self._replaced.keys()
        for index in given_back:
            _put(self._kept[index][0], before[index])
        return len(given_back)

    def _numbers_in(self, criterion: Any) -> Iterator[tuple[_Place, Any]]:
        seen = {id(one) for name, one in self._model.named_modules() if not name.startswith("criterion")}
        waiting = [(criterion, 0)]
        while waiting:
            item, depth = waiting.pop()
            slots = item if isinstance(item, dict | list) else getattr(item, "__dict__", None)
            if id(item) in seen or not isinstance(slots, dict | list) or isinstance(item, type) or depth > MAX_DEPTH:
                continue
            seen.add(id(item))
            for key, value in slots.items() if isinstance(slots, dict) else enumerate(slots):
                if _is_number(value):
                    yield (slots, key), value
                elif not callable(value) or hasattr(value, "__dict__"):
                    waiting.append((value, depth + 1))


def _is_number(value: Any) -> bool:
    if isinstance(value, torch.Tensor):
        return value.is_floating_point()
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _at(place: _Place) -> Any:
    slots, key = place
    with suppress(LookupError):
        return slots[key]
    return None


def _put(place: _Place, value: Any) -> None:
    slots, key = place
    now = _at(place)
    if isinstance(now, torch.Tensor) and isinstance(value, torch.Tensor) and now.shape == value.shape:
        now.copy_(value)
    else:
        slots[key] = _copied(value)


def _copied(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, torch.Tensor) else value


def _is_finite(value: Any) -> bool:
    return math.isfinite(_size(value))


def _size(value: Any) -> float:
    """The largest magnitude of ``value``; 0 of what is no number."""
    if isinstance(value, torch.Tensor):
        return float(value.detach().abs().amax()) if value.numel() else 0.0
    return abs(float_of(value) or 0.0)


def _leapt(now: Any, kept: Any) -> bool:
    return ABSURD < (size := _size(now)) < math.inf and size > LEAP * _size(kept)
