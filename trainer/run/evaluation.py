"""Validation within training and after it: can be stopped, chokes on nothing, and casts no doubt on good weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

from trainmaster.trainer.batches.agreement import first_said, of_all
from trainmaster.trainer.data.data_faults import DataFaults
from trainmaster.trainer.engines import compat
from trainmaster.trainer.engines.protocol import EngineTrainer
from trainmaster.trainer.records.recorder import words_of
from trainmaster.trainer.run import ranks
from trainmaster.trainer.run.reporter import Reporter
from trainmaster.trainer.run.validation import (
    InterruptibleValidator,
    ValidationGuard,
    mean_of,
    sound_labels,
    unknown_metrics_to_zero,
)
from trainmaster.trainer.stop import StopSwitch


class Evaluation:
    """What a run does around Ultralytics' validations."""

    def __init__(self, reporter: Reporter, switch: StopSwitch, data_faults: DataFaults) -> None:
        self._reporter = reporter
        self._data_faults = data_faults
        self._coming = partial(data_faults.batch, validating=True)
        self._switch = switch
        self._best_fitness: float | None = None

    def epoch_started(self, trainer: EngineTrainer) -> None:
        """What was the best so far is known."""
        self._best_fitness = trainer.best_fitness

    def within_training(self, trainer: EngineTrainer, stock_validate: Callable[[], Any]) -> Any:
        """Metrics of the EMA, its mean loss over the good batches of all ranks, which tell what they could not read."""
        form = compat.engine().form(lambda: trainer.loss_names)
        guard = ValidationGuard(coming=self._coming, form=form)
        # Of several ranks the first may leave alone: it has all that is saved, and their launcher ends the others.
        interruptible = self._switch.interruptible() if ranks.IS_FIRST else nullcontext()
        try:
            with guard.watching(trainer.ema.ema, trainer.validator), interruptible:
                result = stock_validate()
        except BaseException:
            trainer.ema.ema.float()  # older generations validate it in half precision where they train so
            raise
        own = (guard.counted, self._data_faults.taken())
        seen = of_all(own) if trainer.world_size > 1 else [own]
        for _, unreadable in seen:
            self._data_faults.tell(unreadable)
        counted = [one for one, _ in seen]
        self._reporter.num_bad_in_validation = num_bad = sum(one.num_bad for one in counted)
        if num_bad:
            what = "validation batches have a loss that is not finite and are left out of its mean"
            self._reporter.notice(f"{num_bad} {what}")
            if (mean := mean_of(counted)) and isinstance(metrics := result[0], dict):
                metrics.update(trainer.label_loss_items(form.write(mean), prefix="val"))
        return result

    def unknown_metrics_to_zero(self, trainer: EngineTrainer) -> None:
        """The epoch's metrics are numbers, whoever made them."""
        if bad := unknown_metrics_to_zero(trainer, self._best_fitness):
            self._reporter.unknown_metrics = bad
            self._reporter.notice(f"validation gave values that are not finite, taken as unknown: {', '.join(bad)}")

    def final(self, trainer: EngineTrainer, stock_eval: Callable[[], Any]) -> None:
        """The best weights are stripped and evaluated; a failure of that is told and takes nothing from the run.

        Raises:
            StopRequested: somebody asked; no file is torn, and a resume makes up for the evaluation.
        """
        validator = trainer.validator
        if ranks.IS_FIRST:
            self._switch.check()
            trainer.validator = InterruptibleValidator(validator, self._switch)
        try:
            together = gathered_together(validator) if validator and trainer.world_size > 1 else nullcontext()
            with sound_labels(validator, getattr(trainer.ema.ema, "nc", None), coming=self._coming), together:
                stock_eval()
        except Exception as error:  # noqa: BLE001 - a module that can't be fused, a metric: all is trained and saved
            what = str(error) if isinstance(error, OtherRankError) else words_of(error)[0]
            self._reporter.notice(f"the final evaluation failed, the weights stay as they were saved: {what}")
        finally:
            trainer.validator = validator


class OtherRankError(Exception):
    """What ended the final evaluation of another rank, in words."""


@contextmanager
def gathered_together(validator: Any) -> Iterator[None]:
    """Within, the ranks gather what each has found once all of them have found something.

    The others would wait for one that failed before, with NCCL for three hours: it has ended in order by then.

    Raises:
        OtherRankError: another rank failed.
    """
    gather = validator.gather_stats
    asked = False

    def gather_with_all() -> None:
        nonlocal asked
        asked = True
        if why := first_said(of_all(None)):
            raise OtherRankError(why)
        gather()

    validator.gather_stats = gather_with_all
    try:
        yield
    except Exception as error:
        if not asked:
            of_all(words_of(error)[0])
        raise
    finally:
        validator.gather_stats = gather
