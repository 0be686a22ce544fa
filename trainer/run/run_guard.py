"""One guarded run from start to end: joins the parts and keeps them in step with the training loop."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from ultralytics.cfg import get_save_dir
from ultralytics.utils import LOGGER, RANK
from ultralytics.utils.torch_utils import unwrap_model

from trainmaster.trainer.batches import precision
from trainmaster.trainer.batches.gradients import all_finite
from trainmaster.trainer.batches.position import Position
from trainmaster.trainer.batches.progress import RunningLoss
from trainmaster.trainer.batches.step_guard import StepGuard
from trainmaster.trainer.contract import EventKind, ExitCode, Phase, RunLayout, RunRecordState, Verdict
from trainmaster.trainer.data.data_faults import Intake
from trainmaster.trainer.data.quarantine import listed, training_list
from trainmaster.trainer.data.sampling import Boundary, GuardedLoader
from trainmaster.trainer.drill import Drill
from trainmaster.trainer.levels import LayerRow, table
from trainmaster.trainer.records import stacks
from trainmaster.trainer.records.console import logged_to
from trainmaster.trainer.records.recorder import Recorder
from trainmaster.trainer.records.run_directory import RunLock, set_aside
from trainmaster.trainer.run import ranks
from trainmaster.trainer.run.evaluation import Evaluation
from trainmaster.trainer.run.reporter import Reporter
from trainmaster.trainer.settings.guard_settings import GuardSettings
from trainmaster.trainer.state.put_back import GoingOn
from trainmaster.trainer.state.resume_plan import ResumePlan
from trainmaster.trainer.state.saver import SNAPSHOT_NAME, STOP_NAME, Moment, Saver
from trainmaster.trainer.stop import GaveUp, Refused, RunEnded, StopRequested, StopSwitch, end_workers

IS_FIRST = RANK in {-1, 0}  # writes the records: the only process, or the first of a DDP run


class RunGuard:
    """Everything of a guarded run that is not a seam. The mixin in :mod:`trainmaster.trainer.guard` calls in."""

    def __init__(
        self, settings: GuardSettings, rows: tuple[LayerRow, ...], *, user: dict[str, Any], plan: ResumePlan | None
    ) -> None:
        self.settings = settings
        self.rows = rows
        self.plan = plan
        self.position = Position()
        self.running = RunningLoss()
        self.switch = StopSwitch(on_request=self._on_request, on_second=self._on_second)
        self.step: StepGuard | None = None
        self.going_on = GoingOn(plan, position=self.position, running=self.running) if plan else None
        self.quarantined = listed(Path(settings.quarantine)) if settings.quarantine else frozenset()
        self._user = user
        self._values = {row.setting: row.value for row in rows}
        self._epoch_in_work = False
        self._is_open = False
        self._startup = ExitStack()
        self._lock: RunLock | None = plan.lock if plan else None

    @property
    def skip(self) -> bool:
        """Whether bad batches are skipped: everywhere but at level observe."""
        return bool(self._values["skip_bad_batches"])

    # Start

    @contextmanager
    def starting_up(self) -> Iterator[None]:
        """While the trainer is constructed: a stop signal ends it, and every way out is on record."""
        try:
            with self.switch.installed(), self._startup, self.switch.interruptible():
                yield
        except BaseException as error:
            if self._is_open:
                self._on_the_record(error)
            self._release()
            raise

    def open(self, trainer: Any) -> None:
        """The run directory is chosen, locked and marked as this run's, before Ultralytics writes into it.

        Raises:
            RunInUseError: another trainer works there.
        """
        root = Path(get_save_dir(trainer.args))
        trainer.args.save_dir = str(root)
        self.layout = RunLayout(root)
        if IS_FIRST and self._lock is None:
            self._lock = RunLock(self.layout)
            if self.plan is None and not trainer.args.resume:
                set_aside(self.layout)
        self.recorder = Recorder(self.layout, warn=LOGGER.warning, silent=not IS_FIRST)
        self.saver = Saver(self.layout, self.recorder, self.settings, user=self._user)
        self.drill = Drill(self.layout, self.settings.drill)
        self.reporter = Reporter(
            self.recorder, self.settings, position=self.position, running=self.running, drill=self.drill
        )
        self.intake = Intake(self.layout, self.recorder)
        self.evaluation = Evaluation(self.reporter, self.switch, self.intake)
        self._is_open = True
        self._startup.enter_context(stacks.shown(self.layout.stacks))
        from_epoch = self.plan.epoch + 1 if self.plan else None
        args = trainer.args
        common = {"task": args.task, "model": str(args.model), "epochs": args.epochs, "level": self.settings.level}
        layers = [row.as_record() for row in self.rows]
        class_before = self.recorder.trainer_class
        trainer_class = f"{type(trainer).__module__}:{type(trainer).__qualname__}"
        self.recorder.update_run(
            **common, data=str(args.data), layers=layers, from_epoch=from_epoch, trainer_class=trainer_class
        )
        self.recorder.event(
            EventKind.RUN_STARTED,
            **common,
            pid=os.getpid(),
            create_time=self.recorder.create_time,
            host=self.recorder.host,
            from_epoch=from_epoch,
            settings=self._values,
        )
        self.recorder.beat(force=True, epochs=args.epochs)
        if IS_FIRST:
            where = f"attempt {self.recorder.attempt}, from epoch {from_epoch or 1}"  # one log holds all attempts
            LOGGER.info(f"Guard at level {self.settings.level}, {where}:\n{table(self.rows)}")
        self.reporter.taken_over(class_before, trainer_class)

    @contextmanager
    def session(self, trainer: Any) -> Iterator[None]:
        """Training under guard; every way out of it is on record."""
        try:
            with (
                self.switch.installed(),
                stacks.shown(self.layout.stacks),
                logged_to(self.layout.train_log, enabled=IS_FIRST),
                precision.bfloat16_anywhere(trainer),
            ):
                try:
                    yield
                except RunEnded as end:
                    self._end_early(trainer, end)
                    raise
                except BaseException as error:
                    self._on_the_record(error)
                    raise
                self._finish(trainer)
        finally:
            if self.step is not None:
                self.step.detach()
            self._release()

    def launch_ranks(self, start: Callable[[], Any]) -> Any:
        """DDP: this process only starts the ranks, the first of which owns the run directory.

        Ultralytics removes the directory before it launches, so nothing may be held in it.
        """
        self._release()
        record = {"settings": self.settings.as_record(), "user": self._user}
        return ranks.launch(self.layout, record | {"resumed": self.plan.as_record() if self.plan else None}, start)

    def leave_out(self, img_path: str | list[str]) -> str:
        """A list of the images of ``img_path`` that are not in quarantine."""
        path, num_left_out = training_list(img_path, self.quarantined, self.layout.guard / "train_images.txt")
        self.reporter.notice(f"{num_left_out} images in quarantine are left out of training")
        return path

    def attach(self, trainer: Any) -> None:
        """Model, optimizer and data are there: guard them.

        Raises:
            Refused: the weights to start from are not finite.
        """
        self.saver.adopt_paths(trainer)
        self.position.batches = len(trainer.train_loader)
        self.position.use_accumulate(trainer.accumulate)
        step = self.step = StepGuard(
            trainer,
            position=self.position,
            running=self.running,
            drill=self.drill,
            max_norm=float(self._values["max_norm"]),
            skip=self.skip,
            on_bad=lambda bad: self.reporter.bad_batch(trainer, step, bad),
            on_event=self.reporter.here,
            on_hopeless=self.reporter.hopeless,
        )
        step.batches.stop_wanted = lambda: self.switch.requested is not None
        if self.plan is not None:
            names = tuple(self.plan.state["loss_names"])
            step.batches.know(names)
            self.running.know(names)
        step.attach()
        if self.skip and not all_finite(unwrap_model(trainer.model).parameters()):
            why = f"{trainer.args.model} has weights that are not finite"
            model = str(trainer.args.model)
            self.recorder.event(EventKind.RUN_REFUSED, checkpoint=model, verdict=Verdict.CONTAMINATED, reasons=[why])
            raise Refused(why)

    def pipeline_built(self, trainer: Any, batch_size_before: int | None) -> None:
        """Loaders are there, for the first time or, after Ultralytics halved the batch, once more."""
        self.position.batch_size = trainer.batch_size
        self.position.use_accumulate(trainer.accumulate)
        if self.step is None:
            return
        self.recorder.event(
            EventKind.OUT_OF_MEMORY, batch_size_before=batch_size_before, batch_size_after=trainer.batch_size
        )
        self.step.statistics.restore()
        self.position.start_over()

    def resume(self, trainer: Any) -> None:
        """The freshly set up ``trainer`` is where the saved state was."""
        assert self.going_on is not None
        for note in self.going_on.set_up(trainer):
            self.reporter.notice(note)

    # Epochs

    def epoch_started(self, trainer: Any) -> None:
        """An epoch begins, or begins again after Ultralytics halved the batch."""
        step = self.step
        assert step is not None
        self.position.start_epoch(trainer.epoch, len(trainer.train_loader))
        step.statistics.reattach()
        if isinstance(trainer.train_loader, GuardedLoader):
            trainer.train_loader.epoch_started(trainer.epoch)
        self._epoch_in_work = True
        self.evaluation.epoch_started(trainer)
        self.saver.epoch_started(trainer)
        if self.recorder.phase is Phase.STARTUP:
            self.recorder.set_phase(Phase.FIRST_BATCH, epoch=trainer.epoch + 1)
        self.reporter.epoch_started(trainer, step)
        if self.going_on is not None:
            if self.going_on.epoch_started(trainer):
                self.reporter.load_counts(self.going_on.counts)
            step.go_on(self.going_on.gradients)

    def batch_started(self) -> None:
        """The loop has got the next batch."""
        if self.going_on is not None:
            self.going_on.batch_started()
        self.position.index += 1
        self.drill.next_batch(epoch=self.position.epoch + 1, batch=self.position.index + 1)

    def batch_ended(self, trainer: Any, *, images: int, ghost: bool) -> None:
        """A batch is over.

        Raises:
            RunEnded: enough is enough, or somebody asked to stop.
        """
        position, step = self.position, self.step
        assert step is not None
        position.done = position.index + 1
        if ghost:
            return
        step.forget_batch()
        self.recorder.set_phase(Phase.TRAINING, epoch=position.epoch + 1)
        self.reporter.batch_over(trainer, step, images=images)
        self.drill.poll()
        if self.reporter.give_up:
            raise GaveUp(self.reporter.give_up)
        if step.batches.stop_agreed:
            raise StopRequested(self.switch.requested or "another rank was asked to stop")
        if trainer.world_size <= 1:
            self.switch.check()
        if IS_FIRST and position.done < position.batches and self.saver.snapshot_due():
            self._save_within_epoch(trainer, SNAPSHOT_NAME)

    def epoch_trained(self, trainer: Any) -> None:
        """The last batch of the epoch is over; validation comes next."""
        loader = trainer.train_loader
        if self.going_on is not None and self.going_on.finishing:
            trainer.stop = True  # as it was after this epoch: by patience, by time, or since it was the last
        if isinstance(loader, GuardedLoader):
            restored = self.going_on.boundary(self.position.epoch) if self.going_on else None
            self.saver.epoch_end = restored or Boundary.now(loader)

    def epoch_finished(self, trainer: Any) -> None:
        """Validated and saved.

        Raises:
            RunEnded: somebody asked to stop meanwhile.
        """
        if not self._epoch_in_work or self.step is None:  # Ultralytics calls once more after the final evaluation
            return
        self._epoch_in_work = False
        self.reporter.epoch_finished(trainer, self.step)
        if not trainer.stop:
            self.recorder.set_phase(Phase.TRAINING, epoch=self.position.epoch + 1)
            if trainer.world_size <= 1:
                self.switch.check()

    def validate(self, trainer: Any, stock_validate: Callable[[], Any]) -> Any:
        """Validation; a stop signal need not wait for its end."""
        self.recorder.set_phase(Phase.VALIDATING, epoch=self.position.epoch + 1)
        if not self.skip:
            return stock_validate()
        self._heal_statistics()
        self.saver.heal_ema(trainer, self.position)
        return self.evaluation.within_training(trainer, stock_validate)

    def save(self, trainer: Any, stock_save: Callable[[], Any]) -> bool:
        """The epoch's checkpoint and state are written.

        Raises:
            GaveUp: the weights are not finite, so there is nothing worth saving.
        """
        self.recorder.set_phase(Phase.SAVING, epoch=self.position.epoch + 1)
        if not self._healed(trainer):
            raise GaveUp("the weights are not finite")
        return self.saver.save_epoch(trainer, self._moment(), stock_save)

    def final_eval(self, trainer: Any, stock_eval: Callable[[], Any]) -> None:
        """The best weights are evaluated; what that does to the files is on record.

        Raises:
            StopRequested: somebody asked; no file is torn, and a resume makes up for the evaluation.
        """
        self.saver.save_at_last(trainer.save_model, self.switch, self.reporter.notice)
        unchanged = self.saver.as_attested(trainer)
        self.recorder.set_phase(Phase.VALIDATING, epoch=self.position.epoch + 1)
        try:
            self.evaluation.final(trainer, stock_eval)
        finally:
            if IS_FIRST:
                self.saver.attest_stripped(trainer, unchanged)

    # End

    def _finish(self, trainer: Any) -> None:
        self.recorder.event(
            EventKind.RUN_FINISHED,
            epochs=self.position.epoch + 1,
            fitness=None if trainer.best_fitness is None else float(trainer.best_fitness),
            seconds=time.time() - self.recorder.started_ts,
        )
        self.recorder.end(RunRecordState.FINISHED, ExitCode.FINISHED)

    def _end_early(self, trainer: Any, end: RunEnded) -> None:
        """The state is saved, no data-loader worker is left, and the records say how to go on."""
        state_file = self.saver.latest_epoch_state()
        if self.step is not None and self._epoch_in_work and self.position.done and IS_FIRST:
            state_file = self._save_within_epoch(trainer, STOP_NAME) or state_file
        for name in ("train_loader", "test_loader"):
            end_workers(getattr(trainer, name, None))
        self._on_the_record(end, state_file)

    def _save_within_epoch(self, trainer: Any, name: str) -> Path | None:
        if not self._healed(trainer):
            return None  # nothing worth keeping
        if name == STOP_NAME:
            self.recorder.set_phase(Phase.SAVING, epoch=self.position.epoch + 1)
        return self.saver.save_within_epoch(name, trainer, self._moment())

    def _healed(self, trainer: Any) -> bool:
        """All that is saved is finite, healed if need be; False when the weights themselves are not."""
        self._heal_statistics()
        return not self.skip or self.saver.heal(trainer, self.position)

    def _heal_statistics(self) -> None:
        if self.skip and self.step is not None and (healed := self.step.statistics.heal()):
            self.reporter.here(EventKind.STATE_HEALED, what="batchnorm", tensors=healed)

    def _on_the_record(self, error: BaseException, state_file: Path | None = None) -> None:
        epoch, batch = self.position.epoch + 1, self.position.done
        relative = state_file.relative_to(self.layout.root).as_posix() if state_file else None
        if not isinstance(error, RunEnded):
            self.recorder.crashed(error)
            return
        LOGGER.warning(f"run ended early: {error.why}. State: {relative or 'none'}")
        here = {"epoch": epoch, "batch": batch, "state_file": relative}
        if isinstance(error, GaveUp):
            counts = {"skipped_epoch": self.reporter.skipped_epoch, "streak": self.reporter.budget.streak}
            self.recorder.event(EventKind.RUN_GAVE_UP, why=error.why, **here, **counts)
        elif error.code == ExitCode.STOPPED:
            self.recorder.event(EventKind.RUN_STOPPED, resumable=relative is not None, **here)
        self.recorder.end(error.state, int(error.code or 0))

    def _on_request(self, name: str) -> None:
        if self._is_open:
            self.recorder.event(
                EventKind.STOP_REQUESTED, signal=name, epoch=self.position.epoch + 1, batch=self.position.done
            )
        LOGGER.warning(f"{name}: stopping as soon as the state is whole; once more to leave at once")

    def _on_second(self, name: str) -> None:
        if self._is_open:
            self._on_the_record(StopRequested(f"{name} again"), self.saver.latest_epoch_state())

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _moment(self) -> Moment:
        assert self.step is not None
        return Moment(position=self.position, running=self.running.as_record(), counts=self.reporter.counts(self.step))
