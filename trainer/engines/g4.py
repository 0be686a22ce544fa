"""Ultralytics 8.4.13 to 8.4.102: the parts of a loss are one tensor, and warm-up takes 100 batches at least."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from ultralytics.data.build import InfiniteDataLoader
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.engine.validator import BaseValidator

from trainmaster.trainer.engines.g5 import G5, EarlierWarmup
from trainmaster.trainer.engines.g6 import G6
from trainmaster.trainer.engines.loss_form import Items, LossForm
from trainmaster.trainer.engines.markers import FULL_PRECISION
from trainmaster.trainer.engines.seams import SeamChange

MIN_WARMUP_BATCHES = 100
"""``nw = max(round(warmup_epochs * nb), 100)`` (engine/trainer.py, 8.4.100)."""


class StackedForm:
    """One tensor of all parts, of no dimension where there is one; ``names`` tells what they are called."""

    def __init__(self, names: Callable[[], Sequence[str]]) -> None:
        self._names = names

    def read(self, made: Any) -> Items:
        """The parts of one tensor by name."""
        parts, names = made.reshape(-1).unbind(), list(self._names())
        known = [*names[: len(parts)], *(f"loss{number}" for number in range(len(names), len(parts)))]
        return dict(zip(known, parts, strict=True))

    def write(self, items: Mapping[str, torch.Tensor]) -> Any:
        """The parts as one tensor again."""
        parts = list(items.values())
        return parts[0] if len(parts) == 1 else torch.stack(parts)


class StackedLosses(G6):
    """The parts of a loss are one tensor."""

    told_as: ClassVar[str] = "the losses of G4"
    change: ClassVar[SeamChange] = SeamChange(
        swapped={
            (BaseTrainer, "_do_train"): {
                "(self.tloss[k] * i + v) / (i + 1)": "(self.tloss * i + self.loss_items) / (i + 1)",
                "*self.tloss.values()": "*(self.tloss if loss_length > 1 else torch.unsqueeze(self.tloss, 0))",
            },
            (BaseValidator, "__call__"): {
                # Up to 8.4.40 it halves the EMA where it trained in half precision, and makes it float again behind.
                FULL_PRECISION: "model.float()",
                "model.loss(batch, preds)[1].items()": "self.loss += model.loss(batch, preds)[1]",
            },
        },
    )

    def form(self, names: Callable[[], Sequence[str]]) -> LossForm:
        """How the parts of a loss come and go."""
        return StackedForm(names)


class LongerWarmup(EarlierWarmup):
    """The warm-up takes 100 batches at least, and one more; epochs that are left don't count."""

    told_as: ClassVar[str] = "the warm-up of G4"
    change: ClassVar[SeamChange] = SeamChange(
        without=frozenset({(BaseTrainer, "_get_warmup_iterations"), (InfiniteDataLoader, "close")}),
        swapped={
            (BaseTrainer, "_do_train"): {
                "if ni < nw:": "if ni <= nw:",
                "nw = self._get_warmup_iterations(nb)": (
                    "nw = max(round(self.args.warmup_epochs * nb), 100) if self.args.warmup_epochs > 0 else -1"
                ),
            },
        },
    )

    def loop_warmup(self, trainer: Any, batches: int) -> int:
        """How many batches the loop itself warms up."""
        return self.warmup_batches(trainer, batches, trainer.epochs)

    def warmup_batches(self, trainer: Any, batches: int, epochs_left: int) -> int:
        """How many batches warm-up lasts; the epochs that are left don't count here."""
        del epochs_left
        epochs = trainer.args.warmup_epochs
        return max(round(epochs * batches), MIN_WARMUP_BATCHES) if epochs > 0 else 0

    def warms_up(self, place: int, length: int) -> bool:
        """Whether batch ``place``, from 0, belongs to a warm-up of ``length`` batches."""
        return bool(length) and place <= length

    def after_warm_up(self, trainer: Any, length: int, *, built: int) -> None:
        """Accumulation and momenta are where warm-up aims: its last batch gets there."""
        G6.after_warm_up(self, trainer, length, built=built)


class G4(StackedLosses, LongerWarmup, G5):
    """Ultralytics 8.4.13 to 8.4.102: what differs from :class:`G5`."""

    name: ClassVar[str] = "G4"
