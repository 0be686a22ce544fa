"""The methods of Ultralytics that the guard calls or stands in for, and what they take."""

from __future__ import annotations

from typing import Final

from torch.utils.data import DataLoader
from ultralytics.data.build import InfiniteDataLoader
from ultralytics.data.dataset import ClassificationDataset, YOLODataset
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.engine.validator import BaseValidator
from ultralytics.nn.tasks import BaseModel
from ultralytics.utils.torch_utils import ModelEMA

METHODS: Final[dict[type, dict[str, tuple[str, ...]]]] = {
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
        "get_dataset": ("self",),
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
    YOLODataset: {
        "__getitem__": ("self", "index"),
        "get_image_and_label": ("self", "index"),
        "load_image": ("self", "i"),
    },
    ClassificationDataset: {"__getitem__": ("self", "i")},
}

CLOSED: Final = frozenset(
    {
        (BaseModel, "loss"),
        (InfiniteDataLoader, "__iter__"),
        (InfiniteDataLoader, "__len__"),
        (InfiniteDataLoader, "reset"),
        (DataLoader, "_get_iterator"),
        (BaseValidator, "preprocess"),
        (YOLODataset, "__getitem__"),
        (YOLODataset, "get_image_and_label"),
        (ClassificationDataset, "__getitem__"),
    }
)
"""What stands in for a trainer's method (:mod:`trainmaster.trainer.guard`) hands on what it does not know; for these
nothing does."""

_ON_AN_NPU: Final = (
    'if self.device.type == "npu" and TORCH_2_0:',
    "torch.nn.utils.clip_grad_norm_(self.model.parameters(), max_norm=10.0, foreach=False)",
    "else:",
)
STEPS: Final = tuple(
    (
        "self.scaler.unscale_(self.optimizer)",
        *npu,
        "torch.nn.utils.clip_grad_norm_(self.model.parameters(), max_norm=10.0)",
        "self.scaler.step(self.optimizer)",
        "self.scaler.update()",
        "self.optimizer.zero_grad()",
        "if self.ema:",
        "self.ema.update(self.model)",
    )
    for npu in ((), _ON_AN_NPU)
)
"""The lines of ``BaseTrainer.optimizer_step``, in whose place the guard steps; up to 8.4.103 without an NPU's."""
