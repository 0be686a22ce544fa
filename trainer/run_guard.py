"""One guarded run from start to end: joins the parts, and keeps the records."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from ultralytics.cfg import get_save_dir
from ultralytics.utils import LOGGER, RANK
from ultralytics.utils.torch_utils import unwrap_model

from trainer.batch_guard import SkipBudget, SkipLimit
from trainer.checkpoints.files import digest_of
from trainer.console import logged_to
from trainer.contract import EventKind, ExitCode, Phase, RunLayout, RunRecordState, SkipReason, Verdict, read_json
from trainer.drill import Drill
from trainer.gradients import all_finite
from trainer.incident import Incidents, diagnose, encoded_losses, first_bad_module
from trainer.levels import LayerRow, table
from trainer.position import Position
from trainer.progress import RunningLoss
from trainer.recorder import Recorder, RunLock, encoded, exit_code_of
from trainer.resuming import ResumePlan
from trainer.sampling import Boundary, GuardedLoader, set_random_state
from trainer.saving import SNAPSHOT_NAME, STOP_NAME, EpochEnd, Saver
from trainer.settings import GuardSettings
from trainer.snapshot import restore, restore_gradients
from trainer.stepping import BadBatch, StepGuard
from trainer.stop import STOP_SIGNALS, GaveUp, Refused, RunEnded, StopRequested, StopSwitch, end_children

SERIES_ROWS_PER_EPOCH: Final = 50
RANKS_VARIABLE: Final = "TRAINMASTER_GUARD"
"""Environment variable by which the ranks of a DDP run get the guard's settings: Ultralytics passes only its own."""


class RunGuard:
    """Everything of a guarded run that is not a seam. The mixin in :mod:`trainer.guard` calls in."""

    def __init__(
        self, settings: GuardSettings, rows: tuple[LayerRow, ...], *, user: dict[str, Any], plan: ResumePlan | None
    ) -> None:
        self.settings = settings
        self.rows = rows
        self.plan = plan
        self.position = Position()
        self.running = RunningLoss()
        self.budget = SkipBudget(
            SkipLimit(streak=settings.bad_streak, count=settings.bad_count, window=settings.bad_window)
        )
        self.switch = StopSwitch(on_request=self._on_request, on_second=self._on_second)
        self.step: StepGuard | None = None
        self.epoch_in_work = False
        self._user = user
        self._values = {row.setting: row.value for row in rows}
        self._ending: RunEnded | None = None
        self._skipped = self._skipped_epoch = self._nonfinite_epoch = 0
        self._clipped_at_epoch = 0
        self._row_counts = (0, 0)
        self._epoch_began = self._train_began = time.time()
        self._images = 0
        self._went_on = False
        self._running_record: Mapping[str, object] | None = None
        self._lock: RunLock | None = plan.lock if plan else None

    @property
    def skip(self) -> bool:
        """Whether bad batches are skipped: everywhere but at level observe."""
        return bool(self._values["skip_bad_batches"])

    @property
    def max_norm(self) -> float:
        """Where gradients are clipped."""
        return float(self._values["max_norm"])

    def open(self, trainer: Any) -> None:
        """The run directory is chosen, locked and marked as this run's, before Ultralytics writes into it.

        Raises:
            RunInUseError: another trainer works there.
        """
        root = Path(get_save_dir(trainer.args))
        trainer.args.save_dir = str(root)
        self.layout = RunLayout(root)
        if RANK in {-1, 0} and self._lock is None:
            self._lock = RunLock(self.layout)
            if self.plan is None and not trainer.args.resume:
                set_aside(self.layout)
        self.recorder = Recorder(self.layout, warn=LOGGER.warning, silent=RANK not in {-1, 0})
        self.saver = Saver(self.layout, self.recorder, self.settings, user=self._user)
        self.drill = Drill(self.layout, self.settings.drill)
        self.incidents = Incidents(self.layout)
        self.recorder.update_run(
            task=trainer.args.task,
            model=str(trainer.args.model),
            data=str(trainer.args.data),
            epochs=trainer.args.epochs,
            level=self.settings.level,
            layers=[row.as_record() for row in self.rows],
            from_epoch=self.plan.epoch + 1 if self.plan else None,
        )
        self.recorder.event(
            EventKind.RUN_STARTED,
            pid=os.getpid(),
            create_time=self.recorder.create_time,
            host=self.recorder.host,
            level=self.settings.level,
            epochs=trainer.args.epochs,
            task=trainer.args.task,
            model=str(trainer.args.model),
            from_epoch=self.plan.epoch + 1 if self.plan else None,
            settings={row.setting: row.value for row in self.rows},
        )
        self.recorder.beat(force=True, epochs=trainer.args.epochs)
        if RANK in {-1, 0}:
            LOGGER.info(f"Guard at level {self.settings.level}:\n{table(self.rows)}")

    @contextmanager
    def session(self, trainer: Any) -> Iterator[None]:
        """Training under guard; every way out of it is on record."""
        self.switch.install(self.layout)
        try:
            with logged_to(self.layout.train_log, enabled=RANK in {-1, 0}):
                try:
                    yield
                except RunEnded as end:
                    self._end_early(trainer, end)
                    raise
                except BaseException as error:
                    self.recorder.crashed(error)
                    raise
                self._finish(trainer)
        finally:
            if self.step is not None:
                self.step.detach()
            self.switch.uninstall()
            self.release()

    def release(self) -> None:
        """The run directory is free for another trainer."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def launch_ranks(self, launch: Callable[[], Any]) -> Any:
        """DDP: this process only starts the ranks, of which the first owns the run directory.

        Ultralytics removes the directory before it launches, so nothing may be held in it.
        """
        self.release()
        os.environ[RANKS_VARIABLE] = json.dumps({"settings": self.settings.as_record(), "user": self._user})
        previous = {number: signal.signal(number, lambda *_: end_children()) for number in STOP_SIGNALS}
        try:
            return launch()
        except subprocess.CalledProcessError:
            state = (read_json(self.layout.run_json) or {}).get("state")
            if state in set(RunRecordState) and (code := exit_code_of(RunRecordState(state))) != 1:
                raise RunEnded(ExitCode(code), f"the ranks ended: {state}") from None
            raise
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def abandon(self, error: BaseException) -> None:
        """Start-up failed with ``error``."""
        if hasattr(self, "recorder"):
            if isinstance(error, RunEnded):
                self.recorder.end(_state_of(error), error.code)
            else:
                self.recorder.crashed(error)
        self.release()

    # Set-up

    def attach(self, trainer: Any) -> None:
        """Model, optimizer and data are there: guard them."""
        self.saver.adopt_paths(trainer)
        self.position.batches = len(trainer.train_loader)
        self.position.use_accumulate(trainer.accumulate)
        self.step = StepGuard(
            trainer,
            position=self.position,
            running=self.running,
            drill=self.drill,
            max_norm=self.max_norm,
            skip=self.skip,
            on_bad=lambda bad: self._bad_batch(trainer, bad),
            on_event=self._event_here,
        )
        self.step.batches.stop_wanted = lambda: self.switch.requested is not None
        if self.plan is not None:
            names = tuple(self.plan.state["loss_names"])
            self.step.batches.know(names)
            self.running.know(names)
        self.step.attach()
        if self.skip and not all_finite(unwrap_model(trainer.model).parameters()):
            why = f"the model to start from has weights that are not finite: {trainer.args.model}"
            self.recorder.event(
                EventKind.RUN_REFUSED, checkpoint=str(trainer.args.model), verdict=Verdict.CONTAMINATED, reasons=[why]
            )
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
        self.position.window_open = False

    def resume(self, trainer: Any) -> None:
        """The freshly set up ``trainer`` is where the saved state was."""
        assert self.plan is not None
        state = self.plan.state
        for note in restore(trainer, state):
            self.recorder.event(EventKind.NOTICE, text=note)
            LOGGER.warning(note)
        trainer.start_epoch = state["epoch"]
        position = self.position
        position.batches = len(trainer.train_loader)
        position.warmup_from = self.plan.warmup_from
        last_step = state.get("last_step")
        if last_step is not None and state["batches"] == position.batches:
            position.resume(last_step=last_step, window_open=bool(state.get("window_open")))
        criterion = unwrap_model(trainer.model)
        updates = state.get("criterion_updates", state["epoch"])
        if updates and hasattr(initial := criterion.init_criterion(), "update"):
            initial.updates = updates - 1  # so that update() lands on the decayed gains of that epoch
            initial.update()
            criterion.criterion = initial
        loader = trainer.train_loader
        if isinstance(loader, GuardedLoader) and "order" in state:
            done = state["batch"] if state["batches"] == len(loader) else 0
            loader.go_on(state=state["order"]["state"], batches_done=done)

    # Epochs

    def epoch_started(self, trainer: Any) -> None:
        """An epoch begins, or begins again after Ultralytics halved the batch."""
        self.position.start_epoch(trainer.epoch, len(trainer.train_loader))
        assert self.step is not None
        self.step.statistics.reattach()
        self.step.gradients.forget_states()
        self.epoch_in_work = True
        self.saver.epoch_end = None
        self.saver.criterion_updates = criterion_updates(trainer)
        self._skipped_epoch = self._nonfinite_epoch = 0
        self._clipped_at_epoch = self.step.gradients.clipped
        self._epoch_began, self._images = time.time(), 0
        if self.plan is not None and not self._went_on:
            self._went_on = True
            self._go_on_from(trainer, self.plan.state)
        epoch = trainer.epoch + 1
        self.recorder.event(EventKind.EPOCH_STARTED, epoch=epoch, epochs=trainer.epochs, batches=self.position.batches)
        if self.recorder.phase is Phase.STARTUP:
            self.recorder.set_phase(Phase.FIRST_BATCH, epoch=epoch)
        self._beat(trainer, force=True)

    def _go_on_from(self, trainer: Any, state: Mapping[str, Any]) -> None:
        restore_gradients(trainer, state["gradients"])
        self._running_record = state.get("running") if state["batch"] else None
        if state.get("rng"):
            set_random_state(state["rng"])
        dataset = trainer.train_loader.dataset
        if state.get("mosaic_buffer") and hasattr(dataset, "buffer") and trainer.train_loader.num_workers == 0:
            for index in state["mosaic_buffer"]:
                dataset.load_image(index)  # refills the buffer in its order

    def batch_started(self) -> None:
        """The loop has got the next batch."""
        if self._running_record is not None:  # not before: the loop drops the running mean after an epoch's start
            self.running.load(self._running_record)
            self._running_record = None
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
        self.budget.batch_over()
        step.forget_batch()
        self._images += images
        if self.recorder.phase is not Phase.TRAINING:
            self.recorder.set_phase(Phase.TRAINING, epoch=position.epoch + 1)
        if position.done % max(position.batches // SERIES_ROWS_PER_EPOCH, 1) == 0 or position.done == position.batches:
            self._series(trainer)
        if self.recorder.beat_due():
            self._beat(trainer)
        self.drill.poll()
        if self._ending is not None:
            raise self._ending
        if step.batches.stop_agreed:
            raise StopRequested("asked to stop")
        if trainer.world_size <= 1:
            self.switch.check()
        if self.saver.snapshot_due() and RANK in {-1, 0} and position.done < position.batches:
            self.saver.heal(trainer, position)
            self.saver.save_within_epoch(SNAPSHOT_NAME, trainer, position, self.running)

    def epoch_trained(self, trainer: Any) -> None:
        """The last batch of the epoch is over; validation comes next."""
        loader = trainer.train_loader
        if isinstance(loader, GuardedLoader):
            restored = self.plan.state if self.plan and self.position.epoch == self.plan.epoch else None
            if restored is not None and restored["batch"] >= self.position.batches and restored.get("rng"):
                boundary = Boundary(rng=restored["rng"], mosaic_buffer=restored["mosaic_buffer"])
            else:
                boundary = Boundary.now(loader)
            self.saver.epoch_end = EpochEnd(boundary=boundary)

    def epoch_finished(self, trainer: Any) -> None:
        """Validated and saved.

        Raises:
            RunEnded: somebody asked to stop meanwhile.
        """
        if not self.epoch_in_work:  # Ultralytics calls once more after the final evaluation
            return
        position, step = self.position, self.step
        assert step is not None
        self.epoch_in_work = False
        self.recorder.event(
            EventKind.EPOCH_FINISHED,
            epoch=position.epoch + 1,
            epochs=trainer.epochs,
            batches=position.batches,
            batches_done=position.done,
            skipped=self._skipped_epoch,
            nonfinite=self._nonfinite_epoch,
            clipped=step.gradients.clipped - self._clipped_at_epoch,
            losses=self.running.as_floats(),
            metrics={name: float(value) for name, value in (trainer.metrics or {}).items()},
            fitness=None if trainer.fitness is None else float(trainer.fitness),
            validated=bool(trainer.args.val) or trainer.stop,
            seconds=time.time() - self._epoch_began,
            lr=self._rate(trainer),
        )
        self._beat(trainer, force=True)
        if not trainer.stop and trainer.world_size <= 1:
            self.recorder.set_phase(Phase.TRAINING, epoch=position.epoch + 1)
            self.switch.check()

    def save(self, trainer: Any, stock_save: Callable[[], Any]) -> bool:
        """The epoch's checkpoint and state are written.

        Raises:
            GaveUp: the weights are not finite, so there is nothing worth saving.
        """
        self.recorder.set_phase(Phase.SAVING, epoch=self.position.epoch + 1)
        if self.skip and not self.saver.heal(trainer, self.position):
            raise self._gave_up("the weights are not finite")
        return self.saver.save_epoch(trainer, self.position, self.running, stock_save)

    def final_eval(self, trainer: Any, stock_eval: Callable[[], Any]) -> None:
        """The best weights are evaluated; what that does to the files is on record."""
        names = {f"weights/{path.name}": path for path in (trainer.last, trainer.best)}
        before = {name: path.written for name, path in names.items() if getattr(path, "written", None)}
        verdicts = {}
        for name, saved in before.items():
            with suppress(OSError):
                same = digest_of(Path(names[name])) == saved
                verdicts[name] = Verdict.CLEAN if same and self.skip else Verdict.UNKNOWN
        self.recorder.set_phase(Phase.VALIDATING, epoch=self.position.epoch + 1)
        stock_eval()
        if RANK in {-1, 0}:
            self.saver.attest_stripped(trainer, {name: before[name] for name in verdicts}, verdicts)

    # What goes wrong

    def _bad_batch(self, trainer: Any, bad: BadBatch) -> None:
        step, position = self.step, self.position
        assert step is not None
        lost = bad.action == "skipped"
        self._nonfinite_epoch += bad.reason is not SkipReason.LOSS_SPIKE
        self._skipped += lost
        self._skipped_epoch += lost
        images = [str(name) for name in bad.batch.get("im_file", ())]
        why = self.budget.spend(batches_per_epoch=position.batches) if lost else None
        losses = encoded_losses(bad.verdict.losses if bad.verdict else {})
        facts = {
            "reason": bad.reason,
            "epoch": position.epoch + 1,
            "batch": bad.index + 1,
            "batches": position.batches,
            "action": bad.action,
            "losses": losses,
            "grad_norm": bad.grad_norm,
            "lr": self._rate(trainer),
            "images": images,
        }
        model = unwrap_model(trainer.model)
        found = diagnose(model, bad.batch, labels_bad=bool(bad.verdict and bad.verdict.labels_bad))
        incident = self._incident(trainer, bad, facts, found, images)
        extra = {"drill": True} if self.drill.fault and bad.index == position.index else {}
        self.recorder.event(
            EventKind.BAD_BATCH,
            **facts,
            skipped_epoch=self._skipped_epoch,
            skipped_total=self._skipped,
            streak=self.budget.streak,
            incident=incident,
            cause=found["cause"],
            **extra,
        )
        LOGGER.warning(
            f"bad batch: epoch {position.epoch + 1} batch {bad.index + 1}/{position.batches}: {bad.reason}, "
            f"{bad.action} ({self._skipped_epoch} this epoch, {self.budget.streak} in a row)"
        )
        if not self.skip:
            return
        if found["bad_weights"]:
            self._ending = self._gave_up(f"{found['bad_weights']} weights are not finite; no batch can mend that")
        elif why:
            self._ending = self._gave_up(why)

    def _incident(
        self, trainer: Any, bad: BadBatch, facts: dict[str, Any], found: dict[str, Any], images: list[str]
    ) -> str | None:
        step = self.step
        assert step is not None
        module = None
        if self.skip and bad.reason is not SkipReason.LOSS_SPIKE and "img" in bad.batch and bad.verdict:
            try:
                module = first_bad_module(unwrap_model(trainer.model), bad.batch)
            finally:
                step.statistics.restore()
        details = {
            **facts,
            **found,
            "ts": time.time(),
            "run": self.recorder.run,
            "attempt": self.recorder.attempt,
            "level": self.settings.level,
            "first_bad_module": module,
            "worst_gradients": [{"parameter": name, "norm": norm} for name, norm in bad.worst],
            "drill": bool(self.drill.fault),
        }
        try:
            return self.incidents.record(encoded(details), bad.batch, images)
        except (OSError, RuntimeError) as error:
            self.recorder.storage_fault("incidents", error)
            return None

    def _gave_up(self, why: str) -> GaveUp:
        return GaveUp(why)

    # Ends

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
        epoch, batch = self.position.epoch + 1, self.position.done
        state_file = self._save_at_end(trainer)
        for name in ("train_loader", "test_loader"):
            loader = getattr(trainer, name, None)
            if hasattr(loader, "close"):
                loader.close()
        end_children()
        relative = state_file.relative_to(self.layout.root).as_posix() if state_file else None
        if isinstance(end, GaveUp):
            self.recorder.event(
                EventKind.RUN_GAVE_UP,
                epoch=epoch,
                batch=batch,
                why=end.why,
                skipped_epoch=self._skipped_epoch,
                streak=self.budget.streak,
                state_file=relative,
            )
        elif not isinstance(end, Refused):
            self.recorder.event(
                EventKind.RUN_STOPPED, epoch=epoch, batch=batch, resumable=relative is not None, state_file=relative
            )
        LOGGER.warning(f"run ended early: {end.why}. State: {relative or 'none'}")
        self.recorder.end(_state_of(end), end.code)

    def _save_at_end(self, trainer: Any) -> Path | None:
        newest = self.saver.latest_epoch_state()
        if self.step is None or not self.epoch_in_work or self.position.done == 0 or RANK not in {-1, 0}:
            return newest
        if not self.saver.heal(trainer, self.position):
            return newest  # nothing worth keeping
        self.recorder.set_phase(Phase.SAVING, epoch=self.position.epoch + 1)
        return self.saver.save_within_epoch(STOP_NAME, trainer, self.position, self.running) or newest

    def _on_request(self, name: str) -> None:
        self.recorder.event(
            EventKind.STOP_REQUESTED, signal=name, epoch=self.position.epoch + 1, batch=self.position.done
        )
        LOGGER.warning(f"{name}: stopping after this batch; once more to leave at once")

    def _on_second(self, _name: str) -> None:
        epoch, batch = self.position.epoch + 1, self.position.done
        newest = self.saver.latest_epoch_state()
        relative = newest.relative_to(self.layout.root).as_posix() if newest else None
        self.recorder.event(
            EventKind.RUN_STOPPED, epoch=epoch, batch=batch, resumable=newest is not None, state_file=relative
        )
        self.recorder.end(RunRecordState.STOPPED, exit_code_of(RunRecordState.STOPPED))

    # Records

    def _event_here(self, kind: EventKind, **fields: Any) -> None:
        self.recorder.event(kind, epoch=self.position.epoch + 1, batch=self.position.index + 1, **fields)

    def _series(self, trainer: Any) -> None:
        assert self.step is not None
        gradients = self.step.gradients
        norms = gradients.summary()
        skipped, clipped = self._row_counts
        self._row_counts = (self._skipped, gradients.clipped)
        self.recorder.series(
            epoch=self.position.epoch + 1,
            batch=self.position.done,
            losses=self.running.as_floats(),
            lr=self._rate(trainer),
            grad_norm_p50=norms.p50,
            grad_norm_p99=norms.p99,
            grad_norm_max=norms.largest,
            clipped=gradients.clipped - clipped,
            skipped=self._skipped - skipped,
        )

    def _beat(self, trainer: Any, *, force: bool = False) -> None:
        step = self.step
        assert step is not None
        elapsed_s = time.time() - self._epoch_began
        self.recorder.beat(
            force=force,
            epoch=self.position.epoch + 1,
            epochs=trainer.epochs,
            batch=self.position.done,
            batches=self.position.batches,
            losses=self.running.as_floats(),
            lr=self._rate(trainer),
            grad_norm=step.grad_norm,
            skipped=self._skipped,
            skipped_epoch=self._skipped_epoch,
            clipped=step.gradients.clipped,
            clipped_epoch=step.gradients.clipped - self._clipped_at_epoch,
            streak=self.budget.streak,
            images_per_s=self._images / elapsed_s if elapsed_s > 0 else None,
            epoch_elapsed_s=elapsed_s,
            memory_gib=trainer._get_memory(),  # noqa: SLF001 - what the progress line shows
        )

    @staticmethod
    def _rate(trainer: Any) -> float | None:
        rates = [group["lr"] for group in trainer.optimizer.param_groups] if trainer.optimizer else []
        finite = [rate for rate in rates if math.isfinite(rate)]
        return max(finite) if finite else None


def set_aside(layout: RunLayout) -> None:
    """What an earlier run left in the directory is in the archive: nothing of it is overwritten or mixed up."""
    old = [path for path in (layout.run_json, layout.weights, layout.results_csv) if path.exists()]
    if not old or not layout.run_json.exists():
        return
    target = layout.archive / time.strftime("replaced-%Y%m%d-%H%M%S", time.gmtime())
    target.mkdir(parents=True)
    (target / "guard").mkdir()
    for path in layout.guard.iterdir():
        if path != layout.lock:
            path.rename(target / "guard" / path.name)
    for path in (layout.weights, layout.results_csv, layout.root / "args.yaml"):
        if path.exists():
            path.rename(target / path.name)


def criterion_updates(trainer: Any) -> int:
    """How often the end-to-end loss has moved its weight to the one-to-one head; 0 for losses that don't."""
    criterion = getattr(unwrap_model(trainer.model), "criterion", None)
    return int(getattr(criterion, "updates", 0))


def _state_of(end: RunEnded) -> RunRecordState:
    return {
        int(ExitCode.STOPPED): RunRecordState.STOPPED,
        int(ExitCode.GAVE_UP): RunRecordState.GAVE_UP,
        int(ExitCode.REFUSED): RunRecordState.REFUSED,
    }.get(int(end.code or 0), RunRecordState.CRASHED)
