from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trainmaster.trainer.batches.budget import SkipBudget, SkipLimit
from trainmaster.trainer.batches.norms import NormWarning
from trainmaster.trainer.batches.outcomes import BatchOutcome, GradientsGrew, Hopeless, StateHealed
from trainmaster.trainer.batches.position import Position
from trainmaster.trainer.contract import RunLayout
from trainmaster.trainer.drill import Drill
from trainmaster.trainer.records.recorder import Recorder
from trainmaster.trainer.run.outcome_records import OutcomeRecords
from trainmaster.trainer.run.tally import Tally


@pytest.fixture
def layout(tmp_path: Path) -> RunLayout:
    layout = RunLayout(tmp_path / "run")
    layout.guard.mkdir(parents=True)
    return layout


def told(layout: RunLayout, outcome: BatchOutcome) -> tuple[list[dict[str, Any]], Tally]:
    position = Position()
    position.start_epoch(2, 100)
    position.index = 6
    tally = Tally(budget=SkipBudget(SkipLimit(streak=10, count=10, window=2000)))
    trainer: Any = None  # nothing of it is asked for
    records = OutcomeRecords(
        trainer,
        Recorder(layout, warn=lambda _: None),
        level="standard",
        position=position,
        tally=tally,
        drill=Drill(layout, None),
    )
    records.take(outcome)
    lines = layout.events.read_text(encoding="utf-8").splitlines() if layout.events.exists() else []
    return [json.loads(line) for line in lines], tally


def test_a_healed_state_is_told_at_the_batch_in_work(layout: RunLayout) -> None:
    (event,), tally = told(layout, StateHealed(what="optimizer", tensors=3))
    assert (event["kind"], event["what"], event["tensors"]) == ("state_healed", "optimizer", 3)
    assert (event["epoch"], event["batch"], tally.give_up) == (3, 7, None)


def test_gradients_that_grew_are_told_with_the_worst_of_them(layout: RunLayout) -> None:
    warning = NormWarning(median=1.0, factor=50.0, trend=2.0)
    (event,), tally = told(layout, GradientsGrew(norm=50.0, warning=warning, worst=[("layer.weight", float("inf"))]))
    assert (event["kind"], event["grad_norm"], event["factor"]) == ("gradient_warning", 50.0, 50.0)
    assert event["worst"] == [{"parameter": "layer.weight", "norm": "inf"}]
    assert tally.give_up is None


def test_a_training_past_hope_ends_after_its_batch(layout: RunLayout) -> None:
    events, tally = told(layout, Hopeless(why="lr is nan"))
    assert (events, tally.give_up) == ([], "lr is nan")
