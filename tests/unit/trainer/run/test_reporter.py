from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from tests.support.clocks import SetClock
from trainmaster.trainer.batches.norms import NormSummary
from trainmaster.trainer.batches.progress import RunningLoss
from trainmaster.trainer.run.reporter import LossSums, Reporter, rate_of
from trainmaster.trainer.run.validation import numbers_of, unknown_metrics_to_zero
from trainmaster.trainer.settings.guard_settings import GuardSettings


def _add(running: RunningLoss, *losses: float) -> None:
    for loss in losses:
        running.add({"box_loss": torch.tensor(loss)})


def test_a_stretch_tells_the_mean_of_its_own_batches_and_not_of_the_epoch() -> None:
    running = RunningLoss()
    _add(running, 8.0, 6.0)
    first = LossSums.of(running)
    _add(running, 3.0, 1.0)
    second = LossSums.of(running)
    assert first.since(LossSums()) == pytest.approx({"box_loss": 7.0})
    assert second.since(first) == pytest.approx({"box_loss": 2.0})


def test_a_stretch_without_good_batches_tells_nothing() -> None:
    running = RunningLoss()
    _add(running, 8.0)
    assert LossSums.of(running).since(LossSums.of(running)) == {}
    assert LossSums.of(RunningLoss()).since(LossSums()) == {}


@pytest.mark.parametrize(
    ("groups", "rate"),
    [
        pytest.param([{"lr": 0.01}, {"lr": 0.09, "param_group": "bias"}], 0.01, id="not that of the biases"),
        pytest.param([{"lr": 0.03, "param_group": "muon"}, {"lr": 0.01, "param_group": "muon"}], 0.01, id="MuSGD"),
        pytest.param([{"lr": 0.02, "param_group": "bias"}], 0.02, id="nothing else"),
        pytest.param([{"lr": float("nan")}], None, id="not finite"),
        pytest.param([{"lr": None}, {"lr": "0.1 or so"}, {"lr": torch.tensor(0.5)}], 0.5, id="no number"),
    ],
)
def test_the_rate_is_the_one_that_lr0_names(groups: list[dict[str, Any]], rate: float | None) -> None:
    assert rate_of(SimpleNamespace(optimizer=SimpleNamespace(param_groups=groups))) == rate


def test_there_is_no_rate_before_there_is_an_optimizer() -> None:
    assert rate_of(SimpleNamespace(optimizer=None)) is None


@pytest.mark.parametrize(
    ("before", "told"),
    [
        (None, False),
        ("trainmaster.trainer.guard:GuardedDetectionTrainer", False),
        ("trainer.guard:GuardedDetectionTrainer", False),
        ("trainer.guard:GuardedPoseTrainer", True),
        ("mine:Mine", True),
    ],
    ids=["the first attempt", "the same", "the same, as 0.1 called it", "another of 0.1", "a person's own"],
)
def test_only_another_class_is_told(before: str | None, told: bool) -> None:
    notices: list[str] = []
    reporter = Reporter(cast("Any", None), GuardSettings(), position=cast("Any", None), running=RunningLoss())
    reporter.notice = notices.append  # type: ignore[method-assign]
    reporter.taken_over(before, "trainmaster.trainer.guard:GuardedDetectionTrainer")
    assert bool(notices) is told


def test_images_a_second_are_of_what_this_process_trained_of_the_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SetClock(1000.0)
    monkeypatch.setattr(time, "monotonic", lambda: clock.ts)
    beats: list[dict[str, Any]] = []
    recorder: Any = SimpleNamespace(
        event=lambda *_, **__: None, beat=lambda **beat: beats.append(beat), beat_due=lambda: True
    )
    trainer: Any = SimpleNamespace(epoch=4, epochs=9, optimizer=None, _get_memory=lambda: 0.0)
    position: Any = SimpleNamespace(epoch=4, index=90, done=91, batches=100)
    history = SimpleNamespace(recent=NormSummary, trend=None)
    gradients = SimpleNamespace(clipped=0, history=history, worst=lambda _: [])
    step: Any = SimpleNamespace(gradients=gradients, grad_norm=None)
    reporter = Reporter(recorder, GuardSettings(), position=position, running=RunningLoss())
    reporter.epoch_started(trainer, step)
    reporter.load_counts({"skipped_epoch": 0, "nonfinite_epoch": 0, "clipped_epoch": 0, "elapsed_s": 30_000.0})
    clock.ts += 2.0
    reporter.batch_over(trainer, step, images=64)
    assert (beats[-1]["images_per_s"], beats[-1]["epoch_elapsed_s"]) == (32.0, 30_002.0)


def test_metrics_that_are_no_numbers_are_left_to_whoever_put_them_there() -> None:
    nan = float("nan")
    odd = {"note": "half", "each": [0.1, 0.2], "tensor": torch.ones(2), "none": None}
    metrics = {"map": torch.tensor(0.5), "loss": 2, **odd}
    assert numbers_of(metrics) == {"map": 0.5, "loss": 2.0}
    trainer: Any = SimpleNamespace(metrics={**metrics, "bad": nan}, fitness=0.5, best_fitness=0.5)
    assert unknown_metrics_to_zero(trainer, None) == ["bad"]
    assert trainer.metrics == {**metrics, "bad": 0.0}
