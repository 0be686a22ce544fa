"""With what settings of the optimizer a state is saved, whatever has set them since the last step."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from trainmaster.trainer import guard
from trainmaster.trainer.batches.position import Position
from trainmaster.trainer.batches.progress import RunningLoss
from trainmaster.trainer.checkpoints.retention import SNAPSHOT_NAME, STOP_NAME
from trainmaster.trainer.guard import GuardMixin
from trainmaster.trainer.run.figures import Figures
from trainmaster.trainer.run.guarding import Guarding
from trainmaster.trainer.run.run_guard import RunGuard

NAN = float("nan")


def run_with(decay: float, *, skip: bool) -> Any:
    """As much of a run as a save asks for; ``saved`` is what the optimizer held meanwhile."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], lr=0.1, weight_decay=0.25)
    optimizer.param_groups[0]["weight_decay"] = decay
    notices: list[str] = []
    saved: list[float] = []
    guarding: Any = object.__new__(Guarding)
    guarding._trainer = SimpleNamespace(optimizer=optimizer, stopper=SimpleNamespace(), args=SimpleNamespace())
    guarding._position, guarding._running, guarding._skip = Position(), RunningLoss(), skip
    guarding._told_settings = None
    guarding.step = SimpleNamespace(batches=SimpleNamespace(spikes=None))
    guarding._run = SimpleNamespace(reporter=SimpleNamespace(counts=lambda _: {}, notice=notices.append))
    guarding._figures = Figures(guarding._trainer, notices.append)

    def save(*_: Any) -> None:
        saved.append(optimizer.param_groups[0]["weight_decay"])

    run: Any = object.__new__(RunGuard)
    run._guarding, run.position = guarding, Position()
    run._run = SimpleNamespace(
        recorder=SimpleNamespace(set_phase=lambda *_, **__: None),
        saver=SimpleNamespace(save_epoch=save, save_within_epoch=save),
    )
    run._healed = lambda _: True
    return SimpleNamespace(guard=run, optimizer=optimizer, notices=notices, saved=saved)


@pytest.mark.parametrize(
    "save",
    [
        lambda run: run.guard.save(None, lambda: None),
        lambda run: run.guard._save_within_epoch(None, SNAPSHOT_NAME),
        lambda run: run.guard._save_within_epoch(None, STOP_NAME),
    ],
    ids=["epoch", "snapshot", "stop"],
)
def test_a_setting_that_none_can_have_is_not_saved_and_told_once(save: Callable[[Any], object]) -> None:
    run = run_with(NAN, skip=True)
    save(run)
    save(run)
    assert run.saved == [0.25, 0.25]
    assert len(run.notices) == 1
    assert "weight_decay is nan" in run.notices[0]
    assert math.isnan(run.optimizer.param_groups[0]["weight_decay"])  # the next step judges it


@pytest.mark.parametrize(("decay", "skip"), [(0.5, True), (1e9, False)], ids=["one that can be", "observed"])
def test_settings_are_saved_as_they_are(decay: float, skip: bool) -> None:
    run = run_with(decay, skip=skip)
    run.guard.save(None, lambda: None)
    assert run.saved == [decay]
    assert not run.notices


def test_a_state_is_saved_with_figures_that_can_be() -> None:
    run = run_with(0.5, skip=True)
    trainer = run.guard.guarding._trainer
    trainer.best_fitness = NAN
    trainer.args.seen = NAN
    held: list[Any] = []
    run.guard.parts.saver.save_epoch = lambda *_: held.append((trainer.best_fitness, trainer.args.seen))
    trainer.best_fitness = 0.5
    run.guard.guarding.put_figures_right()
    trainer.best_fitness = NAN
    run.guard.save(None, lambda: None)
    assert held == [(0.5, None)]
    assert math.isnan(trainer.args.seen)


def test_at_level_observe_figures_are_let_be() -> None:
    run = run_with(0.5, skip=False)
    trainer = run.guard.guarding._trainer
    trainer.best_fitness = 0.5
    run.guard.guarding.put_figures_right()
    trainer.best_fitness = NAN
    run.guard.guarding.put_figures_right()
    run.guard.save(None, lambda: None)
    assert math.isnan(trainer.best_fitness)
    assert not run.notices


@pytest.mark.parametrize("time", [None, 0.5], ids=["epochs", "time"])
@pytest.mark.parametrize(
    ("ranks", "stop", "agreed", "goes_on"),
    [(1, True, False, False), (2, True, False, True), (2, True, True, False), (2, False, True, False)],
    ids=["alone", "the others do not know", "all know", "another wants it"],
)
def test_the_loop_of_one_rank_ends_with_those_of_all(
    ranks: int, stop: bool, agreed: bool, goes_on: bool, time: float | None
) -> None:
    guarding: Any = object.__new__(Guarding)
    guarding._skip, guarding._break_wanted = True, False
    guarding._trainer = SimpleNamespace(stop=stop, world_size=ranks, args=SimpleNamespace(time=time))
    guarding.step = SimpleNamespace(forget_batch=lambda: None, batches=SimpleNamespace(break_agreed=agreed))
    guarding.batch_over()
    assert guarding._trainer.stop is not goes_on
    assert guarding._break_wanted == (stop and ranks > 1)


class _Loop:
    def _get_warmup_iterations(self, num_batches: int) -> int:
        return min(3, self.epochs - 1) * num_batches

    epochs = 7
    """As this rank reckons by its own clock."""


class _Guarded(GuardMixin, _Loop):
    pass


@pytest.mark.parametrize(
    ("changes", "in_work", "epochs"),
    [({}, False, 9), ({"world_size": 1}, False, 7), ({"args": SimpleNamespace(time=None)}, False, 7), ({}, True, 7)],
    ids=["time", "alone", "epochs", "amid a batch"],
)
def test_ranks_train_for_as_many_epochs_as_the_first_reckons(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], in_work: bool, epochs: int
) -> None:
    """Each has another clock, and with it another number of epochs and other rates from there on."""
    monkeypatch.setattr(guard, "of_all", lambda own: [9, own])
    trainer: Any = object.__new__(_Guarded)
    vars(trainer).update({"args": SimpleNamespace(time=0.5), "world_size": 2, **changes})
    trainer.guard = SimpleNamespace(skip=True, position=SimpleNamespace(in_work=in_work, warmup_from=0))
    trainer._get_warmup_iterations(10)
    assert trainer.epochs == epochs


@pytest.mark.parametrize("compiled", [True, False])
def test_a_compiled_model_is_not_asked_what_a_placeholder_holds(compiled: bool) -> None:
    asked: list[Any] = []
    trainer: Any = SimpleNamespace(args=SimpleNamespace(compile=compiled), model=asked.append)
    guarding: Any = object.__new__(Guarding)
    guarding._trainer, guarding._position = trainer, SimpleNamespace(before_batch=lambda _: None)
    model = trainer.model
    for image in (1, 2):
        guarding.placeholder_begins()
        assert trainer.model(image) is None
        assert trainer.model is model
    assert asked == ([] if compiled else [1, 2])


@pytest.mark.parametrize("skip", [True, False])
def test_what_the_model_begins_with_is_put_right_before_a_batch_can_be_blamed_for_it(*, skip: bool) -> None:
    done: list[str] = []
    guarding: Any = object.__new__(Guarding)
    guarding._trainer, guarding._skip = SimpleNamespace(model=torch.nn.Linear(2, 2)), skip
    guarding.step = SimpleNamespace(attach=lambda: done.append("attach"), heal=lambda: done.append("heal"))
    guarding.attach()
    assert done == (["attach", "heal"] if skip else ["attach"])
