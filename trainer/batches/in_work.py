"""What is known of the batch in work, and how it is told when it, or one of its window, is bad."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from trainmaster.trainer.batches.batch_guard import BatchVerdict
from trainmaster.trainer.batches.gradients import Gradients
from trainmaster.trainer.batches.outcomes import Emit, FailedBatch
from trainmaster.trainer.batches.position import Position
from trainmaster.trainer.batches.second_look import SecondLook
from trainmaster.trainer.batches.window import MicroBatch
from trainmaster.trainer.contract import SkipReason
from trainmaster.trainer.data.sampling import random_state


class BatchInWork:
    """The batch between the loader and the optimizer step."""

    def __init__(
        self,
        position: Position,
        gradients: Gradients,
        look: SecondLook,
        *,
        skip: bool,
        prepare: Callable[[MicroBatch], dict[str, Any]],
        emit: Emit,
    ) -> None:
        self._position = position
        self._gradients = gradients
        self._look = look
        self._skip = skip
        self._prepare = prepare
        self._emit = emit
        self._rng: torch.Tensor | None = None
        self._batch: dict[str, Any] = {}
        self._verdict: BatchVerdict | None = None
        self._micro: MicroBatch | None = None

    def begin(self, batch: dict[str, Any], *, may_run_again: bool, multi_scale: bool) -> None:
        """``batch`` is fresh from the loader. Only one that may run again is held: held, it costs what it weighs."""
        self._rng = torch.get_rng_state()
        self._batch, self._verdict, self._micro = batch, None, None
        if may_run_again:
            self._micro = MicroBatch(
                epoch=self._position.epoch,
                index=self._position.index,
                batch=dict(batch),
                python_random=random.getstate() if multi_scale else None,
                rng=self._rng,
            )

    @property
    def is_judged(self) -> bool:
        """Whether its loss was made where it is judged."""
        return self._verdict is not None

    def meets_the_model(self, batch: dict[str, Any]) -> None:
        """``batch`` as the model gets it."""
        self._batch = batch

    def judged(self, verdict: BatchVerdict) -> None:
        """Its loss is there."""
        self._verdict = verdict

    def accepted(self, items: dict[str, torch.Tensor]) -> MicroBatch | None:
        """It is good: as a part of the open window, if it may run again."""
        if self._micro is not None:
            self._micro = replace(self._micro, verdict=self._verdict, items=items)
        return self._micro

    def forget(self) -> None:
        """It is over; nothing of it is held on the device."""
        self._batch = {}
        self._micro = None

    def as_it_is(self) -> MicroBatch:
        """To be run again as the model got it."""
        return MicroBatch(
            epoch=self._position.epoch,
            index=self._position.index,
            batch=self._batch,
            python_random=None,
            rng=self._rng,
            is_prepared=True,
            verdict=self._verdict,
        )

    def draw_again(self) -> None:
        """What comes next draws what it would have drawn (dropout does) if this batch had not been there."""
        if self._skip and self._rng is not None:
            torch.set_rng_state(self._rng)

    def failed(
        self,
        reason: SkipReason,
        micro: MicroBatch | None = None,
        *,
        norm: float | None = None,
        worst: list[tuple[str, float]] | None = None,
        action: str | None = None,
        by_association: bool = False,
    ) -> None:
        """``micro`` was judged bad; None for the batch in work."""
        in_work = micro is None or micro is self._micro
        # What a forward pass draws (dropout) comes from torch's generator; the others stand as they stood.
        before = self._rng if micro is None else micro.rng
        self._emit(
            FailedBatch(
                epoch=self._position.epoch if micro is None else micro.epoch,
                index=self._position.index if micro is None else micro.index,
                reason=reason,
                action=action or ("skipped" if self._skip else "observed"),
                verdict=self._verdict if micro is None else micro.verdict,
                grad_norm=norm,
                worst=worst or [],
                batch=self._batch if micro is None or in_work else self._prepare(micro),
                rng=random_state() | ({} if before is None else {"torch": before}),
                num_steps=self._gradients.num_steps,
                look=self._look,
                by_association=by_association,
            )
        )
