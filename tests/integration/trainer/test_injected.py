"""Faults as somebody else would put them in: callbacks, patched losses, subclasses, labels, validation."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import torch
from ultralytics.models.yolo.detect import DetectionTrainer

from tests.integration.trainer.runs import (
    INF,
    NAN,
    Poisoned,
    batch_norms,
    differences,
    differing,
    events,
    layout_of,
    nonfinite,
    without_batch,
)
from trainmaster import GuardedDetectionTrainer, guarded
from trainmaster.trainer.checkpoints.forensics import judge
from trainmaster.trainer.checkpoints.ledger import attestations
from trainmaster.trainer.contract import ExitCode

pytestmark = pytest.mark.training

Settings = Callable[..., dict[str, Any]]


def at(number: int, change: Callable[[Any], None], trainer: Any) -> Callable[[Any], None]:
    """A callback that changes ``trainer`` at its call ``number``, from 0."""
    calls = iter(range(10_000))
    return lambda _: change(trainer) if next(calls) == number else None


def in_place(trainer: Any) -> None:
    batch_norms(trainer.model)[0].running_mean[0] = NAN


def another_tensor(trainer: Any) -> None:
    layer = batch_norms(trainer.model)[1]
    layer.running_var = torch.full_like(layer.running_var, INF)


def another_storage(trainer: Any) -> None:
    layer = batch_norms(trainer.model)[-1]
    layer.running_var.data = torch.full_like(layer.running_var, NAN)


@pytest.mark.parametrize(
    ("change", "event", "number"),
    [
        (in_place, "on_train_batch_end", 3),
        (another_tensor, "on_train_batch_end", 3),
        (another_storage, "on_train_batch_start", 11),
        (another_tensor, "on_val_end", 0),
    ],
    ids=["within a window", "replaced within a window", "last batch", "validation"],
)
def test_statistics_spoiled_between_batches_cost_nothing(
    settings: Settings, change: Callable[[Any], None], event: str, number: int
) -> None:
    trainer = GuardedDetectionTrainer(overrides=settings(nbs=12))
    trainer.add_callback(event, at(number, change, trainer))
    trainer.train()

    assert not differing(trainer, without_batch(trainer, -1))
    layout = layout_of(trainer)
    assert [(row["what"], row["tensors"]) for row in events(layout, "state_healed")] == [("batchnorm", 1)]
    assert not events(layout, "bad_batch")
    assert {row["verdict"] for row in events(layout, "checkpoint_saved") if row["file"].startswith("guard")} == {
        "clean"
    }


def test_a_negative_variance_blinds_no_validation(settings: Settings) -> None:
    def spoil(running: Any) -> None:
        batch_norms(running.model)[0].running_var[0] = -5.0

    trainer = GuardedDetectionTrainer(overrides=settings())
    trainer.add_callback("on_train_batch_end", at(9, spoil, trainer))
    trainer.train()

    layout = layout_of(trainer)
    assert [(row["what"], row["tensors"]) for row in events(layout, "state_healed")] == [("batchnorm", 1), ("ema", 1)]
    assert not events(layout, "notice")
    assert all(float(layer.running_var.min()) > 0 for layer in batch_norms(trainer.ema.ema))


@pytest.mark.parametrize("replaces", [False, True], ids=["wraps", "replaces"])
@pytest.mark.parametrize("event", ["on_pretrain_routine_end", "on_train_start"])
def test_a_loss_put_on_the_model_is_guarded_too(settings: Settings, event: str, replaces: bool) -> None:
    trainer = GuardedDetectionTrainer(overrides=settings())
    calls = iter(range(1, 10_000))

    def put(running: Any) -> None:
        model = running.model
        own = type(model).loss.__get__(model) if replaces else model.loss

        def spoiled(batch: dict[str, Any], preds: Any = None) -> Any:
            loss, items = own(batch, preds)
            return (loss * NAN if model.training and next(calls) == 5 else loss), items

        model.loss = spoiled

    trainer.add_callback(event, put)
    trainer.train()

    (bad,) = events(layout_of(trainer), "bad_batch")
    assert (bad["batch"], bad["reason"], bad["action"]) == (5, "nonfinite_loss", "skipped")
    assert not differing(trainer, without_batch(trainer, 4))


@pytest.mark.parametrize("scaled", [False, True], ids=["", "scaled, as fp16 is"])
def test_gradients_spoiled_within_a_step_of_its_own_never_reach_the_weights(settings: Settings, scaled: bool) -> None:
    class Own(DetectionTrainer):
        steps = 0

        def optimizer_step(self) -> None:
            Own.steps += 1
            if Own.steps == 4:
                next(parameter for parameter in self.model.parameters() if parameter.grad is not None).grad[0] = NAN
            super().optimizer_step()

    trainer = guarded(Own)(overrides=settings(warmup_epochs=0))
    scaler = torch.amp.GradScaler("cpu", enabled=scaled)
    trainer.add_callback("on_pretrain_routine_end", lambda one: setattr(one, "scaler", scaler))
    trainer.train()

    assert not nonfinite(trainer)
    (bad,) = events(layout_of(trainer), "bad_batch")
    assert (bad["batch"], bad["reason"], bad["skipped_total"]) == (4, "nonfinite_gradient", 1)
    assert Own.steps == 12


class RunningScale(torch.nn.Module):
    """Of somebody's own, with a buffer that a forward pass writes to, or puts another in the place of."""

    def __init__(self, *, replaces: bool) -> None:
        super().__init__()
        self.replaces = replaces
        self.register_buffer("scale", torch.ones(1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return image / self.scale
        scale = (self.scale * 0.99 + 0.01 * image.abs().mean()).detach()
        if self.replaces:
            self.scale = scale
        else:
            self.scale.copy_(scale)
        return image / scale


@pytest.mark.parametrize("replaces", [False, True], ids=["written to", "replaced"])
@pytest.mark.parametrize("nbs", [4, 12], ids=["", "accumulating"])
def test_buffers_of_modules_of_ones_own_keep_no_trace_of_a_bad_batch(
    settings: Settings, replaces: bool, nbs: int
) -> None:
    def get_model(self: Any, *given: Any, **named: Any) -> Any:
        model = DetectionTrainer.get_model(self, *given, **named)
        model.model[1].act = torch.nn.Sequential(model.model[1].act, RunningScale(replaces=replaces))
        return model

    class Spoiled(Poisoned):
        poison: ClassVar[dict[int, str]] = {3: "nan image", 7: "nan gradient", 9: "inf image"}

    Spoiled.get_model = get_model
    stock = type(f"Scaled{replaces}", (DetectionTrainer,), {"get_model": get_model})
    trainer = Spoiled(overrides=settings(nbs=nbs, warmup_epochs=0))
    trainer.train()

    bad = [row["batch"] for row in events(layout_of(trainer), "bad_batch") if row["action"] == "skipped"]
    assert bad == ([4, 2, 4] if nbs == 4 else [4, 4])
    assert not events(layout_of(trainer), "state_healed")
    assert not differing(trainer, without_batch(trainer, *([3, 7, 9] if nbs == 4 else [3, 9]), stock=stock))


def hooked(trainer: Any, change: Callable[..., None]) -> None:
    trainer.optimizer.register_step_pre_hook(change)


def wrapped(trainer: Any, change: Callable[..., None]) -> None:
    step = trainer.optimizer.step

    def changed(*given: Any, **named: Any) -> Any:
        change()
        return step(*given, **named)

    trainer.optimizer.step = changed


def wrapped_scaler(trainer: Any, change: Callable[..., None]) -> None:
    step = trainer.scaler.step

    def changed(*given: Any, **named: Any) -> Any:
        change()
        return step(*given, **named)

    trainer.scaler.step = changed


def once_measured(gradient: torch.Tensor) -> None:
    gradient.view(-1)[0] = NAN


def past_the_count(gradient: torch.Tensor) -> None:
    gradient.data.view(-1)[0] = NAN


@pytest.mark.parametrize("scaled", [False, True], ids=["", "scaled, as fp16 is"])
@pytest.mark.parametrize(
    ("put", "spoil"),
    [
        *((hooked, once_measured), (hooked, past_the_count), (wrapped, once_measured)),
        *((wrapped, past_the_count), (wrapped_scaler, past_the_count)),
    ],
    ids=["hook", "hook, uncounted", "wrapper", "wrapper, uncounted", "wrapped scaler, uncounted"],
)
def test_gradients_spoiled_between_the_check_and_the_step_cost_one_batch(
    settings: Settings, put: Callable[..., None], spoil: Callable[[torch.Tensor], None], scaled: bool
) -> None:
    trainer = GuardedDetectionTrainer(overrides=settings(warmup_epochs=0))
    calls = iter(range(1, 1000))

    def change(*_: Any) -> None:
        if next(calls) == 4:
            spoil(next(one.grad for one in trainer.model.parameters() if one.grad is not None))

    def set_up(running: Any) -> None:
        running.scaler = torch.amp.GradScaler("cpu", enabled=scaled)
        put(running, change)

    trainer.add_callback("on_pretrain_routine_end", set_up)
    trainer.train()

    assert not nonfinite(trainer)
    (bad,) = events(layout_of(trainer), "bad_batch")
    assert (bad["batch"], bad["reason"], bad["skipped_total"]) == (4, "nonfinite_gradient", 1)


@pytest.mark.parametrize(
    ("key", "value", "way"),
    [
        ("exp_avg_sq", INF, "in place"),
        ("exp_avg_sq", -1.0, "in place"),
        ("exp_avg", 1e20, "in place"),
        ("step", NAN, "in place"),
        ("exp_avg", NAN, "another tensor"),
        ("exp_avg", NAN, "another storage"),
        ("exp_avg_sq", NAN, "past torch's count of writes"),
        ("step", INF, "past torch's count of writes"),
    ],
    ids=str,
)
def test_adam_s_own_state_is_healed_before_it_steps(settings: Settings, key: str, value: float, way: str) -> None:
    trainer = GuardedDetectionTrainer(overrides=settings(optimizer="AdamW", lr0=0.001))

    def spoil(running: Any) -> None:
        state = list(running.optimizer.state.values())[-1]
        match way:
            case "another tensor":
                state[key] = torch.full_like(state[key], value)
            case "another storage":
                state[key].data = torch.full_like(state[key], value)
            case "in place":
                state[key].view(-1)[-1] = value
            case _:
                state[key].data.fill_(value)

    trainer.add_callback("on_train_batch_end", at(7, spoil, trainer))
    trainer.train()

    assert not nonfinite(trainer)
    assert [row["what"] for row in events(layout_of(trainer), "state_healed")] == ["optimizer"]


@pytest.mark.parametrize(
    ("label", "value"),
    [("cls", 99.0), ("cls", -3.0), ("batch_idx", 99.0), ("batch_idx", NAN), ("bboxes", INF)],
    ids=str,
)
def test_labels_that_would_crash_the_loss_cost_one_batch(settings: Settings, label: str, value: float) -> None:
    class Mislabelled(GuardedDetectionTrainer):
        def preprocess_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
            batch = super().preprocess_batch(batch)
            if self.guard.position.ni == 4:
                batch[label].view(-1)[0] = value
            return batch

    trainer = Mislabelled(overrides=settings())
    trainer.train()

    (bad,) = events(layout_of(trainer), "bad_batch")
    assert (bad["batch"], bad["cause"]) == (5, "data")
    assert not differing(trainer, without_batch(trainer, 4))


@pytest.mark.parametrize("rate", [NAN, -0.01, 1e8], ids=str)
def test_a_learning_rate_that_is_none_ends_the_run_with_its_weights_whole(settings: Settings, rate: float) -> None:
    trainer = GuardedDetectionTrainer(overrides=settings(warmup_epochs=0))
    trainer.add_callback(
        "on_train_batch_start", at(5, lambda running: running.optimizer.param_groups[0].update(lr=rate), trainer)
    )
    with pytest.raises(SystemExit) as end:
        trainer.train()

    assert end.value.code == ExitCode.GAVE_UP
    assert not nonfinite(trainer)
    layout = layout_of(trainer)
    (gave_up,) = events(layout, "run_gave_up")
    assert f"lr is {rate}" in gave_up["why"]
    assert judge(layout.root / gave_up["state_file"], attestations=attestations(layout)).verdict == "clean"


def test_a_validation_that_is_no_number_is_unknown_and_no_verdict_on_the_weights(settings: Settings) -> None:
    class Blind(GuardedDetectionTrainer):
        def validate(self) -> Any:
            metrics, fitness = super().validate()
            return (dict.fromkeys(metrics, NAN), NAN) if self.epoch == 0 else (metrics, fitness)

    trainer = Blind(overrides=settings())
    trainer.train()

    assert math.isfinite(trainer.best_fitness)
    with trainer.csv.open() as stream:
        assert all(math.isfinite(float(cell)) for row in list(csv.reader(stream))[1:] for cell in row)
    layout = layout_of(trainer)
    assert "taken as unknown: metrics/precision(B)" in events(layout, "notice")[0]["text"]
    saved = layout.states / "epoch0001.ultralytics.pt"
    assert judge(saved, attestations=attestations(layout)).verdict == "clean"


def test_validation_labels_that_are_no_numbers_reach_no_metric(settings: Settings) -> None:
    class Mislabelled(GuardedDetectionTrainer):
        def get_validator(self) -> Any:
            validator = super().get_validator()
            plain = validator.preprocess

            def spoiled(batch: dict[str, Any]) -> dict[str, Any]:
                batch = plain(batch)
                batch["cls"][0] = batch["bboxes"][1] = NAN
                return batch

            validator.preprocess = spoiled
            return validator

    trainer = Mislabelled(overrides=settings(epochs=1))
    trainer.train()

    assert "nan" not in trainer.csv.read_text(encoding="utf-8")
    assert "validation batches" in events(layout_of(trainer), "notice")[0]["text"]


def test_bfloat16_trains_on_a_cpu_and_loses_one_batch_alike(settings: Settings) -> None:
    trainer = GuardedDetectionTrainer(overrides=settings(amp="bf16", nbs=12, drill="nan-image@1:3"))
    trainer.train()
    single = GuardedDetectionTrainer(overrides=settings(amp=False, nbs=12, drill="nan-image@1:3", name="single"))
    single.train()

    assert trainer.args.amp == "bf16"
    assert not nonfinite(trainer)
    assert [row["batch"] for row in events(layout_of(trainer), "bad_batch")] == [3]
    assert differences(trainer, single)


def test_a_checkpoint_that_its_own_class_changes_after_saving_is_attested_as_it_is_then(settings: Settings) -> None:
    class Annotated(DetectionTrainer):
        def save_model(self) -> bool:
            saved = super().save_model()
            torch.save({**torch.load(self.last, weights_only=False), "author": "me"}, self.last)
            return saved

    trainer = guarded(Annotated)(overrides=settings(epochs=1))
    own_end = trainer.final_eval
    found: list[tuple[str, str]] = []

    def look_first() -> None:
        layout = layout_of(trainer)
        paths = sorted([*layout.states.glob("*.pt"), *layout.weights.glob("*.pt")])
        found.extend((path.name, str(judge(path, attestations=attestations(layout)).verdict)) for path in paths)
        own_end()

    trainer.final_eval = look_first
    trainer.train()

    names = ["epoch0001.pt", "epoch0001.ultralytics.pt", "best.pt", "last.pt"]
    assert found == [(name, "clean") for name in names]
