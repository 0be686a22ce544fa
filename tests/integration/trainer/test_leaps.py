"""Finite numbers that no step makes, written into weights, their EMA and momenta between two batches."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from ultralytics.models.yolo.detect import DetectionTrainer

from tests.integration.trainer.runs import Poisoned, events, layout_of
from trainmaster import GuardedDetectionTrainer
from trainmaster.trainer.checkpoints.catalog import catalog, newest_clean
from trainmaster.trainer.checkpoints.ledger import attestations
from trainmaster.trainer.contract import ExitCode, Verdict
from trainmaster.trainer.guard import guarded

pytestmark = pytest.mark.training

Settings = Callable[..., dict[str, Any]]
Change = Callable[[Any], None]


def weight(value: float) -> Change:
    def write(trainer: Any) -> None:
        trainer.model.model[1].conv.weight.data[0, 0, 0, 0] = value

    return write


def scale(value: float) -> Change:
    def write(trainer: Any) -> None:
        trainer.model.model[1].bn.weight.data[0] = value

    return write


def shift(value: float) -> Change:
    def write(trainer: Any) -> None:
        trainer.model.model[2].bn.bias.data[0] = value

    return write


def momentum(value: float, *, counted: bool = False) -> Change:
    def write(trainer: Any) -> None:
        state = trainer.optimizer.state[trainer.model.model[1].conv.weight]
        buffer = state.get("momentum_buffer", state.get("exp_avg"))
        (buffer if counted else buffer.data).view(-1)[1] = value

    return write


def seen_at_a_save(trainer: Any) -> None:
    weight(1e4)(trainer)
    assert not trainer.guard.step.sound()


def another_storage(trainer: Any) -> None:
    held = trainer.model.model[1].conv.weight
    held.data = held.data * 1e5


def average(value: float) -> Change:
    def write(trainer: Any) -> None:
        trainer.ema.updates = 10**6  # of an old training, which forgets nothing
        trainer.ema.ema.model[1].conv.weight.data[0, 0, 0, 0] = value

    return write


def trained(
    settings: Settings, change: Change, batch: int, kind: type = GuardedDetectionTrainer, **given: Any
) -> tuple[Any, int]:
    """The trainer after ``change`` at the end of ``batch`` (from 0), and its exit code."""
    trainer = kind(overrides=settings(epochs=3, **given))
    batches = iter(range(10_000))
    trainer.add_callback("on_train_batch_end", lambda one: change(one) if next(batches) == batch else None)
    try:
        trainer.train()
    except SystemExit as end:
        return trainer, int(end.code or 0)
    return trainer, 0


@pytest.mark.parametrize(
    ("change", "batch", "given"),
    [
        (weight(1e4), 7, {}),
        (weight(1e18), 7, {}),
        (weight(1e6), 17, {}),
        (scale(1e4), 8, {"nbs": 8}),
        (shift(1e6), 7, {}),
        (momentum(1e5), 7, {}),
        (seen_at_a_save, 7, {}),
        (another_storage, 7, {}),
        (momentum(1e4), 7, {"optimizer": "AdamW", "lr0": 0.001}),
    ],
    ids=["weight", "large weight", "last batch", "scale", "shift", "momentum", "a save", "storage", "Adam's momentum"],
)
def test_weights_that_no_step_made_end_the_training_with_what_was_saved_before(
    settings: Settings, change: Change, batch: int, given: dict[str, Any]
) -> None:
    trainer, code = trained(settings, change, batch, **given)

    layout = layout_of(trainer)
    assert code == ExitCode.GAVE_UP
    (told,) = events(layout, "run_gave_up")
    assert "leapt to" in told["why"]
    assert not events(layout, "bad_batch")
    assert {row.verdict for row in attestations(layout)} == {Verdict.CLEAN}
    clean = newest_clean(catalog(layout, full=True))
    assert clean is not None
    state = torch.load(layout.root / clean.file, weights_only=False)["model"]
    assert all(float(one.abs().max()) < 100 for one in state.values() if one.is_floating_point() and one.ndim > 1)


def test_a_momentum_that_was_written_to_is_healed_before_a_step_uses_it(settings: Settings) -> None:
    trainer, code = trained(settings, momentum(1e4, counted=True), 7)

    assert code == ExitCode.FINISHED
    assert [row["what"] for row in events(layout_of(trainer), "state_healed")] == ["optimizer"]
    assert max(float(one.detach().abs().max()) for one in trainer.model.parameters()) < 20


@pytest.mark.parametrize("value", [1e4, 1e18], ids=str)
def test_an_average_that_no_update_made_is_healed(settings: Settings, value: float) -> None:
    trainer, code = trained(settings, average(value), 7)

    layout = layout_of(trainer)
    assert code == ExitCode.FINISHED
    assert [row["what"] for row in events(layout, "state_healed")] == ["ema"]
    assert max(float(one.abs().max()) for one in trainer.ema.ema.state_dict().values()) < 10_000
    saved = [row for row in events(layout, "checkpoint_saved") if row["file"].startswith("guard")]
    assert {row["verdict"] for row in saved} == {"clean"}


@pytest.mark.parametrize(
    ("change", "batch", "what"), [(scale(1e4), 7, "weights"), (average(1e4), 2, "the EMA")], ids=["weight", "EMA"]
)
def test_observe_tells_what_leapt_and_ends_nothing(settings: Settings, change: Change, batch: int, what: str) -> None:
    trainer, code = trained(settings, change, batch, level="observe")

    layout = layout_of(trainer)
    assert code == ExitCode.FINISHED
    assert [f"{what} leapt to 1e+04" in row["text"] for row in events(layout, "notice")] == [True]
    saved = {row["epoch"]: row["verdict"] for row in events(layout, "checkpoint_saved") if ".pt" in row["file"]}
    assert saved[1] == "clean" or batch < 6
    assert saved[3] != "clean"


def raise_the_rate(trainer: Any) -> None:
    for group in trainer.optimizer.param_groups:
        group["lr"] *= 30


def other_weights(trainer: Any) -> None:
    with torch.no_grad():
        for one in trainer.model.parameters():
            if one.requires_grad and one.ndim > 1:
                one.copy_(torch.randn_like(one))


def average_taken_over(trainer: Any) -> None:
    trainer.model.load_state_dict(trainer.ema.ema.state_dict())


@pytest.mark.parametrize(
    ("given", "change"),
    [
        ({"optimizer": "SGD", "lr0": 0.1}, raise_the_rate),
        ({"optimizer": "SGD"}, other_weights),
        ({"optimizer": "AdamW", "lr0": 0.01, "freeze": 1}, average_taken_over),
        ({"optimizer": "RMSProp", "lr0": 0.001}, raise_the_rate),
        ({"optimizer": "MuSGD", "lr0": 0.02}, raise_the_rate),
    ],
    ids=["SGD, a higher rate", "other weights", "AdamW, frozen, EMA taken over", "RMSProp", "MuSGD"],
)
def test_honest_trainings_leap_nowhere(settings: Settings, given: dict[str, Any], change: Change) -> None:
    trainer, code = trained(settings, change, 8, **given)

    layout = layout_of(trainer)
    assert code == ExitCode.FINISHED
    assert not events(layout, "notice") + events(layout, "state_healed")
    assert math.isfinite(trainer.fitness)


@pytest.mark.parametrize("batch", [8])
def test_a_leap_is_told_though_the_gradients_of_its_step_are_bad_too(settings: Settings, batch: int) -> None:
    """Whichever pass of the window, which runs again without the culprit, is the one that looks."""
    bad = type("Bad", (Poisoned,), {"poison": dict.fromkeys(range(batch + 1, batch + 3), "nan gradient")})

    trainer, code = trained(settings, weight(1e4), batch, bad, nbs=8, replay_incidents=False)

    assert code == ExitCode.GAVE_UP
    (told,) = events(layout_of(trainer), "run_gave_up")
    assert "weights leapt to 1e+04" in told["why"]


def test_a_momentum_is_healed_though_the_gradients_of_its_step_are_bad_too(settings: Settings) -> None:
    bad = type("Bad", (Poisoned,), {"poison": dict.fromkeys(range(8, 10), "nan gradient")})

    trainer, code = trained(settings, momentum(1e4, counted=True), 7, bad, nbs=8, replay_incidents=False)

    assert code == ExitCode.FINISHED
    assert [row["what"] for row in events(layout_of(trainer), "state_healed")] == ["optimizer"]
    assert max(float(one.detach().abs().max()) for one in trainer.model.parameters()) < 20


def gradients_times_100(trainer: Any) -> None:
    def enlarge(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        for group in optimizer.param_groups:
            for one in group["params"]:
                if one.grad is not None:
                    one.grad.mul_(100.0)

    trainer.optimizer.register_step_pre_hook(enlarge)


class StepsItsOwnWay(DetectionTrainer):
    """As large as it likes."""

    def optimizer_step(self) -> None:
        for one in self.model.parameters():
            if one.grad is not None:
                one.grad.mul_(1.0 if self.epoch == 0 else 300.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.ema.update(self.model)


class PassesTheGuardBy(GuardedDetectionTrainer):
    """Steps without a word to it."""

    def optimizer_step(self) -> None:
        StepsItsOwnWay.optimizer_step(self)


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        (GuardedDetectionTrainer, gradients_times_100),
        (guarded(StepsItsOwnWay), lambda trainer: None),
        (PassesTheGuardBy, lambda trainer: None),
    ],
    ids=["a hook", "an own step", "a step that passes the guard by"],
)
def test_a_momentum_of_gradients_that_somebody_enlarged_is_left_alone(
    settings: Settings, kind: type, change: Change
) -> None:
    small = {"lr0": 1e-5, "warmup_epochs": 0}
    trainer, code = trained(settings, change, 8, kind, optimizer="SGD", **small)

    layout = layout_of(trainer)
    assert code == ExitCode.FINISHED
    assert not events(layout, "state_healed")


@pytest.mark.parametrize("optimizer", ["AdamW", "RMSProp"])
def test_a_rate_that_spoils_the_training_is_no_leap_of_the_average(settings: Settings, optimizer: str) -> None:
    trainer, code = trained(settings, lambda trainer: None, 8, optimizer=optimizer, lr0=1.0, level="guard")

    layout = layout_of(trainer)
    assert code in {ExitCode.FINISHED, ExitCode.GAVE_UP}  # of bad batches
    assert not [row for row in events(layout, "run_gave_up") if "leapt" in row["why"]]
    assert not [row for row in events(layout, "state_healed") if row["what"] == "ema"]
