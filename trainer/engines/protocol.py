"""What the guard uses of an Ultralytics trainer, typed; the rest of it is none of the guard's business.

``args`` stays loose: its names are Ultralytics' settings, checked where they are taken (:mod:`settings.inputs`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch
    from torch import nn
    from torch.amp.grad_scaler import GradScaler


class Averaged(Protocol):
    """The running average of a model's weights (``utils/torch_utils.py``, ``ModelEMA``)."""

    ema: nn.Module
    updates: int

    def update(self, model: nn.Module) -> None:
        """Take in the weights after a step."""


class EngineTrainer(Protocol):
    """The part of ``engine/trainer.py``, ``BaseTrainer``, that the guard rests on; :mod:`engines.compat` checks it."""

    args: Any
    data: dict[str, Any]
    """The description of the data set, as ``get_dataset`` gives it."""
    save_dir: Path
    device: torch.device
    world_size: int
    wdir: Path
    last: Any
    """A path; the guard puts one there that attests what is written to it, as in ``best``."""
    best: Any
    csv: Path
    save_period: int

    model: Any
    """The live model, wrapped by DDP where there are several ranks."""
    optimizer: torch.optim.Optimizer
    scaler: GradScaler
    ema: Averaged
    amp: Any
    """Whether, or in which type, the loop trains with mixed precision."""
    lf: Callable[[int], float]

    train_loader: Any
    test_loader: Any
    validator: Any
    batch_size: int
    accumulate: int

    epoch: int
    """From 0, as ``start_epoch``."""
    start_epoch: int
    epochs: int
    train_time_start: float
    """When training began, in seconds since the epoch of the clock; ``time=`` counts from here."""
    stop: bool
    stopper: Any
    metrics: dict[str, Any] | None
    fitness: float | None
    best_fitness: float | None
    loss_names: Any

    def preprocess_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        """A batch as the model gets it."""

    def save_model(self) -> Any:
        """Write ``last.pt`` and, when it is the best so far, ``best.pt``."""

    def get_model(self, cfg: Any = None, weights: Any = None, verbose: bool = True) -> Any:
        """A new model, by its description."""

    def label_loss_items(self, loss_items: Any = None, prefix: str = "train") -> Any:
        """The parts of a loss as a row of results.csv names them."""

    def _get_memory(self) -> float:
        """Accelerator memory in use, GiB."""

    def _get_warmup_iterations(self, num_batches: int) -> int:
        """Batches over which the rate warms up."""
