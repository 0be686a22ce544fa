"""An exact run ends with the same bits however often it was killed, with workers too."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ultralytics.utils import DEFAULT_CFG_DICT

from tests.integration.trainer.runs import differences, events, layout_of
from tests.support.forked import TORCH, Nursery, nursery
from trainmaster import GuardedDetectionTrainer
from trainmaster.trainer import guard
from trainmaster.trainer.__main__ import main
from trainmaster.trainer.batches.spikes import SpikeWatch
from trainmaster.trainer.contract import ExitCode, RunLayout
from trainmaster.trainer.data.tracing import SOURCES_KEY

pytestmark = pytest.mark.training

MULTI_SCALE = 0.5 if isinstance(DEFAULT_CFG_DICT["multi_scale"], float) else True
"""Older generations know on and off only."""


KILLED = """
import json, os, sys
from trainmaster import GuardedDetectionTrainer

class Killed(GuardedDetectionTrainer):
    def optimizer_step(self):
        if self.guard.position.ni == int(sys.argv[2]):
            os._exit(137)
        super().optimizer_step()

Killed(overrides=json.loads(sys.argv[1])).train()
"""


@pytest.fixture(scope="module")
def forks() -> Iterator[Nursery]:
    with nursery(*TORCH, "trainmaster.trainer.guard") as made:
        yield made


def killed(forks: Nursery, overrides: dict[str, Any], at: int) -> Path:
    """The run directory of a training that died without a word in the optimizer step of batch ``at`` (from 0)."""
    run = Path(overrides["project"]) / overrides["name"]
    (ended,) = forks.run(KILLED, json.dumps(overrides), str(at), folder=run.with_suffix(".said"))
    assert ended.code == 137, ended.errors[-2000:]
    return run


@pytest.mark.generations
@pytest.mark.parametrize(
    ("workers", "at"), [(0, 9), (2, 9), (0, 21)], ids=["no workers", "workers", "after mosaic was closed"]
)
def test_a_killed_exact_run_ends_as_the_one_that_was_not(
    settings: Callable[..., dict[str, Any]], forks: Nursery, monkeypatch: pytest.MonkeyPatch, workers: int, at: int
) -> None:
    made: list[Any] = []

    class Recorded(GuardedDetectionTrainer):
        def train(self) -> Any:
            made.append(self)
            return super().train()

    monkeypatch.setitem(guard.TRAINERS, "detect", Recorded)
    overrides = settings(
        epochs=4,
        workers=workers,
        exact=True,
        snapshot_s=0.0001,
        nbs=8,
        close_mosaic=1,
        multi_scale=MULTI_SCALE,
        imgsz=64,  # down to half of it, in steps of 32
        mixup=0.5,
    )
    run = killed(forks, overrides, at=at)
    (last_state,) = [path for path in RunLayout(run).states.iterdir() if path.name == "snapshot.pt"]
    assert last_state.is_file()

    assert main(["resume", str(run)]) == ExitCode.FINISHED

    whole = GuardedDetectionTrainer(overrides={**overrides, "name": "whole"})
    whole.train()
    assert whole.train_loader.num_workers == workers
    assert not differences(made[0], whole)
    starts = events(RunLayout(run), "run_started")
    assert [event["from_epoch"] for event in starts] == [None, at // 6 + 1]


@pytest.mark.parametrize(
    "chosen", [{"level": "standard", "optimizer": "auto"}, {"level": "guard"}], ids=["said", "left out"]
)
def test_an_exact_run_whose_optimizer_was_chosen_automatically_goes_on_with_that_choice(
    settings: Callable[..., dict[str, Any]], forks: Nursery, monkeypatch: pytest.MonkeyPatch, chosen: dict[str, Any]
) -> None:
    made: list[Any] = []

    class Recorded(GuardedDetectionTrainer):
        def train(self) -> Any:
            made.append(self)
            return super().train()

    monkeypatch.setitem(guard.TRAINERS, "detect", Recorded)
    overrides = settings(epochs=3, exact=True, snapshot_s=0.0001)
    overrides = {name: value for name, value in overrides.items() if name not in {"optimizer", "momentum"}} | chosen
    run = killed(forks, overrides, at=9)

    assert main(["resume", str(run)]) == ExitCode.FINISHED

    whole = GuardedDetectionTrainer(overrides={**overrides, "name": "whole"})
    whole.train()
    assert not differences(made[0], whole)
    assert whole.args.lr0 != overrides["lr0"]
    for resumed, undisturbed in zip(made[0].optimizer.param_groups, whole.optimizer.param_groups, strict=True):
        assert {**resumed, "params": None} == {**undisturbed, "params": None}


class EveryFifth(SpikeWatch):
    """Knows nothing but how many losses it has seen, so that any that it forgets makes another run of this one."""

    def is_spike(self, loss: float) -> bool:
        self._age += 1
        return self._age % 5 == 0


def test_an_exact_run_judges_spikes_after_a_resume_as_the_one_that_was_not_interrupted(
    settings: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainmaster.trainer.batches.step_guard.SpikeWatch", EveryFifth)
    made: list[Any] = []

    class Recorded(GuardedDetectionTrainer):
        def train(self) -> Any:
            made.append(self)
            return super().train()

    class Stopping(GuardedDetectionTrainer):
        def optimizer_step(self) -> None:
            if self.guard.position.ni == 9:
                os.kill(os.getpid(), signal.SIGTERM)
            super().optimizer_step()

    monkeypatch.setitem(guard.TRAINERS, "detect", Recorded)
    overrides = settings(epochs=3, exact=True, bad_count=100)
    with pytest.raises(SystemExit):
        Stopping(overrides=overrides).train()
    run = RunLayout(Path(overrides["project"]) / overrides["name"])
    assert main(["resume", str(run.root)]) == ExitCode.FINISHED
    whole = GuardedDetectionTrainer(overrides={**overrides, "name": "whole"})
    whole.train()
    skipped = [[(one["epoch"], one["batch"]) for one in events(x, "bad_batch")] for x in (run, layout_of(whole))]
    assert skipped[0] == skipped[1] == [(1, 5), (2, 4), (3, 3)]
    assert not differences(made[0], whole)


def test_samples_name_every_image_they_were_made_of(settings: Callable[..., dict[str, Any]]) -> None:
    class Seen(GuardedDetectionTrainer):
        sources: tuple[Any, ...] = ()

        def preprocess_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
            Seen.sources += tuple(batch[SOURCES_KEY])
            return super().preprocess_batch(batch)

    Seen(overrides=settings(epochs=1, close_mosaic=0, mosaic=1.0, mixup=1.0)).train()

    assert len(Seen.sources) == 24
    assert max(map(len, Seen.sources)) > 4


def test_images_in_quarantine_are_left_out(
    settings: Callable[..., dict[str, Any]], tmp_path: Path, digits: Path
) -> None:
    left_out = sorted((digits.parent / "images" / "train").iterdir())[:4]
    listing = tmp_path / "quarantine.txt"
    listing.write_text("# suspects\n" + "\n".join(map(str, left_out)), encoding="utf-8")

    trainer = GuardedDetectionTrainer(overrides=settings(epochs=1, quarantine=str(listing)))
    trainer.train()

    assert len(trainer.train_loader.dataset) == 20
    assert not {str(path) for path in left_out} & set(trainer.train_loader.dataset.im_files)
    assert "4 images" in events(layout_of(trainer), "notice")[0]["text"]
