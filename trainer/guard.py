"""The seams: one mixin over any Ultralytics trainer class, and the guarded classes of the five tasks."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from trainmaster.trainer.run import offline

offline.before_import()

from ultralytics.data.build import InfiniteDataLoader  # noqa: E402 - as above
from ultralytics.engine.trainer import BaseTrainer  # noqa: E402 - reads the environment just set
from ultralytics.models.yolo.classify import ClassificationTrainer  # noqa: E402 - as above
from ultralytics.models.yolo.detect import DetectionTrainer  # noqa: E402 - as above
from ultralytics.models.yolo.obb import OBBTrainer  # noqa: E402 - as above
from ultralytics.models.yolo.pose import PoseTrainer  # noqa: E402 - as above
from ultralytics.models.yolo.segment import SegmentationTrainer  # noqa: E402 - as above
from ultralytics.nn.tasks import (  # noqa: E402 - as above
    ClassificationModel,
    DetectionModel,
    OBBModel,
    PoseModel,
    SegmentationModel,
)
from ultralytics.utils import DEFAULT_CFG, DEFAULT_CFG_DICT, LOGGER, YAML  # noqa: E402 - as above

from trainmaster.trainer.arguments import ArgumentsError  # noqa: E402 - as above
from trainmaster.trainer.batches.agreement import of_all  # noqa: E402 - as above
from trainmaster.trainer.data.data_faults import collecting, told_as_bad_input  # noqa: E402 - as above
from trainmaster.trainer.data.quarantine import keep_samples  # noqa: E402 - as above
from trainmaster.trainer.data.sampling import GuardedLoader, is_ghost, iterators_held  # noqa: E402 - as above
from trainmaster.trainer.data.validation_data import forgive  # noqa: E402 - as above
from trainmaster.trainer.engines import compat  # noqa: E402 - as above
from trainmaster.trainer.jobs.environment import refuse_several_nodes  # noqa: E402 - as above
from trainmaster.trainer.levels import GUARD_ONLY, LAYER_SETTINGS, resolve  # noqa: E402 - as above
from trainmaster.trainer.run import ranks  # noqa: E402 - as above
from trainmaster.trainer.run.run_guard import RunGuard  # noqa: E402 - as above
from trainmaster.trainer.settings.guard_settings import take_settings  # noqa: E402 - as above
from trainmaster.trainer.settings.inputs import exact_faults  # noqa: E402 - as above
from trainmaster.trainer.state.resume_plan import (  # noqa: E402 - as above
    PLAN_KEY,
    ResumePlan,
    plan_for_rank,
    rebuild_model,
)
from trainmaster.trainer.state.script_resume import plan_for_api  # noqa: E402 - as above
from trainmaster.trainer.stop import WorkerStart  # noqa: E402 - as above

# Behind the mixin stands any of Ultralytics' classes; what of it the guard uses is typed in :mod:`engines.protocol`.
Behind: Any = Any if TYPE_CHECKING else object

AnyTrainer = TypeVar("AnyTrainer", bound=type[BaseTrainer])


class GuardMixin(Behind):  # type: ignore[misc] # the seams of Behind are checked by engines.compat, at run time
    """Guards the trainer class that it is put in front of; see :func:`guarded`.

    Every method is a seam of Ultralytics' engine (checked by :mod:`engines.compat`); what is decided there is decided
    in :class:`~trainmaster.trainer.run.run_guard.RunGuard` and its parts. ``rest`` and ``more`` are what another
    version takes beside what the guard knows: it has no interest in them and hands them on.
    """

    guard: RunGuard
    epochs: int

    def __init__(
        self, cfg: Any = DEFAULT_CFG, overrides: Any = None, _callbacks: Any = None, *rest: Any, **more: Any
    ) -> None:
        refuse_several_nodes(os.environ)
        warnings = [compat.require(), compat.edited()]
        offline.after_import()
        given: dict[str, Any] = dict(overrides or {})
        plan: ResumePlan | None = given.pop(PLAN_KEY, None)
        launched = ranks.inherited()
        if launched is not None and launched["resumed"]:
            plan = plan_for_rank(launched)
        elif plan is None and given.get("resume"):
            plan, given = plan_for_api(given)
            given.pop(PLAN_KEY)
        if launched is not None:  # Ultralytics hands a rank every setting there is, so what the user chose is lost
            given |= launched["settings"]
        settings, given = take_settings(given, plan.settings if plan else None)
        if faults := exact_faults(settings.exact, given):
            raise ArgumentsError("\n".join(faults))
        user = plan.user if plan else launched["user"] if launched else user_values(given)
        if settings.max_norm is not None:
            user = {**user, "max_norm": settings.max_norm}
        rows = plan.rows if plan else resolve(settings.level, user, {**DEFAULT_CFG_DICT, **given})
        wanted = {row.setting: row.value for row in rows if row.source == f"level {settings.level}"}
        given |= {name: value for name, value in wanted.items() if name not in GUARD_ONLY}
        self._steps_its_own_way = compat.steps_its_own_way(super().optimizer_step)
        self.guard = RunGuard(settings, rows, user=user, plan=plan)
        self._goes_on_in = given.get("save_dir")
        with self.guard.starting_up():
            super().__init__(cfg, given, _callbacks, *rest, **more)
        if settings.exact and given.get("workers") is not None:
            self.args.workers = given["workers"]  # Ultralytics has none on a CPU; an exact run must not depend on that
        for warning in filter(None, warnings):
            LOGGER.warning(warning)

    # The running loss

    @property
    def tloss(self) -> Any:
        """The running mean over the good batches of the epoch, in place of the loop's own.

        The loop asks for it in order to update it, sees None and assigns the batch's loss; that assignment is the
        update, already made where the batch was judged.
        """
        step = self.guard.step
        if step is not None and step.loss_fresh:
            return None
        shown = self.guard.running.shown
        return step.batches.maker.form.write(shown) if step is not None and shown else None

    @tloss.setter
    def tloss(self, value: Any) -> None:
        if value is None:
            self.guard.running.start_epoch()
        if self.guard.step is not None:
            self.guard.step.loss_was_taken(value)

    # Set-up

    def check_resume(self, overrides: dict[str, Any], *rest: Any, **more: Any) -> None:
        """Settings are final and the run directory is ours."""
        if self.guard.plan is None:
            super().check_resume(overrides, *rest, **more)
        else:
            self.resume = True
            self.args.resume = str(self.guard.plan.path)
            if self._goes_on_in:  # 8.3.230 and 8.4.0 take it out of the overrides
                self.args.save_dir = self._goes_on_in
        self.guard.open(self)

    def setup_model(self, *rest: Any, **more: Any) -> Any:
        """The model, or the one whose state is resumed."""
        if self.guard.plan is None:
            return super().setup_model(*rest, **more)
        rebuild_model(self, self.guard.plan.state)
        return {}

    def get_dataset(self, *rest: Any, **more: Any) -> Any:
        """The description of the data set."""
        with told_as_bad_input(self.args.data):
            return super().get_dataset(*rest, **more)

    def build_dataset(self, img_path: Any, mode: str = "train", batch: Any = None, *rest: Any, **more: Any) -> Any:
        """The data set, without the images in quarantine."""
        left_out = self.guard.quarantined if mode == "train" else frozenset()
        if left_out and self.args.task != "classify":
            img_path = self.guard.leave_out(img_path)
        with told_as_bad_input(self.args.data), collecting() as not_trained_on:
            dataset = super().build_dataset(img_path, mode, batch, *rest, **more)
        self.guard.parts.data_faults.scanned(mode, not_trained_on)
        if left_out and self.args.task == "classify":
            dataset.samples = keep_samples(dataset.samples, left_out)
        return dataset

    def get_dataloader(
        self, dataset_path: Any, batch_size: int = 16, rank: int = 0, mode: str = "train", *rest: Any, **more: Any
    ) -> Any:
        """The loader, able to go on in the middle of an epoch."""
        with iterators_held() as held:
            loader = super().get_dataloader(dataset_path, batch_size, rank, mode, *rest, **more)
        if not isinstance(loader, InfiniteDataLoader):
            return loader
        loader.worker_init_fn = WorkerStart(loader.worker_init_fn)
        if mode == "train":
            seed = self.args.seed if self.guard.settings.exact else None
            switch = self.guard.switch if self.world_size <= 1 else None
            return GuardedLoader.adopt(loader, switch, exact_seed=seed, rank=rank)
        if self.guard.skip:
            forgive(loader.dataset)
        held.release(loader)
        return loader

    def resume_training(self, ckpt: Any, *rest: Any, **more: Any) -> None:
        """A full state goes on where it was."""
        if not compat.engine().builds_pipeline_apart:
            self.guard.pipeline_built(self, None)
        if self.guard.plan is None:
            super().resume_training(ckpt, *rest, **more)
        else:
            self.guard.resume(self)

    def _setup_train(self, *rest: Any, **more: Any) -> None:
        self.guard.meet(self)
        try:
            with self.guard.switch.interruptible():
                super()._setup_train(*rest, **more)
        except (RuntimeError, ValueError) as error:
            if not str(error).startswith(("'freeze=", "final batch=")):
                raise
            raise ArgumentsError(str(error)) from error
        self.guard.attach(self, steps_its_own_way=self._steps_its_own_way)

    def _build_train_pipeline(self, *rest: Any, **more: Any) -> None:
        before = self.guard.position.batch_size
        super()._build_train_pipeline(*rest, **more)
        self.guard.pipeline_built(self, before)

    def _get_warmup_iterations(self, num_batches: int, *rest: Any, **more: Any) -> int:
        if self.args.time and self.world_size > 1 and self.guard.skip and not self.guard.position.in_work:
            self.epochs = self.args.epochs = of_all(self.epochs)[0]  # each has just reckoned them by its own clock
        # The loop counts from the run's first batch; ours counts from the resumed epoch.
        return 0 if self.guard.position.warmup_from else int(super()._get_warmup_iterations(num_batches, *rest, **more))

    def _close_dataloader_mosaic(self, *rest: Any, **more: Any) -> None:
        super()._close_dataloader_mosaic(*rest, **more)
        self.guard.saver.mosaic_closed = True

    # Training

    def train(self, *rest: Any, **more: Any) -> Any:
        """Train under guard.

        Raises:
            RunEnded: the run ended early in an orderly way; as a SystemExit, it carries the exit code.
        """
        if self.ddp:
            return self.guard.launch_ranks(partial(super().train, *rest, **more))
        with self.guard.session(self):
            return super().train(*rest, **more)

    def run_callbacks(self, event: str, *rest: Any, **more: Any) -> None:
        """The user's callbacks, with the guard before a beginning and after an end."""
        begin: dict[str, Callable[[], object]] = {
            "on_train_epoch_start": partial(self.guard.epoch_started, self),
            "on_train_batch_start": self.guard.batch_started,
        }
        if event in begin:
            begin[event]()
        super().run_callbacks(event, *rest, **more)
        end: dict[str, Callable[[], object]] = {
            "on_train_batch_end": self._batch_ended,
            "on_train_epoch_end": self._epoch_trained,
            "on_fit_epoch_end": partial(self.guard.epoch_finished, self),
        }
        if event in end:
            end[event]()

    def preprocess_batch(self, batch: dict[str, Any], *rest: Any, **more: Any) -> dict[str, Any]:
        """The batch as the model gets it; a placeholder stays one."""
        step = self.guard.step
        if step is None or step.rerun.active:
            prepared: dict[str, Any] = super().preprocess_batch(batch, *rest, **more)
            return prepared
        self._ghost = is_ghost(batch)
        if self._ghost:
            self.guard.guarding.placeholder_begins()
            return batch
        self.guard.parts.data_faults.batch(batch)
        self._num_images = len(batch["img"])
        with self.guard.follow().preparing(batch):
            prepared = super().preprocess_batch(batch, *rest, **more)
        return self.guard.parts.drill.spoil_batch(prepared)

    def optimizer_step(self, *rest: Any, **more: Any) -> None:
        """The step, if it is due and its gradients are good."""
        step = self.guard.step
        if step is None:
            super().optimizer_step(*rest, **more)
        elif not self._ghost:
            step.optimizer_step(partial(super().optimizer_step, *rest, **more) if self._steps_its_own_way else None)

    def plot_training_samples(self, batch: dict[str, Any], ni: int, *rest: Any, **more: Any) -> None:
        """As in the base class; there is nothing to see in a placeholder."""
        if not self._ghost:
            super().plot_training_samples(batch, ni, *rest, **more)

    def validate(self, *rest: Any, **more: Any) -> Any:
        """Validation of a finite EMA, its mean loss over the good batches."""
        return self.guard.validate(self, partial(super().validate, *rest, **more))

    def _handle_nan_recovery(self, epoch: int, *rest: Any, **more: Any) -> bool:
        """No epoch is ever repeated for a batch; at level observe, Ultralytics does what it does."""
        if self.guard.skip:
            self.guard.guarding.validated()
            return False
        step = self.guard.step
        assert step is not None
        step.detach()
        try:
            recovered: bool = super()._handle_nan_recovery(epoch, *rest, **more)
            return recovered
        finally:
            step.attach()

    def save_model(self, *rest: Any, **more: Any) -> bool:
        """Ultralytics' checkpoint, whole or not at all and attested, and a full state beside it."""
        return self.guard.save(self, partial(super().save_model, *rest, **more))

    def save_metrics(self, metrics: dict[str, Any], *rest: Any, **more: Any) -> None:
        """A row more in results.csv; a full disk takes the row and leaves the training."""
        self.guard.saver.save_metrics(self.csv, partial(super().save_metrics, metrics, *rest, **more))

    def plot_metrics(self, *rest: Any, **more: Any) -> None:
        """As in the base class, if there is space for it."""
        try:
            super().plot_metrics(*rest, **more)
        except OSError as error:
            self.guard.recorder.storage_fault("results.png", error)

    def final_eval(self, *rest: Any, **more: Any) -> None:
        """As in the base class; what it does to the files is on record."""
        self.guard.final_eval(self, partial(super().final_eval, *rest, **more))

    # What the loop calls back

    _ghost = False
    _num_images = 0
    _steps_its_own_way = False

    def _batch_ended(self) -> None:
        self.guard.batch_ended(self, images=self._num_images, ghost=self._ghost)

    def _epoch_trained(self) -> None:
        if self.guard.position.in_work:  # the loop left its batch at once: the time of the run is over, in every rank
            self._batch_ended()
            self.stop = True
        self.guard.epoch_trained(self)


def guarded(trainer_class: AnyTrainer) -> AnyTrainer:
    """``trainer_class`` under guard, for any class that trains the way Ultralytics' own do.

    The result is constructed and used as ``trainer_class`` is. Among its ``overrides``, or the keywords of
    ``YOLO.train(trainer=...)``, it takes the fields of :class:`guard_settings.GuardSettings` too, such as
    ``level="strict"``. For DDP it must be importable under the name it is bound to, so bind it at the top of a module.

    Constructing it raises :class:`arguments.ArgumentsError` on a setting that cannot be and on a run directory
    in which another trainer works, and :class:`compat.IncompatibleError` where this Ultralytics lacks a seam.
    Both that, with ``resume=``, and ``train`` raise :class:`stop.RunEnded`, a SystemExit with the exit code,
    when the run ends early in an orderly way: stopped on request (3), given up after too many bad batches or with
    weights that no step made (4), refused for a checkpoint or weights that are not clean (5).
    """
    if not (isinstance(trainer_class, type) and issubclass(trainer_class, BaseTrainer)):
        raise TypeError(f"guarded takes a trainer class such as Ultralytics' DetectionTrainer, not {trainer_class!r}")
    if issubclass(trainer_class, GuardMixin):
        return trainer_class
    members = {"__module__": trainer_class.__module__, "__doc__": trainer_class.__doc__}
    return type(f"Guarded{trainer_class.__name__}", (GuardMixin, trainer_class), members)  # type: ignore[return-value]


def user_values(given: Mapping[str, Any]) -> dict[str, Any]:
    """Of ``given``, the settings of the layers that a person chose.

    A ``cfg`` file lists every setting there is; one that it leaves at its default was not chosen.
    """
    chosen = {name: value for name, value in given.items() if name in LAYER_SETTINGS and value is not None}
    file = given.get("cfg")
    if isinstance(file, str) and file.endswith((".yaml", ".yml")):
        listed = YAML.load(file)
        chosen = {
            name: value
            for name, value in chosen.items()
            if not (name in listed and listed[name] == value == DEFAULT_CFG_DICT.get(name))
        }
    return chosen


class GuardedDetectionTrainer(GuardMixin, DetectionTrainer):
    """A :class:`DetectionTrainer` under guard; settings and errors as for :func:`guarded`."""


class GuardedSegmentationTrainer(GuardMixin, SegmentationTrainer):
    """A :class:`SegmentationTrainer` under guard; settings and errors as for :func:`guarded`."""


class GuardedPoseTrainer(GuardMixin, PoseTrainer):
    """A :class:`PoseTrainer` under guard; settings and errors as for :func:`guarded`."""


class GuardedClassificationTrainer(GuardMixin, ClassificationTrainer):
    """A :class:`ClassificationTrainer` under guard; settings and errors as for :func:`guarded`."""


class GuardedOBBTrainer(GuardMixin, OBBTrainer):
    """An :class:`OBBTrainer` under guard; settings and errors as for :func:`guarded`."""


TRAINERS = {
    "detect": GuardedDetectionTrainer,
    "segment": GuardedSegmentationTrainer,
    "pose": GuardedPoseTrainer,
    "classify": GuardedClassificationTrainer,
    "obb": GuardedOBBTrainer,
}

TASK_MODELS = {
    "detect": DetectionModel,
    "segment": SegmentationModel,
    "pose": PoseModel,
    "classify": ClassificationModel,
    "obb": OBBModel,
}
