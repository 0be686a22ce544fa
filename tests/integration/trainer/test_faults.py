"""A bad batch costs itself and nothing else."""

from __future__ import annotations

import signal
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import pytest
import torch

from tests.integration.trainer.runs import (
    Poisoned,
    batch_norms,
    differences,
    differing,
    events,
    layout_of,
    nonfinite,
    without_batch,
)
from trainmaster.trainer import guard
from trainmaster.trainer.__main__ import main
from trainmaster.trainer.checkpoints.forensics import judge
from trainmaster.trainer.checkpoints.ledger import attestations
from trainmaster.trainer.cli.replay import replay
from trainmaster.trainer.contract import ExitCode, RunRecordState, read_json

pytestmark = pytest.mark.training

FIRST, LAST = 0, 11


def trained(overrides: dict[str, Any], poison: dict[int, str], base: type = Poisoned) -> Any:
    kind = type("Run", (base,), {"poison": poison})
    trainer = kind(overrides=overrides)
    trainer.train()
    return trainer


@pytest.mark.generations
@pytest.mark.parametrize(
    ("batch", "fault", "reason"),
    [
        (FIRST, "nan image", "nonfinite_loss"),
        (LAST, "inf image", "nonfinite_loss"),
        (4, "nan class", "nonfinite_loss"),
        (4, "inf class", "nonfinite_loss"),
        (4, "nan buffer", "nonfinite_batchnorm"),
        (FIRST, "nan gradient", "nonfinite_gradient"),
        (LAST, "inf gradient", "nonfinite_gradient"),
    ],
    ids=str,
)
def test_one_bad_batch_is_lost_and_leaves_no_trace(
    settings: Callable[..., dict[str, Any]], batch: int, fault: str, reason: str
) -> None:
    trainer = trained(settings(), {batch: fault})

    assert not nonfinite(trainer)
    (bad,) = events(layout_of(trainer), "bad_batch")
    assert (bad["reason"], bad["action"], bad["epoch"], bad["batch"]) == (
        reason,
        "skipped",
        batch // 6 + 1,
        batch % 6 + 1,
    )
    assert bad["images"]
    assert not differing(trainer, without_batch(trainer, batch))


@pytest.mark.generations
@pytest.mark.parametrize("batch", [0, 4, 5, 8], ids=str)
def test_good_micro_batches_of_the_same_window_are_kept(settings: Callable[..., dict[str, Any]], batch: int) -> None:
    trainer = trained(settings(nbs=12), {batch: "nan image"})

    assert not nonfinite(trainer)
    assert not differing(trainer, without_batch(trainer, batch))


@pytest.mark.parametrize("activation", [1e18, -1e12], ids=["1e18", "-1e12"])
@pytest.mark.parametrize("batch", [FIRST, 8], ids=["first", "later"])
def test_one_finite_activation_that_would_ruin_the_statistics_costs_its_batch(
    settings: Callable[..., dict[str, Any]], batch: int, activation: float
) -> None:
    kind = type("Run", (Poisoned,), {"poison": {batch: "huge activation"}, "activation": activation})
    trainer = kind(overrides=settings())
    trainer.train()
    (bad,) = events(layout_of(trainer), "bad_batch")
    assert (bad["reason"], bad["action"]) == ("batchnorm_spike", "skipped")
    assert max(float(norm.running_var.max()) for norm in batch_norms(trainer.ema.ema)) < 1e3
    assert not differing(trainer, without_batch(trainer, batch))


def test_a_gradient_spoiled_once_under_accumulation_is_computed_again(
    settings: Callable[..., dict[str, Any]],
) -> None:
    spoiled = trained(settings(nbs=12, warmup_epochs=0), {5: "nan gradient"})
    untouched = trained(settings(nbs=12, warmup_epochs=0, name="untouched"), {})

    assert not differences(spoiled, untouched)
    (bad,) = events(layout_of(spoiled), "bad_batch")
    assert (bad["action"], bad["skipped_total"]) == ("recomputed", 0)


class SteepOnly(Poisoned):
    """Batches of ``poison`` have a finite loss and gradients without numbers, whenever they run.

    With "none again", nothing can run a second time for want of memory.
    """

    def preprocess_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        if not self.guard.step.rerun.active:
            batch["steep"] = self.fault
        return super().preprocess_batch(batch)

    def run_callbacks(self, event: str) -> None:
        super().run_callbacks(event)
        if event == "on_train_start":
            self.model.loss = partial(self._steep, self.model.loss)

    def _steep(self, own: Callable[..., Any], batch: dict[str, Any], preds: Any = None) -> Any:
        if batch.get("steep") == "none again" and self.guard.step.rerun.active:
            raise torch.OutOfMemoryError
        loss, items = own(batch, preds)
        if batch.get("steep"):
            loss = loss + sum((parameter * 0).sum() for parameter in self.model.parameters()).sqrt()
        return loss, items


def test_however_many_gradients_of_a_window_are_bad_the_good_ones_are_kept(
    settings: Callable[..., dict[str, Any]],
) -> None:
    bad = (1, 2, 5, 9, 12)
    trainer = trained(settings(nbs=64, warmup_epochs=0, epochs=3), dict.fromkeys(bad, "steep"), SteepOnly)

    told = [(row["epoch"], row["batch"], row["action"]) for row in events(layout_of(trainer), "bad_batch")]
    assert told == [(1, 2, "skipped"), (1, 3, "skipped"), (1, 6, "skipped"), (2, 4, "skipped"), (3, 1, "skipped")]
    assert not differing(trainer, without_batch(trainer, *bad))
    assert trainer.guard.running.count == 5


def test_a_window_lost_whole_for_one_of_its_batches_counts_once(settings: Callable[..., dict[str, Any]]) -> None:
    trainer = trained(settings(nbs=48, warmup_epochs=0), {11: "none again"}, SteepOnly)

    layout = layout_of(trainer)
    told = events(layout, "bad_batch")
    assert [row["batch"] for row in told] == [*range(1, 7), *range(1, 7)]
    assert (told[-1]["skipped_total"], told[-1]["streak"]) == (12, 1)
    assert not (layout.guard / "offenders.json").exists()
    with pytest.raises(SystemExit):  # each of them bad of itself: that is no accident
        trained(settings(nbs=48, warmup_epochs=0, name="storm"), dict.fromkeys(range(12), "steep"), SteepOnly)


def test_a_replay_meets_the_loss_of_a_model_whose_first_layers_are_frozen(
    settings: Callable[..., dict[str, Any]],
) -> None:
    trainer = trained(settings(freeze=3, epochs=1), {4: "inf class"})

    found = replay(layout_of(trainer), "0001")
    assert (found.of_the_moment, found.same_loss, found.bad_again) == (True, True, True)


def test_a_bad_gradient_in_a_window_that_a_stop_cut_through_costs_its_own_batch(
    settings: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []

    class Bad(SteepOnly):
        poison: ClassVar[dict[int, str]] = {7: "steep"}

        def train(self) -> Any:
            made.append(self)
            return super().train()

    monkeypatch.setitem(guard.TRAINERS, "detect", Bad)
    overrides = settings(nbs=48, warmup_epochs=0, exact=True)
    stopped = Bad(overrides=overrides)
    stopped.add_callback("on_train_batch_start", lambda _: stop_at(stopped, 4))
    with pytest.raises(SystemExit):
        stopped.train()
    assert main(["resume", str(stopped.save_dir)]) == ExitCode.FINISHED

    told = events(layout_of(stopped), "bad_batch")
    assert [(row["epoch"], row["batch"], row["skipped_total"]) for row in told] == [(2, 2, 1)]
    assert not differences(made[-1], trained({**overrides, "name": "whole"}, {7: "steep"}, SteepOnly))


def stop_at(trainer: Any, number: int) -> None:
    if trainer.guard.position.ni == number:
        signal.raise_signal(signal.SIGTERM)


class SpoiledTwice(Poisoned):
    """The gradients of chosen windows go bad before their step, whatever the batches were."""

    spoiled_at = 5

    def optimizer_step(self) -> None:
        if self.guard.position.ni == self.spoiled_at:
            next(p for p in self.model.parameters() if p.grad is not None).grad[0] = torch.nan
        super().optimizer_step()


def test_bad_gradients_are_told_of_the_batch_that_made_them_not_of_one_that_was_skipped_after_it(
    settings: Callable[..., dict[str, Any]],
) -> None:
    trainer = trained(settings(nbs=8, warmup_epochs=0), {5: "nan image"}, SpoiledTwice)

    assert not nonfinite(trainer)
    told = [(row["batch"], row["reason"], row["action"]) for row in events(layout_of(trainer), "bad_batch")]
    assert told == [(6, "nonfinite_loss", "skipped"), (5, "nonfinite_gradient", "skipped")]


class Weighed(Poisoned):
    """Notes at every batch whether the images that came from the loader are still held when the loss was made."""

    def _setup_train(self) -> None:
        super()._setup_train()
        self.held: list[bool] = []
        self.images: weakref.ref[torch.Tensor] | None = None

    def preprocess_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        self.images = weakref.ref(batch["img"]) if self.guard.step and not self.guard.step.rerun.active else None
        return super().preprocess_batch(batch)

    def run_callbacks(self, event: str) -> None:
        if event == "on_train_batch_end":
            self.held.append(self.images is not None and self.images() is not None)
        super().run_callbacks(event)


@pytest.mark.parametrize(("nbs", "held"), [(4, False), (12, True)], ids=["every batch a step", "accumulating"])
def test_images_as_loaded_are_held_only_where_they_may_have_to_run_again(
    settings: Callable[..., dict[str, Any]], nbs: int, held: bool
) -> None:
    trainer = trained(settings(nbs=nbs, warmup_epochs=0, epochs=1), {}, Weighed)

    assert trainer.held == [held] * 6


@pytest.mark.parametrize(
    ("fault", "what"),
    [("nan ema", "ema"), ("nan momentum", "optimizer"), ("late nan buffer", "batchnorm")],
    ids=["ema", "momentum", "buffer"],
)
def test_state_that_went_bad_outside_the_batch_is_healed(
    settings: Callable[..., dict[str, Any]], fault: str, what: str
) -> None:
    trainer = trained(settings(), {LAST: fault})

    assert not nonfinite(trainer)
    assert [event["what"] for event in events(layout_of(trainer), "state_healed")] == [what]
    assert not events(layout_of(trainer), "bad_batch")
    assert {event["verdict"] for event in events(layout_of(trainer), "checkpoint_saved")} == {"clean"}


def test_a_good_run_reports_nothing_bad(settings: Callable[..., dict[str, Any]]) -> None:
    trainer = trained(settings(), {})

    kinds = {event["kind"] for event in events(layout_of(trainer))}
    assert not kinds & {"bad_batch", "state_healed", "storage_fault", "run_gave_up"}


def test_an_epoch_of_bad_batches_only_shows_no_nan(settings: Callable[..., dict[str, Any]]) -> None:
    trainer = trained(settings(), dict.fromkeys(range(6), "nan image"))

    assert "nan" not in trainer.csv.read_text(encoding="utf-8")
    assert not nonfinite(trainer)


def test_too_many_in_a_row_end_the_run(settings: Callable[..., dict[str, Any]]) -> None:
    kind = type("Run", (Poisoned,), {"poison": dict.fromkeys(range(3, 12), "nan image")})
    trainer = kind(overrides=settings(bad_streak=4))

    with pytest.raises(SystemExit) as end:
        trainer.train()

    assert end.value.code == ExitCode.GAVE_UP
    layout = layout_of(trainer)
    (gave_up,) = events(layout, "run_gave_up")
    assert (gave_up["epoch"], gave_up["batch"], gave_up["streak"]) == (2, 1, 4)
    assert (layout.root / gave_up["state_file"]).is_file()
    assert (read_json(layout.run_json) or {})["state"] == RunRecordState.GAVE_UP


def test_bad_weights_end_the_run_at_once(settings: Callable[..., dict[str, Any]]) -> None:
    kind = type("Run", (Poisoned,), {"poison": {8: "nan weight"}})
    trainer = kind(overrides=settings())

    with pytest.raises(SystemExit) as end:
        trainer.train()

    assert end.value.code == ExitCode.GAVE_UP
    layout = layout_of(trainer)
    (gave_up,) = events(layout, "run_gave_up")
    assert gave_up["state_file"] == "guard/states/epoch0001.pt"
    assert {event["verdict"] for event in events(layout, "checkpoint_saved")} == {"clean"}
    assert not (layout.guard / "offenders.json").exists()  # no image is to blame


def test_a_bad_validation_image_leaves_no_nan_and_no_doubt(settings: Callable[..., dict[str, Any]]) -> None:
    trainer = Poisoned(overrides=settings(batch=2, nbs=2))
    trainer.add_callback("on_val_batch_start", spoil_first)
    trainer.train()

    assert "nan" not in trainer.csv.read_text(encoding="utf-8")
    assert "1 validation batches" in events(layout_of(trainer), "notice")[0]["text"]
    layout = layout_of(trainer)
    assert judge(layout.states / "epoch0001.ultralytics.pt", attestations=attestations(layout)).verdict == "clean"


def spoil_first(validator: Any) -> None:
    """The weights of the first layer see a NaN in the first validation batch of each epoch."""
    if validator.batch_i is None or validator.batch_i + 1 == len(validator.dataloader):
        plain = validator.preprocess

        def once(batch: dict[str, Any]) -> dict[str, Any]:
            validator.preprocess = plain
            batch = plain(batch)
            batch["img"][0, 0, 0, 0] = float("nan")
            return batch

        validator.preprocess = once
