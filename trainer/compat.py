"""Which Ultralytics the guard was tested with, and whether the seams it rests on are there."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any, Final

import ultralytics
from ultralytics.data.build import InfiniteDataLoader
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.nn.tasks import BaseModel
from ultralytics.utils.torch_utils import ModelEMA

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
    },
    BaseModel: {"forward": ("self", "x", "args", "kwargs"), "loss": ("self", "batch", "preds")},
    ModelEMA: {"__init__": ("self", "model", "decay", "tau", "updates"), "update": ("self", "model")},
    InfiniteDataLoader: {"__iter__": ("self",), "__len__": ("self",), "reset": ("self",), "close": ("self",)},
}

_MARKERS: Final[dict[str, tuple[str, ...]]] = {
    "_do_train": (
        'self.run_callbacks("on_train_epoch_start")',
        'self.run_callbacks("on_train_batch_start")',
        'self.run_callbacks("on_train_batch_end")',
        'self.run_callbacks("on_train_epoch_end")',
        'self.run_callbacks("on_fit_epoch_end")',
        "self.optimizer.zero_grad()  # zero any resumed gradients",
        "self.tloss = None",
        "ni = i + nb * epoch",
        "batch = self.preprocess_batch(batch)",
        "loss, self.loss_items = self.model(batch)",
        "self.loss = loss.sum()",
        "if self.tloss is None",
        "self.scaler.scale(self.loss).backward()",
        "if ni - last_opt_step >= self.accumulate:",
        "self.optimizer_step()",
        "*self.tloss.values()",
        "if self._handle_nan_recovery(epoch):",
        "self.label_loss_items(self.tloss)",
        "self.save_model()",
    ),
    "__init__": ("self.check_resume(overrides", "get_save_dir(self.args)", "not self.args.resume"),
    "_setup_train": ("ckpt = self.setup_model()", "self.ema = ModelEMA(self.model)", "self.resume_training(ckpt)"),
    "save_model": ("self.last.write_bytes(", "self.best.write_bytes(", 'self.wdir / f"epoch{self.epoch}.pt"'),
    "optimizer_step": ("self.scaler.unscale_(self.optimizer)", "max_norm=10.0", "self.ema.update(self.model)"),
    "validate": ("self.validator(self)",),
}
_MODEL_MARKERS: Final = ("self.loss(x, *args, **kwargs)",)
_LOADER_MARKERS: Final = ("self.iterator = self._get_iterator()", "yield next(self.iterator)")


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
    for name, markers in _MARKERS.items():
        missing += _marker_faults(BaseTrainer, name, markers)
    missing += _marker_faults(BaseModel, "forward", _MODEL_MARKERS)
    missing += _marker_faults(InfiniteDataLoader, "__iter__", _LOADER_MARKERS)
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
