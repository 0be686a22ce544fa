"""Was it the card? Each recorded bad batch runs twice more at once; what that shows, and that it leaves no trace."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from ultralytics.utils.torch_utils import unwrap_model

from tests.integration.trainer.runs import NAN, Poisoned, differing, events, layout_of, without_batch
from trainmaster import GuardedDetectionTrainer
from trainmaster.trainer.data.sampling import random_state

pytestmark = pytest.mark.training

Settings = Callable[..., dict[str, Any]]

BAD_BATCH = 4
"""From 0."""


class Flaky(GuardedDetectionTrainer):
    """A card that spoils chosen passes of one batch through the model: ``passes`` counts from 0, the first time."""

    passes: frozenset[int] = frozenset()
    of_gradient = False
    pass_number = -1

    def _setup_train(self) -> None:
        super()._setup_train()
        first = next(module for module in self.model.modules() if isinstance(module, torch.nn.Conv2d))
        first.register_forward_hook(self.spoiled)

    def spoiled(self, module: torch.nn.Module, _inputs: Any, output: torch.Tensor) -> torch.Tensor | None:
        if self.guard.position.ni != BAD_BATCH or not module.training:
            return None
        self.pass_number += 1
        if self.pass_number not in self.passes:
            return None
        if not self.of_gradient:
            return output * NAN
        if output.requires_grad:
            output.register_hook(lambda gradient: gradient * NAN)
        return None


def flaky(passes: Sequence[int], settings: dict[str, Any], *, of_gradient: bool = False) -> Any:
    kind = type("Own", (Flaky,), {"passes": frozenset(passes), "of_gradient": of_gradient})
    trainer = kind(overrides=settings)
    trainer.train()
    return trainer


def incident_of(trainer: Any) -> dict[str, Any]:
    text = (layout_of(trainer).incidents / "0001" / "incident.json").read_text(encoding="utf-8")
    record: dict[str, Any] = json.loads(text)
    return record


@pytest.mark.parametrize("of_gradient", [False, True], ids=["loss", "gradient"])
@pytest.mark.parametrize(
    ("passes", "verdict", "bad"),
    [
        ([0, 1, 2], "deterministic", [True, True]),
        ([0], "not_reproducible", [False, False]),
        ([0, 1], "not_reproducible", [True, False]),
        ([0, 2], "not_reproducible", [False, True]),
    ],
    ids=["both", "neither", "only the first", "only the second"],
)
def test_a_nan_that_does_not_come_both_times_is_not_reproducible(
    settings: Settings, passes: list[int], verdict: str, bad: list[bool], of_gradient: bool
) -> None:
    trainer = flaky(passes, settings(), of_gradient=of_gradient)
    (told,) = events(layout_of(trainer), "bad_batch")
    kept = incident_of(trainer)
    assert (told["replay"], kept["replay"], kept["replay_bad"], told["action"]) == (verdict, verdict, bad, "skipped")
    assert not differing(trainer, without_batch(trainer, BAD_BATCH))
    noted = (layout_of(trainer).guard / "offenders.json").exists()
    assert noted == (verdict == "deterministic")  # images that were good are no offenders


def test_an_overflow_is_told_apart(settings: Settings) -> None:
    class Overflowing(GuardedDetectionTrainer):
        def _setup_train(self) -> None:
            super()._setup_train()
            model = unwrap_model(self.model)
            plain = type(model).loss.__get__(model)

            def half_only(batch: dict[str, Any], preds: Any = None) -> Any:
                loss, items = plain(batch, preds)
                overflows = torch.is_autocast_enabled("cpu") and self.guard.position.ni == BAD_BATCH
                return (loss * NAN if overflows and model.training else loss), items

            model.loss = half_only

    trainer = Overflowing(overrides=settings(amp="bf16"))
    trainer.train()
    (told,) = events(layout_of(trainer), "bad_batch")
    assert (told["replay"], incident_of(trainer)["fp32_replay_finite"]) == ("overflow", True)


@pytest.mark.parametrize(
    ("fault", "verdict"),
    [("nan image", "deterministic"), ("nan class", "deterministic"), ("huge activation", "not_reproducible")],
)
def test_what_is_in_the_batch_comes_again(settings: Settings, fault: str, verdict: str) -> None:
    trainer = type("Own", (Poisoned,), {"poison": {BAD_BATCH: fault}})(overrides=settings())
    trainer.train()
    (told,) = events(layout_of(trainer), "bad_batch")
    assert told["replay"] == verdict


@pytest.mark.parametrize(
    ("changes", "why"),
    [({"replay_incidents": False}, "replay_incidents is off"), ({"level": "observe"}, "level observe looks on")],
    ids=["off", "observe"],
)
def test_no_replay_is_made_where_none_is_wanted(settings: Settings, changes: dict[str, Any], why: str) -> None:
    trainer = type("Own", (Poisoned,), {"poison": {BAD_BATCH: "huge activation"}})(overrides=settings(**changes))
    trainer.train()
    told = events(layout_of(trainer), "bad_batch")[0]
    kept = incident_of(trainer)
    assert (told["replay"], kept["replay"], kept["replay_left_out"]) == (None, None, why)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "it could not be run again: CUDA out of memory"),
        (KeyError("cls"), "it could not be run again: KeyError('cls')"),
    ],
    ids=["no memory", "a loss that took its labels out of the batch"],
)
def test_a_replay_that_fails_costs_no_more_than_its_verdict(settings: Settings, error: Exception, said: str) -> None:
    class Failing(Flaky):
        passes = frozenset({0})

        def spoiled(self, module: torch.nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor | None:
            spoiled = super().spoiled(module, inputs, output)
            if self.guard.position.ni == BAD_BATCH and self.pass_number > 0:
                raise error
            return spoiled

    trainer = Failing(overrides=settings())
    trainer.train()
    (told,) = events(layout_of(trainer), "bad_batch")
    assert (told["replay"], told["action"]) == (None, "skipped")
    assert incident_of(trainer)["replay_left_out"] == said
    assert not differing(trainer, without_batch(trainer, BAD_BATCH))


def test_a_culprit_of_an_accumulation_window_is_replayed_alone(settings: Settings) -> None:
    class OfThatBatch(Flaky):
        of_gradient, passes = True, frozenset(range(100))
        images: torch.Tensor | None = None

        def preprocess_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
            batch = super().preprocess_batch(batch)
            if self.guard.position.ni == BAD_BATCH and self.images is None:
                self.images = batch["img"].clone()
            return batch

        def spoiled(self, module: torch.nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor | None:
            if self.images is not None and torch.equal(inputs[0], self.images) and output.requires_grad:
                output.register_hook(lambda gradient: gradient * NAN)
            return None

    trainer = OfThatBatch(overrides=settings(nbs=12))
    trainer.train()
    (told,) = events(layout_of(trainer), "bad_batch")
    assert (told["batch"], told["replay"]) == (BAD_BATCH + 1, "deterministic")


def test_replays_leave_random_state_and_gradients_as_they_were(settings: Settings) -> None:
    seen: dict[str, Any] = {}

    class Watched(Flaky):
        passes = frozenset({0})

        def preprocess_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
            batch = super().preprocess_batch(batch)
            if self.guard.position.ni == BAD_BATCH:
                seen["before"] = (
                    random_state(),
                    [p.grad.clone() for p in self.model.parameters() if p.grad is not None],
                )
            return batch

    trainer = Watched(overrides=settings(nbs=12))

    def after(running: Any) -> None:
        if running.guard.position.ni == BAD_BATCH:
            seen["after"] = (random_state(), [p.grad.clone() for p in running.model.parameters() if p.grad is not None])

    trainer.add_callback("on_train_batch_end", after)
    trainer.train()
    (rng, gradients), (rng_after, gradients_after) = seen["before"], seen["after"]
    assert gradients
    assert all(map(torch.equal, gradients, gradients_after))
    assert torch.equal(rng["torch"], rng_after["torch"])
    assert rng["python"] == rng_after["python"]
    assert torch.equal(rng["numpy"][1], rng_after["numpy"][1])
