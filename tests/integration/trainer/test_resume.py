"""Stopping at a batch and going on, as if nothing had happened or with other settings."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from ultralytics.models.yolo.detect import DetectionTrainer

from tests.integration.trainer.runs import (
    Poisoned,
    differences,
    differing,
    events,
    layout_of,
    undisturbed,
    without_batch,
)
from tests.unit.trainer.checkpoints.making import tree
from trainmaster import GuardedDetectionTrainer
from trainmaster.trainer import guard
from trainmaster.trainer.__main__ import main
from trainmaster.trainer.checkpoints.state import load_state
from trainmaster.trainer.contract import ExitCode, RunLayout, RunRecordState, read_json

pytestmark = pytest.mark.training


class Stopped(GuardedDetectionTrainer):
    """Asks itself to stop while batch ``stop_at`` (from 0, over the whole run) is in work."""

    stop_at = -1

    def preprocess_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        if self.guard.position.ni == self.stop_at:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().preprocess_batch(batch)


class Spoiled(Stopped):
    """The gradients of batches 6 and 8 are not finite, whenever these run."""

    files: ClassVar[list[Any]] = []

    def preprocess_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        if self.guard.position.ni in {6, 8} and not self.guard.step.rerun.active:
            self.files.append(batch["im_file"])
        if batch["im_file"] in self.files:
            spoiled = self.model.model[1].conv.weight

            def spoil(gradient: torch.Tensor) -> torch.Tensor:
                handle.remove()
                return gradient * float("nan")

            handle = spoiled.register_hook(spoil)
        return super().preprocess_batch(batch)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every trainer that the command line makes."""
    found: list[Any] = []

    class Recorded(GuardedDetectionTrainer):
        def train(self) -> Any:
            found.append(self)
            return super().train()

    monkeypatch.setitem(guard.TRAINERS, "detect", Recorded)
    return found


def stopped(overrides: dict[str, Any], at: int, kind: type = Stopped) -> Path:
    trainer = type("Run", (kind,), {"stop_at": at})(overrides=overrides)
    with pytest.raises(SystemExit) as end:
        trainer.train()
    assert end.value.code == ExitCode.STOPPED
    return Path(trainer.save_dir)


@pytest.mark.generations
@pytest.mark.parametrize(("at", "nbs"), [(8, 4), (7, 12), (11, 12)], ids=["step", "within window", "last batch"])
def test_a_stopped_run_ends_as_the_one_that_was_not(
    settings: Callable[..., dict[str, Any]], made: list[Any], at: int, nbs: int
) -> None:
    run = stopped(settings(nbs=nbs, epochs=3, mosaic=1.0, close_mosaic=1), at)
    (event,) = events(RunLayout(run), "run_stopped")
    assert (event["epoch"], event["batch"], event["resumable"]) == (2, at % 6 + 1, True)

    assert main(["resume", str(run)]) == ExitCode.FINISHED

    whole = undisturbed(settings(nbs=nbs, epochs=3, mosaic=1.0, close_mosaic=1))
    assert not differing(made[0], whole)
    assert [row.split(",")[0] for row in made[0].csv.read_text().splitlines()] == ["epoch", "1", "2", "3"]
    assert (read_json(RunLayout(run).run_json) or {})["attempt"] == 2


def test_a_window_that_a_stop_cuts_through_is_saved_without_the_batch_that_spoiled_it(
    settings: Callable[..., dict[str, Any]], made: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(guard.TRAINERS, "detect", type("Resumed", (Spoiled, guard.TRAINERS["detect"]), {}))
    run = stopped(settings(nbs=12, warmup_epochs=0), 6, Spoiled)
    assert [row["batch"] for row in events(RunLayout(run), "bad_batch")] == [1]

    assert main(["resume", str(run)]) == ExitCode.FINISHED
    bad = [(row["epoch"], row["batch"], row["reason"]) for row in events(RunLayout(run), "bad_batch")]
    assert bad == [(2, 1, "nonfinite_gradient"), (2, 3, "nonfinite_gradient")]
    assert not differing(made[0], without_batch(made[0], 6, 8))


def test_going_back_to_an_epoch_at_the_same_level_repeats_it_exactly(
    settings: Callable[..., dict[str, Any]], made: list[Any]
) -> None:
    whole = GuardedDetectionTrainer(overrides=settings(epochs=3))
    whole.train()
    before = {name: value.clone() for name, value in whole.model.state_dict().items()}

    assert main(["resume", str(whole.save_dir), "from=1"]) == ExitCode.FINISHED

    after = made[0].model.state_dict()
    assert not [name for name, value in before.items() if not torch.equal(value, after[name])]
    assert [row.split(",")[0] for row in whole.csv.read_text().splitlines()] == ["epoch", "1", "2", "3"]


def test_a_stricter_level_really_changes_the_settings(settings: Callable[..., dict[str, Any]], made: list[Any]) -> None:
    first = GuardedDetectionTrainer(overrides=settings(epochs=3))
    first.train()

    assert main(["resume", str(first.save_dir), "from=2", "level=strict", "hsv_h=0.001", "epochs=4"]) == 0

    second = made[0]
    assert second.guard.step._stepping._max_norm == 5.0
    assert second.args.hsv_h == 0.001
    assert [group["initial_lr"] for group in second.optimizer.param_groups] == [0.00025] * 3
    assert second.scheduler.base_lrs == [0.00025] * 3
    assert second.guard.position.warmup_from == 2
    rows = [line.split(",") for line in second.csv.read_text().splitlines()]
    assert [row[0] for row in rows] == ["epoch", "1", "2", "3", "4"]
    started = events(layout_of(second), "run_started")[-1]
    assert (started["attempt"], started["from_epoch"], started["level"]) == (2, 3, "strict")


def test_what_cannot_be_is_refused_before_anything_is_moved(
    settings: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str], digits: Path, tmp_path: Path
) -> None:
    data = tmp_path / "digits.yaml"
    data.write_text(f"path: {digits.parent}\n{digits.read_text()}", encoding="utf-8")
    trainer = GuardedDetectionTrainer(overrides=settings(data=str(data)))
    trainer.train()
    run = layout_of(trainer)
    before = tree(run.root)
    other = tmp_path / "other.yaml"
    other.write_text(f"path: {digits.parent}\ntrain: images/train\nval: images/val\nnames: [one, two]\n")
    for word, answer in {
        "lr0=-1": "'lr0=-1' is an invalid value",
        "optimizer=Foo": "unknown optimizer: 'Foo'",
        "model=yolo11n.yaml": "a run keeps its model",
        "project=elsewhere": "a run stays in its directory",
        "device=99": "Invalid CUDA 'device=99'",
        f"data={other}": "has 2 classes, the model of run has 10",
        "data=nowhere.yaml": "no such file",
    }.items():
        assert main(["resume", str(run.root), "from=1", word]) == ExitCode.BAD_ARGUMENTS, word
        assert answer in capsys.readouterr().err
    data.unlink()
    assert main(["resume", str(run.root), "from=1"]) == ExitCode.BAD_ARGUMENTS
    assert "digits.yaml: no such file\nHint: trainmaster resume" in capsys.readouterr().err
    assert tree(run.root) == before


def test_an_epoch_cut_through_starts_over_when_its_batches_are_other_ones(
    settings: Callable[..., dict[str, Any]], made: list[Any]
) -> None:
    """As many batches, of fewer images: some would be trained twice and some never."""
    run = stopped(settings(epochs=2, mosaic=1.0), 8)

    assert main(["resume", str(run), "fraction=0.5", "batch=2"]) == ExitCode.FINISHED

    assert len(made[0].train_loader.dataset) == 12
    notices = [notice["text"] for notice in events(RunLayout(run), "notice")]
    assert [text for text in notices if "the epoch that was cut through starts over" in text]


def test_a_torn_state_of_an_epoch_s_middle_is_passed_over_and_told(
    settings: Callable[..., dict[str, Any]], made: list[Any]
) -> None:
    run = stopped(settings(epochs=2), 8)
    os.truncate(run / "guard" / "states" / "stop.pt", 5000)

    assert main(["resume", str(run)]) == ExitCode.FINISHED

    told = [event["text"] for event in events(RunLayout(run), "notice") if "stop.pt" in event["text"]]
    assert len(told) == 1
    assert told[0].startswith("stop.pt is passed over, it is contaminated: ")
    assert [row.split(",")[0] for row in made[0].csv.read_text().splitlines()] == ["epoch", "1", "2"]


@pytest.mark.generations
def test_a_poisoned_checkpoint_is_refused_and_nothing_is_changed(
    settings: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    kind = type("Run", (Poisoned,), {"poison": {5: "nan image"}})
    trainer = kind(overrides=settings(level="observe", epochs=1))
    trainer.train()
    before = sorted(path.name for path in layout_of(trainer).states.iterdir())

    assert main(["resume", str(trainer.save_dir), "from=1"]) == ExitCode.REFUSED

    assert "no clean checkpoint" in capsys.readouterr().err
    assert sorted(path.name for path in layout_of(trainer).states.iterdir()) == before
    assert events(layout_of(trainer), "run_refused")[0]["verdict"] == "contaminated"
    assert (read_json(layout_of(trainer).run_json) or {})["state"] == RunRecordState.FINISHED


@pytest.mark.generations
def test_the_state_after_an_epoch_is_in_full_precision(settings: Callable[..., dict[str, Any]]) -> None:
    trainer = GuardedDetectionTrainer(overrides=settings())
    trainer.train()

    state = load_state(layout_of(trainer).state_file(2))
    live = trainer.model.state_dict()
    assert all(torch.equal(value, live[name]) for name, value in state["model"].items())


def test_the_api_s_resume_goes_on_exactly_too(settings: Callable[..., dict[str, Any]]) -> None:
    run = stopped(settings(), 8)

    resumed = GuardedDetectionTrainer(overrides={"resume": str(run / "weights" / "last.pt")})
    resumed.train()

    whole = GuardedDetectionTrainer(overrides=settings(name="whole"))
    whole.train()
    assert not differences(resumed, whole)


def test_an_unguarded_run_s_checkpoint_is_taken_over(settings: Callable[..., dict[str, Any]], made: list[Any]) -> None:
    given = settings(epochs=3, save_period=1, optimizer="sgd")
    overrides = {key: value for key, value in given.items() if key not in {"snapshot_s", "level"}}
    stock = DetectionTrainer(overrides=overrides)
    stock.train()

    assert main(["resume", str(stock.save_dir)]) == ExitCode.REFUSED  # last.pt is stripped
    assert main(["resume", str(stock.save_dir), "from=1", "level=standard"]) == ExitCode.FINISHED

    trainer = made[0]
    assert trainer.args.lr0 == 0.0005
    assert trainer.start_epoch == 1
    assert not events(layout_of(trainer), "notice")  # the momentum was taken over too
    assert [row.split(",")[0] for row in trainer.csv.read_text().splitlines()] == ["epoch", "1", "2", "3"]


@pytest.mark.parametrize("importable", [True, False], ids=["of a module", "of a script"])
def test_a_run_goes_on_with_the_class_that_trained_it_if_that_can_be_found(
    settings: Callable[..., dict[str, Any]], importable: bool
) -> None:
    kind = Poisoned if importable else type("Local", (Poisoned,), {})
    trainer = kind(overrides=settings(epochs=1))
    trainer.train()
    layout = layout_of(trainer)

    assert main(["resume", str(layout.root), "epochs=2"]) == ExitCode.FINISHED

    found = (read_json(layout.run_json) or {})["trainer_class"]
    notices = [event["text"] for event in events(layout, "notice") if "trained by" in event["text"]]
    if importable:
        assert (found, notices) == ("tests.integration.trainer.runs:Poisoned", [])
    else:
        assert found == "trainmaster.trainer.guard:GuardedDetectionTrainer"
        assert [text.split(",")[0] for text in notices] == [f"trained by {__name__}:Local so far"]
