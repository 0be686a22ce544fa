"""float16 overflows: the scaler's own business, until they go on and on."""

from __future__ import annotations

import math
from typing import Final

from trainmaster.trainer.engines.protocol import EngineTrainer

MAX_OVERFLOWS: Final = 20
"""float16 overflows in a row that pass as the scaler's normal search, where batches can't be run again without it: each
halves a scale that starts at 65,536."""
FIRST_SCALE: Final = 65536.0
"""What torch's gradient scaler starts with (``torch/amp/grad_scaler.py``), as the factors and the interval below."""


class Overflows:
    """Counts the steps that the gradient scaler leaves out."""

    def __init__(self, trainer: EngineTrainer) -> None:
        self._trainer = trainer
        self._streak = 0
        self.num = 0
        """Over the attempt."""

    @property
    def possible(self) -> bool:
        """Whether gradients are scaled, so that one that is not finite may be an overflow of the scale."""
        return self._trainer.scaler.is_enabled()

    def count(self, *, proven: bool = False) -> bool:
        """Gradients are not finite; whether that is the scaler's business.

        It is where the same batches were ``proven`` good without the scale, else until it goes on and on.
        """
        if not self.possible:
            return False
        self.num += 1
        if proven:
            return True
        self._streak += 1
        if self._streak <= MAX_OVERFLOWS:
            return True
        self._streak = 0
        return False

    def end_streak(self) -> None:
        """A step had finite gradients."""
        self._streak = 0

    def mend_scale(self) -> bool:
        """The scale is a number above 0, and so is what it is changed by, started over if need be; whether it was.
        Reads the device.

        No search brings back one that is not finite, and one of 0 makes NaN of gradients that the scaler took for good.
        """
        if not self.possible:
            return False
        scaler, mended = self._trainer.scaler, False
        if not _can_be(abs(scaler.get_scale())):
            scaler.update(new_scale=FIRST_SCALE)
            mended = True
        for now, start, put in (
            (scaler.get_growth_factor(), 2.0, scaler.set_growth_factor),
            (scaler.get_backoff_factor(), 0.5, scaler.set_backoff_factor),
            (scaler.get_growth_interval(), 2000, scaler.set_growth_interval),
        ):
            if not _can_be(now):
                put(start)  # type: ignore[arg-type]  # of each its own kind
                mended = True
        return mended

    def leave_out(self, *, proven: bool = False) -> bool:
        """The scaler leaves the step out and lowers its scale, as it would unguarded; whether that was all.

        ``proven`` as for :meth:`count`.
        """
        trainer = self._trainer
        trainer.scaler.step(trainer.optimizer)
        trainer.scaler.update()
        if not self.count(proven=proven):
            return False
        trainer.optimizer.zero_grad()
        if trainer.ema:
            trainer.ema.update(trainer.model)
        return True

    def forget(self) -> None:
        """The scaler is as it was before it saw the gradients."""
        scaler = self._trainer.scaler
        if self.possible:
            scaler.update(new_scale=scaler.get_scale())


def _can_be(number: float) -> bool:
    return 0 < number < math.inf
