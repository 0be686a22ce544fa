"""What the training tests share: faults to inject, and tensors to compare."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import torch
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils.torch_utils import unwrap_model

from trainmaster import GuardedDetectionTrainer
from trainmaster.trainer.contract import RunLayout
from trainmaster.trainer.engines import compat

NAN, INF = float("nan"), float("inf")


class Poisoned(GuardedDetectionTrainer):
    """Spoils chosen batches, counted from 0 over the whole run."""

    poison: ClassVar[dict[int, str]] = {}

    def preprocess_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        batch = super().preprocess_batch(batch)
        match self.fault:
            case "nan image":
                batch["img"][0, 0, 0, 0] = NAN
            case "inf image":
                batch["img"][-1] = INF
            case "huge activation":
                self.spoil_one_activation()
            case "nan box":
                batch["bboxes"][0, 0] = NAN
            case "nan class":
                batch["cls"][0] = NAN
            case "inf class":
                batch["cls"][0] = INF
            case "nan buffer":
                batch_norms(self.model)[0].running_mean[0] = NAN
        return batch

    def optimizer_step(self) -> None:
        match self.fault:
            case "nan gradient":
                next(p for p in self.model.parameters() if p.grad is not None).grad[0] = NAN
            case "inf gradient":
                [p for p in self.model.parameters() if p.grad is not None][-1].grad[0] = INF
            case "nan momentum":
                state = next(iter(self.optimizer.state.values()))
                next(value for key, value in state.items() if key != "step").view(-1)[0] = NAN
            case "nan ema":
                next(iter(self.ema.ema.parameters())).view(-1)[0] = NAN
            case "late nan buffer":
                batch_norms(self.model)[0].running_var[0] = NAN
            case "nan weight":
                with torch.no_grad():
                    next(p for p in self.model.parameters() if p.requires_grad).view(-1)[0] = NAN
        super().optimizer_step()

    activation = 1e18

    def spoil_one_activation(self) -> None:
        """One number of the next forward pass, before the first batch-norm, is ``activation``."""

        def spoil(_module: Any, _inputs: Any, output: torch.Tensor) -> torch.Tensor:
            handle.remove()
            output = output.clone()
            output[0, 0, 0, 0] = self.activation
            return output

        convolution = next(module for module in self.model.modules() if isinstance(module, torch.nn.Conv2d))
        handle = convolution.register_forward_hook(spoil)

    @property
    def fault(self) -> str | None:
        return self.poison.get(self.guard.position.ni)


class Absent:
    """Stock Ultralytics, under any of its trainers, in which some batches are simply not there: no forward pass, no
    gradient, no step of their own. Nothing is written, and nothing evaluated once it has trained: both read numbers
    that stand."""

    absent: tuple[int, ...] = ()

    def _setup_train(self) -> None:
        super()._setup_train()  # type: ignore[misc]
        model = unwrap_model(self.model)  # type: ignore[attr-defined]
        loss, form = model.loss, compat.engine().form(lambda: self.loss_names)  # type: ignore[attr-defined]
        self.seen = -1
        names: tuple[str, ...] = ("box_loss", "cls_loss", "dfl_loss")

        def without(batch: dict[str, Any], preds: Any = None) -> Any:
            nonlocal names
            self.seen += 1
            if self.seen in self.absent:
                return torch.zeros((), requires_grad=True), form.write(dict.fromkeys(names, torch.zeros(())))
            made = loss(batch, preds)
            names = tuple(form.read(made[1]))
            return made

        model.__dict__["loss"] = without

    def optimizer_step(self) -> None:
        if all(parameter.grad is None for parameter in self.model.parameters()):  # type: ignore[attr-defined]
            self.optimizer.zero_grad()  # type: ignore[attr-defined]
            return
        super().optimizer_step()  # type: ignore[misc]

    def save_model(self) -> bool:
        return True

    def final_eval(self) -> None:
        pass


def stock_settings(trainer: Any) -> dict[str, Any]:
    """What a stock trainer is given to train as ``trainer`` did, in a directory of its own."""
    return {name: value for name, value in vars(trainer.args).items() if name not in {"save_dir", "resume"}}


_references: dict[str, dict[str, torch.Tensor]] = {}
"""By all that the numbers of a run depend on: each is trained once a process, whichever tests ask for it."""


def without_batch(trainer: Any, *absent: int, stock: type = DetectionTrainer) -> dict[str, torch.Tensor]:
    """Every tensor of a stock run with the settings of ``trainer`` in which batches ``absent`` were not there."""
    given = stock_settings(trainer)
    key = _key(given, stock.__name__, absent)
    if key not in _references:
        run = type("Reference", (Absent, stock), {"absent": absent})(overrides={**given, "name": "reference"})
        run.train()
        _references[key] = dict(tensors(run))
    return _references[key]


def undisturbed(overrides: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Every tensor of a whole guarded run with ``overrides``, which nothing stopped."""
    key = _key(overrides, GuardedDetectionTrainer.__name__)
    if key not in _references:
        run = GuardedDetectionTrainer(overrides={**overrides, "name": "undisturbed"})
        run.train()
        _references[key] = dict(tensors(run))
    return _references[key]


def _key(settings: dict[str, Any], *more: object) -> str:
    """Of a run, wherever it is written."""
    return repr((*more, sorted((name, value) for name, value in settings.items() if name not in {"project", "name"})))


def batch_norms(model: torch.nn.Module) -> list[torch.nn.BatchNorm2d]:
    return [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]


def tensors(trainer: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """Every tensor of model, EMA, optimizer and gradient scaler, buffers included."""
    yield from ((f"model {name}", value) for name, value in unwrap_model(trainer.model).state_dict().items())
    yield from ((f"ema {name}", value) for name, value in trainer.ema.ema.state_dict().items())
    for index, state in enumerate(trainer.optimizer.state.values()):
        for key, value in state.items():
            if isinstance(value, torch.Tensor):
                yield f"optimizer {index} {key}", value
    yield from ((f"scaler {name}", torch.tensor(value)) for name, value in trainer.scaler.state_dict().items())


def differences(left: Any, right: Any) -> list[str]:
    """Names of the tensors of two trainers that differ in any bit."""
    return differing(left, dict(tensors(right)))


def differing(trainer: Any, expected: dict[str, torch.Tensor]) -> list[str]:
    """Names of the tensors of ``trainer`` that differ from ``expected`` in any bit."""
    found = dict(tensors(trainer))
    assert found.keys() == expected.keys()
    return [name for name, value in found.items() if not torch.equal(value, expected[name])]


def nonfinite(trainer: Any) -> list[str]:
    return [name for name, value in tensors(trainer) if not bool(torch.isfinite(value).all())]


def layout_of(trainer: Any) -> RunLayout:
    return RunLayout(Path(trainer.save_dir))


def events(layout: RunLayout, kind: str | None = None) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in layout.events.read_text(encoding="utf-8").splitlines()]
    return [row for row in rows if kind is None or row["kind"] == kind]
