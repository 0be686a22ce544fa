"""A run that is cut short after its last epoch: nothing is torn, and a resume makes up for the end."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.integration.trainer.runs import differences, events, layout_of
from trainmaster import GuardedDetectionTrainer
from trainmaster.trainer import guard
from trainmaster.trainer.__main__ import main
from trainmaster.trainer.checkpoints.forensics import judge
from trainmaster.trainer.checkpoints.ledger import attestations
from trainmaster.trainer.contract import ExitCode, RunLayout, RunRecordState, Verdict, read_json

pytestmark = pytest.mark.training


class Falling(GuardedDetectionTrainer):
    """Its fitness only falls, so patience ends it."""

    def validate(self) -> Any:
        metrics, _ = super().validate()
        fitness = 0.5 / (self.epoch + 1)
        self.best_fitness = 0.5
        return metrics, fitness


class StoppedAtTheEnd(Falling):
    """Is asked to stop while its best weights are evaluated."""

    def final_eval(self) -> None:
        self.add_callback("on_val_start", lambda _: os.kill(os.getpid(), signal.SIGTERM))
        self.validator.callbacks = self.callbacks
        super().final_eval()


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    found: list[Any] = []

    class Recorded(Falling):
        def train(self) -> Any:
            found.append(self)
            return super().train()

    monkeypatch.setitem(guard.TRAINERS, "detect", Recorded)
    return found


def stopped_at_the_end(overrides: dict[str, Any]) -> Path:
    # Of no name to import: a resume goes on with the class that trained the run, and this one would stop again
    trainer = type("Run", (StoppedAtTheEnd,), {})(overrides=overrides)
    with pytest.raises(SystemExit) as end:
        trainer.train()
    assert end.value.code == ExitCode.STOPPED
    return Path(trainer.save_dir)


def test_a_stop_in_the_final_evaluation_tears_no_file_and_is_made_up_for(
    settings: Callable[..., dict[str, Any]], made: list[Any]
) -> None:
    run = stopped_at_the_end(settings())
    layout = RunLayout(run)
    (stopped,) = events(layout, "run_stopped")
    assert (stopped["resumable"], stopped["state_file"]) == (True, "guard/states/epoch0002.pt")
    for name in ("last.pt", "best.pt"):
        found = judge(layout.weights / name, attestations=attestations(layout))
        assert (found.verdict, found.stripped) == (Verdict.CLEAN, True), found.reasons

    assert main(["resume", str(run)]) == ExitCode.FINISHED

    whole = Falling(overrides=settings(name="whole"))
    whole.train()
    assert not differences(made[0], whole)
    assert [row.split(",")[0] for row in made[0].csv.read_text().splitlines()] == ["epoch", "1", "2"]
    assert (read_json(layout.run_json) or {})["state"] == RunRecordState.FINISHED
    assert main(["resume", str(run)]) == ExitCode.BAD_ARGUMENTS  # now it is over


def test_early_stopping_is_not_forgotten(settings: Callable[..., dict[str, Any]], made: list[Any]) -> None:
    overrides = settings(epochs=9, patience=1)
    run = stopped_at_the_end(overrides)

    assert main(["resume", str(run)]) == ExitCode.FINISHED

    whole = Falling(overrides={**overrides, "name": "whole"})
    whole.train()
    assert [row.split(",")[0] for row in made[0].csv.read_text().splitlines()] == ["epoch", "1", "2"]
    assert not differences(made[0], whole)


class StoppedInTheThird(Falling):
    """Is asked to stop in its third epoch, while patience still waits."""

    def preprocess_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        if self.epoch == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().preprocess_batch(batch)


@pytest.mark.parametrize("words", [(), ("from=2",), ("from=1",)], ids=["resume", "rollback", "rollback to the best"])
def test_patience_counts_from_the_best_epoch_after_a_resume_or_a_rollback(
    settings: Callable[..., dict[str, Any]], made: list[Any], words: tuple[str, ...]
) -> None:
    trainer = type("Run", (StoppedInTheThird,), {})(overrides=settings(epochs=9, patience=3))
    with pytest.raises(SystemExit):
        trainer.train()

    assert main(["resume", str(trainer.save_dir), *words]) == ExitCode.FINISHED

    rows = made[0].csv.read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["epoch", "1", "2", "3", "4"]  # the best was the first


def test_settings_need_epochs_to_apply_to(
    settings: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    run = stopped_at_the_end(settings(epochs=1))

    assert main(["resume", str(run), "lr0=0.001"]) == ExitCode.BAD_ARGUMENTS

    assert "is the end of the run" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["torn", "missing"])
def test_a_lost_best_checkpoint_is_put_back_from_the_copy(
    settings: Callable[..., dict[str, Any]], made: list[Any], damage: str
) -> None:
    run = stopped_at_the_end(settings(epochs=1))
    layout = RunLayout(run)
    best = layout.weights / "best.pt"
    if damage == "torn":
        best.write_bytes(best.read_bytes()[:1000])
    else:
        best.unlink()

    assert main(["resume", str(run), "epochs=2"]) == ExitCode.FINISHED

    assert judge(best, attestations=attestations(layout_of(made[0]))).verdict is Verdict.CLEAN


def without_batch_norms(module: torch.nn.Module) -> torch.nn.Module:
    for name, child in module.named_children():
        layer = isinstance(child, torch.nn.BatchNorm2d)
        setattr(module, name, torch.nn.GroupNorm(1, child.num_features) if layer else without_batch_norms(child))
    return module


def test_a_final_evaluation_that_fails_takes_nothing_from_a_run_that_is_trained_and_saved(
    settings: Callable[..., dict[str, Any]],
) -> None:
    class Ungrouped(GuardedDetectionTrainer):
        def get_model(self, *given: Any, **named: Any) -> Any:
            return without_batch_norms(super().get_model(*given, **named))

    trainer = Ungrouped(overrides=settings(epochs=1))
    trainer.train()  # Ultralytics fuses what it evaluates at last, and asks a group norm for its running mean

    layout = layout_of(trainer)
    assert (read_json(layout.run_json) or {})["state"] == RunRecordState.FINISHED
    (notice,) = events(layout, "notice")
    assert notice["text"].startswith("the final evaluation failed, the weights stay as they were saved: AttributeError")
    assert judge(layout.weights / "last.pt", attestations=attestations(layout)).verdict is Verdict.CLEAN
