"""The run's own figures and arguments, which a callback may write to: what none can be is what it was before."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import torch

from trainmaster.trainer.checkpoints.held_numbers import numbers_in
from trainmaster.trainer.checkpoints.single_numbers import LARGEST_FITNESS
from trainmaster.trainer.engines.protocol import EngineTrainer

_OF_TRAINER: Final = ("best_fitness", "fitness", "epochs", "accumulate", "train_time_start")
"""What the loop compares with, counts up to or saves: nothing is better than NaN, and no step is due before it."""
_OF_STOPPER: Final = ("best_fitness", "best_epoch", "patience")
_MAY_BE_ENDLESS: Final = frozenset({"epochs", "patience", "time"})
_FITNESSES: Final = frozenset({"best_fitness", "fitness"})

_NO_NUMBERS: Final = frozenset({type(None), bool, int, str})
"""Kinds that can't be NaN: nearly all that there are, told apart at once."""


class Figures:
    """What the trainer, its early stopping and its arguments say beside the tensors. Reads no device."""

    def __init__(self, trainer: EngineTrainer, tell: Callable[[str], None]) -> None:
        self._trainer = trainer
        self._tell = tell
        self._told: set[str] = set()
        self._kept: dict[str, dict[str, Any]] = {"": {}, "stopper.": {}, "args.": {}}
        self._rates: dict[str, Any] = {}
        self.put_right()

    def put_right(self) -> None:
        """Each is a number that can be: what was not is what it was at the last call, and that is told once.

        Others that a callback has set are taken as they are. An argument of a callback's own is its own matter.
        """
        for place, slots, names in self._places():
            kept = self._kept[place]
            for name in names:
                value: Any = slots.get(name)
                if _can_be(name, value):
                    kept[name] = value
                elif name in kept:
                    slots[name] = kept[name]
                    self._say(f"{place}{name}", f"was {value}, which it can't be, and is {kept[name]} again")
        self._put_rates_right()

    def _put_rates_right(self) -> None:
        """The rates of the epoch's row in results.csv are numbers: the last that were, or 0 before any."""
        rates = vars(self._trainer).get("lr")
        if not isinstance(rates, dict):
            return
        for name, value in rates.items():
            if _can_be(name, value):
                self._rates[name] = value
            else:
                rates[name] = self._rates.get(name, 0.0)
                self._say(name, f"was {value}, which it can't be, and is {rates[name]} in results.csv")

    @contextmanager
    def to_save(self) -> Iterator[None]:
        """Within, they are right, and no argument that a callback has added is what no file may hold."""
        self.put_right()
        args = vars(self._trainer.args)
        strays = {name: value for name, value in args.items() if name not in self._kept["args."]}
        for name, value in strays.items():
            args[name] = None
            self._say(f"args.{name}", f"is {value} and is saved as None")
        try:
            yield
        finally:
            args |= strays

    def _places(self) -> Iterator[tuple[str, dict[str, Any], Iterable[str]]]:
        yield "", vars(self._trainer), _OF_TRAINER
        if hasattr(self._trainer.stopper, "__dict__"):
            yield "stopper.", vars(self._trainer.stopper), _OF_STOPPER
        yield "args.", vars(self._trainer.args), vars(self._trainer.args)

    def _say(self, place: str, what: str) -> None:
        if place not in self._told:
            self._told.add(place)
            self._tell(f"{place} {what}")


def _can_be(name: str, value: Any) -> bool:
    """Whether no number of ``value`` is NaN, nor infinite where there is an end, nor beyond what a fitness is."""
    kind, most = type(value), LARGEST_FITNESS if name in _FITNESSES else sys.float_info.max
    if kind in _NO_NUMBERS or (kind is float and -most <= value <= most):
        return True
    held: Any = value
    if isinstance(value, torch.Tensor | np.ndarray):
        held = value.tolist() if str(getattr(value, "device", "cpu")) == "cpu" else None
    endless = name in _MAY_BE_ENDLESS
    return not any(math.isnan(number) or (abs(number) > most and not endless) for number in numbers_in(held))
