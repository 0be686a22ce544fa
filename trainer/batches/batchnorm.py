"""Batch-norm statistics of the live model in one flat tensor: checking and keeping them costs a kernel each."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import torch
from torch import nn

from trainmaster.trainer.batches.bounds import JumpBounds
from trainmaster.trainer.batches.own_buffers import OwnBuffers
from trainmaster.trainer.checkpoints.domains import domain_of

_STATISTICS = ("running_mean", "running_var")
_COUNT = "num_batches_tracked"

_ALIGNMENT = 64
"""Values a buffer's start is aligned to (256 bytes), as a tensor of its own would be."""


class BatchNormStatistics:
    """Running statistics of every normalization layer of ``model``, known by their names, checked and put back as one.

    A forward pass writes them before anybody can know that its batch was bad, so skipping the step is not enough.
    Two copies are kept: ``verified``, after the last accepted batch, and ``window``, at the start of the accumulation
    window. The layers' own buffers become views of one tensor; their values and identities stay. Buffers of other
    modules go the same way, each by itself.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._attach()
        self._copy_anew()

    @torch.no_grad()
    def _attach(self) -> None:
        places: list[tuple[nn.Module, str, int]] = []
        counters: list[tuple[nn.Module, str]] = []
        end = 0
        kinds = {module: kind for module in self._model.modules() if (kind := _kind_of_statistics(module)) is not None}
        most = Counter(kinds.values()).most_common(1)
        for module in [module for module, kind in kinds.items() if kind == most[0][0]]:
            for name in _STATISTICS:
                places.append((module, name, end))
                end += -(-getattr(module, name).numel() // _ALIGNMENT) * _ALIGNMENT
            count = module._buffers.get(_COUNT)  # noqa: SLF001 - as below
            if count is not None and count.dtype is torch.long and not count.ndim:
                counters.append((module, _COUNT))
        first = getattr(*places[0][:2]) if places else torch.zeros(1)
        floats = torch.zeros(max(end, 1), dtype=first.dtype, device=first.device)
        self._num_attached = len(places)
        longs = torch.zeros(max(len(counters), 1), dtype=torch.long, device=first.device)
        self._views: list[tuple[dict[str, torch.Tensor | None], str, torch.Tensor, int]] = []
        for module, name, start in places:
            buffer = getattr(module, name)
            self._adopt(module, name, floats[start : start + buffer.numel()].view_as(buffer))
        for index, (module, name) in enumerate(counters):
            self._adopt(module, name, longs[index])
        self._live = (floats, longs)
        sizes = [(start, getattr(module, name).numel()) for module, name, start in places]
        batches = int(longs.max())  # a run that goes on, or weights that were trained, have a history
        self._bounds = JumpBounds(sizes, floats.numel(), floats.device, floats.dtype, batches=batches)
        self._bounds.renew(floats)
        self._others = OwnBuffers(self._model, [buffers[name] for buffers, name, *_ in self._views])

    def _adopt(self, module: nn.Module, name: str, view: torch.Tensor) -> None:
        buffers = module._buffers  # noqa: SLF001 - what nn.Module's own attribute access reads, without its detours
        buffer = buffers[name]
        assert buffer is not None
        view.copy_(buffer)
        _point(buffers, name, view)
        self._views.append((buffers, name, view, view.data_ptr()))

    @torch.no_grad()
    def reattach(self) -> None:
        """The views hold again after something replaced buffers (``model.to(...)``, a user's callback).

        Cheap enough for every batch: a replaced buffer is one that nobody watches. The tensors behind the views stay,
        because the EMA keeps references to them (``ModelEMA.update``).
        """
        for buffers, name, view, pointer in self._views:
            buffer = buffers.get(name)
            if buffer is not None and buffer.data_ptr() == pointer:
                continue
            if buffer is None or (buffer.shape, buffer.dtype, buffer.device) != (view.shape, view.dtype, view.device):
                self._attach()
                self._copy_anew()
                return
            view.copy_(buffer)
            _point(buffers, name, view)

    def _copy_anew(self) -> None:
        self._verified = [flat.clone() for flat in self._live]
        self._window = [flat.clone() for flat in self._live]

    @torch.no_grad()
    def flag(self) -> torch.Tensor:
        """0 on the device when every statistic is finite and near its layer's history; no read.

        Else NaN for one that is not finite, and infinite for one that jumped.
        """
        flag = self._bounds.excess(self._live[0])
        for sign in self._others.signs():
            flag = flag + sign.to(flag.device)
        return flag

    @torch.no_grad()
    def heal(self) -> int:
        """The layers hold what was last verified if any statistic is not finite or jumped; how many tensors were bad.

        What no statistic can be even then starts over as torch's layers do: a model may have begun with it, and a
        training never looks at a negative variance, of which an evaluation takes the root. 0 costs one read.
        """
        self.reattach()
        named = [(name, buffers[name]) for buffers, name, *_ in self._views]
        lowest_each = [lowest_of(name, named) for name in ("running_var", _COUNT)]
        flag, *lowest_there = torch.stack([self.flag(), *(one for one in lowest_each if one is not None)]).tolist()
        lowest = min(lowest_there, default=0)
        num_bad = 0
        if not math.isfinite(flag):
            num_bad = sum(tensor is not None and not bool(torch.isfinite(tensor).all()) for _, tensor in named)
            num_bad = num_bad + self._others.num_bad() or 1
            self.restore()
        if not math.isfinite(flag) or lowest < 0:
            bad = [one for one in map(_impossible, named) if one is not None]
            for tensor, where, start in bad:
                tensor.masked_fill_(where, start)
            if bad:
                self.accept()
            num_bad = max(num_bad, len(bad))
        return num_bad

    @torch.no_grad()
    def take_over(self) -> torch.Tensor:
        """:meth:`flag`, between two batches: while it is 0, what the layers hold now was verified. No read.

        A callback that reckons statistics anew or loads weights writes them there, as does a layer whose forward pass
        runs again within the backward pass, and a bad batch after it must not take that back.
        """
        self.reattach()
        flag = self.flag()
        sound = flag == 0
        for live, verified in zip(self._live, self._verified, strict=True):
            torch.where(sound, live, verified, out=verified)
        self._others.take_over(sound)
        return flag

    def accept(self) -> None:
        """What the layers hold now was verified."""
        self._copy(self._live, self._verified)
        self._bounds.accepted(self._verified[0])
        self._others.accept()

    def restore(self) -> None:
        """The layers hold what was last verified."""
        self._copy(self._verified, self._live)
        self._others.restore()

    def start_window(self) -> None:
        """An accumulation window begins at what was last verified."""
        self._copy(self._verified, self._window)
        self._others.start_window()

    def rewind(self) -> None:
        """The layers, and what counts as verified, are as they were when the window began."""
        self._copy(self._window, self._live)
        self._copy(self._window, self._verified)
        self._others.rewind()

    @staticmethod
    @torch.no_grad()
    def _copy(
        source: tuple[torch.Tensor, ...] | list[torch.Tensor], target: tuple[torch.Tensor, ...] | list[torch.Tensor]
    ) -> None:
        for left, right in zip(source, target, strict=True):
            right.copy_(left)


def _kind_of_statistics(module: nn.Module) -> tuple[torch.dtype, torch.device] | None:
    """Of what type and where the running statistics of ``module`` are; None where none can lie in one tensor with
    others."""
    held = [module._buffers.get(name) for name in _STATISTICS]  # noqa: SLF001 - as above
    there = [one for one in held if one is not None and one.is_floating_point() and one.layout is torch.strided]
    kinds = {(one.dtype, one.device) for one in there if one.numel()}
    return kinds.pop() if len(there) == len(held) and len(kinds) == 1 else None


def _impossible(named: tuple[str, torch.Tensor | None]) -> tuple[torch.Tensor, torch.Tensor, float] | None:
    """The tensor, where in it none can be what is there, and what a layer begins with; None for a sound one. Reads the
    device."""
    name, tensor = named
    if tensor is None:
        return None
    domain = domain_of("model", name, tensor.ndim)
    where = ~(tensor.abs() <= domain.largest)  # NaN is nowhere
    where = where | (tensor < 0) if domain.nonnegative else where
    return (tensor, where, domain.starts_at or 0.0) if bool(where.any()) else None


def lowest_of(name: str, named: Sequence[tuple[str, torch.Tensor | None]]) -> torch.Tensor | None:
    """The smallest value of all that have this name, on the device; None where none has."""
    lowest = [tensor.amin() for one, tensor in named if one == name and tensor is not None]
    return torch.stack(lowest).amin().float() if lowest else None


def _point(buffers: dict[str, torch.Tensor | None], name: str, view: torch.Tensor) -> None:
    buffer = buffers[name]
    if buffer is None or buffer.is_inference():  # made by a callback of the validation: takes part in no training
        buffers[name] = view
    else:
        buffer.data = view  # keeps the tensor object, to which DDP may hold on
