"""Live layers where one statistic lies beyond all others, or whose weights differ by sign alone: as in their file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import torch

from trainmaster.trainer.checkpoints.naming import few
from trainmaster.trainer.checkpoints.outlying_layers import (
    LARGEST_SQUARED_MEAN,
    LEAST_OUTLIER,
    MIN_SIGNS,
    NUM_SIGNS,
    are_signs,
    has_outlier,
    has_outlying_mean,
)

NUM_TRIED: Final = 8
"""Of a convolution's weights, that are all of one size before more of them are read."""

_SUSPECT: Final = {"running_var": LEAST_OUTLIER, "running_mean": LARGEST_SQUARED_MEAN**0.5}


@torch.no_grad()
def suspects(tensors: Mapping[str, torch.Tensor], names: list[str], largest: torch.Tensor) -> torch.Tensor:
    """Which of ``names``, with their ``largest`` magnitudes, ought to be looked at; on the device of these, no read."""
    bounds = [_SUSPECT.get(name.rpartition(".")[2], torch.inf) for name in names]
    found = largest > torch.tensor(bounds, dtype=torch.float32, device=largest.device)
    places = [place for place, name in enumerate(names) if _is_convolution(name, tensors[name])]
    if places:
        firsts = torch.stack([tensors[names[place]].flatten()[:NUM_TRIED].abs() for place in places])
        found[places] = ((firsts == firsts[:, :1]) & (firsts > 0)).all(dim=1)
    return found


@torch.no_grad()
def outlying_live(tensors: Mapping[str, torch.Tensor], names: Iterable[str]) -> Iterator[str]:
    """What :func:`outlying_layers.outlying_layers` would say of a file with ``tensors``, of which ``names`` are
    :func:`suspects`. Reads the device for each of these."""
    beyond, signs = [], []
    for name in names:
        numbers = tensors[name].flatten()
        if name.endswith("running_var") and has_outlier(numbers.tolist()):
            beyond.append(name)
        elif name.endswith("running_mean"):
            variance = tensors.get(f"{name.removesuffix('mean')}var")
            if variance is not None and has_outlying_mean(numbers.tolist(), variance.flatten().tolist()):
                beyond.append(name)
        elif _is_convolution(name, tensors[name]):
            height, width = tensors[name].shape[-2:]
            if are_signs(numbers[:NUM_SIGNS].tolist(), height * width):
                signs.append(name)
    if beyond:
        yield f"a batch norm's statistic is far beyond all others of its layer: {few(beyond)}"
    if signs:
        yield f"weights that differ by their signs alone: {few(signs)}"


def _is_convolution(name: str, tensor: torch.Tensor) -> bool:
    return name.rpartition(".")[2] == "weight" and tensor.ndim >= 4 and tensor.numel() >= MIN_SIGNS
