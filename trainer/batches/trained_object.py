"""What trains: the model, its parameters, the optimizer and the EMA, told when somebody puts others in their place."""

from __future__ import annotations

from typing import Any, Final

from torch import nn
from ultralytics.utils.torch_utils import unwrap_model

from trainmaster.trainer.checkpoints.naming import few
from trainmaster.trainer.checkpoints.own_state import ASIDE
from trainmaster.trainer.engines.protocol import EngineTrainer

OF_ANOTHER: Final = "the EMA is of another model, and it is what is saved"


class TrainedObject:
    """The objects that a guard was made for. Looking costs a comparison a parameter and a module, on the host."""

    def __init__(self, trainer: EngineTrainer) -> None:
        self._trainer = trainer
        self._wrapped = trainer.model
        self._model = unwrap_model(trainer.model)
        self._optimizer = trainer.optimizer
        self._ema = trainer.ema
        self._averaged = trainer.ema.ema if trainer.ema else None
        self._groups = [(group, list(group["params"])) for group in trainer.optimizer.param_groups]
        self._num_held = _num_held(trainer.optimizer)
        held = _held_by(trainer.optimizer)
        self._trained = {name: value for name, value in self._model.named_parameters() if id(value) in held}
        self._held: list[tuple[dict[str, Any], str, Any, str]] = []
        for place, module in self._model.named_modules():
            for slots in (module._parameters, module._modules):  # noqa: SLF001 - as attribute access reads them
                self._held += [(slots, name, value, _below(place, name)) for name, value in slots.items()]
        for place, module in self._averaged.named_modules() if isinstance(self._averaged, nn.Module) else ():
            slots = module._modules  # noqa: SLF001 - as above
            self._held += [(slots, name, value, f"the EMA's {_below(place, name)}") for name, value in slots.items()]
        both = [one for one in (self._model, self._averaged) if isinstance(one, nn.Module)]
        self._weights = [
            (module._parameters, name)  # noqa: SLF001 - as attribute access reads them
            for one in both
            for module in one.modules()
            for name in module._parameters  # noqa: SLF001
        ]
        self._places = self._lie_at()

    def replaced(self) -> str | None:
        """What is another object now, in words; None when all are the same."""
        trainer = self._trainer
        if trainer.model is not self._wrapped:
            return "the model"
        if trainer.optimizer is not self._optimizer or _num_held(trainer.optimizer) != self._num_held:
            return "the optimizer"
        if self._has_another_average():
            return "the EMA"
        for slots, name, value, place in self._held:
            if slots.get(name) is not value:
                return place
        return None

    def moved(self) -> bool:
        """Whether weights, or their average, lie elsewhere in memory than at the last look: after ``p.data = ...``."""
        before, self._places = self._places, self._lie_at()
        return self._places != before

    def average_anew(self) -> bool:
        """The EMA follows what trains now; False where it always does. Ultralytics' averages the tensors that it found
        at its first update, wherever the weights have gone since (utils/torch_utils.py, ``ModelEMA``)."""
        ema: Any = self._trainer.ema
        if getattr(ema, "_pairs", None) is None:
            return False
        ema._pairs = None  # noqa: SLF001 - found anew at the next update
        return True

    def put_back(self) -> None:
        """What was replaced is in its place again, so that a state is saved of what was trained until then."""
        trainer = self._trainer
        trainer.model, trainer.optimizer, trainer.ema = self._wrapped, self._optimizer, self._ema
        if self._averaged is not None:
            trainer.ema.ema = self._averaged
        if _num_held(self._optimizer) != self._num_held:
            self._optimizer.param_groups[:] = [group for group, _ in self._groups]
            for group, parameters in self._groups:
                group["params"] = parameters
        for slots, name, value, _ in self._held:
            slots[name] = value

    def why_nothing_trains(self) -> str | None:
        """Why a training with the objects that are there now would do nothing, or part ways; None when it does."""
        trainer = self._trainer
        model = unwrap_model(trainer.model)
        if trainer.world_size > 1 and type(trainer.model) is not type(self._wrapped):
            return "the model is no longer joined with those of the other ranks"
        held, free = _held_by(trainer.optimizer), dict(model.named_parameters())
        trained = held & set(map(id, free.values()))  # under another name, too: pruning gives a weight one
        lost = [
            name
            for name, before in self._trained.items()
            if id(free.get(name, before)) not in trained and (name not in free or free[name].requires_grad)
        ]
        if lost:
            return f"the optimizer no longer trains {few(sorted(lost))}"
        if self._ema is not None and not _averages(trainer.ema, model):
            return OF_ANOTHER
        return None

    def why_nothing_is_saved(self) -> str | None:
        """Why the EMA that is there now is none of what was trained; None where it is, or there was none."""
        lost = self._ema is not None and self._has_another_average() and not _averages(self._trainer.ema, self._model)
        return OF_ANOTHER if lost else None

    def _lie_at(self) -> list[int]:
        found = [slots.get(name) for slots, name in self._weights]
        return [0 if one is None else one.data_ptr() for one in found]

    def _has_another_average(self) -> bool:
        ema = self._trainer.ema
        return ema is not self._ema or (bool(ema) and ema.ema is not self._averaged)


def _below(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


def _held_by(optimizer: Any) -> set[int]:
    return {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}


def _num_held(optimizer: Any) -> int:
    return sum(len(group["params"]) for group in optimizer.param_groups)


def _averages(ema: Any, model: nn.Module) -> bool:
    averaged = getattr(ema, "ema", None)
    if not isinstance(averaged, nn.Module) or averaged is model:
        return False
    shapes = {name: value.shape for name, value in averaged.state_dict().items()}
    return all(
        shapes.get(name) == value.shape for name, value in model.state_dict().items() if not name.startswith(ASIDE)
    )
