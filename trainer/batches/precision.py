"""Mixed precision as the training loop chooses it, bfloat16 on a CPU included."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from ultralytics.engine import trainer as engine
from ultralytics.utils.torch_utils import autocast as stock_autocast

from trainmaster.trainer.engines.protocol import EngineTrainer


def autocast(enabled: bool | torch.dtype, device: str = "cuda") -> AbstractContextManager[Any]:
    """Ultralytics' own, which refuses bfloat16 anywhere but on CUDA (``utils/torch_utils.py``, 8.4.190).

    Torch itself has had it on CPUs since 1.10.
    """
    if enabled is torch.bfloat16 and device == "cpu":
        return torch.autocast(device, dtype=torch.bfloat16)
    stock: AbstractContextManager[Any] = stock_autocast(enabled, device=device)
    return stock


def as_trained(trainer: EngineTrainer) -> AbstractContextManager[Any]:
    """The precision in which the training loop runs a batch."""
    return autocast(dtype if (dtype := _half_type(trainer)) is torch.bfloat16 else trainer.amp, trainer.device.type)


def name_of(trainer: EngineTrainer) -> str:
    """``float32``, ``float16`` or ``bfloat16``."""
    dtype = _half_type(trainer)
    return str(dtype or torch.float32).removeprefix("torch.")


@contextmanager
def bfloat16_anywhere(trainer: EngineTrainer) -> Iterator[None]:
    """Within, ``amp=bf16`` trains on a CPU too.

    The loop looks the function up in its module at every batch; nothing else of it is touched, and nothing at all for a
    run that needs nothing.
    """
    if trainer.args.amp != "bf16" or trainer.device.type != "cpu":
        yield
        return
    vars(engine)["autocast"] = autocast
    try:
        yield
    finally:
        vars(engine)["autocast"] = stock_autocast


@contextmanager
def unscaled_already(trainer: EngineTrainer) -> Iterator[None]:
    """Within, the first ``unscale_`` that a step of somebody's own asks for is the one that was made before it.

    Torch raises when gradients are unscaled twice before an update (``torch/amp/grad_scaler.py``).
    """
    scaler: Any = trainer.scaler
    unscale = scaler.unscale_
    made = [trainer.optimizer]

    def once(optimizer: torch.optim.Optimizer) -> None:
        if optimizer in made:
            made.remove(optimizer)
        else:
            unscale(optimizer)

    scaler.unscale_ = once
    try:
        yield
    finally:
        del scaler.unscale_


def _half_type(trainer: EngineTrainer) -> torch.dtype | None:
    if trainer.args.amp == "bf16":
        return torch.bfloat16
    return torch.float16 if trainer.amp else None
