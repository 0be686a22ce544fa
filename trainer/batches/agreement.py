"""Ranks act alike: what one of them finds out is known to all before any of them acts on it.

Each waits for the others at every batch. One that leaves out a step, runs a window again or ends alone has them wait
for hours, and one that steps otherwise has other weights from there on, which nobody would see.
"""

from __future__ import annotations

import math
import weakref
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import distributed, nn
from torch.nn.parallel.distributed import DistributedDataParallel, _DDPSink

from trainmaster.trainer.checkpoints.naming import few

_RATES: Final = ("lr", "momentum", "weight_decay")
UNLIKE: Final = 1e-3
"""Share of its norm by which a weight may differ between ranks: far more than what unlike cards round differently."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubts:
    """What a rank has to say against a step."""

    ruin: str | None = None
    """Why its weights are worth nothing any more."""
    hopeless: str | None = None
    """Why no step can be taken, though what was trained until now is good."""
    momenta: bool = False
    """Whether the state of its optimizer is none that steps make."""
    gradient: bool = False
    """Whether its gradient is not finite."""
    replaced: str | None = None
    """What somebody has put in place of what trained until now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreed:
    """The doubts of all ranks, as one."""

    ruin: str | None
    hopeless: str | None
    gradient: bool
    momenta: bool
    whole: int | None
    """The first rank whose optimizer is as it should be."""

    @classmethod
    def of(cls, doubts: Sequence[Doubts]) -> Agreed:
        """What all say, in the order of their ranks."""
        said = {one.replaced for one in doubts}
        parted = first_said([one.replaced for one in doubts]) if len(said) > 1 else None
        hopeless = first_said([one.hopeless for one in doubts])
        whole = [rank for rank, one in enumerate(doubts) if not one.momenta]
        return cls(
            ruin=first_said([one.ruin for one in doubts]),
            hopeless=hopeless or (parted and f"{parted} was replaced, and the weights of the ranks would part ways"),
            gradient=any(one.gradient for one in doubts),
            momenta=any(one.momenta for one in doubts),
            whole=whole[0] if whole else None,
        )


def first_said(said: Sequence[str | None]) -> str | None:
    """What the first rank that has anything to say says, and which one that is; nothing of it when all say the same."""
    found = next(((rank, one) for rank, one in enumerate(said) if one), None)
    if found is None:
        return None
    rank, one = found
    return one if all(other == one for other in said) else f"in rank {rank}, {one}"


def number_of_settings(optimizer: torch.optim.Optimizer) -> int:
    """A number of the rates that a step of ``optimizer`` is taken with, below 2**24, which single precision holds; of
    rates in tensors nothing is read."""
    values = [
        value for group in optimizer.param_groups for name in _RATES if isinstance(value := group.get(name), float)
    ]
    return zlib.crc32(repr(values).encode()) >> 8


@torch.no_grad()
def parted(model: nn.Module) -> str | None:
    """Which weights of ``model`` are other ones in another rank, in words. Reads the device; all ranks have to ask at
    the same moment."""
    named = {name: one for name, one in model.named_parameters() if one.is_floating_point()}
    norms = torch.stack([torch.linalg.vector_norm(one.float()) for one in named.values()]).tolist()
    first, *others = of_all(dict(zip(named, norms, strict=True)))
    for rank, other in enumerate(others, 1):
        pairs = {name: (first.get(name, -1.0), other.get(name, -1.0)) for name in {**first, **other}}
        unlike = [name for name, pair in pairs.items() if not math.isclose(*pair, rel_tol=UNLIKE, abs_tol=1e-6)]
        if unlike:
            return f"rank {rank} trains other weights than the first, whose are saved: {few(unlike)}"
    return None


def of_all(own: Any) -> list[Any]:
    """What every rank has, in their order; all of them have to ask at the same moment."""
    found: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(found, own)
    return found


def joined(model: Any, zero: torch.Tensor) -> torch.Tensor:
    """``zero``, whose backward pass counts as one of ``model`` if its graph is static (``compile=True``): where the
    first does not, DDP sums no gradient any more, and tells nobody."""
    if isinstance(model, DistributedDataParallel) and model.static_graph:
        (zero,) = _DDPSink.apply(weakref.ref(model), zero)
    return zero


def any_rank(sign: torch.Tensor) -> torch.Tensor:
    """The largest ``sign`` of all ranks, on its device; nothing is read."""
    distributed.all_reduce(sign, op=distributed.ReduceOp.MAX)
    return sign


@torch.no_grad()
def take_over(optimizer: torch.optim.Optimizer, source: int) -> int:
    """The state of ``optimizer`` is that of the rank ``source``, as it was in all of them; how many tensors were other
    ones where most were. For rare occasions: all of it goes over the host."""
    own: dict[Any, dict[str, Any]] = optimizer.state_dict()["state"]
    held = [_on_host(own) if distributed.get_rank() == source else None]
    distributed.broadcast_object_list(held, src=source)
    num_other = 0
    for place, state in (held[0] or {}).items():
        mine = own.get(place, {})
        for name, value in state.items():
            there = mine.get(name)
            if isinstance(value, torch.Tensor) and isinstance(there, torch.Tensor):
                moved = value.to(there.device)
                if not torch.equal(moved, there):
                    there.copy_(moved)
                    num_other += 1
            else:
                mine[name] = value
    return int(max(of_all(num_other)))


def _on_host(states: dict[Any, dict[str, Any]]) -> dict[Any, dict[str, Any]]:
    return {
        place: {name: value.cpu() if isinstance(value, torch.Tensor) else value for name, value in state.items()}
        for place, state in states.items()
    }
