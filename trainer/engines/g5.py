"""Ultralytics 8.4.104 to 8.4.182: the warm-up ends a batch earlier and accumulates towards ``nbs / batch``."""

from __future__ import annotations

from typing import Any, ClassVar

from ultralytics.data.build import InfiniteDataLoader
from ultralytics.engine.trainer import BaseTrainer

from trainmaster.trainer.engines.g6 import G6
from trainmaster.trainer.engines.seams import SeamChange

BF16_AUTOCAST = 'with autocast(torch.bfloat16 if self.args.amp == "bf16" else self.amp, device=self.device.type)'


class EarlierWarmup(G6):
    """The warm-up ends a batch earlier, and accumulates towards ``nbs / batch``."""

    told_as: ClassVar[str] = "the warm-up of G5"
    change: ClassVar[SeamChange] = SeamChange(
        swapped={
            (BaseTrainer, "_do_train"): {
                "if nw and ni <= nw:": "if ni < nw:",
                "np.interp(ni, xi, [1, acc0])": "np.interp(ni, xi, [1, self.args.nbs / self.batch_size])",
                BF16_AUTOCAST: "with autocast(",  # bfloat16 came within this generation
            },
            # Up to 8.4.150 a loader makes its iterator when it is made.
            (InfiniteDataLoader, "__iter__"): {"self.iterator = self._get_iterator()": None},
        }
    )

    def warms_up(self, place: int, length: int) -> bool:
        """Whether batch ``place``, from 0, belongs to a warm-up of ``length`` batches."""
        return place < length

    def accumulate_target(self, trainer: Any, built: int) -> float:
        """What the accumulation rises to in warm-up."""
        del built
        return float(trainer.args.nbs / trainer.batch_size)

    def after_warm_up(self, trainer: Any, length: int, *, built: int) -> None:
        """Accumulation and momenta stay where the last batch of warm-up put them, a step short of where it aims."""
        if length <= 0:
            return
        rates = [group["lr"] for group in trainer.optimizer.param_groups]
        self.warm_up(trainer, length - 1, length, epoch=0, built=built)
        for group, rate in zip(trainer.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate  # the scheduler's


class G5(EarlierWarmup):
    """Ultralytics 8.4.104 to 8.4.182: what differs from :class:`G6`."""

    name: ClassVar[str] = "G5"
