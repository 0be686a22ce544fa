"""What the guard found out about a batch or a step, for whoever keeps the records.

It is told at once, while the live model is still as the batch met it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from trainmaster.trainer.batches.batch_guard import BatchVerdict
from trainmaster.trainer.batches.norms import NormWarning
from trainmaster.trainer.batches.second_look import SecondLook
from trainmaster.trainer.contract import SkipReason


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedBatch:
    """A batch that was judged bad. ``epoch`` and ``index`` count from 0."""

    epoch: int
    index: int
    reason: SkipReason
    action: str
    verdict: BatchVerdict | None
    grad_norm: float | None
    worst: list[tuple[str, float]]
    batch: dict[str, Any]
    rng: dict[str, Any]
    num_steps: int
    """Optimizer steps taken so far: they name the weights that the batch met."""
    look: SecondLook
    """To look at the batch once more, now."""
    by_association: bool = False
    """Lost with its accumulation window, in which the bad one could not be found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StateHealed:
    """``tensors`` of ``what`` (as in :class:`contract.EventKind`) held what none can hold, and are put right."""

    what: str
    tensors: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GradientsGrew:
    """The norm of a step that was taken is far out of line."""

    norm: float
    warning: NormWarning
    worst: list[tuple[str, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hopeless:
    """Going on would spoil the weights."""

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsLeapt:
    """Weights hold what no step makes. ``hopeless``: no step is taken any more."""

    why: str
    hopeless: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """Something that somebody should know, and that ends nothing."""

    text: str


BatchOutcome = FailedBatch | StateHealed | GradientsGrew | Hopeless | WeightsLeapt | Remark
Emit = Callable[[BatchOutcome], None]
