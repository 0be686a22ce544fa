"""``time=`` is a budget of the whole run, however often it is interrupted."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.trainer.runs import layout_of
from trainmaster import GuardedDetectionTrainer
from trainmaster.trainer import guard
from trainmaster.trainer.__main__ import main
from trainmaster.trainer.checkpoints.state import load_state
from trainmaster.trainer.contract import ExitCode

pytestmark = pytest.mark.training

BUDGET_S = 100_000.0
SPENT_S = 60_000.0


class Aged(GuardedDetectionTrainer):
    """Has trained for long when its second epoch ends, and stops in its third."""

    def preprocess_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        if self.guard.position.ni == 8:
            self.train_time_start = time.time() - SPENT_S
        if self.guard.position.ni == 13:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().preprocess_batch(batch)


@pytest.mark.parametrize("words", [(), ("from=2",)], ids=["resume", "rollback"])
def test_a_resume_has_what_is_left_of_the_budget(
    settings: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    first = type("Run", (Aged,), {})(overrides=settings(epochs=5, time=BUDGET_S / 3600))
    with pytest.raises(SystemExit):
        first.train()
    layout = layout_of(first)
    assert load_state(layout.states / "stop.pt")["trained_s"] == pytest.approx(SPENT_S, abs=300)
    seen: list[tuple[float, int, int]] = []

    class Watched(GuardedDetectionTrainer):
        def run_callbacks(self, event: str) -> None:
            super().run_callbacks(event)
            if event == "on_fit_epoch_end" and len(seen) < 2:
                seen.append((time.time() - self.train_time_start, self.epochs, self.start_epoch))
                self.train_time_start -= BUDGET_S * (len(seen) == 2)  # enough

    monkeypatch.setitem(guard.TRAINERS, "detect", Watched)
    assert main(["resume", str(layout.root), *words]) == ExitCode.FINISHED
    (spent_s, epochs, _), *_ = seen
    assert spent_s == pytest.approx(SPENT_S, abs=300)
    assert epochs == -(-BUDGET_S * 3 // spent_s)  # of the mean of three epochs, two of them before the interruption


def test_a_run_without_a_budget_keeps_its_epochs(settings: Callable[..., dict[str, Any]]) -> None:
    trainer = type("Run", (Aged,), {})(overrides=settings(epochs=3))
    with pytest.raises(SystemExit):
        trainer.train()
    assert main(["resume", str(trainer.save_dir)]) == ExitCode.FINISHED
    rows = Path(trainer.csv).read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["epoch", "1", "2", "3"]
