"""Level observe measures and changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ultralytics.models.yolo.detect import DetectionTrainer

from tests.integration.trainer.runs import Poisoned, differences, events, layout_of
from trainmaster import GuardedDetectionTrainer

pytestmark = pytest.mark.training


def rows(trainer: Any) -> list[list[str]]:
    """results.csv without its time column."""
    lines = trainer.csv.read_text(encoding="utf-8").splitlines()
    return [[cell for index, cell in enumerate(line.split(",")) if index != 1] for line in lines]


@pytest.mark.generations
@pytest.mark.parametrize("changes", [{}, {"nbs": 12, "optimizer": "auto", "close_mosaic": 1}], ids=["sgd", "auto"])
def test_observe_is_stock_ultralytics_bit_for_bit(
    settings: Callable[..., dict[str, Any]], changes: dict[str, Any]
) -> None:
    overrides = settings(optimizer="SGD", close_mosaic=1) | changes
    observed = GuardedDetectionTrainer(overrides={**overrides, "level": "observe"})
    observed.train()
    stock = DetectionTrainer(
        overrides={k: v for k, v in overrides.items() if k not in {"snapshot_s", "level"}} | {"name": "stock"}
    )
    stock.train()

    assert not differences(observed, stock)
    assert rows(observed) == rows(stock)


def test_observe_reports_a_bad_batch_and_skips_nothing(settings: Callable[..., dict[str, Any]]) -> None:
    kind = type("Run", (Poisoned,), {"poison": {5: "nan image"}})
    trainer = kind(overrides=settings(level="observe", epochs=1))
    trainer.train()

    found = events(layout_of(trainer), "bad_batch")
    assert [event["reason"] for event in found] == ["nonfinite_loss", "nonfinite_gradient"]
    assert {event["action"] for event in found} == {"observed"}
    assert events(layout_of(trainer), "checkpoint_saved")[-1]["verdict"] != "clean"
