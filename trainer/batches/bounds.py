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
        self._num_layers = len(places) // 2
        layers = torch.full((size,), self._num_layers, dtype=torch.long)  # what lies between is a layer of its own
        variances = torch.zeros(size, dtype=torch.bool)
        inside = torch.zeros(size, dtype=torch.bool)
        for number, (start, count) in enumerate(places):
            layers[start : start + count] = number // 2
            variances[start : start + count] = bool(number % 2)
            inside[start : start + count] = True
        self._layers, self._variances = layers.to(device), variances.to(device)
        largest = torch.where(variances, LARGEST_VARIANCE, LARGEST_MEAN).to(device, dtype)
        self._inside = inside.to(device, dtype)
        self._widest = self._inside / largest
        self._inverse = self._widest
        self._batches = batches

    @torch.no_grad()
    def excess(self, statistics: torch.Tensor) -> torch.Tensor:
        """0 on the device while all lie within their bounds, infinite when one does not; no read."""
        largest = torch.linalg.vector_norm(statistics * self._inverse, ord=math.inf)
        return torch.where(largest > 1, math.inf, 0.0)

    @torch.no_grad()
    def accepted(self, statistics: torch.Tensor) -> None:
        """One more batch gave ``statistics`` that were accepted."""
        self._batches += 1
        if (self._batches - KNOWN_AFTER) % RENEWED_EVERY == 0:
            self.renew(statistics)

    @torch.no_grad()
    def renew(self, statistics: torch.Tensor) -> None:
        """``statistics`` are the history that bounds are reckoned from, if there was time for one."""
        if self._batches < KNOWN_AFTER:
            return
        sizes = torch.where(self._variances, statistics, statistics.square())
        history = torch.full((self._num_layers + 1,), LEAST_VARIANCE, device=sizes.device, dtype=sizes.dtype)
        history.scatter_reduce_(0, self._layers, sizes, reduce="amax")
        bounds = JUMP * history[self._layers]
        bounds = torch.where(self._variances, bounds, bounds.sqrt())
        self._inverse = torch.maximum(self._inside / bounds, self._widest)
