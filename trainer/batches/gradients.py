"""The gradients of a step: their norm, measured with one read, and clipping."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from trainmaster.trainer.batches.momenta import Momenta
from trainmaster.trainer.batches.norms import NormHistory, NormWarning


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """Of one optimizer step, on the host."""

    norm: float
    statistics_finite: bool
    optimizer_finite: bool
    sound: bool = True
    """Whether every sign that was read along was 0."""
    doubted: bool = False
    """Whether anything of it is wrong in any rank; False where there is but one, as below."""
    parted: bool = False
    """Whether the norm is another one in another rank, though ranks sum their gradients."""

    @property
    def finite(self) -> bool:
        """Whether the gradient is."""
        return math.isfinite(self.norm)


class Gradients:
    """The gradients of ``model`` under ``optimizer``."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self._named = list(model.named_parameters())  # frozen ones too: a callback may thaw them
        self.momenta = Momenta(optimizer)
        self._norms: torch.Tensor | None = None
        self._total: torch.Tensor | None = None
        self._names: list[str] = []
        self._host_norms: list[float] = []
        self._highest: tuple[float, list[float]] | None = None
        self.history = NormHistory()
        self.clipped = 0
        """Steps that were clipped."""
        self.num_steps = 0
        """Steps that were taken."""

    def count_on(self, before: Gradients) -> None:
        """Counts and history go on from those of other gradients of the same training."""
        self.history, self.clipped, self.num_steps = before.history, before.clipped, before.num_steps
        self.momenta.largest = before.momenta.largest

    def there(self) -> bool:
        """Whether any parameter has a gradient: none has when every micro-batch of the window was skipped."""
        return any(parameter.grad is not None for _, parameter in self._named)

    @torch.no_grad()
    def measure(
        self,
        flag: torch.Tensor,
        *,
        states: bool,
        signs: Sequence[torch.Tensor] = (),
        ask: Callable[[torch.Tensor, torch.Tensor], list[torch.Tensor]] | None = None,
    ) -> Measurement:
        """Norm of all gradients, with ``flag`` (NaN for bad batch-norm statistics), the optimizer's own state and
        ``signs`` of the weights (0 while they are sound). ``ask`` makes this rank's doubt, 0 or 1, that of any, and of
        its norm whether those of the ranks part.

        One device-to-host read. The norm is that of ``torch.nn.utils.clip_grad_norm_``, bit for bit.
        """
        self._total = self._total_norm()
        device = self._total.device
        parts = [self._total.float(), flag.reshape(()).to(device), *(sign.to(device) for sign in signs)]
        counts_finite = True
        if states:
            more, counts_finite = self.momenta.signs(device)
            parts += more
        if ask is not None:
            found = torch.stack(parts)
            doubt = (~torch.isfinite(found)).any() | found[2 : 2 + len(signs)].any()
            parts += ask(doubt.float() if counts_finite else torch.ones_like(found[0]), found[0])
        scalars = torch.stack(parts)
        if self._norms is None:
            values, self._host_norms = scalars.tolist(), []
        else:  # the norm of each parameter comes along with the one read
            values = torch.cat([scalars, self._norms.float()]).tolist()
            values, self._host_norms = values[: len(parts)], values[len(parts) :]
        parted, doubted = (ask is not None and bool(values.pop()) for _ in range(2))
        norm, statistics, *rest = values
        told, rest = rest[: len(signs)], rest[len(signs) :]
        return Measurement(
            norm=norm,
            statistics_finite=math.isfinite(statistics),
            optimizer_finite=counts_finite and all(map(math.isfinite, rest)),
            sound=not any(told),
            doubted=doubted,
            parted=parted,
        )

    @torch.no_grad()
    def clip(self, norm: float, max_norm: float) -> bool:
        """Scale to ``max_norm`` as ``clip_grad_norm_`` does, infinite for not at all. Whether anything had to be."""
        assert self._total is not None
        self.momenta.feed(min(norm, max_norm))
        if math.isinf(max_norm):
            return False
        if norm + 1e-6 < max_norm * (1 - 1e-6):  # well below: the factor would be clamped to exactly 1
            return False
        parameters = [parameter for _, parameter in self._named]
        torch.nn.utils.clip_grads_with_norm_(parameters, max_norm, self._total)
        clipped = norm > max_norm
        self.clipped += clipped
        return clipped

    def note(self, norm: float) -> NormWarning | None:
        """Remember the norm of a step that is taken; a warning when it is out of line."""
        self.num_steps += 1
        if not self._highest or norm > self._highest[0]:
            self._highest = norm, self._host_norms
        return self.history.note(norm)

    def worst_since(self) -> tuple[str, float] | None:
        """The parameter with the largest gradient in the step with the largest norm since the last call."""
        highest, self._highest = self._highest, None
        found = self._ranked(highest[1], 1) if highest else []
        return found[0] if found else None

    def worst(self, num: int = 3) -> list[tuple[str, float]]:
        """Parameters with the largest gradient norms of the last measurement, non-finite ones first."""
        return self._ranked(self._host_norms, num)

    def _ranked(self, norms: list[float], num: int) -> list[tuple[str, float]]:
        names = self._names
        if len(names) != len(norms):  # other parameters had a gradient then
            return []
        pairs = zip(names, norms, strict=True)
        return sorted(pairs, key=lambda pair: pair[1] if math.isfinite(pair[1]) else math.inf, reverse=True)[:num]

    def _total_norm(self) -> torch.Tensor:
        there = [(name, grad) for name, parameter in self._named if (grad := parameter.grad) is not None]
        self._names, grads = [name for name, _ in there], [grad for _, grad in there]
        if len({(grad.device, grad.dtype) for grad in grads}) == 1:
            self._norms = torch.stack(torch._foreach_norm(grads))  # noqa: SLF001 - get_total_norm drops this vector
            total: torch.Tensor = torch.linalg.vector_norm(self._norms)
            return total
        self._norms = None
        return torch.nn.utils.get_total_norm(grads)


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


def restore_gradients(model: nn.Module, gradients: Mapping[str, torch.Tensor]) -> None:
    """The gradients of an accumulation window that was cut through are there again."""
    for name, parameter in model.named_parameters():
        if name in gradients:
            parameter.grad = gradients[name].to(parameter.device, parameter.dtype).clone()
