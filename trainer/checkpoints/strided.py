"""Which numbers of a storage a tensor has: its own, not those between its strides. Loads no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from math import prod
from typing import Final, Literal

from trainmaster.trainer.checkpoints.pickled import Tensor

CODES: Final[Mapping[int, Literal["B", "H", "I", "Q"]]] = {1: "B", 2: "H", 4: "I", 8: "Q"}

Dimension = tuple[int, int]
"""Size and stride, in numbers."""


def dimensions_of(tensor: Tensor) -> list[Dimension]:
    """Those of ``tensor`` that matter, the widest stride first: no number is told twice, and what lies side by side is
    one dimension. A tensor without gaps, whatever the order of its axes, has at most one, of stride 1."""
    pairs = zip(tensor.shape, tensor.stride, strict=True)
    kept: list[Dimension] = []
    for size, stride in sorted(((a, b) for a, b in pairs if a > 1 and b > 0), key=lambda one: (-one[1], -one[0])):
        if kept and kept[-1][1] == size * stride:
            kept[-1] = (kept[-1][0] * size, stride)
        else:
            kept.append((size, stride))
    return kept


def is_dense(dimensions: Sequence[Dimension]) -> bool:
    """Whether nothing lies between the numbers."""
    return not dimensions or (len(dimensions) == 1 and dimensions[0][1] == 1)


def overlaps(dimensions: Sequence[Dimension]) -> bool:
    """Whether there are more numbers than places, as in a window that slides."""
    return prod(size for size, _ in dimensions) > 1 + sum((size - 1) * stride for size, stride in dimensions)


def num_slices(dimensions: Sequence[Dimension]) -> int:
    """How many pieces :func:`gathered` joins."""
    return prod(size for size, _ in dimensions[:-1])


def gathered(stretch: memoryview, dimensions: Sequence[Dimension], item_bytes: int) -> memoryview:
    """The numbers of ``item_bytes`` each that lie at ``dimensions`` in ``stretch``, in the order they lie there."""
    items = stretch.cast(CODES[item_bytes])
    size, stride = dimensions[-1]
    length = (size - 1) * stride + 1
    return memoryview(b"".join(items[at : at + length : stride].tobytes() for at in _starts(dimensions[:-1])))


def _starts(outer: Sequence[Dimension]) -> Iterator[int]:
    return (sum(place) for place in product(*(range(0, size * stride, stride) for size, stride in outer)))
