"""What the EMA is an average of: each of its tensors lies between what it was and what it follows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import torch
from torch import nn

from trainmaster.trainer.batches.momenta import LEAP

NUM_NOT_CANCELLED: Final = 16
"""Weights of a tensor that never cancel out all at once in an average; those of a bias of one number do, when it turns
its sign."""
VARIANCE: Final = "running_var"
"""Ends the name of what is never below zero: no average of it lies beyond what it was made of."""


class Averaging:
    """Tensors of ``ema`` beside those of ``model``, by their norms at the look before and now.

    A layer of the EMA that somebody's code has emptied stays so for ten thousand steps, and nothing trains from it.
    """

    def __init__(self, model: nn.Module, ema: nn.Module | None) -> None:
        followed: dict[str, tuple[dict[str, Any], str]] = {}
        for place, module in model.named_modules():
            for slots in (module._parameters, module._buffers):  # noqa: SLF001 - as attribute access reads them
                followed |= {f"{place}.{key}".lstrip("."): (slots, key) for key in slots}
        averaged = [*ema.named_parameters(), *ema.named_buffers()] if ema is not None else []
        judged = [(name, one) for name, one in averaged if name in followed and _is_judged(name, one)]
        self._names, self._averaged = [name for name, _ in judged], [one for _, one in judged]
        self._followed = [followed[name] for name in self._names]
        self._before = self._norms(self._averaged)
        never_below_zero = [name.endswith(VARIANCE) for name in self._names]
        self._never_below_zero = torch.tensor(never_below_zero, dtype=torch.bool, device=self._before.device)
        self._strayed: torch.Tensor | None = None

    def sign(self) -> Iterator[torch.Tensor]:
        """A number on the EMA's device: 0 while all lie where they can; none where there is no telling. No read."""
        live = [slots.get(key) for slots, key in self._followed]
        there = [one for one in live if one is not None]
        if not there or len(there) < len(live):
            return
        before, now, live_norms = self._before, self._norms(self._averaged), self._norms(there)
        beyond = (now > torch.maximum(before, live_norms) * LEAP) & self._never_below_zero
        self._before, self._strayed = now, beyond | (now * LEAP < torch.minimum(before, live_norms))
        yield self._strayed.any().float()

    def strayed(self) -> Iterator[tuple[str, torch.Tensor, torch.Tensor]]:
        """Names of what lay elsewhere at the last look, if there was one since they were :meth:`settled`, each with the
        tensor and what it follows. Reads the device."""
        for place, bad in enumerate([] if self._strayed is None else self._strayed.tolist()):
            slots, key = self._followed[place]
            if bad and (followed := slots.get(key)) is not None:
                yield self._names[place], self._averaged[place], followed

    def settled(self) -> None:
        """What strayed at the last look is dealt with."""
        if self._strayed is not None:
            self._strayed, self._before = None, self._norms(self._averaged)

    @torch.no_grad()
    def _norms(self, tensors: Sequence[torch.Tensor]) -> torch.Tensor:
        device = self._averaged[0].device if self._averaged else torch.device("cpu")
        norms = torch._foreach_norm(list(tensors)) if tensors else []  # noqa: SLF001 - as get_total_norm does
        return torch.stack([one.float().to(device) for one in norms]) if norms else torch.zeros(0, device=device)


def _is_judged(name: str, tensor: torch.Tensor) -> bool:
    if not tensor.is_floating_point() or not tensor.numel():
        return False
    return name.endswith(VARIANCE) or (isinstance(tensor, nn.Parameter) and tensor.numel() >= NUM_NOT_CANCELLED)
