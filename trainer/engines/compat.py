"""Which Ultralytics the guard was tested with, and whether the seams it rests on are there."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any, Final

import torch
import ultralytics
from torch.utils.data import DataLoader
from ultralytics.data.augment import BaseMixTransform, Mosaic
from ultralytics.data.base import BaseDataset
from ultralytics.data.build import InfiniteDataLoader
from ultralytics.data.dataset import ClassificationDataset, YOLODataset
from ultralytics.engine import trainer as engine
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.engine.validator import BaseValidator
from ultralytics.nn.tasks import BaseModel
from ultralytics.utils.loss import E2ELoss
from ultralytics.utils.torch_utils import EarlyStopping, ModelEMA

TESTED_VERSIONS: Final = ("8.4.190",)
"""Versions on which the whole test suite ran."""

_METHODS: Final[dict[type, dict[str, tuple[str, ...]]]] = {
    BaseTrainer: {
        "__init__": ("self", "cfg", "overrides", "_callbacks"),
        "train": ("self",),
        "_setup_train": ("self",),
        "_do_train": ("self",),
        "_get_warmup_iterations": ("self", "num_batches"),
        "_build_train_pipeline": ("self",),
        "_handle_nan_recovery": ("self", "epoch"),
        "_close_dataloader_mosaic": ("self",),
        "run_callbacks": ("self", "event"),
        "optimizer_step": ("self",),
        "preprocess_batch": ("self", "batch"),
        "validate": ("self",),
        "save_model": ("self",),
        "save_metrics": ("self", "metrics"),
        "plot_metrics": ("self",),
        "final_eval": ("self",),
        "setup_model": ("self",),
        "check_resume": ("self", "overrides"),
        "resume_training": ("self", "ckpt"),
        "get_dataloader": ("self", "dataset_path", "batch_size", "rank", "mode"),
        "plot_training_samples": ("self", "batch", "ni"),
        "get_model": ("self", "cfg", "weights", "verbose"),
        "build_dataset": ("self", "img_path", "mode", "batch"),
        "_get_memory": ("self",),
    },
    BaseModel: {"forward": ("self", "x", "args", "kwargs"), "loss": ("self", "batch", "preds")},
    ModelEMA: {"__init__": ("self", "model", "decay", "tau", "updates"), "update": ("self", "model")},
    InfiniteDataLoader: {"__iter__": ("self",), "__len__": ("self",), "reset": ("self",), "close": ("self",)},
    DataLoader: {"_get_iterator": ("self",)},
    BaseValidator: {"__call__": ("self", "trainer", "model"), "preprocess": ("self", "batch")},
    YOLODataset: {"__getitem__": ("self", "index"), "get_image_and_label": ("self", "index"), "load_image": ("self",)},
    ClassificationDataset: {"__getitem__": ("self", "i")},
}

_NAMES: Final[tuple[tuple[Any, str], ...]] = ((engine, "autocast"), (torch, "_foreach_norm"))
"""Looked up where they are used, not imported."""

_MARKERS: Final[dict[tuple[Any, str], tuple[str, ...]]] = {
    (BaseTrainer, "_do_train"): (
        'self.run_callbacks("on_train_epoch_start")',
        'self.run_callbacks("on_train_batch_start")',
        'self.run_callbacks("on_train_batch_end")',
        'self.run_callbacks("on_train_epoch_end")',
        'self.run_callbacks("on_fit_epoch_end")',
        "self.optimizer.zero_grad()  # zero any resumed gradients",
        "self.tloss = None",
        "ni = i + nb * epoch",
        "if nw and ni <= nw:",
        "np.interp(ni, xi, [1, acc0])",
        'self.args.warmup_bias_lr if x.get("param_group") == "bias" else 0.0',
        "batch = self.preprocess_batch(batch)",
        'with autocast(torch.bfloat16 if self.args.amp == "bf16" else self.amp, device=self.device.type)',
        "loss, self.loss_items = self.model(batch)",
        "self.loss = loss.sum()",
        "if self.tloss is None",
        "(self.tloss[k] * i + v) / (i + 1)",
        "self.scaler.scale(self.loss).backward()",
        "if ni - last_opt_step >= self.accumulate:",
        "self.optimizer_step()",
        "*self.tloss.values()",
        "if self._handle_nan_recovery(epoch):",
        "self.label_loss_items(self.tloss)",
        "unwrap_model(self.model).criterion.update()",
        "self.stop |= self.stopper(epoch + 1, self.fitness)",
        "self.save_model()",
    ),
    (BaseTrainer, "__init__"): ("self.check_resume(overrides", "get_save_dir(self.args)", "not self.args.resume"),
    (BaseTrainer, "_setup_train"): (
        "ckpt = self.setup_model()",
        "self.ema = ModelEMA(self.model)",
        "self.resume_training(ckpt)",
    ),
    (BaseTrainer, "save_model"): (
        "self.last.write_bytes(",
        "self.best.write_bytes(",
        'self.wdir / f"epoch{self.epoch}.pt"',
    ),
    (BaseTrainer, "optimizer_step"): (
        "self.scaler.unscale_(self.optimizer)",
        "max_norm=10.0",
        "self.ema.update(self.model)",
    ),
    (BaseTrainer, "validate"): ("self.validator(self)",),
    (BaseTrainer, "final_eval"): ("strip_optimizer(self.last)", "self.validator(model=model)"),
    (BaseModel, "forward"): ("self.loss(x, *args, **kwargs)",),
    (BaseValidator, "__call__"): (
        "model = model.float()",  # so that a stop in its middle saves an EMA in full precision
        "batch = self.preprocess(batch)",
        "model.loss(batch, preds)[1].items()",
    ),
    (ModelEMA, "update"): ("self.ema.state_dict().items()", "self.updates += 1"),
    (EarlyStopping, "__init__"): ("self.best_fitness = ", "self.best_epoch = ", "self.possible_stop = "),
    (E2ELoss, "update"): ("self.updates += 1",),
    (InfiniteDataLoader, "__init__"): ("_RepeatSampler(self.batch_sampler)",),
    (InfiniteDataLoader, "__iter__"): ("self.iterator = self._get_iterator()", "yield next(self.iterator)"),
    (BaseDataset, "__init__"): ("self.buffer = []",),
    (BaseDataset, "load_image"): ("self.buffer.append(i)",),
    (Mosaic, "__init__"): ("self.buffer_enabled = ",),
    (BaseMixTransform, "__init__"): ("self.pre_transform = ",),
    (YOLODataset, "collate_fn"): ("new_batch[k] = value",),  # a key of ours passes through
}
"""What a method must hold, as its source has it: what is repeated, replaced or counted on elsewhere in this package."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compatibility:
    """``missing`` names every seam that is not there; empty when the guard can work."""

    version: str
    tested: bool
    missing: tuple[str, ...]


class IncompatibleError(RuntimeError):
    """This version of Ultralytics lacks a seam that the guard rests on; training under it would be unguarded."""


def check() -> Compatibility:
    """What of the seams is there in the installed Ultralytics."""
    missing: list[str] = []
    for owner, methods in _METHODS.items():
        for name, parameters in methods.items():
            missing += _method_faults(owner, name, parameters)
    missing += [f"{owner.__name__}.{name}" for owner, name in _NAMES if not hasattr(owner, name)]
    for (owner, name), markers in _MARKERS.items():
        missing += _marker_faults(owner, name, markers)
    version = ultralytics.__version__
    return Compatibility(version=version, tested=version in TESTED_VERSIONS, missing=tuple(missing))


def require() -> str | None:
    """Every seam is there; a warning when the version is one that was never tested, else None.

    Raises:
        IncompatibleError: names the seams that are gone.
    """
    found = check()
    if found.missing:
        raise IncompatibleError(
            f"Ultralytics {found.version} lacks what the guard rests on: {'; '.join(found.missing)}. "
            f"Hint: install a tested version: {', '.join(TESTED_VERSIONS)}"
        )
    if found.tested:
        return None
    return (
        f"Ultralytics {found.version} was never tested with this guard (tested: {', '.join(TESTED_VERSIONS)}); "
        "all seams are there, so training goes on"
    )


def _method_faults(owner: type, name: str, parameters: tuple[str, ...]) -> list[str]:
    method = getattr(owner, name, None)
    if method is None:
        return [f"{owner.__name__}.{name}"]
    found = tuple(inspect.signature(method).parameters)
    if found[: len(parameters)] != parameters:
        return [f"{owner.__name__}.{name}{found} is not {parameters}"]
    return []


def _marker_faults(owner: Any, name: str, markers: tuple[str, ...]) -> list[str]:
    try:
        source = inspect.getsource(getattr(owner, name))
    except (OSError, TypeError, AttributeError):  # no source: cannot be told, and the methods are checked already
        return []
    return [f"{owner.__name__}.{name} without {marker!r}" for marker in markers if marker not in source]
