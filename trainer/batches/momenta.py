"""What an optimizer keeps of earlier steps: whether it is still finite, without reading all of it at every step."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any, Final

import torch

from trainmaster.trainer.batches.optimizer_states import is_judged, states_of
from trainmaster.trainer.checkpoints.domains import LARGEST_MOMENTUM, LARGEST_WEIGHT, MOST_BATCHES, domain_of

LOOKED_AT_EVERY: Final = 8
"""Steps from one look at every number to the next, where nothing was touched in between."""
LARGEST_FED: Final = 1e6
"""Norm of the clipped gradients up to which a step leaves finite what was finite: its square is 1e12, and momentum
gathers at most some hundred of them."""
GATHERED: Final = 1e4
"""Of the largest norm of gradients, what no momentum gets beyond: at 0.999 it gathers a thousand of them, and a
``dampening`` of -9 makes ten of each."""

LEAP: Final = 10.0
"""Times the norm of a momentum, or of a weight, at the look before, beyond which it may have leapt."""
GATHERED_BETWEEN: Final = 2.0 * LOOKED_AT_EVERY
"""Times the largest norm of gradients (1 at least, with what weight decay and ``dampening`` make of them) that a
momentum may have gained between two looks, and is no leap: twice what so many steps can add."""

_KNOWN: Final = ("torch.optim.", "ultralytics.")
"""Whose momenta are sums of gradients; somebody else's may be of anything."""

VERSION: Final = operator.attrgetter("_version")
"""Torch's own count of writes, which has no public name; at every step, so by the quickest way."""

_Key = tuple[torch.device, torch.dtype]


class Momenta:
    """The state of ``optimizer``: momenta, averages of squares, counts of steps.

    A step from finite gradients of a bounded norm keeps it finite, so every number is looked at when somebody else may
    have written to it, and at every eighth step besides. Torch counts what is written to a tensor (``_version``), and a
    step writes as often as the one before; a write past that count (``.data``) mostly shows in the first number of each
    tensor, which is looked at always. Reading all of it cost 4 ms of a step of 330 ms (yolo11n on one core).
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self._optimizer = optimizer
        self._values: list[Any] = []
        """All that it keeps, of which :attr:`_known` are tensors."""
        self._known: list[torch.Tensor] = []
        self._places: list[int] = []
        self._versions: list[int] = []
        self._writes: list[int] = []
        self._momenta: list[torch.Tensor] = []
        self._averages: list[torch.Tensor] = []
        self._nonnegative: list[torch.Tensor] = []
        self._are_momenta = self._are_squares = torch.zeros(0, dtype=torch.bool)
        """Of the momenta and then the averages, on their device."""
        self._counts: dict[torch.device, list[torch.Tensor]] = {}
        self._firsts: dict[_Key, list[torch.Tensor]] = {}
        """Each of one number: to join those takes half as long as to stack numbers."""
        self._steps_since = 0
        self._fed = math.inf
        self._fed_between = math.inf
        self._before: torch.Tensor | None = None
        self._leapt: torch.Tensor | None = None
        self._is_known = self._sums_gradients = False
        self._steps_before = 0
        self._rewritten: frozenset[int] = frozenset()
        self.largest = LARGEST_MOMENTUM
        """What a momentum of this training can be, and its square what an average of squares can."""

    def feed(self, norm: float) -> None:
        """The next step is of clipped gradients of this norm."""
        self._fed = norm
        self._fed_between = max(self._fed_between, norm)
        if math.isfinite(norm):
            self.largest = max(self.largest, norm * GATHERED)

    def healed(self) -> None:
        """What leapt is dealt with."""
        self._leapt = None

    @torch.no_grad()
    def signs(self, device: torch.device, *, whole: bool = False) -> tuple[list[torch.Tensor], bool]:
        """Numbers on ``device`` that are finite if the state is as steps leave it, and whether what lies elsewhere is.

        Plain Adam counts its steps on the host; nothing else is read. ``whole``: every number is looked at.
        """
        usual = self._is_as_a_step_left_it()
        if usual and not whole and self._steps_since < LOOKED_AT_EVERY - 1:
            self._steps_since += 1
            found = list(map(torch.cat, self._firsts.values()))
        else:
            self._steps_before, self._steps_since = self._steps_since, 0
            counts = map(torch.stack, self._counts.values())
            found = [one.sqrt() / (one <= MOST_BATCHES).float() for one in counts]  # none is below zero
            if self._nonnegative:
                found.append(torch.stack([one.amin() for one in self._nonnegative]).sqrt())
            if self._averages or self._momenta:
                # The 2-norm overflows at values from 1e19, far before they do, and is eight times as fast on a CPU as
                # the largest magnitude; what looks bad is looked at closely before anything is healed.
                norms = torch._foreach_norm([*self._momenta, *self._averages])  # noqa: SLF001 - as get_total_norm does
                sizes = torch.stack(norms)
                exploded = self._grown(sizes)
                found += [sizes, exploded / (~exploded).float()]
        sums = [(numbers * 0).sum().float() for numbers in found]
        elsewhere: list[Any] = [one.tolist() for one in sums if one.device != device]  # each a number
        return [one for one in sums if one.device == device], all(map(math.isfinite, elsewhere))

    def leapt(self) -> list[torch.Tensor]:
        """Momenta that the last whole look found grown beyond what gradients make of them. Reads the device."""
        return self._leapt_of(self._momenta, slice(None, len(self._momenta)))

    def leapt_squares(self) -> list[torch.Tensor]:
        """Averages of squares, as :meth:`leapt`. Steps that used one have moved nothing too far. Reads the device."""
        return self._leapt_of(self._averages, slice(len(self._momenta), None))

    def _leapt_of(self, tensors: list[torch.Tensor], which: slice) -> list[torch.Tensor]:
        if self._leapt is None:
            return []
        return [tensor for tensor, bad in zip(tensors, self._leapt[which].tolist(), strict=True) if bad]

    def may_have_stepped(self, leapt: list[torch.Tensor]) -> bool:
        """Whether steps may have used what ``leapt`` before the last whole look: not where it was looked at since the
        last step, nor where torch has counted the write."""
        return self._steps_before > 0 and any(id(momentum) not in self._rewritten for momentum in leapt)

    def _grown(self, sizes: torch.Tensor) -> torch.Tensor:
        """Which momenta and averages of squares, by their norms, are beyond what training makes of them."""
        grown = sizes > self._limits(self.largest, self.largest * self.largest)
        if self._before is not None and self._is_known and math.isfinite(self._fed_between):
            decay, damping = self._largest_of("weight_decay"), self._largest_of("dampening")
            fed = max(self._fed_between, 1.0) + decay * LARGEST_WEIGHT
            gained = GATHERED_BETWEEN * fed * (1 + damping) if self._sums_gradients else math.inf
            self._leapt = sizes > torch.maximum(self._before * LEAP, self._limits(gained, GATHERED_BETWEEN * fed * fed))
            grown = grown | self._leapt
        self._before, self._fed_between = sizes, 0.0
        return grown

    def _limits(self, of_momenta: float, of_squares: float) -> torch.Tensor:
        """A limit for each momentum and each average, on their device; none for an average of anything else."""
        most = torch.finfo(torch.float32).max  # a mad setting makes more of them, which torch doesn't take
        of_averages = torch.where(self._are_squares, min(of_squares, most), math.inf)
        return torch.where(self._are_momenta, min(of_momenta, most), of_averages)

    def _largest_of(self, setting: str) -> float:
        given = [group.get(setting, 0.0) for group in self._optimizer.param_groups]
        return max((abs(one) for one in given if isinstance(one, float | int)), default=0.0)

    def _is_as_a_step_left_it(self) -> bool:
        values = [value for state in states_of(self._optimizer) for value in state.values()]
        there = self._known if _are(values, self._values) else [value for value in values if _is_plain(value)]
        places = list(map(torch.Tensor.data_ptr, there))
        # Somebody may have put other tensors there since: `load_state_dict` does.
        same = _are(there, self._known) and places == self._places
        self._values = values
        if not same:
            self._known, self._places = there, places
            self._sort()
        versions = _versions(there)
        same = same and len(versions) == len(self._versions)
        writes = list(map(operator.sub, versions, self._versions)) if same else []
        usual = bool(writes) and writes == self._writes and min(writes) > 0
        pairs = () if usual else zip(there, writes, self._writes, strict=False)  # of none, where either is not known
        # Fewer writes than before are those of a step that was left out.
        self._rewritten = frozenset(id(value) for value, now, before in pairs if now > before)
        if writes and min(writes) > 0 and not self._fed_between:  # steps of a subclass that passes the guard by
            self._fed_between = math.inf
        self._versions, self._writes = versions, writes
        return usual and self._fed <= LARGEST_FED

    def _sort(self) -> None:
        self._before = self._leapt = None
        self._is_known = type(self._optimizer).__module__.startswith(_KNOWN)
        # RMSprop's are of gradients divided by their size.
        self._sums_gradients = not any("square_avg" in state for state in states_of(self._optimizer))
        self._momenta, self._averages, self._nonnegative, self._counts, self._firsts = [], [], [], {}, {}
        for state in states_of(self._optimizer):
            for key, value in state.items():
                if not is_judged(value) or not value.numel():
                    continue
                self._firsts.setdefault((value.device, value.dtype), []).append(
                    value.detach()[(0,) * value.ndim].reshape(1)
                )
                domain = domain_of("optimizer", str(key), value.ndim)
                if key == "step":
                    self._counts.setdefault(value.device, []).append(value.reshape(()))
                    continue
                is_average = domain.nonnegative or math.isinf(domain.largest)
                (self._averages if is_average else self._momenta).append(value)
                if domain.nonnegative:
                    self._nonnegative.append(value)
        squares, held = set(map(id, self._nonnegative)), [*self._momenta, *self._averages]
        kinds = [[place < len(self._momenta), id(one) in squares] for place, one in enumerate(held)]
        device = held[0].device if held else None
        self._are_momenta, self._are_squares = torch.tensor(kinds or [[False, False]], device=device).unbind(1)


def _are(values: Sequence[Any], others: Sequence[Any]) -> bool:
    """Whether they are the same objects."""
    return len(values) == len(others) and all(map(operator.is_, values, others))


def _is_plain(value: Any) -> bool:
    """Whether it is a tensor with numbers in one place: a sparse one has none."""
    return isinstance(value, torch.Tensor) and value.layout is torch.strided


def _versions(tensors: list[torch.Tensor]) -> list[int]:
    """How often each was written to; empty when one does not count that, as those of an inference do not."""
    try:
        return list(map(VERSION, tensors))
    except RuntimeError:
        return []
