"""A run that ends early leaves a state of where it was, whatever Ultralytics was told to save."""

from __future__ import annotations

import contextlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from trainmaster.trainer.arguments import ArgumentsError
from trainmaster.trainer.checkpoints.retention import STOP_NAME
from trainmaster.trainer.contract import RunRecordState
from trainmaster.trainer.run import run_guard
from trainmaster.trainer.run.ending import require_first_training
from trainmaster.trainer.run.run_guard import RunGuard
from trainmaster.trainer.stop import StopRequested


@pytest.mark.parametrize(
    ("done", "epoch_is_saved", "state"),
    [(3, False, STOP_NAME), (6, False, STOP_NAME), (6, True, "epoch0001.pt"), (0, False, "epoch0001.pt")],
    ids=["within an epoch", "after one with save=False", "after one that is saved", "before a batch"],
)
def test_what_no_state_holds_yet_is_saved(
    monkeypatch: pytest.MonkeyPatch, done: int, epoch_is_saved: bool, state: str
) -> None:
    told: list[Any] = []
    monkeypatch.setattr(run_guard.ending, "ended", lambda *given: told.append(given[-1]))
    guard: Any = SimpleNamespace(
        step=SimpleNamespace(),
        position=SimpleNamespace(done=done),
        parts=None,
        saver=SimpleNamespace(latest_epoch_state=lambda: Path("epoch0001.pt"), epoch_is_saved=epoch_is_saved),
        _save_within_epoch=lambda _, name: Path(name),
    )

    RunGuard._end_early(guard, SimpleNamespace(), StopRequested("SIGTERM"))

    assert told == [Path(state)]


@pytest.mark.parametrize("stuck", [False, True], ids=["they end", "they can not be ended"])
def test_workers_are_ended_before_python_waits_for_them_after_a_crash(
    monkeypatch: pytest.MonkeyPatch, stuck: bool
) -> None:
    """They outlive the signal that it sends them by a minute, in which the other ranks and the card would wait too."""
    done: list[str] = []

    def end_loaders(_: Any) -> None:
        done.append("workers")
        if stuck:
            raise RuntimeError("stuck")

    monkeypatch.setattr(run_guard, "end_loaders", end_loaders)
    monkeypatch.setattr(run_guard.ending, "ended", lambda *given: done.append(repr(given[-2])))
    guard: Any = SimpleNamespace(
        step=SimpleNamespace(),
        position=SimpleNamespace(done=3),
        parts=None,
        saver=SimpleNamespace(latest_epoch_state=lambda: None, epoch_is_saved=False),
        _save_within_epoch=lambda *_: pytest.fail("what crashed is not saved"),
    )
    with contextlib.suppress(RuntimeError):
        RunGuard._end_early(guard, SimpleNamespace(), ValueError("x"))
    assert done == ["workers", "ValueError('x')"]


def test_a_trainer_trains_once() -> None:
    """A cell of a notebook that is run again would train without the run's lock, and tell of a shortage of memory."""
    run: Any = SimpleNamespace(
        recorder=SimpleNamespace(state=RunRecordState.RUNNING), layout=SimpleNamespace(root=Path("runs/night"))
    )
    require_first_training(run)
    run.recorder.state = RunRecordState.STOPPED
    with pytest.raises(ArgumentsError, match=r"is over \(stopped\), and it trains once") as refused:
        require_first_training(run)
    assert "resume=runs/night" in (refused.value.hint or "")
