"""What a tensor of a checkpoint can hold, by its place and name: signs, sizes, variety. Loads no torch."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Final

WEIGHT_PARTS: Final = frozenset({"model", "ema"})
"""Parts in which zeros and sizes can tell something; a momentum of zero is as good as any."""

FRACTIONS: Final = frozenset({"weight", "bias", "running_mean", "running_var"})
"""Names of what is trained or follows what is: never made of whole numbers, and no mask."""

_INSIDE: Final = re.compile(r"(?:in|q|k|v)_proj_(weight|bias)|(weight|bias)_(?:ih|hh)_l\d+\w*")
"""How torch calls them in an attention and in a recurrent layer (torch/nn/modules: activation.py, rnn.py)."""

LARGEST_WEIGHT: Final = 100.0
"""Of a convolution or a linear layer. They begin below 1, weight decay pulls on them, and batch-norm behind them makes
their size count for nothing; what is beyond this was not trained there."""
LARGEST_VECTOR: Final = 500.0
"""Of a scale or a bias, which weight decay leaves alone."""
LARGEST_EXPONENT: Final = 88.0
"""Of a scale that is kept as its logarithm (CLIP's, in the heads of YOLO-World and YOLOE): beyond it float32 has no
``exp``, and below minus it none that is more than zero."""
LARGEST_MEAN: Final = 1e4
LARGEST_VARIANCE: Final = 1e8
"""Of running statistics: outputs of ten thousand, where half precision ends at 65504."""
LARGEST_MOMENTUM: Final = 1e6
"""Gradients are clipped to a norm of 10 by Ultralytics, and momentum gathers at most some hundred of them."""

MOST_BATCHES: Final = 1 << 53
"""``num_batches_tracked`` beyond which no float64 counts; a batch a microsecond takes 285 years to get there."""

NUM_VARIED: Final = 8
"""Channels of which all statistics are never the same by chance; below, they may be (a layer of one channel)."""

_SQUARES: Final = frozenset({"exp_avg_sq", "max_exp_avg_sq", "square_avg", "exp_inf", "acc_delta", "sum", "mu_product"})
"""Of an optimizer's state, what is made of squares and sizes, and what a step takes the root of or divides by
(torch/optim: adam.py, rmsprop.py, adamax.py, adadelta.py, adagrad.py, nadam.py)."""
_MOMENTA: Final = frozenset({"exp_avg", "momentum_buffer", "momentum_buffer_SGD", "grad_avg"})
"""The third is of Ultralytics' MuSGD (optim/muon.py), which ``auto`` takes for long trainings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """What the values of one tensor can be."""

    largest: float = math.inf
    """The magnitude beyond which the tensor has exploded."""
    nonnegative: bool = False
    """Nothing below zero: a root is taken of it."""
    starts_at: float | None = None
    """One and the same number throughout is a sign of ruin unless it is this one; None where it is none."""
    num_varied: int = 2
    """With so many numbers or more."""


ANYTHING: Final = Domain()

_VARIANCE: Final = Domain(largest=LARGEST_VARIANCE, nonnegative=True, starts_at=1.0, num_varied=NUM_VARIED)
_MEAN: Final = Domain(largest=LARGEST_MEAN, starts_at=0.0, num_varied=NUM_VARIED)
_MATRIX: Final = Domain(largest=LARGEST_WEIGHT, starts_at=0.0)
_VECTOR: Final = Domain(largest=LARGEST_VECTOR)
_LOGARITHM: Final = Domain(largest=LARGEST_EXPONENT)
_COUNT: Final = Domain(nonnegative=True)
_SQUARE: Final = Domain(largest=LARGEST_MOMENTUM**2, nonnegative=True)
_STEPS: Final = Domain(largest=MOST_BATCHES, nonnegative=True)
_MOMENTUM: Final = Domain(largest=LARGEST_MOMENTUM)


def leaf_of(name: str) -> str:
    """The last word of a tensor's name; "weight" or "bias" also where torch has them under others."""
    leaf = name.rpartition(".")[2]
    inside = _INSIDE.fullmatch(leaf)
    return (inside[1] or inside[2]) if inside else leaf


def domain_of(part: str, name: str, num_dimensions: int) -> Domain:
    """What the tensor ``name`` (as in a state dict) of the top-level key ``part`` can hold."""
    leaf = leaf_of(name)
    if part == "optimizer":
        if leaf == "step":
            return _STEPS
        return _SQUARE if leaf in _SQUARES else _MOMENTUM if leaf in _MOMENTA else ANYTHING
    if part not in WEIGHT_PARTS:
        return ANYTHING
    match leaf:
        case "running_var":
            return _VARIANCE
        case "running_mean":
            return _MEAN
        case "num_batches_tracked":
            return _COUNT
        case "weight" | "bias":
            return _MATRIX if num_dimensions >= 2 else _VECTOR
        case "gamma" | "pos_embed":
            return _VECTOR
        case "logit_scale":
            return _LOGARITHM
    return ANYTHING
