"""How far batch-norm statistics may jump in one batch: a bound against each layer's own history, kept on the device."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import torch

from trainmaster.trainer.checkpoints.domains import LARGEST_MEAN, LARGEST_VARIANCE

JUMP: Final = 1e4
"""Times a layer's largest variance (and the square of that for a mean) beyond which one batch can't honestly carry it.

At a momentum of 0.1 or 0.03 (torch, Ultralytics), it has to vary a hundred thousand times as much as all before it.
An EMA that moves by a ten-thousandth a step doubles at the bound, which it forgets; at 1e18 it never would."""
LEAST_VARIANCE: Final = 1e-3
"""What a layer that hardly varies is taken for: ``eps`` of Ultralytics' batch-norm, which such a variance drowns in."""
KNOWN_AFTER: Final = 50
"""Batches after which a layer has a history: at a momentum of 0.03, four fifths of its statistics are its own. Before,
the bound is what no training reaches at all."""
RENEWED_EVERY: Final = 4
"""Accepted batches from one look at the history to the next: so often that even images which are no longer divided by
255 pass, at Ultralytics' momentum."""


class JumpBounds:
    """Bounds for statistics that lie flat in one tensor, a mean and a variance a layer.

    ``places`` are (start, number of channels) of each layer's mean and variance in turn, within ``size`` values.
    """

    def __init__(
        self, places: Sequence[tuple[int, int]], size: int, device: torch.device, dtype: torch.dtype, *, batches: int
    ) -> None:
        ends = [*(start for start, _ in places[1:]), size][: len(places)]
        gaps = [end - start - count for (start, count), end in zip(places, ends, strict=True)]
        lengths = [length for (_, count), gap in zip(places, gaps, strict=True) for length in (count, gap)]
        self._repeats = torch.tensor(lengths or [0, size], device=device)
        self._size = size
        largest = [LARGEST_VARIANCE if number % 2 else LARGEST_MEAN for number in range(len(places))]
        self._largest = torch.tensor(largest or [1.0], device=device, dtype=dtype)
        self._batches = batches
        self._bound(self._largest)

    @torch.no_grad()
    def excess(self, statistics: torch.Tensor) -> torch.Tensor:
        """0 on the device while all lie within their bounds, infinite when one does not, NaN when one is not finite.

        No read.
        """
        # A tenth of the time of a norm of infinite order on a CPU; NaN comes through both.
        largest = (statistics * self._inverse).abs_().amax()
        found: torch.Tensor = torch.where(largest > 1, math.inf, 0.0) + (largest - largest)
        return found

    @torch.no_grad()
    def accepted(self, statistics: torch.Tensor) -> None:
        """One more batch gave ``statistics`` that were accepted."""
        self._batches += 1
        if (self._batches - KNOWN_AFTER) % RENEWED_EVERY == 0:
            self.renew(statistics)

    @torch.no_grad()
    def renew(self, statistics: torch.Tensor) -> None:
        """``statistics`` are the history that bounds are reckoned from, if there was time for one."""
        if self._batches < KNOWN_AFTER or len(self._largest) < 2:
            return
        # ``unsafe`` leaves out checks of the lengths, which would read the device.
        sizes = torch.segment_reduce(statistics.abs(), "max", lengths=self._repeats, unsafe=True)[::2]
        history = torch.maximum(sizes[::2].square(), sizes[1::2]).clamp_(min=LEAST_VARIANCE) * JUMP
        self._bound(torch.minimum(torch.stack((history.sqrt(), history), dim=1).flatten(), self._largest))

    def _bound(self, bounds: torch.Tensor) -> None:
        """``bounds`` of each mean and variance hold for each of its values; what lies between has none."""
        each = torch.stack((bounds.reciprocal(), torch.zeros_like(bounds)), dim=1).flatten()
        self._inverse = torch.repeat_interleave(each, self._repeats, output_size=self._size)
