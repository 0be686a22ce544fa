"""Buffers that are no batch-norm's: what modules of somebody's own keep from batch to batch."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import torch
from torch import nn

from trainmaster.trainer.checkpoints.domains import FRACTIONS

_Place = tuple[dict[str, torch.Tensor | None], str]

_VERIFIED: Final = "verified"
_WINDOW: Final = "window"


class OwnBuffers:
    """Every buffer of ``model`` but those in ``covered``, checked and put back as batch-norm statistics are.

    A running scale or a codebook is written by the forward pass of a bad batch, too, and would spoil every batch after
    it. A model of Ultralytics has none, or three tiny ones, so each is copied by itself.
    """

    def __init__(self, model: nn.Module, covered: Collection[torch.Tensor | None]) -> None:
        seen = {id(tensor) for tensor in covered}
        self._places: list[_Place] = []
        for module in model.modules():
            buffers = module._buffers  # noqa: SLF001 - what nn.Module's own attribute access reads
            for name, buffer in buffers.items():
                if buffer is not None and id(buffer) not in seen and is_plain(buffer):
                    seen.add(id(buffer))
                    self._places.append((buffers, name))
        # A mask may hold infinities by design.
        self._watched = [place for place in self._places if _is_finite(place)]
        self._kept: dict[str, list[torch.Tensor | None]] = {
            kind: [None] * len(self._places) for kind in (_VERIFIED, _WINDOW)
        }
        self.accept()
        self.start_window()

    @torch.no_grad()
    def signs(self) -> list[torch.Tensor]:
        """Of each that was finite at first, a number on its device: 0 if it is finite, else NaN; no read."""
        there = [buffers.get(name) for buffers, name in self._watched]
        return [(buffer * 0).sum().float() for buffer in there if buffer is not None and buffer.is_floating_point()]

    def num_bad(self) -> int:
        """How many are not finite any more; a read of each."""
        return sum(not _is_finite(place) for place in self._watched)

    def accept(self) -> None:
        """What they hold now was verified."""
        self._keep(_VERIFIED)

    @torch.no_grad()
    def take_over(self, sound: torch.Tensor) -> None:
        """What they hold now was verified if it is ``sound``, on that device; no read."""
        for (buffers, name), copy in zip(self._places, self._kept[_VERIFIED], strict=True):
            buffer = buffers.get(name)
            if buffer is None or copy is None or buffer.device != sound.device or not _is_alike(copy, buffer):
                continue
            copy.copy_(torch.where(sound, buffer, copy))

    def start_window(self) -> None:
        """An accumulation window begins at what they hold now."""
        self._keep(_WINDOW)

    def restore(self) -> None:
        """They hold what was last verified."""
        self._put_back(_VERIFIED)

    def rewind(self) -> None:
        """They hold, as verified, what they held when the window began."""
        self._put_back(_WINDOW)
        self.accept()

    @torch.no_grad()
    def _keep(self, kind: str) -> None:
        kept = self._kept[kind]
        for index, (buffers, name) in enumerate(self._places):
            buffer, copy = buffers.get(name), kept[index]
            if buffer is not None and copy is not None and _is_alike(copy, buffer):
                copy.copy_(buffer)
            else:
                kept[index] = None if buffer is None else buffer.detach().clone()

    @torch.no_grad()
    def _put_back(self, kind: str) -> None:
        for (buffers, name), copy in zip(self._places, self._kept[kind], strict=True):
            buffer = buffers.get(name)
            if buffer is not None and copy is not None and is_plain(buffer) and _is_alike(copy, buffer):
                buffer.copy_(copy)  # the same object: the EMA may hold on to it
            elif name in buffers:
                buffers[name] = None if copy is None else copy.clone()


def names_of_own_buffers(model: nn.Module) -> frozenset[str]:
    """Of ``model``, as in its state dict, those that may be masks: of names that no weight or statistic has."""
    return frozenset(name for name, _ in model.named_buffers() if name.rpartition(".")[2] not in FRACTIONS)


def is_plain(buffer: torch.Tensor) -> bool:
    """Whether it can be written to in place."""
    if buffer.layout is not torch.strided or buffer.is_meta or buffer.is_inference():
        return False
    return all(stride or size == 1 for stride, size in zip(buffer.stride(), buffer.shape, strict=True))


def _is_alike(copy: torch.Tensor, buffer: torch.Tensor) -> bool:
    return (copy.shape, copy.dtype, copy.device) == (buffer.shape, buffer.dtype, buffer.device)


def _is_finite(place: _Place) -> bool:
    buffers, name = place
    buffer = buffers.get(name)
    return buffer is not None and bool(torch.isfinite(buffer).all())
