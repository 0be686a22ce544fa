"""What the EMA is an average of: each of its tensors lies between what it was and what it follows."""

from __future__ import annotations

import math
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
MOST_UPDATES: Final = 1024
"""Between two looks; of more nothing is known."""
WEIGHT_SWING: Final = 3.0
STATISTIC_SWING: Final = 30.0
"""Times the norm of what is followed at two looks that it may have had between them: a spike passes in a statistic."""
ROUNDED: Final = 1e-4
"""Of a norm, what rounding may change."""


class Averaging:
    """Tensors of ``ema`` beside those of ``model``, by their norms at the look before and now.

    A layer of the EMA that somebody's code has emptied stays so for ten thousand steps, and nothing trains from it.
    From its decays it is known what it keeps of itself, and so how far its updates can have taken it.
    """

    def __init__(self, model: nn.Module, ema: Any) -> None:
        followed: dict[str, tuple[dict[str, Any], str]] = {}
        for place, module in model.named_modules():
            for slots in (module._parameters, module._buffers):  # noqa: SLF001 - as attribute access reads them
                followed |= {f"{place}.{key}".lstrip("."): (slots, key) for key in slots}
        named = [*ema.ema.named_parameters(), *ema.ema.named_buffers()] if ema else []
        averaged = [(name, one) for name, one in named if name in followed and one.is_floating_point() and one.numel()]
        self._ema = ema
        self._updating = _updating(ema)
        self._names, self._averaged = [name for name, _ in averaged], [one for _, one in averaged]
        self._followed = [followed[name] for name in self._names]
        self._before = self._norms(self._averaged)
        self._live_before = torch.zeros_like(self._before)
        device = self._before.device
        never_below_zero = [name.endswith(VARIANCE) for name in self._names]
        self._never_below_zero = torch.tensor(never_below_zero, dtype=torch.bool, device=device)
        cancelling = [not _never_cancels(name, one) for name, one in averaged]
        self._cancelling = torch.tensor(cancelling, dtype=torch.bool, device=device)
        swings = [WEIGHT_SWING if isinstance(one, nn.Parameter) else STATISTIC_SWING for one in self._averaged]
        self._swings = torch.tensor(swings, device=device)
        self._strayed: torch.Tensor | None = None
        self._written: torch.Tensor | None = None

    def sign(self) -> Iterator[torch.Tensor]:
        """A number on the EMA's device: 0 while all lie where they can; none where there is no telling. No read."""
        live = [slots.get(key) for slots, key in self._followed]
        there = [one for one in live if one is not None]
        if not there or len(there) < len(live):
            return
        before, now, live_norms = self._before, self._norms(self._averaged), self._norms(there)
        beyond = (now > torch.maximum(before, live_norms) * LEAP) & self._never_below_zero
        fallen = (now * LEAP < torch.minimum(before, live_norms)) & ~self._cancelling
        most = torch.maximum(live_norms, self._live_before) * self._swings
        changed = (now - before).abs() > (1.0 - self._kept()) * (before + most) + ROUNDED * before
        self._before, self._live_before, self._strayed = now, live_norms, beyond | fallen
        self._written = changed & ~self._strayed
        yield (self._strayed | changed).any().float()

    def _kept(self) -> float:
        """The share of itself that the EMA has kept since the look before; 0 where nobody knows."""
        (before, decay), self._updating = self._updating, _updating(self._ema)
        now = self._updating[0]
        if decay != self._updating[1] or not (isinstance(before, int) and isinstance(now, int) and callable(decay)):
            return 0.0
        if not 0 <= now - before <= MOST_UPDATES:
            return 0.0
        try:
            decays = [decay(number) for number in range(before + 1, now + 1)]
        except (TypeError, ValueError, ArithmeticError):  # an average of somebody's own, called in another way
            return 0.0
        return math.prod(decays) if all(isinstance(one, float | int) and 0.0 <= one <= 1.0 for one in decays) else 0.0

    def written_to(self) -> list[str]:
        """Names of what its updates can't have changed so far at the last look, and what has not strayed. Reads the
        device."""
        written = [] if self._written is None else self._written.tolist()
        return [name for name, was_written in zip(self._names, written, strict=False) if was_written]

    def strayed(self) -> Iterator[tuple[str, torch.Tensor, torch.Tensor]]:
        """Names of what lay elsewhere at the last look, if there was one since they were :meth:`settled`, each with the
        tensor and what it follows. Reads the device."""
        for place, bad in enumerate([] if self._strayed is None else self._strayed.tolist()):
            slots, key = self._followed[place]
            if bad and (followed := slots.get(key)) is not None:
                yield self._names[place], self._averaged[place], followed

    def settled(self) -> None:
        """What strayed at the last look is dealt with."""
        self._strayed, self._written, self._before = None, None, self._norms(self._averaged)

    @torch.no_grad()
    def _norms(self, tensors: Sequence[torch.Tensor]) -> torch.Tensor:
        device = self._averaged[0].device if self._averaged else torch.device("cpu")
        norms = torch._foreach_norm(list(tensors)) if tensors else []  # noqa: SLF001 - as get_total_norm does
        return torch.stack([one.float().to(device) for one in norms]) if norms else torch.zeros(0, device=device)


def _updating(ema: Any) -> tuple[Any, Any]:
    """How often ``ema`` was updated, and what its decays come from."""
    return getattr(ema, "updates", None), getattr(ema, "decay", None)


def _never_cancels(name: str, tensor: torch.Tensor) -> bool:
    return name.endswith(VARIANCE) or (isinstance(tensor, nn.Parameter) and tensor.numel() >= NUM_NOT_CANCELLED)
