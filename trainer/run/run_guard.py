"""One guarded run from start to end: joins the parts and keeps them in step with the training loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from ultralytics.cfg import get_save_dir
from ultralytics.utils import LOGGER

from trainmaster.trainer.batches import precision
from trainmaster.trainer.batches.position import Position
from trainmaster.trainer.batches.progress import RunningLoss
from trainmaster.trainer.batches.step_guard import StepGuard
from trainmaster.trainer.checkpoints.retention import SNAPSHOT_NAME, STOP_NAME
from trainmaster.trainer.contract import EventKind, Phase, RunLayout, RunRecordState
from trainmaster.trainer.data.quarantine import listed, training_list
from trainmaster.trainer.data.sampling import Boundary, GuardedLoader
from trainmaster.trainer.engines.protocol import EngineTrainer
from trainmaster.trainer.levels import LayerRow, max_norm_of
from trainmaster.trainer.records import stacks
from trainmaster.trainer.records.console import logged_to
from trainmaster.trainer.records.recorder import Recorder
from trainmaster.trainer.records.run_directory import RunLock, set_aside, sweep_unfinished
from trainmaster.trainer.run import ending, ranks
from trainmaster.trainer.run.announcement import announce, recipe_of
from trainmaster.trainer.run.guarding import Guarding
from trainmaster.trainer.run.open_run import OpenRun
from trainmaster.trainer.run.reporter import Reporter
from trainmaster.trainer.settings.guard_settings import GuardSettings
from trainmaster.trainer.state.put_back import GoingOn
from trainmaster.trainer.state.resume_plan import ResumePlan
from trainmaster.trainer.state.saver import Saver
from trainmaster.trainer.stop import GaveUp, RunEnded, StopRequested, StopSwitch, end_loaders


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
        self.switch = StopSwitch(
            on_request=self._on_request, on_second=self._on_second, one_request_s=ranks.one_request_s()
        )
        self._guarding: Guarding | None = None
        self.going_on = GoingOn(plan, position=self.position, running=self.running) if plan else None
        self.quarantined = listed(Path(settings.quarantine)) if settings.quarantine else frozenset()
        self._user = user
        self.skip = any(row.setting == "skip_bad_batches" and row.value for row in rows)
        """Whether bad batches are skipped: everywhere but at level observe."""
        self._epoch_in_work = False
        self._run: OpenRun | None = None
        self._opened = partial(
            OpenRun.begin,
            settings=settings,
            user=user,
            position=self.position,
            running=self.running,
            switch=self.switch,
        )
        self._startup = ExitStack()
        self._lock: RunLock | None = plan.lock if plan else None

    @property
    def step(self) -> StepGuard | None:
        """Between the training loop and the model, once there is one."""
        return self._guarding.step if self._guarding else None

    def follow(self) -> StepGuard:
        """Before a batch: the guard of what trains now, as :meth:`Guarding.follow` finds it."""
        self.guarding.follow()
        return self.guarding.step

    @property
    def guarding(self) -> Guarding:
        """What guards the steps; there is none before there is a model."""
        assert self._guarding is not None
        return self._guarding

    # Once the run directory is ours

    @property
    def parts(self) -> OpenRun:
        """All of it, in one."""
        assert self._run is not None, "the run directory is not chosen yet"
        return self._run

    @property
    def layout(self) -> RunLayout:
        """Where everything of the run lies."""
        return self.parts.layout

    @property
    def recorder(self) -> Recorder:
        """What writes its records."""
        return self.parts.recorder

    @property
    def saver(self) -> Saver:
        """What writes its checkpoints and states."""
        return self.parts.saver

    @property
    def reporter(self) -> Reporter:
        """What counts and reports."""
        return self.parts.reporter

    # Start

    @contextmanager
    def starting_up(self) -> Iterator[None]:
        """While the trainer is constructed: a stop signal ends it, and every way out is on record."""
        try:
            with self.switch.installed(), self._startup, self.switch.interruptible():
                yield
        except BaseException as error:
            if self._run is not None:
                ending.ended(self._run, self.position, error)
            self._release()
            raise

    def open(self, trainer: EngineTrainer) -> None:
        """The run directory is chosen, locked and marked as this run's, before Ultralytics writes into it.

        Raises:
            RunInUseError: another trainer works there.
        """
        layout = RunLayout(Path(get_save_dir(trainer.args)))
        trainer.args.save_dir = str(layout.root)
        if ranks.IS_FIRST and self._lock is None:
            self._lock = RunLock(layout)
            if self.plan is None and not trainer.args.resume:
                set_aside(layout)
        if self._lock is not None:
            with suppress(OSError):  # of no use to anybody and small; the disk's trouble is told by what is written
                sweep_unfinished(layout)
        self._run = self._opened(layout, attempt=(ranks.inherited() or {}).get("attempt"))
        self._startup.enter_context(stacks.shown(ranks.stacks_of(layout)))
        announce(
            self._run,
            trainer,
            self.settings,
            self.rows,
            from_epoch=self.plan.epoch + 1 if self.plan else None,
            on_console=ranks.IS_FIRST,
        )

    def meet(self, trainer: EngineTrainer) -> None:
        """Ranks know each other, and which directory the first has chosen."""
        self._run = self.parts.met(trainer, self._opened)

    @contextmanager
    def session(self, trainer: EngineTrainer) -> Iterator[None]:
        """Training under guard; every way out of it is on record."""
        ending.require_first_training(self.parts)
        try:
            with (
                self.switch.installed(),
                stacks.shown(ranks.stacks_of(self.layout)),
                logged_to(self.layout.train_log, enabled=ranks.IS_FIRST),
                precision.bfloat16_anywhere(trainer),
            ):
                try:
                    ranks.require_world(trainer.world_size, trainer.args.device)
                    yield
                except BaseException as end:
                    self._end_early(trainer, end)
                    raise
                ending.finished(self.parts, self.position, trainer)
        finally:
            if self.step is not None:
                self.step.detach()
            self._release()

    def launch_ranks(self, start: Callable[[], Any]) -> Any:
        """DDP: this process only starts the ranks, the first of which owns the run directory.

        Ultralytics removes the directory before it launches, so nothing may be held in it.
        """
        self._release()
        record = {"settings": self.settings.as_record(), "user": self._user, "attempt": self.recorder.attempt}
        record["resumed"] = self.plan.as_record() if self.plan else None
        return ranks.launch(self.layout, record, start, partial(ending.ended_unheard, self.parts))

    def leave_out(self, img_path: str | list[str]) -> str:
        """A list of the images of ``img_path`` that are not in quarantine."""
        path, num_left_out = training_list(img_path, self.quarantined, self.layout.guard / "train_images.txt")
        self.reporter.notice(f"{num_left_out} images in quarantine are left out of training")
        return path

    def attach(self, trainer: EngineTrainer, *, steps_its_own_way: bool) -> None:
        """Model, optimizer and data are there: guard them.

        Raises:
            Refused: the weights to start from are not finite.
        """
        self.saver.adopt_paths(trainer)
        self.position.batches = len(trainer.train_loader)
        self.position.use_accumulate(trainer.accumulate)
        launcher = ranks.Launcher()
        self._guarding = Guarding(
            trainer,
            self.parts,
            level=self.settings.level,
            position=self.position,
            running=self.running,
            max_norm=max_norm_of(self.rows, steps_its_own_way=steps_its_own_way),
            skip=self.skip,
            replays=self.settings.replay_incidents,
            stop_wanted=lambda: self.switch.requested is not None or launcher.gone,
        )
        if self.plan is not None:
            self._guarding.go_on(self.plan.state)
        self._guarding.attach()

    def pipeline_built(self, trainer: EngineTrainer, batch_size_before: int | None) -> None:
        """Loaders are there, for the first time or, after Ultralytics halved the batch, once more."""
        self.position.batch_size = trainer.batch_size
        self.position.use_accumulate(trainer.accumulate)
        if self.step is None:
            return
        self.recorder.event(
            EventKind.OUT_OF_MEMORY, batch_size_before=batch_size_before, batch_size_after=trainer.batch_size
        )
        self.recorder.update_run(recipe=recipe_of(trainer))
        self.step.statistics.restore()
        self.position.start_over()

    def resume(self, trainer: EngineTrainer) -> None:
        """The freshly set up ``trainer`` is where the saved state was."""
        assert self.going_on is not None
        for note in self.going_on.set_up(trainer):
            self.reporter.notice(note)

    # Epochs

    def epoch_started(self, trainer: EngineTrainer) -> None:
        """An epoch begins, or begins again after Ultralytics halved the batch."""
        step = self.guarding.step
        self.guarding.put_figures_right()
        self.position.start_epoch(trainer.epoch, len(trainer.train_loader))
        step.statistics.reattach()
        if isinstance(trainer.train_loader, GuardedLoader):
            trainer.train_loader.epoch_started(trainer.epoch)
        self._epoch_in_work = True
        self.parts.evaluation.epoch_started(trainer)
        self.saver.epoch_started(trainer)
        if self.recorder.phase is Phase.STARTUP:
            if ranks.IS_FIRST:
                self.saver.note_data(trainer)
            self.recorder.set_phase(Phase.FIRST_BATCH, epoch=trainer.epoch + 1)
        self.reporter.epoch_started(trainer, step)
        if self.going_on is not None:
            if self.going_on.epoch_started(trainer):
                self.reporter.load_counts(self.going_on.counts)
            step.go_on(self.going_on.let_go())

    def batch_started(self) -> None:
        """The loop has got the next batch."""
        if self.going_on is not None:
            self.going_on.batch_started()
        self.guarding.batch_started()
        self.position.index += 1
        self.parts.drill.next_batch(epoch=self.position.epoch + 1, batch=self.position.index + 1)

    def batch_ended(self, trainer: EngineTrainer, *, images: int, ghost: bool) -> None:
        """A batch is over.

        Raises:
            RunEnded: enough is enough, or somebody asked to stop.
        """
        position, step = self.position, self.guarding.step
        position.done = position.index + 1
        if ghost:
            return
        self.guarding.batch_over()
        self.recorder.set_phase(Phase.TRAINING, epoch=position.epoch + 1)
        self.reporter.batch_over(trainer, step, images=images)
        self.parts.drill.poll()
        if self.reporter.tally.give_up:
            raise GaveUp(self.reporter.tally.give_up)
        if step.batches.stop_agreed:
            raise StopRequested(self.switch.requested or ranks.why_all_stop())
        if trainer.world_size <= 1:
            self.switch.check()
        if ranks.IS_FIRST and position.done < position.batches and self.saver.snapshot_due():
            self._save_within_epoch(trainer, SNAPSHOT_NAME)

    def epoch_trained(self, trainer: EngineTrainer) -> None:
        """The last batch of the epoch is over; validation comes next.

        Raises:
            GaveUp: the epoch has trained nothing.
        """
        if self.going_on is not None:
            self.going_on.epoch_trained(trainer)
        self.guarding.epoch_trained()
        if isinstance(loader := trainer.train_loader, GuardedLoader):
            restored = self.going_on.boundary(self.position.epoch) if self.going_on else None
            self.saver.epoch_end = restored or Boundary.now(loader)

    def epoch_finished(self, trainer: EngineTrainer) -> None:
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

    def validate(self, trainer: EngineTrainer, stock_validate: Callable[[], Any]) -> Any:
        """Validation; a stop signal need not wait for its end."""
        self.recorder.set_phase(Phase.VALIDATING, epoch=self.position.epoch + 1)
        if not self.skip:
            return stock_validate()
        if self.step is not None:
            self.step.heal()
        else:
            self.saver.heal_ema(trainer, self.position)
        return self.parts.evaluation.within_training(trainer, stock_validate)

    def save(self, trainer: EngineTrainer, stock_save: Callable[[], Any]) -> bool:
        """The epoch's checkpoint and state are written.

        Raises:
            GaveUp: the weights are not finite, so there is nothing worth saving.
        """
        self.recorder.set_phase(Phase.SAVING, epoch=self.position.epoch + 1)
        if not self._healed(trainer):
            raise GaveUp(self.guarding.step.ruin or "the weights are not finite")
        with self.guarding.moment() as moment:
            return self.saver.save_epoch(trainer, moment, stock_save)

    def final_eval(self, trainer: EngineTrainer, stock_eval: Callable[[], Any]) -> None:
        """The best weights are evaluated; what that does to the files is on record.

        Raises:
            StopRequested: somebody asked; no file is torn, and a resume makes up for the evaluation.
        """
        self.saver.save_at_last(trainer, self.switch, self.reporter.notice)
        self.recorder.set_phase(Phase.VALIDATING, epoch=self.position.epoch + 1)
        with self.saver.stripping(trainer, records=ranks.IS_FIRST):
            self.parts.evaluation.final(trainer, stock_eval)

    # End

    def _end_early(self, trainer: EngineTrainer, end: BaseException) -> None:
        """The state is saved but for a crash, no data-loader worker is left, and the records say how to go on."""
        state_file = self.saver.latest_epoch_state()
        unsaved = self.step is not None and self.position.done and not self.saver.epoch_is_saved
        if isinstance(end, RunEnded) and unsaved and ranks.IS_FIRST:
            state_file = self._save_within_epoch(trainer, STOP_NAME) or state_file
        try:
            end_loaders(trainer)  # else Python waits for them at its exit: they outlive its signal for a minute
        finally:
            ending.ended(self.parts, self.position, end, state_file)

    def _save_within_epoch(self, trainer: EngineTrainer, name: str) -> Path | None:
        if not self._healed(trainer):
            return None  # nothing worth keeping
        if name == STOP_NAME:
            self.recorder.set_phase(Phase.SAVING, epoch=self.position.epoch + 1)
        with self.guarding.moment() as moment:
            return self.saver.save_within_epoch(name, trainer, moment)

    def _healed(self, trainer: EngineTrainer) -> bool:
        """All that is saved is finite, healed if need be; False when the weights themselves are not."""
        return not self.skip or (self.guarding.step.sound() and self.saver.heal(trainer, self.position))

    def _on_request(self, name: str) -> None:
        # Once the end is on record it is no request any more, nor where their launcher ends the ranks that are left.
        if self._run and self.recorder.state is RunRecordState.RUNNING and not ending.another_has_ended(self._run):
            self.recorder.event(
                EventKind.STOP_REQUESTED, signal=name, epoch=self.position.epoch + 1, batch=self.position.done
            )
        LOGGER.warning(f"{name}: stopping as soon as the state is whole; once more to leave at once")

    def _on_second(self, name: str) -> None:
        if self._run is not None:
            ending.left_at_once(self._run, self.position, name)

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None
