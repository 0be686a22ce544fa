"""A run that ends early leaves a state of where it was, whatever Ultralytics was told to save."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from trainmaster.trainer.run import run_guard
from trainmaster.trainer.run.run_guard import RunGuard
from trainmaster.trainer.state.saver import STOP_NAME
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
    monkeypatch.setattr(run_guard, "ended", lambda *given: told.append(given[-1]))
    guard: Any = SimpleNamespace(
        step=SimpleNamespace(),
        position=SimpleNamespace(done=done),
        parts=None,
        saver=SimpleNamespace(latest_epoch_state=lambda: Path("epoch0001.pt"), epoch_is_saved=epoch_is_saved),
        _save_within_epoch=lambda _, name: Path(name),
    )

    RunGuard._end_early(guard, SimpleNamespace(), StopRequested("SIGTERM"))

    assert told == [Path(state)]
