"""What stands beside the weights in a form that no resume can take up, or that hides what is not a number. Loads no
torch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

from trainmaster.trainer.checkpoints.held_numbers import LookedInto, leaves_of, numbers_in
from trainmaster.trainer.checkpoints.pickled import Made
from trainmaster.trainer.checkpoints.single_numbers import array_numbers

_DICTS: Final = ("scaler", "stopper", "train_args", "train_metrics")
_NUMBERS: Final = ("best_fitness", "fitness")
_COMPARED: Final = ("best_fitness", "best_epoch", "patience")
"""Of early stopping: a text there ends the epoch that compares it with a number."""


def unreadable_beside(top: Mapping[Any, Any]) -> Iterator[str]:
    """Parts that are not what Ultralytics writes there, so that nothing looks into them."""
    looked = (LookedInto(), LookedInto())
    for key in _DICTS:
        held = top.get(key)
        if held is not None and not isinstance(held, dict):
            yield f"{key} is in a form that is not judged"
        elif held and any(not _is_flat(value) and _holds_nan(value, looked) for value in held.values()):
            yield f"{key} holds what is not a number"
    yield from (f"{key} is no number that can be read" for key in _NUMBERS if not _is_number_or_none(top.get(key)))
    stopper = top.get("stopper")
    compared = [stopper.get(key) for key in _COMPARED] if isinstance(stopper, dict) else []
    if not all(map(_is_number_or_none, compared)) or any(
        isinstance(one, float) and math.isnan(one) for one in compared[2:]
    ):
        yield "early stopping holds what is no number that can be read"


def _is_flat(value: Any) -> bool:
    """Whether others look at it by its name: a number, a text."""
    return value is None or isinstance(value, float | int | str)


def _is_number_or_none(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _holds_nan(value: Any, looked: tuple[LookedInto, LookedInto]) -> bool:
    """Whether a number or an array in ``value`` does; what several values share is ``looked`` into once for each."""
    if any(map(math.isnan, numbers_in(value, looked=looked[0]))):
        return True
    arrays = (one for one in leaves_of(value, looked=looked[1]) if isinstance(one, Made))
    return any(math.isnan(number) for array in arrays for number in array_numbers(array))
