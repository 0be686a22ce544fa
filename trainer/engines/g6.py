"""The newest generation, Ultralytics 8.4.183 and what comes: what the guard does at each seam, and the seams.

An older generation is a subclass that says what was different then.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
import torch
from ultralytics.engine import trainer as engine

from trainmaster.trainer.engines.loss_form import LossForm, NamedForm
from trainmaster.trainer.engines.markers import MARKERS
from trainmaster.trainer.engines.methods import CLOSED, METHODS
from trainmaster.trainer.engines.seams import SeamChange, Seams


class G6:
    """Ultralytics 8.4.183 and later, as long as its seams are there.

    A subclass that says what was different at one seam has a ``change``, and ``told_as`` to tell of it. Those of
    several seams go together in one class; what they change of ``seams`` adds up.
    """

    name: ClassVar[str] = "G6"
    change: ClassVar[SeamChange]
    told_as: ClassVar[str]
    seams: ClassVar[Seams] = Seams(
        methods=METHODS,
        closed=CLOSED,
        names=(  # looked up where they are used, not imported
            (engine, "autocast"),
            (engine, "strip_optimizer"),
            (torch, "_foreach_norm"),
        ),
        markers=MARKERS,
    )
    builds_pipeline_apart: ClassVar[bool] = True
    """Whether ``_build_train_pipeline`` is a method of its own, called again after an out-of-memory error."""

    def __init_subclass__(cls) -> None:
        changes = (vars(kind)["change"] for kind in reversed(cls.__mro__) if "change" in vars(kind))
        cls.seams = functools.reduce(Seams.changed, changes, G6.seams)

    # Final evaluation

    @contextmanager
    def stripping_by(self, strip: Callable[..., Any]) -> Iterator[None]:
        """Within, the optimizer is taken out of a file by ``strip``, which is given the engine's own way and what that
        takes: the file, another name to save it under, and more."""
        loop: Any = engine  # imports it, and is looked up there where it is called
        own = loop.strip_optimizer
        loop.strip_optimizer = functools.partial(strip, own)
        try:
            yield
        finally:
            loop.strip_optimizer = own

    # Losses

    def form(self, names: Callable[[], Sequence[str]]) -> LossForm:
        """How the parts of a loss come and go; ``names`` are the trainer's loss names."""
        del names
        return NamedForm()

    # Warm-up

    def loop_warmup(self, trainer: Any, batches: int) -> int:
        """How many batches the loop itself warms up in a run whose epochs have ``batches``."""
        length: int = trainer._get_warmup_iterations(batches)  # noqa: SLF001 - a seam, see compat
        return length

    def warmup_batches(self, trainer: Any, batches: int, epochs_left: int) -> int:
        """How many batches warm-up lasts in a run of ``epochs_left`` epochs of ``batches``; 0 for none."""
        epochs = min(trainer.args.warmup_epochs, max(epochs_left - 1, 0))
        return round(epochs * batches) if epochs > 0 else 0

    def warms_up(self, place: int, length: int) -> bool:
        """Whether batch ``place``, from 0, belongs to a warm-up of ``length`` batches."""
        return bool(length) and place <= length

    def accumulate_target(self, trainer: Any, built: int) -> float:
        """What the accumulation rises to in warm-up; ``built`` is what the pipeline was built with."""
        del trainer
        return built

    def is_bias(self, group: Mapping[str, Any], index: int) -> bool:
        """Whether a parameter group of the optimizer holds the biases, whose rate falls in warm-up."""
        del index
        return group.get("param_group") == "bias"

    def warm_up(self, trainer: Any, place: int, length: int, *, epoch: int, built: int) -> None:
        """Accumulation, rates and momenta as the loop sets them at batch ``place`` of a warm-up, in ``epoch``."""
        ramp = [0, length]
        target = self.accumulate_target(trainer, built)
        trainer.accumulate = max(1, int(np.interp(place, ramp, [1, target]).round()))
        for index, group in enumerate(trainer.optimizer.param_groups):
            start = trainer.args.warmup_bias_lr if self.is_bias(group, index) else 0.0
            end = group["initial_lr"] * trainer.lf(epoch)
            group["lr"] = float(np.interp(place, ramp, [start, end]))
            if "momentum" in group:
                group["momentum"] = float(np.interp(place, ramp, [trainer.args.warmup_momentum, trainer.args.momentum]))

    def after_warm_up(self, trainer: Any, length: int, *, built: int) -> None:
        """Accumulation and momenta as a warm-up of ``length`` batches leaves them: here, where it aims."""
        del built
        for group in trainer.optimizer.param_groups if length > 0 else ():
            if "momentum" in group:
                group["momentum"] = float(trainer.args.momentum)  # an optimizer of one's own begins with another
