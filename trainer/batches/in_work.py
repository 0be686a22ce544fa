"""What is known of the batch in work, and how it is told when it, or one of its window, is bad."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
from trainmaster.trainer.data.sampling import random_state, set_random_state


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
        self._drawn_from: Mapping[str, Any] | None = None
        """Random state as the batch met the model, or until then as it came from the loader if it may run again."""
        self._rng: torch.Tensor | None = None
        """Of torch's generator as it came from the loader: for one that never meets the model here."""
        self.undo: Callable[[], None] = lambda: None
        """Called where the model is not to have met the batch in work: what it wrote elsewhere is as it was."""
        self._batch: dict[str, Any] = {}
        self._verdict: BatchVerdict | None = None
        self._micro: MicroBatch | None = None

    def begin(self, batch: dict[str, Any], *, may_run_again: bool) -> None:
        """``batch`` is fresh from the loader. Only one that may run again is held: held, it costs what it weighs."""
        self._drawn_from = random_state() if may_run_again else None
        self._rng = None if may_run_again else torch.get_rng_state()
        self._batch, self._verdict, self._micro = batch, None, None
        if may_run_again:
            self._micro = MicroBatch(
                epoch=self._position.epoch,
                index=self._position.index,
                batch=dict(batch),
                drawn_from=self._drawn_from,
            )

    @property
    def is_judged(self) -> bool:
        """Whether its loss was made where it is judged."""
        return self._verdict is not None

    def meets_the_model(self, batch: dict[str, Any], *, again: bool = False) -> None:
        """``batch`` as the model gets it; ``again`` where it has been through it, and its loss alone is not made."""
        self._batch = batch
        if self._skip and not again:
            self._drawn_from = random_state()

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
            drawn_from=self._drawn_from,
            is_prepared=True,
            verdict=self._verdict,
        )

    def draw_again(self) -> None:
        """What comes next draws what it would have drawn if the model had not met this batch: dropout draws from
        torch's generator, layers of somebody's own from any."""
        if not self._skip:
            return
        if self._drawn_from is not None:
            set_random_state(self._drawn_from)
        elif self._rng is not None:
            torch.set_rng_state(self._rng)
        self.undo()

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
        before = self._drawn_from if micro is None else micro.drawn_from
        if before is None:
            before = random_state() | ({} if self._rng is None else {"torch": self._rng})
        self._emit(
            FailedBatch(
                epoch=self._position.epoch if micro is None else micro.epoch,
                index=self._position.index if micro is None else micro.index,
                reason=reason,
                action=action or ("skipped" if self._skip else "observed"),
                verdict=self._verdict if micro is None else micro.verdict,
                grad_norm=norm,
                worst=worst or [],
                batch=self._batch if micro is None or micro is self._micro else self._prepare(micro),
                rng=dict(before),
                num_steps=self._gradients.num_steps,
                look=self._look,
                by_association=by_association,
            )
        )
