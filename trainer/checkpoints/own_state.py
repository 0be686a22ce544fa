"""Whether a full-precision state of ours holds all that a run goes on from. Loads no torch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

from trainmaster.trainer.checkpoints.held_numbers import numbers_in
from trainmaster.trainer.checkpoints.naming import some
from trainmaster.trainer.checkpoints.pickled import Tensor

COUNTED: Final = (
    *("fitness", "stopper", "running", "counts", "spikes", "trained_s", "criterion_updates"),
    *("batch", "batches", "epochs", "samples", "last_step", "args", "guard"),
)
"""Beside the tensors, what a resume takes up again. An infinity may stand there (the limit of a watch that has not
begun); NaN may not."""

TEACHER: Final = "teacher_model."
"""Weights that come from a file of their own; a state leaves them out."""
ASIDE: Final = (TEACHER, "criterion.")
"""Of a live model what no other of its kind needs to have, its EMA among them: a criterion that is a module is there
from the first batch on, with the weights of classes that it may hold."""

Shapes = Mapping[str, tuple[int, ...]]


def missing_weights(state: Mapping[Any, Any]) -> Iterator[str]:
    """Why no training can go on from ``state``: it has no weights, or its EMA is of another model. A trainer without an
    EMA saves an empty one, which no update was made to."""
    model, ema = _shapes(state.get("model")), _shapes(state.get("ema"))
    if not model:
        yield "holds no weights of the model"
    if not ema and not _has_no_ema(state):
        yield "holds no weights of the EMA"
    if model and ema and model != ema:
        other = sorted(name for name in model.keys() | ema.keys() if model.get(name) != ema.get(name))
        yield f"its model and its EMA are not of one kind: {some(other, 1)}"
    epoch = state.get("epoch")
    if isinstance(epoch, int) and epoch < 0:
        yield f"epoch is {epoch}"


def doubtful_counts(state: Mapping[Any, Any]) -> Iterator[str]:
    """What of the run's own figures is not a number: a resume would take it up."""
    for key in COUNTED:
        if any(math.isnan(number) for number in numbers_in(state.get(key))):
            yield f"{key} holds what is not a number"


def _has_no_ema(state: Mapping[Any, Any]) -> bool:
    return state.get("ema") == {} and not state.get("ema_updates")


def _shapes(weights: Any) -> Shapes:
    if not isinstance(weights, dict):
        return {}
    return {
        str(name): value.shape
        for name, value in weights.items()
        if isinstance(value, Tensor) and not str(name).startswith(ASIDE)
    }
