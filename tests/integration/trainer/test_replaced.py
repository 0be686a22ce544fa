"""A callback that puts another object in the place of what trains is followed, or ends the run loudly."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from ultralytics.utils.torch_utils import ModelEMA, unwrap_model

from tests.integration.trainer.runs import NAN, events, layout_of, nonfinite
from trainmaster import GuardedDetectionTrainer
from trainmaster.trainer.contract import ExitCode, RunRecordState, read_json

pytestmark = pytest.mark.training


def replace_model(trainer: Any) -> None:
    trainer.model = deepcopy(trainer.model)


def replace_model_and_optimizer(trainer: Any) -> None:
    trainer.model = deepcopy(trainer.model)
    trainer.optimizer = torch.optim.SGD(trainer.model.parameters(), lr=0.001, momentum=0.9)


def replace_parameter(trainer: Any) -> None:
    convolution = next(one for one in unwrap_model(trainer.model).modules() if isinstance(one, torch.nn.Conv2d))
    convolution.weight = torch.nn.Parameter(convolution.weight.detach().clone())


def replace_layer(trainer: Any) -> None:
    model = unwrap_model(trainer.model).model
    model[2] = deepcopy(model[2])


def empty_optimizer(trainer: Any) -> None:
    trainer.optimizer.param_groups.clear()


def replace_optimizer(trainer: Any) -> None:
    trainer.optimizer = torch.optim.AdamW(trainer.model.parameters(), lr=0.001)


def optimizer_of_another(trainer: Any) -> None:
    trainer.optimizer = torch.optim.AdamW(deepcopy(trainer.model).parameters(), lr=0.001)


def replace_ema(trainer: Any) -> None:
    trainer.ema = ModelEMA(trainer.model)


def ema_of_another(trainer: Any) -> None:
    trainer.ema = ModelEMA(torch.nn.Linear(3, 3))


def run(
    settings: Callable[..., dict[str, Any]], change: Callable[[Any], None], *, bad_images: bool = True, **more: Any
) -> Any:
    class Run(GuardedDetectionTrainer):
        def preprocess_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
            batch = super().preprocess_batch(batch)
            if bad_images and self.guard.position.ni == 9:
                batch["img"][0] = NAN
            return batch

    trainer = Run(overrides=settings(**{"epochs": 2, **more}))

    def once(trainer: Any) -> None:
        if trainer.guard.position.ni == 7:
            change(trainer)

    trainer.add_callback("on_train_batch_end", once)
    return trainer


@pytest.mark.parametrize(
    "change",
    [replace_model, replace_parameter, replace_layer, empty_optimizer, optimizer_of_another, ema_of_another],
    ids=lambda change: change.__name__,
)
def test_what_would_train_nothing_ends_with_its_state_saved(
    settings: Callable[..., dict[str, Any]], change: Callable[[Any], None]
) -> None:
    trainer = run(settings, change)
    with pytest.raises(SystemExit) as end:
        trainer.train()
    assert end.value.code == ExitCode.GAVE_UP
    layout = layout_of(trainer)
    assert (read_json(layout.run_json) or {})["state"] == RunRecordState.GAVE_UP
    (event,) = events(layout, "run_gave_up")
    assert "was replaced while training" in event["why"]
    assert (layout.root / event["state_file"]).is_file()


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (replace_model_and_optimizer, "the model"),
        (replace_optimizer, "the optimizer"),
        (replace_ema, "the EMA"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_trains_is_followed_and_guarded(
    settings: Callable[..., dict[str, Any]], change: Callable[[Any], None], what: str
) -> None:
    trainer = run(settings, change)
    trainer.train()
    assert not nonfinite(trainer)
    both = zip(trainer.ema.ema.parameters(), trainer.model.parameters(), strict=True)
    assert all(torch.allclose(average, live, atol=1e-3) for average, live in both)
    (bad,) = events(layout_of(trainer), "bad_batch")
    assert (bad["epoch"], bad["batch"], bad["action"]) == (2, 4, "skipped")
    assert any(row["text"].startswith(f"{what} was replaced") for row in events(layout_of(trainer), "notice"))


def test_freezing_and_thawing_replaces_nothing(settings: Callable[..., dict[str, Any]]) -> None:
    def toggle(trainer: Any) -> None:
        for parameter in unwrap_model(trainer.model).model[0].parameters():
            parameter.requires_grad_(not parameter.requires_grad)

    trainer = run(settings, toggle)
    trainer.train()
    assert not [row for row in events(layout_of(trainer), "notice") if "replaced" in row["text"]]


def no_step(trainer: Any) -> None:
    trainer.optimizer.step = lambda *_, **__: None


def zero_gradients(trainer: Any) -> None:
    for parameter in trainer.model.parameters():
        if parameter.requires_grad:
            parameter.register_hook(torch.zeros_like)


def disable_ema(trainer: Any) -> None:
    trainer.ema.enabled = False


def decay_of_two(trainer: Any) -> None:
    trainer.ema.decay = lambda _: 2.0


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (no_step, "nothing is trained: in epoch 3, steps were taken that had to change weights"),
        (decay_of_two, "the EMA's decay is 2"),
    ],
    ids=["no step", "decay"],
)
def test_steps_that_train_nothing_end_the_run_with_its_state_saved(
    settings: Callable[..., dict[str, Any]], change: Callable[[Any], None], why: str
) -> None:
    trainer = run(settings, change, epochs=3, bad_images=False)
    with pytest.raises(SystemExit) as end:
        trainer.train()
    assert end.value.code == ExitCode.GAVE_UP
    (event,) = events(layout_of(trainer), "run_gave_up")
    assert event["why"].startswith(why)
    assert (layout_of(trainer).root / event["state_file"]).is_file()


@pytest.mark.parametrize(
    ("change", "why"),
    [(zero_gradients, "every gradient was exactly zero"), (disable_ema, "the EMA, which is what is saved, has not")],
    ids=["gradients", "ema"],
)
def test_what_may_be_meant_is_told_once_and_goes_on(
    settings: Callable[..., dict[str, Any]], change: Callable[[Any], None], why: str
) -> None:
    trainer = run(settings, change, epochs=4, bad_images=False)
    trainer.train()
    (notice,) = (row["text"] for row in events(layout_of(trainer), "notice") if "nothing is trained" in row["text"])
    assert notice.startswith(f"nothing is trained: in epoch 3, {why}")


def test_an_ordinary_training_is_told_nothing(settings: Callable[..., dict[str, Any]]) -> None:
    trainer = run(settings, lambda _: None, epochs=2, bad_images=False)
    trainer.train()
    assert not events(layout_of(trainer), "notice")
