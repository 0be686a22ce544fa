"""Weights that no step has made: one that leapt beyond anything that trains, seen beside what is read anyway."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import nn

from trainmaster.trainer.batches.averaging import Averaging
from trainmaster.trainer.batches.healing import FAR_BEYOND
from trainmaster.trainer.batches.momenta import GATHERED_BETWEEN, LEAP, LOOKED_AT_EVERY
from trainmaster.trainer.checkpoints.domains import LARGEST_VECTOR, domain_of
from trainmaster.trainer.checkpoints.naming import few

AVERAGE_LOOKED_AT_EVERY: Final = 64
"""Steps: nothing trains from the EMA, and what is put there decays by a hundredth meanwhile."""
REACH: Final = 200.0
"""Times the learning rate and the norm of clipped gradients (1 at least) that no weight moves between two looks: eight
steps of a momentum of 0.96. What a mad rate may reach by itself is no leap."""
MOST_MOMENTUM: Final = 0.999
"""The highest momentum that is reckoned with: each gathers ``1 / (1 - momentum)`` gradients, and moves a weight by as
many times what it gathers between two looks."""
CARRIED: Final = 0.98
"""Of the norm of a step's gradients, what still moves weights a step later."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Alike:
    """Tensors of one device and type, with what each is held against."""

    names: tuple[str, ...]
    tensors: tuple[torch.Tensor, ...]
    domains: tuple[float, ...]
    limits: torch.Tensor
    """``domains`` on the device."""


class _Sizes:
    """The norms of some tensors, each held against its own at the look before."""

    def __init__(self, named: Iterable[tuple[str, torch.Tensor]]) -> None:
        alike: dict[tuple[torch.device, torch.dtype], list[tuple[str, torch.Tensor]]] = {}
        for name, tensor in named:
            if tensor.is_floating_point() and tensor.numel():
                alike.setdefault((tensor.device, tensor.dtype), []).append((name, tensor))
        self._groups = [_alike(group, device) for (device, _), group in alike.items()]
        self._before = [_norms(group.tensors) for group in self._groups]
        self._leapt: list[torch.Tensor] = []
        self._reach = 0.0
        self._reach_since = 0.0

    def reach(self, size: float) -> None:
        """A step is about to be taken that may carry them as far as ``size``."""
        self._reach_since = max(self._reach_since, size)

    def sign(self) -> Iterator[torch.Tensor]:
        """A number a device: 0 while nothing leapt. No read; one that is not finite is told elsewhere."""
        before, self._before, self._leapt = self._before, [], []
        reach = self._reach = self._reach_since
        self._reach_since = 0.0
        for group, norms in zip(self._groups, before, strict=True):
            now = _norms(group.tensors).to(norms.device)
            limits = group.limits.clamp(min=reach) if reach > min(group.domains) else group.limits
            leapt = now > torch.maximum(norms * LEAP, limits)
            self._before.append(now)
            self._leapt.append(leapt)
            yield leapt.any().float()

    def leapt(self) -> Iterator[tuple[str, torch.Tensor, float]]:
        """Names, tensors and largest magnitudes of what leapt at the last look, if there was one since they were
        :meth:`settled`. Reads the device."""
        for group, leapt in zip(self._groups, self._leapt, strict=False):
            for place, bad in enumerate(leapt.tolist()):
                if not bad:
                    continue
                largest = float(group.tensors[place].abs().amax())
                if max(group.domains[place], self._reach) < largest < torch.inf:
                    yield group.names[place], group.tensors[place], largest

    def settled(self) -> None:
        """What leapt at the last look is dealt with."""
        self._leapt = []

    def put_right(self) -> None:
        """They were written to, and are as they should be now."""
        self._leapt, self._before = [], [_norms(group.tensors) for group in self._groups]


class WeightWatch:
    """The weights that train, and their EMA.

    A step from clipped gradients moves a weight by little more than the rate. One that a fault of the hardware or
    somebody's code has written stays where a loss may not show it: batch-norm behind it divides it away.
    """

    def __init__(self, model: nn.Module, ema: Any, optimizer: torch.optim.Optimizer) -> None:
        """``ema``: a ``ModelEMA``, whose ``ema`` is the module, or None."""
        self._optimizer = optimizer
        self._model = dict(model.named_parameters())
        self._weights = _Sizes(self._model.items())
        self._average = _Sizes(ema.ema.named_parameters() if ema else ())
        self._averaging = Averaging(model, ema)
        self._num_steps = 0
        self._fed = 1.0
        self.ruin: str | None = None
        """What leapt, in words: no weight of this training is worth saving."""

    def feed(self, norm: float) -> None:
        """The next step is of clipped gradients of this norm, at the rates of now."""
        self._fed = max(1.0, self._fed * CARRIED, norm)
        reach = max((_reach(group, self._fed) for group in self._optimizer.param_groups), default=0.0)
        self._weights.reach(reach)
        self._average.reach(reach * (AVERAGE_LOOKED_AT_EVERY // LOOKED_AT_EVERY))

    @torch.no_grad()
    def signs(self) -> list[torch.Tensor]:
        """Numbers on their devices that are 0 unless :meth:`judge` ought to be asked; none where no look is due."""
        self._num_steps += 1
        self._weights.settled()
        found = list(self._weights.sign()) if self._num_steps % LOOKED_AT_EVERY == 0 else []
        if self._num_steps % AVERAGE_LOOKED_AT_EVERY == LOOKED_AT_EVERY // 2:
            found += [*self._average.sign(), *self._averaging.sign()]
        return found

    @torch.no_grad()
    def look(self) -> str | None:
        """What leapt since the last look, be one due or not. Reads the devices."""
        signs = [*self._weights.sign(), *self._average.sign(), *self._averaging.sign()]
        return self.judge() if any(sign.tolist() for sign in signs) else self.ruin

    @torch.no_grad()
    def judge(self) -> str | None:
        """The ruin that the last look found, in words. Reads the devices."""
        self.ruin = _told("weights", self._weights.leapt()) or self.ruin
        return self.ruin

    @torch.no_grad()
    def beyond(self) -> str | None:
        """What is larger than anything that trains, however it came there, in words. Reads the devices."""
        sizes = {name: float(one.abs().amax()) for name, one in self._model.items() if one.numel()}
        found = [name for name, size in sizes.items() if size > _limit(name, self._model[name])]
        return f"weights are larger than anything that trains: {few(found)}" if found else None

    @torch.no_grad()
    def average(self) -> str | None:
        """What leapt in the EMA at the last look, or is no average any more, in words. Reads the devices."""
        strayed = [name for name, *_ in self._averaging.strayed()]
        told = f"the EMA is no average of what it follows any more: {few(strayed)}" if strayed else None
        return _told("the EMA", self._average.leapt()) or told

    def written_to(self) -> str | None:
        """What of the EMA somebody has written to before the last look, in words. Reads the devices."""
        if not (names := self._averaging.written_to()):
            return None
        return f"the EMA was written to, as its updates can't have changed it so far: {few(names)}"

    @torch.no_grad()
    def heal_average(self) -> int:
        """Each tensor of the EMA that leapt or strayed at the last look is the live one now; how many. Reads the
        devices."""
        found: dict[str, tuple[torch.Tensor, torch.Tensor | None]] = {
            name: (tensor, followed) for name, tensor, followed in self._averaging.strayed()
        }
        found |= {name: (tensor, self._model.get(name)) for name, tensor, _ in self._average.leapt()}
        num_healed = 0
        for name, (tensor, live) in found.items():
            if live is not None and float(live.detach().abs().amax()) <= _limit(name, live):
                tensor.copy_(live)
                num_healed += 1
        if num_healed:
            self._average.put_right()
        self._average.settled()
        self._averaging.settled()
        return num_healed

    def average_was_healed(self) -> None:
        """The guard itself has written to the EMA, which is as it should be now."""
        self._average.put_right()
        self._averaging.settled()


def _told(what: str, leapt: Iterable[tuple[str, torch.Tensor, float]]) -> str | None:
    sizes = {name: largest for name, _, largest in leapt}
    if not sizes:
        return None
    return f"{what} leapt to {max(sizes.values()):.3g}, which no step does and no batch can mend: {few(list(sizes))}"


def _reach(group: Mapping[str, Any], fed: float) -> float:
    """How far steps at the settings of ``group``, of gradients of the norm ``fed``, carry a weight between two looks.

    RMSprop's are of gradients divided by their size, and up to ten times the rate where one comes after many zeros.
    """
    rate, momentum, alpha = group["lr"], group.get("momentum", 0.0), group.get("alpha")
    if not isinstance(rate, float | int):
        rate = 1.0
    momentum = min(max(momentum, 0.0), MOST_MOMENTUM) if isinstance(momentum, float | int) else MOST_MOMENTUM
    if isinstance(alpha, float) and 0 <= alpha < 1:
        fed = max(fed, (1 - alpha) ** -0.5)
    return float(rate * fed * max(REACH, GATHERED_BETWEEN / (1 - momentum)))


def _alike(group: list[tuple[str, torch.Tensor]], device: torch.device) -> _Alike:
    domains = tuple(_limit(name, tensor) for name, tensor in group)
    return _Alike(
        names=tuple(name for name, _ in group),
        tensors=tuple(tensor for _, tensor in group),
        domains=domains,
        limits=torch.tensor(domains, device=device),
    )


def _limit(name: str, tensor: torch.Tensor) -> float:
    """The magnitude up to which a weight is one that trains; of a parameter of somebody's own, far beyond that."""
    largest = domain_of("model", name, tensor.ndim).largest
    return min(largest, FAR_BEYOND * LARGEST_VECTOR)


@torch.no_grad()
def _norms(tensors: tuple[torch.Tensor, ...]) -> torch.Tensor:
    return torch.stack(torch._foreach_norm(tensors)).float()  # noqa: SLF001 - as get_total_norm does
