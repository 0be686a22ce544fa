"""The full state of a run in training: everything that is needed to go on as if nothing had happened."""

from __future__ import annotations

import math
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import numpy as np
import torch
import ultralytics
from ultralytics.utils.torch_utils import ModelEMA, unwrap_model

from trainmaster.trainer.batches.gradients import all_finite
from trainmaster.trainer.checkpoints.files import require_digest
from trainmaster.trainer.checkpoints.forensics import STATE_FORMAT
from trainmaster.trainer.checkpoints.own_state import ASIDE, TEACHER
from trainmaster.trainer.checkpoints.single_numbers import MOST_EPOCHS
from trainmaster.trainer.contract import SCHEMA_VERSION
from trainmaster.trainer.engines.protocol import EngineTrainer
from trainmaster.trainer.state.known_arguments import NOT_DEFAULT, not_default
from trainmaster.trainer.state.same.groups import in_order_of

OTHER_GROUPS: Final = "the optimizer's parameter groups are other ones now: its momentum starts over"
_SET_UP: Final = frozenset(
    {"lr", "initial_lr", "momentum", "betas", "weight_decay", "foreach", "fused", "capturable", "differentiable"}
)
"""Of a group of parameters, what the arguments and the device say, not the training: Prodigy keeps its step size there,
the schedule-free ones their count of steps."""
_LOSSES_ARE_MADE_OF: Final = (
    *("batch", "data", "fraction", "classes"),
    *("box", "cls", "cls_pw", "dfl", "pose", "kobj", "rle", "angle", "dis"),
)


def plain(value: Any, within: frozenset[int] = frozenset()) -> Any:
    """``value`` in the types that a saved state may hold; anything else becomes its text, and a container ``within``
    itself nothing."""
    if value is None or type(value) in {bool, int, float, str}:
        return value
    if isinstance(value, torch.Tensor):
        return value.detach()
    if isinstance(value, np.generic):
        return plain(value.item())
    if id(value) in within:
        return None
    if isinstance(value, Mapping):
        around = within | {id(value)}
        return {plain(key): plain(item, around) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset | range):
        around = within | {id(value)}
        return [plain(item, around) for item in value]
    if isinstance(value, SimpleNamespace):
        return plain(vars(value), within)
    for kind in (bool, int, float, str):  # enums and other children of these
        if isinstance(value, kind):
            return kind(value)
    return str(value)


def model_state(trainer: EngineTrainer) -> dict[str, torch.Tensor]:
    """The live model's tensors, without a distillation teacher's, which come from its own file."""
    state = unwrap_model(trainer.model).state_dict()
    return {name: value for name, value in state.items() if not name.startswith(TEACHER)}


def capture(
    trainer: EngineTrainer, *, epoch: int, batch: int, batches: int, extra: Mapping[str, Any]
) -> dict[str, Any]:
    """``trainer`` with ``epoch`` epochs behind it and ``batch`` batches of the next.

    Tensors are the live ones, not copies: write the state out before training goes on.
    """
    model = unwrap_model(trainer.model)
    gradients = {
        name: parameter.grad.detach()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None and not name.startswith(TEACHER)
    }
    return {
        "format": STATE_FORMAT,
        "v": SCHEMA_VERSION,
        "epoch": epoch,
        "batch": batch,
        "batches": batches,
        "epochs": _whole(trainer.epochs, MOST_EPOCHS),
        "task": str(trainer.args.task),
        "ultralytics": ultralytics.__version__,
        "model_yaml": plain(getattr(model, "yaml", {})),
        "args": plain(trainer.args),
        NOT_DEFAULT: not_default(vars(trainer.args)),
        "model": plain(model_state(trainer)),
        "ema": plain(trainer.ema.ema.state_dict()) if trainer.ema else {},
        "ema_updates": _whole(trainer.ema.updates) if trainer.ema else 0,
        "optimizer_class": type(trainer.optimizer).__name__,
        "optimizer": plain(trainer.optimizer.state_dict()),
        "scaler": plain(trainer.scaler.state_dict()),
        "gradients": gradients if all_finite(gradients.values()) else {},  # no step would be taken with them
        "best_fitness": plain(trainer.best_fitness),
        "fitness": plain(trainer.fitness),
        "stopper": {
            "best_fitness": plain(trainer.stopper.best_fitness),
            "best_epoch": plain(trainer.stopper.best_epoch),
            "possible_stop": bool(trainer.stopper.possible_stop),
        },
        "loss_names": list(trainer.loss_names),
        **{key: value if key == "rng" else plain(value) for key, value in extra.items()},  # tuples and all
    }


def _whole(number: Any, endless: int = 0) -> int:
    """``number`` as a whole one; a callback may have set one without an end, or what is none."""
    return int(number) if math.isfinite(number) else endless


def spikes_of(trainer: EngineTrainer, state: Mapping[str, Any]) -> dict[str, Any] | None:
    """What ``state`` knows of the level of the loss; None where ``trainer`` makes it of something else, so that another
    level is no spike: Ultralytics' losses are multiplied by the images of a batch and by their gains."""
    ranks = max(trainer.world_size, 1)
    now, then = plain(trainer.args), state["args"]
    alike = state.get("ranks", ranks) == ranks and all(now.get(name) == then.get(name) for name in _LOSSES_ARE_MADE_OF)
    return state.get("spikes") if alike else None


def set_updates(criterion: Any, updates: int) -> None:
    """A ``criterion`` whose gains go with the epochs has those after so many of them."""
    if updates and hasattr(criterion, "update"):
        criterion.updates = updates - 1  # update() takes the last step
        criterion.update()


def restore(trainer: EngineTrainer, state: Mapping[str, Any]) -> list[str]:
    """``trainer``, freshly set up, has the tensors of ``state``; its hyper-parameters stay those it was set up with,
    but for a momentum that ``optimizer=auto`` took. What else an optimizer keeps in its groups is as it was left there.

    What could not be taken over is returned as text (an optimizer of another class starts over).

    Raises:
        RuntimeError: ``state`` is of another model.
    """
    notes: list[str] = []
    _load(unwrap_model(trainer.model), state["model"])
    if trainer.ema:
        trainer.ema = ModelEMA(trainer.model)
        restore_average(trainer.ema, state)
    kept = _kept_of_optimizer(vars(trainer.args), state["args"])
    notes += _restore_optimizer(trainer.optimizer, state["optimizer_class"], state["optimizer"], kept)
    if state["scaler"]:
        trainer.scaler.load_state_dict(state["scaler"])
    trainer.best_fitness = state["best_fitness"]
    trainer.fitness = state["fitness"]
    vars(trainer.stopper).update(state["stopper"])
    return notes


def restore_average(ema: Any, state: Mapping[str, Any]) -> None:
    """``ema`` is the average that ``state`` has.

    Raises:
        RuntimeError: it is one of another model.
    """
    _load(ema.ema, state["ema"])
    ema.updates = state["ema_updates"]


def _load(model: torch.nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    missing, unexpected = model.load_state_dict(weights, strict=False)
    missing, unexpected = ([name for name in names if not name.startswith(ASIDE)] for names in (missing, unexpected))
    if missing or unexpected:
        raise RuntimeError(f"the state is of another model: it lacks {missing[:3]} and has unknown {unexpected[:3]}")


def _kept_of_optimizer(args: Mapping[str, Any], saved: Mapping[str, Any]) -> frozenset[str]:
    """Hyper-parameters that stay the state's: ``optimizer=auto`` takes a momentum of its own and writes it nowhere."""
    if any(args.get(name) != saved.get(name) for name in ("optimizer", "momentum", "warmup_epochs")):
        return frozenset()
    # What a warm-up left behind in an SGD is the warm-up's matter: only without one is it what auto took.
    return frozenset({"betas"} if args.get("warmup_epochs") else {"betas", "momentum"})


def _restore_optimizer(
    optimizer: torch.optim.Optimizer, kind: str, saved: Mapping[str, Any], kept: frozenset[str]
) -> list[str]:
    if type(optimizer).__name__.lower() != kind.lower():  # Ultralytics takes its name in any case of letters
        return [f"the optimizer is {type(optimizer).__name__} now and was {kind}: its momentum starts over"]
    fresh = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
    ordered = in_order_of(optimizer, saved)
    if ordered is None:
        return [OTHER_GROUPS]
    optimizer.load_state_dict(ordered)
    for group, values in zip(optimizer.param_groups, fresh, strict=True):
        # load_state_dict brought the old rate, momentum and decay with it
        taken = {name: tuple(group[name]) if name == "betas" else group[name] for name in kept & values.keys()}
        reached = {name: group[name] for name in values.keys() - _SET_UP if _are_numbers(group.get(name), values[name])}
        group.update({**values, **taken, **reached})
    return []


def _are_numbers(*values: Any) -> bool:
    return all(isinstance(value, int | float | torch.Tensor) for value in values)


def read_legacy(path: Path, *, expected_sha256: str) -> dict[str, Any]:
    """An Ultralytics checkpoint in the form of a state. It is unpickled, so that these bytes must have been judged.

    Its weights are the half-precision EMA, and it knows neither random state nor position: as much as it holds.

    Raises:
        DigestError: the file does not hold the bytes with ``expected_sha256``.
        ValueError: it cannot be resumed from.
    """
    content = BytesIO(path.read_bytes())  # read once: stock Ultralytics writes into the file that is there
    require_digest(path, content, expected_sha256)
    checkpoint = torch.load(content, map_location="cpu", weights_only=False)
    if checkpoint.get("epoch", -1) < 0 or checkpoint.get("optimizer") is None or checkpoint.get("ema") is None:
        raise ValueError("it is stripped: no epoch, optimizer or EMA")
    ema = checkpoint["ema"].float()
    tensors = ema.state_dict()
    fitness = (checkpoint.get("train_metrics") or {}).get("fitness")
    args = plain(checkpoint["train_args"])
    stopper = plain(checkpoint.get("stopper") or {})
    return {
        "format": STATE_FORMAT,
        "v": SCHEMA_VERSION,
        "epoch": int(checkpoint["epoch"]) + 1,
        "batch": 0,
        "batches": None,
        "epochs": int(args["epochs"]),
        "task": str(args["task"]),
        "ultralytics": plain(checkpoint.get("version")),
        "model_yaml": plain(getattr(ema, "yaml", {})),
        "args": args,
        "model": tensors,
        "ema": tensors,
        "ema_updates": int(checkpoint.get("updates") or 0),
        "optimizer_class": str(args.get("optimizer")),  # where it was "auto", Ultralytics has put what that chose
        "optimizer": plain(checkpoint["optimizer"]),
        "scaler": plain(checkpoint.get("scaler") or {}),
        "gradients": {},
        "best_fitness": plain(checkpoint.get("best_fitness")),
        "fitness": plain(fitness),
        "stopper": {**stopper, "possible_stop": False},
        "loss_names": [],
        "data": {"names": [[int(number), str(name)] for number, name in dict(getattr(ema, "names", {})).items()]},
    }
