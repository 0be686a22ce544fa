"""best.pt is the best of what could be saved, wherever the disk was full."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from trainmaster.trainer.checkpoints.attest import Examination
from trainmaster.trainer.contract import RunLayout, Verdict
from trainmaster.trainer.records.recorder import Recorder
from trainmaster.trainer.settings.guard_settings import GuardSettings
from trainmaster.trainer.state import saver as saving
from trainmaster.trainer.state.saver import Saver
from trainmaster.trainer.stop import StopSwitch

CLEAN = Examination(verdict=Verdict.CLEAN, reasons=())


class Epochs:
    """Saves epochs with a given fitness each, as Ultralytics does (engine/trainer.py, ``save_model``)."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.layout = RunLayout(root)
        self.layout.weights.mkdir(parents=True)
        self.layout.guard.mkdir()
        self.saver = Saver(self.layout, Recorder(self.layout, warn=lambda _: None), GuardSettings(), user={})
        self.trainer: Any = SimpleNamespace(
            wdir=self.layout.weights, fitness=None, best_fitness=None, ema=None, save_period=-1, epoch=0
        )
        self.saver.adopt_paths(self.trainer)
        monkeypatch.setattr(self.saver, "_examine", lambda _: CLEAN)
        monkeypatch.setattr(self.saver, "_save", lambda *_, **__: None)

    def save(self, epoch: int, fitness: float, *, fails: Iterable[str] = ()) -> None:
        trainer = self.trainer
        trainer.fitness, trainer.epoch = fitness, epoch - 1
        if not trainer.best_fitness or trainer.best_fitness < fitness:  # as its ``validate`` does
            trainer.best_fitness = fitness
        self.save_again(epoch, fails=fails)

    def save_again(self, epoch: int, *, fails: Iterable[str] = ()) -> None:
        position = SimpleNamespace(epoch=epoch - 1, done=4, batches=4)
        self.saver.save_epoch(self.trainer, SimpleNamespace(position=position), lambda: self._stock(epoch, fails))  # type: ignore[arg-type]

    def _stock(self, epoch: int, fails: Iterable[str]) -> bool:
        content = b"epoch %d" % epoch
        for path, due in (
            (self.trainer.last, True),
            (self.trainer.best, self.trainer.best_fitness == self.trainer.fitness),
        ):
            if due and path.name in fails:
                raise OSError(errno.ENOSPC, "No space left on device")
            if due:
                path.write_bytes(content)
        return True

    @property
    def best(self) -> str | None:
        path = self.layout.weights / "best.pt"
        return path.read_text() if path.exists() else None


@pytest.fixture
def epochs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Epochs:
    return Epochs(tmp_path / "night", monkeypatch)


@pytest.mark.parametrize("fails", ["last.pt", "best.pt"])
def test_a_best_epoch_that_found_no_room_makes_way_for_the_best_that_does(epochs: Epochs, fails: str) -> None:
    epochs.save(1, 0.2)
    epochs.save(2, 0.9, fails={fails})
    assert (epochs.best, epochs.trainer.best_fitness) == ("epoch 1", 0.2)
    epochs.save(3, 0.5)
    epochs.save(4, 0.4)
    assert (epochs.best, epochs.trainer.best_fitness) == ("epoch 3", 0.5)


def test_a_first_epoch_that_found_no_room_leaves_no_run_without_a_best(epochs: Epochs) -> None:
    epochs.save(1, 0.9, fails={"best.pt"})
    assert (epochs.best, epochs.trainer.best_fitness) == (None, None)
    epochs.save(2, 0.1)
    assert (epochs.best, epochs.trainer.best_fitness) == ("epoch 2", 0.1)


def test_the_last_epoch_saved_once_more_is_the_best_where_it_was(epochs: Epochs) -> None:
    epochs.save(1, 0.2)
    epochs.save(2, 0.9, fails={"best.pt"})
    epochs.save_again(2)
    assert (epochs.best, epochs.trainer.best_fitness) == ("epoch 2", 0.9)


def test_an_epoch_that_is_not_the_best_changes_nothing_of_it(epochs: Epochs) -> None:
    epochs.save(1, 0.9)
    epochs.save(2, 0.2, fails={"last.pt"})
    epochs.save_again(2)
    assert (epochs.best, epochs.trainer.best_fitness) == ("epoch 1", 0.9)


@pytest.mark.parametrize("first", [True, False], ids=["the first rank", "another"])
def test_every_rank_learns_with_each_try_whether_the_last_epoch_is_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: bool
) -> None:
    run = Epochs(tmp_path, monkeypatch)
    run.trainer.world_size = 2
    full = OSError(errno.ENOSPC, "No space left on device")
    left = [full, full]  # what the first says, try by try
    asked: list[Any] = []

    def of_all(own: Any) -> list[Any]:
        asked.append(own)
        return [own, None] if first else [left.pop() if left else None, own]

    tries = iter([["last.pt"], ["last.pt"], []])
    run.trainer.save_model = lambda: run.save_again(1, fails=next(tries))
    monkeypatch.setattr(saving, "of_all", of_all)
    monkeypatch.setattr(run.saver, "_sleep", lambda _: None)
    monkeypatch.setattr(run.saver, "_last_saved", -1e6)
    if first:
        run.save(1, 0.5, fails=["last.pt"])
    run.saver.save_at_last(run.trainer, StopSwitch(on_request=print, on_second=print), print)
    assert [str(one) for one in asked] == ([str(full)] * 2 + ["None"] if first else ["None"] * 3)


def test_a_disk_that_dies_behind_a_checkpoint_ends_no_training(epochs: Epochs, monkeypatch: pytest.MonkeyPatch) -> None:
    def dead(path: Path) -> bool:
        raise OSError(errno.EIO, "Input/output error", str(path))

    epochs.trainer.save_period = 1
    monkeypatch.setattr(Path, "exists", dead)
    epochs.save(1, 0.2)
    assert '"what":"guard/checkpoints.jsonl"' in epochs.layout.events.read_text(encoding="utf-8")


def test_the_newest_state_is_that_of_the_highest_epoch(epochs: Epochs) -> None:
    assert epochs.saver.latest_epoch_state() is None
    epochs.layout.states.mkdir()
    for name in ("epoch9999.pt", "epoch10000.pt", "epochlast.pt", "stop.pt"):
        (epochs.layout.states / name).touch()
    assert epochs.saver.latest_epoch_state() == epochs.layout.states / "epoch10000.pt"
