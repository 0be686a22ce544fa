"""The guard of the steps, for the model and the optimizer that train: made anew when others take their place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ultralytics.utils.torch_utils import unwrap_model

from trainmaster.trainer.batches.agreement import parted
from trainmaster.trainer.batches.gradients import all_finite
from trainmaster.trainer.batches.healing import settings_to_save
from trainmaster.trainer.batches.movement import Movement, Standstill
from trainmaster.trainer.batches.position import Position
from trainmaster.trainer.batches.progress import RunningLoss
from trainmaster.trainer.batches.step_guard import StepGuard
from trainmaster.trainer.batches.trained_object import TrainedObject
from trainmaster.trainer.contract import EventKind, Verdict
from trainmaster.trainer.engines.protocol import EngineTrainer
from trainmaster.trainer.run.figures import Figures
from trainmaster.trainer.run.open_run import OpenRun
from trainmaster.trainer.run.outcome_records import OutcomeRecords
from trainmaster.trainer.state.full_state import spikes_of
from trainmaster.trainer.state.same.data import note_of_validation
from trainmaster.trainer.state.saver import Moment
from trainmaster.trainer.stop import GaveUp, Refused


class _PassedBy:
    """In the place of a compiled model, which the loop asks for predictions before it asks for a loss: once, and there
    are none."""

    def __init__(self, trainer: EngineTrainer) -> None:
        self._trainer = trainer
        self._model = trainer.model

    def __call__(self, images: Any) -> None:
        """The model is back."""
        del images
        self._trainer.model = self._model


class Guarding:
    """Holds the :class:`StepGuard` in work."""

    def __init__(
        self,
        trainer: EngineTrainer,
        run: OpenRun,
        *,
        level: str,
        position: Position,
        running: RunningLoss,
        max_norm: float,
        skip: bool,
        replays: bool,
        stop_wanted: Callable[[], bool],
    ) -> None:
        self._trainer = trainer
        self._run = run
        self._position = position
        self._running = running
        self._max_norm = max_norm
        self._skip = skip
        self._stop_wanted = stop_wanted
        self._records = OutcomeRecords(
            trainer,
            run.recorder,
            level=level,
            position=position,
            tally=run.reporter.tally,
            drill=run.drill,
            replays=replays,
        )
        self._break_wanted = False
        """Whether a callback of this rank wants the run to end with the epoch."""
        self.step = self._built()
        self._trained = TrainedObject(trainer)
        self._movement: Movement | None = None
        self._told: Standstill | None = None
        self._told_settings: str | None = None
        self._told_overdue = False
        self._told_moved = self._told_parted = False
        self._figures = Figures(trainer, run.reporter.notice)

    def attach(self) -> None:
        """The guard stands between the training loop and the model.

        Raises:
            Refused: the weights to start from are not finite.
        """
        self.step.attach()
        if self._skip and not all_finite(unwrap_model(self._trainer.model).parameters()):
            model = str(self._trainer.args.model)
            why = f"{model} has weights that are not finite"
            self._run.recorder.event(
                EventKind.RUN_REFUSED, checkpoint=model, verdict=Verdict.CONTAMINATED, reasons=[why]
            )
            raise Refused(why)
        if self._skip:  # no batch is to blame for statistics that the model begins with
            self.step.heal()

    def go_on(self, state: Mapping[str, Any]) -> None:
        """Names of the losses before the first batch tells them, and their level, are those of ``state``.

        Other validation images than it knew are told.
        """
        if note := note_of_validation(state, self._trainer):
            self._run.reporter.notice(note)
        names = tuple(state["loss_names"])
        self.step.batches.know(names)
        self.step.batches.know_spikes(spikes_of(self._trainer, state))
        self._running.know(names)

    def follow(self) -> None:
        """A batch is about to begin: what trains is guarded, also where a callback has put another in its place.

        Raises:
            GaveUp: what is there now would train nothing.
        """
        if self._movement is None:
            self._movement = Movement(self._trainer)
        replaced = self._trained.replaced()
        if replaced is None:
            if self._skip and self._trained.moved() and self._trained.average_anew() and not self._told_moved:
                self._told_moved = True
                self._run.reporter.notice("weights were put elsewhere in memory while training; the EMA follows them")
            return
        if (why := self._trained.why_nothing_trains()) and self._skip:
            self._trained.put_back()
            raise GaveUp(f"{replaced} was replaced while training, and {why}")
        before, self.step = self.step, self._built()
        before.detach()
        self.step.attach()
        self.step.gradients.count_on(before.gradients)
        self.step.batches.know(before.batches.loss_names)
        self.step.batches.know_spikes(before.batches.spikes)
        if not replaced.startswith("the EMA"):  # only that of the first rank is saved
            self.step.was_replaced(replaced)
        self._trained = TrainedObject(self._trainer)
        if self._skip:
            self._trained.average_anew()
        follows = why or "the guard follows it"  # at level observe nothing is ended
        self._run.reporter.notice(f"{replaced} was replaced while training; {follows}")

    def placeholder_begins(self) -> None:
        """The batch in work is a placeholder, and no model is asked what it holds."""
        self._position.before_batch(self._trainer)
        if self._trainer.args.compile:
            self._trainer.model = _PassedBy(self._trainer)

    def batch_started(self) -> None:
        """The loop has got the next batch."""
        self.put_figures_right()
        self.step.batch_started()

    def put_figures_right(self) -> None:
        """What the run compares with and counts by is a number, whoever wrote to it; at level observe it is let be."""
        if self._skip:
            self._figures.put_right()

    def batch_over(self) -> None:
        """Nothing of the batch is held, and the run ends for all ranks or for none.

        Where a callback of one has set the trainer's ``stop``, that one's loop goes on for as long as the others do not
        know: they would wait for each other in vain.
        """
        self.step.forget_batch()
        trainer = self._trainer
        if self._skip and trainer.world_size > 1:
            self._break_wanted = self._break_wanted or bool(trainer.stop)
            trainer.stop = self.step.batches.break_agreed

    def validated(self) -> None:
        """The epoch's metrics are numbers, and so is what its fitness is compared with."""
        self._run.evaluation.unknown_metrics_to_zero(self._trainer)
        self._trainer.stop |= self._break_wanted  # of the first rank, whose word the loop passes on
        self.put_figures_right()

    def epoch_trained(self) -> None:
        """The last batch of an epoch is over: a training that stands still is told, once, and so are ranks whose
        weights have parted.

        Raises:
            GaveUp: steps were taken that had to change the weights, and nothing has changed; or what is validated and
                saved next is no average of what was trained, since somebody has replaced it.
        """
        self.step.mend_window()
        if self._skip and self._trainer.world_size > 1 and (why := parted(unwrap_model(self._trainer.model))):
            if not self._told_parted:
                self._run.reporter.notice(why)
            self._told_parted = True
        if self._skip and (why := self._trained.why_nothing_is_saved()):
            self._trained.put_back()
            raise GaveUp(f"the EMA was replaced while training, and {why}")
        if self._movement is None:  # not one batch was trained
            return
        if (waited := self._position.overdue) and not self._told_overdue:
            what = f"the optimizer has taken no step for {waited} batches"
            self._run.reporter.notice(f"nothing is trained: {what}, accumulate is {self._trainer.accumulate}")
        self._told_overdue = bool(waited)
        found = self._movement.judge(self.step.taken)
        self.step.taken.start_over()
        if found is not None and found is not self._told:
            text = f"nothing is trained: in epoch {self._position.epoch + 1}, {found.value}"
            if found is Standstill.WEIGHTS_FOR_CERTAIN and self._skip:
                raise GaveUp(text)
            self._run.reporter.notice(text)
        self._told = found

    @contextmanager
    def moment(self) -> Iterator[Moment]:
        """What a state says of now, to be saved within: there the optimizer's settings and the run's figures are ones
        that can be."""
        moment = Moment.of(self._position, self._running, self.step, counts=self._run.reporter.counts(self.step))
        if not self._skip:
            yield moment
            return
        with self._figures.to_save(), settings_to_save(self._trainer.optimizer) as bad:
            if bad and bad != self._told_settings:
                self._run.reporter.notice(
                    f"the optimizer's {bad}: its default is saved instead, and no step is taken with it"
                )
            self._told_settings = bad
            yield moment

    def _built(self) -> StepGuard:
        step = StepGuard(
            self._trainer,
            position=self._position,
            running=self._running,
            drill=self._run.drill,
            max_norm=self._max_norm,
            skip=self._skip,
            emit=self._records.take,
        )
        step.batches.stop_wanted = self._stop_wanted
        step.batches.break_wanted = lambda: self._break_wanted
        return step
