"""Gradient norms: measured once a step with one read, clipped when needed, remembered for plots and warnings."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import torch
from torch import nn

WARN_FACTOR: Final = 10.0
"""Times the recent median at which a norm is worth a warning. BLOOM's norm went 0.24, 0.95, 2.4, 16, 145, 960 in five
steps before the loss showed it: ten times the median fires at 2.4 or 16, several steps ahead."""
WARN_AFTER: Final = 20
"""Steps before the first warning: a median of less says nothing, and warm-up norms fall fast."""
WARN_INTERVAL: Final = 50
"""Steps between two warnings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """Of one optimizer step, on the host."""

    norm: float
    statistics_finite: bool
    optimizer_finite: bool

    @property
    def finite(self) -> bool:
        """Whether the gradient is."""
        return math.isfinite(self.norm)


@dataclass(frozen=True, slots=True, kw_only=True)
class NormSummary:
    """Of the steps since the last summary; None where there was none."""

    p50: float | None
    p99: float | None
    largest: float | None


class Gradients:
    """The gradients of ``model`` under ``optimizer``."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self._named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
        self._optimizer = optimizer
        self._states: list[torch.Tensor] = []
        self._steps: dict[torch.device, list[torch.Tensor]] = {}
        self._num_states = -1
        self._norms: torch.Tensor | None = None
        self._total: torch.Tensor | None = None
        self._since_summary: list[float] = []
        self._recent: deque[float] = deque(maxlen=100)
        self._quiet = 0
        self.clipped = 0
        """Steps that were clipped."""

    def there(self) -> bool:
        """Whether any parameter has a gradient: none has when every micro-batch of the window was skipped."""
        return any(parameter.grad is not None for _, parameter in self._named)

    @torch.no_grad()
    def measure(self, flag: torch.Tensor, *, states: bool) -> Measurement:
        """Norm of all gradients, with ``flag`` (NaN for bad batch-norm statistics) and the optimizer's own state.

        One device-to-host read. The norm is that of ``torch.nn.utils.clip_grad_norm_``, bit for bit.
        """
        self._total = self._total_norm()
        parts = [self._total.float(), flag.reshape(()).to(self._total.device)]
        if states and (tensors := self._state_tensors()):
            # The 2-norm overflows at values from 1e19, far before they do, and is eight times as fast on a CPU as the
            # largest magnitude; what looks bad is looked at closely before anything is healed.
            norms = torch._foreach_norm(tensors)  # noqa: SLF001 - as torch's own get_total_norm does
            parts.append((torch.stack(norms) * 0).sum().float())
        counts_finite = True
        for device, steps in self._steps.items() if states else ():
            flag = (torch.stack(steps) * 0).sum().float()
            if device == self._total.device:
                parts.append(flag)
            else:  # plain Adam counts its steps on the host
                counts_finite = counts_finite and math.isfinite(flag.tolist())
        norm, statistics, *rest = torch.stack(parts).tolist()
        return Measurement(
            norm=norm,
            statistics_finite=math.isfinite(statistics),
            optimizer_finite=counts_finite and all(map(math.isfinite, rest)),
        )

    @torch.no_grad()
    def clip(self, norm: float, max_norm: float) -> bool:
        """Scale to ``max_norm`` as ``clip_grad_norm_`` does. Whether anything had to be."""
        assert self._total is not None
        if norm + 1e-6 < max_norm * (1 - 1e-6):  # well below: the factor would be clamped to exactly 1
            return False
        parameters = [parameter for _, parameter in self._named]
        torch.nn.utils.clip_grads_with_norm_(parameters, max_norm, self._total)
        clipped = norm > max_norm
        self.clipped += clipped
        return clipped

    def note(self, norm: float) -> float | None:
        """Remember the norm of a step that was taken; the recent median when ``norm`` is far above it."""
        self._since_summary.append(norm)
        median = self.median
        self._recent.append(norm)
        self._quiet -= 1
        if median is None or len(self._recent) < WARN_AFTER or self._quiet > 0 or norm <= WARN_FACTOR * median:
            return None
        self._quiet = WARN_INTERVAL
        return median

    @property
    def median(self) -> float | None:
        """Of the last 100 steps."""
        return sorted(self._recent)[len(self._recent) // 2] if self._recent else None

    def summary(self) -> NormSummary:
        """Of the steps since the last call."""
        ordered = sorted(self._since_summary)
        self._since_summary = []
        if not ordered:
            return NormSummary(p50=None, p99=None, largest=None)
        return NormSummary(p50=_rank(ordered, 0.5), p99=_rank(ordered, 0.99), largest=ordered[-1])

    def worst(self, num: int = 3) -> list[tuple[str, float]]:
        """Parameters with the largest gradient norms of the last measurement, non-finite ones first; reads once."""
        if self._norms is None:
            return []
        names = [name for name, parameter in self._named if parameter.grad is not None]
        norms = self._norms.tolist()
        if len(names) != len(norms):
            return []
        pairs = zip(names, norms, strict=True)
        return sorted(pairs, key=lambda pair: pair[1] if math.isfinite(pair[1]) else math.inf, reverse=True)[:num]

    def forget_states(self) -> None:
        """The optimizer's state tensors are other ones now."""
        self._num_states = -1

    def _total_norm(self) -> torch.Tensor:
        grads = [parameter.grad for _, parameter in self._named if parameter.grad is not None]
        if len({(grad.device, grad.dtype) for grad in grads}) == 1:
            self._norms = torch.stack(torch._foreach_norm(grads))  # noqa: SLF001 - get_total_norm drops this vector
            return torch.linalg.vector_norm(self._norms)
        self._norms = None
        return torch.nn.utils.get_total_norm(grads)

    def _state_tensors(self) -> list[torch.Tensor]:
        if len(self._optimizer.state) != self._num_states:
            self._num_states = len(self._optimizer.state)
            self._states, self._steps = [], {}
            for state in self._optimizer.state.values():
                for key, value in state.items():
                    if not isinstance(value, torch.Tensor) or not value.is_floating_point() or not value.numel():
                        continue
                    if key == "step":
                        self._steps.setdefault(value.device, []).append(value.reshape(()))
                    else:
                        self._states.append(value)
        return self._states


def _rank(ordered: list[float], share: float) -> float:
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


@torch.no_grad()
def all_finite(tensors: Iterable[torch.Tensor]) -> bool:
    """Whether every floating tensor is finite; one read a device and type. For rare occasions."""
    groups: dict[tuple[torch.device, torch.dtype], list[torch.Tensor]] = {}
    for tensor in tensors:
        if tensor.is_floating_point() and tensor.numel():
            groups.setdefault((tensor.device, tensor.dtype), []).append(tensor.detach())
    for group in groups.values():
        largest = torch._foreach_norm(group, ord=math.inf)  # noqa: SLF001 - as above
        if not bool(torch.isfinite(torch.stack(largest)).all()):
            return False
    return True
