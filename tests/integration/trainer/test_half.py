"""float16 with a gradient scaler, as a GPU trains by default: here with the CPU's autocast and a scaler of the CPU."""

from __future__ import annotations

import math
import os
import re
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from ultralytics.engine import trainer as engine
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils.torch_utils import unwrap_model

from tests.integration.trainer.runs import (
    Poisoned,
    differences,
    differing,
    events,
    layout_of,
    nonfinite,
    stock_settings,
    tensors,
    undisturbed,
    without_batch,
)
from trainmaster import GuardedDetectionTrainer
from trainmaster.trainer import guard
from trainmaster.trainer.__main__ import main
from trainmaster.trainer.batches import precision
from trainmaster.trainer.contract import ExitCode
from trainmaster.trainer.selfcheck.made import TINY_MODEL

pytestmark = pytest.mark.training

Settings = Callable[..., dict[str, Any]]

FIRST_SCALE = 2.0**22
"""Of the scaler, for the model of ``selfcheck``: another's gradients overflow elsewhere. The first step of this
training overflows there, by nature; each that does is left out and halves the scale. How many do, and in which epochs,
depends on the processor: one, where this was written."""
TOO_HIGH = 2.0**24
"""Overflows on every processor."""
OVERFLOWED = re.compile(r"fp16: (?P<steps>\d+) steps? of epoch (?P<epoch>\d+) overflowed")


def autocast(enabled: bool, device: str = "cpu") -> Any:
    return torch.autocast("cpu", dtype=torch.float16, enabled=bool(enabled))


@pytest.fixture(autouse=True)
def half(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ultralytics takes this machine for one that can train in float16. PyTorch's own kernels do it on any processor;
    those of oneDNN take four times as long where the processor has no instructions for it."""
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    scaler = torch.amp.GradScaler
    monkeypatch.setattr(engine, "check_amp", lambda _: True)
    monkeypatch.setattr(engine, "autocast", autocast)
    monkeypatch.setattr(precision, "stock_autocast", autocast)
    monkeypatch.setattr(
        torch.amp, "GradScaler", lambda _, enabled, scale=FIRST_SCALE: scaler("cpu", scale, enabled=enabled)
    )


@pytest.fixture(scope="module")
def three_levels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file for all, so that trainings alike have the same settings."""
    model = tmp_path_factory.mktemp("model") / "three-levels.yaml"
    model.write_text(TINY_MODEL, encoding="utf-8")
    return model


@pytest.fixture
def in_half(settings: Settings, three_levels: Path) -> Settings:
    return lambda **changes: settings(model=str(three_levels), amp=True, warmup_epochs=0, optimizer="SGD", **changes)


class SpoiledBackward(GuardedDetectionTrainer):
    """The gradients of chosen batches are not finite, however often they are computed; their losses are."""

    spoiled: ClassVar[tuple[int, ...]] = ()

    def _setup_train(self) -> None:
        super()._setup_train()
        images: list[torch.Tensor] = []

        def spoil(module: torch.nn.Module, inputs: Any, output: Any) -> None:
            if not module.training:
                return
            if self.guard.position.ni in self.spoiled and not self.guard.step.rerun.active:
                images.append(inputs[0].detach().clone())
            if any(torch.equal(inputs[0], known) for known in images):
                output.register_hook(lambda gradient: gradient * math.nan)

        unwrap_model(self.model).model[0].register_forward_hook(spoil)


def trained(kind: type, overrides: dict[str, Any], **members: Any) -> Any:
    trainer = type("Run", (kind,), members)(overrides=overrides)
    trainer.train()
    assert trainer.scaler.is_enabled()
    return trainer


def told(trainer: Any) -> list[tuple[Any, ...]]:
    rows = events(layout_of(trainer), "bad_batch")
    return [(row["epoch"], row["batch"], row["reason"], row["action"]) for row in rows]


@pytest.mark.parametrize("nbs", [4, 12], ids=["every batch a step", "accumulating"])
@pytest.mark.parametrize("level", ["observe", "standard"])
def test_overflows_by_nature_are_the_scaler_s_and_no_bad_batches(
    in_half: Settings, monkeypatch: pytest.MonkeyPatch, level: str, nbs: int
) -> None:
    monkeypatch.setattr(torch.amp, "GradScaler", partial(torch.amp.GradScaler, scale=TOO_HIGH))
    guarded = trained(GuardedDetectionTrainer, in_half(nbs=nbs, level=level))
    stock = DetectionTrainer(overrides={**stock_settings(guarded), "name": "stock"})
    stock.train()

    assert not differing(guarded, dict(tensors(stock)))
    assert told(guarded) == []
    num_overflows = round(math.log2(TOO_HIGH / stock.scaler.get_scale()))
    assert num_overflows > 0
    notices = [OVERFLOWED.match(notice["text"]) for notice in events(layout_of(guarded), "notice")]
    assert sum(int(notice["steps"]) for notice in notices if notice) == num_overflows
    epochs = [int(notice["epoch"]) for notice in notices if notice]
    assert epochs == sorted(set(epochs)), "one word an epoch"
    assert len(epochs) == len(notices)


def test_a_search_of_the_scaler_is_never_a_bad_batch_however_long_it_takes(in_half: Settings) -> None:
    class FarTooHigh(GuardedDetectionTrainer):
        def _setup_train(self) -> None:
            super()._setup_train()
            self.scaler.scale(torch.zeros(()))
            self.scaler.update(FIRST_SCALE * 2.0**30)

    guarded = trained(FarTooHigh, in_half(nbs=4, epochs=6))

    assert told(guarded) == []
    assert guarded.scaler.get_scale() < FIRST_SCALE
    assert not nonfinite(guarded)


@pytest.mark.parametrize("nbs", [4, 12], ids=["every batch a step", "accumulating"])
@pytest.mark.parametrize(
    ("fault", "reason"),
    [("nan image", "nonfinite_loss"), ("nan buffer", "nonfinite_batchnorm"), ("backward", "nonfinite_gradient")],
)
def test_a_bad_batch_leaves_no_trace_in_the_scaler_either(in_half: Settings, fault: str, reason: str, nbs: int) -> None:
    if fault == "backward":
        trainer = trained(SpoiledBackward, in_half(nbs=nbs), spoiled=(7,))
    else:
        trainer = trained(Poisoned, in_half(nbs=nbs), poison={7: fault})

    assert not nonfinite(trainer)
    assert told(trainer) == [(2, 2, reason, "skipped")]
    assert not differing(trainer, without_batch(trainer, 7))


@pytest.mark.parametrize("nbs", [4, 12], ids=["every batch a step", "accumulating"])
def test_a_gradient_spoiled_once_is_computed_again_at_the_same_scale(in_half: Settings, nbs: int) -> None:
    spoiled = trained(Poisoned, in_half(nbs=nbs), poison={8: "nan gradient"})
    untouched = trained(Poisoned, in_half(nbs=nbs, name="untouched"), poison={})

    assert told(spoiled) == [(2, 3, "nonfinite_gradient", "recomputed")]
    assert not differences(spoiled, untouched)


def test_weights_that_are_not_finite_end_the_run_at_once(in_half: Settings) -> None:
    with pytest.raises(SystemExit):
        trained(Poisoned, in_half(), poison={8: "nan weight"})


@pytest.mark.parametrize("at", [1, 8], ids=["while the scale is looked for", "within a window"])
def test_an_exact_run_that_was_stopped_ends_with_the_same_bits(
    in_half: Settings, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    made: list[Any] = []

    class Stopped(GuardedDetectionTrainer):
        def preprocess_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
            if self.guard.position.ni == at and not made:
                made.append(self)
                os.kill(os.getpid(), signal.SIGTERM)
            return super().preprocess_batch(batch)

        def train(self) -> Any:
            if made:
                made.append(self)
            return super().train()

    overrides = in_half(nbs=8, exact=True)
    monkeypatch.setitem(guard.TRAINERS, "detect", Stopped)
    with pytest.raises(SystemExit):
        Stopped(overrides=overrides).train()
    assert main(["resume", str(layout_of(made[0]).root)]) == ExitCode.FINISHED

    assert made[1].scaler.is_enabled()
    assert not differing(made[1], undisturbed(overrides))


@pytest.mark.parametrize("scale", [math.nan, math.inf, 0.0])
@pytest.mark.parametrize("nbs", [4, 12], ids=["", "accumulating"])
def test_a_scale_that_is_none_costs_no_step_and_no_weight(in_half: Settings, nbs: int, scale: float) -> None:
    trainer = GuardedDetectionTrainer(overrides=in_half(nbs=nbs))
    calls = iter(range(1000))

    def spoil(running: Any) -> None:
        if next(calls) == 5:
            running.scaler._scale.fill_(scale)

    trainer.add_callback("on_train_batch_end", spoil)
    trainer.train()

    assert not nonfinite(trainer)
    layout = layout_of(trainer)
    assert [row["what"] for row in events(layout, "state_healed")] == ["scaler"]
    assert "skipped" not in {row["action"] for row in events(layout, "bad_batch")}
    steps = [row for row in events(layout, "notice") if OVERFLOWED.match(row["text"])]
    assert all(int(OVERFLOWED.match(row["text"])["steps"]) <= 2 for row in steps)
