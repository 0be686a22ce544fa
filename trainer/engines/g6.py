"""The newest generation, Ultralytics 8.4.183 and what comes: what the guard does at each seam, and the seams.

An older generation is a subclass that says what was different then.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Final

import numpy as np
import torch
from ultralytics.data.augment import BaseMixTransform, Mosaic
from ultralytics.data.base import BaseDataset
from ultralytics.data.build import InfiniteDataLoader
from ultralytics.data.dataset import YOLODataset
from ultralytics.engine import trainer as engine
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.engine.validator import BaseValidator
from ultralytics.nn.tasks import BaseModel
from ultralytics.utils.torch_utils import EarlyStopping, ModelEMA

from trainmaster.trainer.engines.loss_form import LossForm, NamedForm
from trainmaster.trainer.engines.methods import CLOSED, METHODS
from trainmaster.trainer.engines.seams import Markers, SeamChange, Seams

FULL_PRECISION: Final = ("model = model.float()", "model = trainer.ema.ema.float()")

MARKERS: Final[dict[tuple[Any, str], Markers]] = {
    (BaseTrainer, "_do_train"): (
        'self.run_callbacks("on_train_epoch_start")',
        'self.run_callbacks("on_train_batch_start")',
        'self.run_callbacks("on_train_batch_end")',
        'self.run_callbacks("on_train_epoch_end")',
        'self.run_callbacks("on_fit_epoch_end")',
        "self.optimizer.zero_grad()  # zero any resumed gradients",
        "self.tloss = None",
        "nw = self._get_warmup_iterations(nb)",
        "self._close_dataloader_mosaic()",
        "self.train_loader.reset()",
        "ni = i + nb * epoch\n",
        "if nw and ni <= nw:",
        "np.interp(ni, xi, [1, acc0])",
        'self.args.warmup_bias_lr if x.get("param_group") == "bias" else 0.0',
        "batch = self.preprocess_batch(batch)\n",
        'with autocast(torch.bfloat16 if self.args.amp == "bf16" else self.amp, device=self.device.type)',
        "loss, self.loss_items = self.model(batch)\n",
        "self.loss = loss.sum()\n",
        "if self.tloss is None",
        "(self.tloss[k] * i + v) / (i + 1)",
        "self.scaler.scale(self.loss).backward()\n",
        "if ni - last_opt_step >= self.accumulate:",
        "self.optimizer_step()\n",
        "*self.tloss.values()",
        "if self._handle_nan_recovery(epoch):",
        "self.metrics, self.fitness = self.validate(",
        "self.label_loss_items(self.tloss)",
        "unwrap_model(self.model).criterion.update()",
        "self.stop |= self.stopper(epoch + 1, self.fitness)",
        "self.save_model()",
        "self.final_eval(",
    ),
    (BaseTrainer, "__init__"): ("self.check_resume(overrides", "get_save_dir(self.args)", "not self.args.resume"),
    (BaseTrainer, "_setup_train"): (
        "ckpt = self.setup_model()\n",
        "self.ema = ModelEMA(self.model)",
        "self.resume_training(ckpt)\n",
    ),
    (BaseTrainer, "save_model"): (
        "self.last.write_bytes(",
        "self.best.write_bytes(",
        'self.wdir / f"epoch{self.epoch}.pt"',
    ),
    (BaseTrainer, "optimizer_step"): (
        "self.scaler.unscale_(self.optimizer)",
        "max_norm=10.0)",
        "self.optimizer.zero_grad()\n",
        "self.ema.update(self.model)\n",
    ),
    (BaseTrainer, "validate"): ("self.validator(self)",),
    (BaseTrainer, "final_eval"): (
        "strip_optimizer(self.last)",
        "strip_optimizer(self.best, updates=",
        "self.validator(model=model)",
    ),
    (BaseModel, "forward"): ("self.loss(x, *args, **kwargs)",),
    (BaseValidator, "__call__"): (
        FULL_PRECISION,  # so that a stop in its middle saves an EMA of it
        "batch = self.preprocess(batch)",
        "model.loss(batch, preds)[1].items()",
    ),
    (ModelEMA, "update"): ("self.ema.state_dict().items()", "self.updates += 1"),
    (EarlyStopping, "__init__"): ("self.best_fitness = ", "self.best_epoch = ", "self.possible_stop = "),
    (InfiniteDataLoader, "__init__"): ("_RepeatSampler(self.batch_sampler)",),
    (InfiniteDataLoader, "__iter__"): ("self.iterator = self._get_iterator()", "yield next(self.iterator)"),
    (BaseDataset, "__init__"): ("self.buffer = []",),
    (BaseDataset, "load_image"): ("self.buffer.append(i)",),
    (Mosaic, "__init__"): ("self.buffer_enabled = ",),
    (BaseMixTransform, "__init__"): ("self.pre_transform = ",),
    (YOLODataset, "collate_fn"): ("new_batch[k] = value",),  # a key of ours passes through
}


class G6:
    """Ultralytics 8.4.183 and later, as long as its seams are there.

    A subclass that says what was different at one seam has a ``change``, and ``told_as`` to tell of it. Those of
    several seams go together in one class; what they change of ``seams`` adds up.
    """

    name: ClassVar[str] = "G6"
    change: ClassVar[SeamChange]
    told_as: ClassVar[str]
    seams: ClassVar[Seams] = Seams(
        methods=METHODS,
        closed=CLOSED,
        names=(  # looked up where they are used, not imported
            (engine, "autocast"),
            (engine, "strip_optimizer"),
            (torch, "_foreach_norm"),
        ),
        markers=MARKERS,
    )
    builds_pipeline_apart: ClassVar[bool] = True
    """Whether ``_build_train_pipeline`` is a method of its own, called again after an out-of-memory error."""

    def __init_subclass__(cls) -> None:
        changes = (vars(kind)["change"] for kind in reversed(cls.__mro__) if "change" in vars(kind))
        cls.seams = functools.reduce(Seams.changed, changes, G6.seams)

    # Final evaluation

    @contextmanager
    def stripping_by(self, strip: Callable[..., Any]) -> Iterator[None]:
        """Within, the optimizer is taken out of a file by ``strip``, which is given the engine's own way and what that
        takes: the file, another name to save it under, and more."""
        loop: Any = engine  # imports it, and is looked up there where it is called
        own = loop.strip_optimizer
        loop.strip_optimizer = functools.partial(strip, own)
        try:
            yield
        finally:
            loop.strip_optimizer = own

    # Losses

    def form(self, names: Callable[[], Sequence[str]]) -> LossForm:
        """How the parts of a loss come and go; ``names`` are the trainer's loss names."""
        del names
        return NamedForm()

    # Warm-up

    def loop_warmup(self, trainer: Any, batches: int) -> int:
        """How many batches the loop itself warms up in a run whose epochs have ``batches``."""
        length: int = trainer._get_warmup_iterations(batches)  # noqa: SLF001 - a seam, see compat
        return length

    def warmup_batches(self, trainer: Any, batches: int, epochs_left: int) -> int:
        """How many batches warm-up lasts in a run of ``epochs_left`` epochs of ``batches``; 0 for none."""
        epochs = min(trainer.args.warmup_epochs, max(epochs_left - 1, 0))
        return round(epochs * batches) if epochs > 0 else 0

    def warms_up(self, place: int, length: int) -> bool:
        """Whether batch ``place``, from 0, belongs to a warm-up of ``length`` batches."""
        return bool(length) and place <= length

    def accumulate_target(self, trainer: Any, built: int) -> float:
        """What the accumulation rises to in warm-up; ``built`` is what the pipeline was built with."""
        del trainer
        return built

    def is_bias(self, group: Mapping[str, Any], index: int) -> bool:
        """Whether a parameter group of the optimizer holds the biases, whose rate falls in warm-up."""
        del index
        return group.get("param_group") == "bias"

    def warm_up(self, trainer: Any, place: int, length: int, *, epoch: int, built: int) -> None:
        """Accumulation, rates and momenta as the loop sets them at batch ``place`` of a warm-up, in ``epoch``."""
        ramp = [0, length]
        target = self.accumulate_target(trainer, built)
        trainer.accumulate = max(1, int(np.interp(place, ramp, [1, target]).round()))
        for index, group in enumerate(trainer.optimizer.param_groups):
            start = trainer.args.warmup_bias_lr if self.is_bias(group, index) else 0.0
            end = group["initial_lr"] * trainer.lf(epoch)
            group["lr"] = float(np.interp(place, ramp, [start, end]))
            if "momentum" in group:
                group["momentum"] = float(np.interp(place, ramp, [trainer.args.warmup_momentum, trainer.args.momentum]))

    def after_warm_up(self, trainer: Any, length: int, *, built: int) -> None:
        """Accumulation and momenta as a warm-up of ``length`` batches leaves them: here, where it aims."""
