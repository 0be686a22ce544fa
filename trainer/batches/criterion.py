"""What a criterion holds beside the model: the bins of its boxes, its gains, weights of classes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

import torch
from torch import nn

MAX_DEPTH: Final = 4
"""Objects within objects: an end-to-end criterion holds two, and each an assigner."""

_Place = tuple[dict[Any, Any], Any]


class CriterionNumbers:
    """Numbers and tensors of the criterion of ``model``. One that is not finite makes every batch look bad.

    Looking costs nothing while batches are good: what the criterion holds is noted once an epoch, and compared when a
    batch was judged bad.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._kept: list[tuple[_Place, Any]] = []
        self._noted_in: tuple[int, int] | None = None

    def note(self, epoch: int) -> None:
        """A batch of ``epoch`` was good with what the criterion holds now. No read."""
        criterion = getattr(self._model, "criterion", None)
        if criterion is None or self._noted_in == (id(criterion), epoch):
            return
        self._noted_in = id(criterion), epoch
        self._kept = [
            ((slots, key), value.detach().clone() if isinstance(value, torch.Tensor) else value)
            for slots, key, value in self._numbers_in(criterion)
        ]

    @torch.no_grad()
    def heal(self) -> int:
        """What is not finite any more is as it was noted; how many were not. Reads the device."""
        num_healed = 0
        for (slots, key), kept in self._kept:
            now = slots.get(key)
            if now is None or _is_finite(now) or not _is_finite(kept):
                continue
            if isinstance(now, torch.Tensor) and isinstance(kept, torch.Tensor) and now.shape == kept.shape:
                now.copy_(kept)
            else:
                slots[key] = kept.clone() if isinstance(kept, torch.Tensor) else kept
            num_healed += 1
        return num_healed

    def _numbers_in(self, criterion: Any) -> Iterator[tuple[dict[Any, Any], Any, Any]]:
        seen = {id(one) for name, one in self._model.named_modules() if not name.startswith("criterion")}
        waiting = [(criterion, 0)]
        while waiting:
            item, depth = waiting.pop()
            slots = item if isinstance(item, dict) else getattr(item, "__dict__", None)
            if id(item) in seen or not isinstance(slots, dict) or isinstance(item, type) or depth > MAX_DEPTH:
                continue
            seen.add(id(item))
            for key, value in slots.items():
                if isinstance(value, float) or (isinstance(value, torch.Tensor) and value.is_floating_point()):
                    yield slots, key, value
                elif not callable(value) or hasattr(value, "__dict__"):
                    waiting.append((value, depth + 1))


def _is_finite(value: Any) -> bool:
    if isinstance(value, torch.Tensor):
        return bool(torch.isfinite(value).all())
    return not isinstance(value, float) or math.isfinite(value)
