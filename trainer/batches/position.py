"""Where in the run the trainer is, when the next optimizer step is due, and the warm-up of a resumed run."""

from __future__ import annotations

from trainmaster.trainer.engines import compat
from trainmaster.trainer.engines.g6 import G6
from trainmaster.trainer.engines.protocol import EngineTrainer


class Position:
    """Counts epochs and batches from 0, as the training loop does; records count from 1.

    Also keeps the accumulation cadence across an interruption. The loop steps when ``ni - last_opt_step >=
    accumulate``, with a ``last_opt_step`` of its own that starts at -1, so in a resumed process its first step would
    come too early. Until the first step that was due in the uninterrupted run, ``accumulate`` is held at 1 (the loop
    then asks for a step after every batch), and :meth:`due` turns down the ones that are not due.
    """

    def __init__(self, engine: G6 | None = None) -> None:
        self._engine = engine or compat.engine()
        self.epoch = 0
        self.index = -1
        """The batch in work."""
        self.done = 0
        """Batches of the epoch that are over."""
        self.batches = 0
        self.batch_size: int | None = None
        """Of the pipeline as it was built last."""
        self.last_step = -1
        self.warmup_from = 0
        """The epoch at which warm-up began: where a run was resumed with other settings."""
        self.window_open = False
        """Whether a batch since the last optimizer step has been begun."""
        self._aligned = True
        self._resumed = False
        self._nominal = 1
        self._built = 1

    @property
    def ni(self) -> int:
        """Number of the batch in work since the run began."""
        return self.index + self.batches * self.epoch

    @property
    def in_work(self) -> bool:
        """Whether a batch was begun and is not over."""
        return self.done <= self.index

    @property
    def overdue(self) -> int:
        """Batches since the last step, where none came in a whole epoch and twice as many were trained as the pipeline
        was built to take for one; else 0."""
        waited = self.ni - self.last_step
        return waited if 0 < self.batches == self.done <= waited and waited > 2 * self._built else 0

    def start_epoch(self, epoch: int, batches: int) -> None:
        """Epoch ``epoch`` begins, of ``batches`` batches; none is begun yet."""
        self.epoch, self.batches, self.index, self.done = epoch, batches, -1, 0

    def use_accumulate(self, accumulate: int) -> None:
        """What the pipeline was built with."""
        self._nominal = self._built = accumulate

    def resume(self, *, last_step: int, window_open: bool) -> None:
        """The run goes on: the last optimizer step came after batch ``last_step``."""
        self.last_step = last_step
        self.window_open = window_open
        self._aligned = False
        self._resumed = True

    def start_over(self) -> None:
        """The pipeline was rebuilt and the loop counts anew: nothing of an interruption is to be made up for."""
        self.last_step = -1
        self.window_open = False
        self._aligned = True

    def before_batch(self, trainer: EngineTrainer) -> None:
        """Rate, momentum and cadence are right for the batch in work; call it after the loop has set its own."""
        if self.warmup_from:
            warming = self._warm_up(trainer)
        else:
            length = self._engine.loop_warmup(trainer, self.batches)
            warming = self._engine.warms_up(self.ni, length)
            if self._resumed and not warming:
                self._engine.after_warm_up(trainer, length, built=self._built)
                self._nominal = trainer.accumulate
            self._resumed = False
        if not self._aligned:
            if warming:
                self._nominal = trainer.accumulate
            trainer.accumulate = 1

    def due(self, trainer: EngineTrainer) -> bool:
        """Whether the optimizer step that the loop asks for is one; if so, it counts as taken."""
        if not self._aligned:
            if self.ni - self.last_step < self._nominal:
                return False
            self._aligned = True
            trainer.accumulate = self._nominal
        self.last_step = self.ni
        self.window_open = False
        return True

    def accumulates(self, trainer: EngineTrainer) -> bool:
        """Whether an optimizer step takes more than one batch."""
        return (trainer.accumulate if self._aligned else self._nominal) > 1

    def _warm_up(self, trainer: EngineTrainer) -> bool:
        """The loop's warm-up, counted from the resumed epoch."""
        length = self._engine.warmup_batches(trainer, self.batches, trainer.epochs - self.warmup_from)
        place = self.ni - self.warmup_from * self.batches
        if not length or not self._engine.warms_up(place, length):
            return False
        self._engine.warm_up(trainer, place, length, epoch=self.epoch, built=self._built)
        return True
