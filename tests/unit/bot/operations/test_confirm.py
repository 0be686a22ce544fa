"""When a new attempt counts as training again."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

import pytest

from tests.unit.bot.operations.paper import PaperWorld
from trainmaster.bot.core.run.parsing import heartbeat_of
from trainmaster.bot.core.run.view import EpochView
from trainmaster.bot.operations.restart import _enough, _finished_well

BEAT = heartbeat_of({"ts": 0.0, "batch": 3, "batches": 20, "losses": {"box_loss": 1.0}, "streak": 0, "epoch": 2})


@pytest.mark.parametrize(
    ("changes", "enough"),
    [
        pytest.param({}, True, id="as many as asked for"),
        pytest.param({"batch": 2}, False, id="one too few"),
        pytest.param({"batch": 2, "batches": 2}, True, id="an epoch of fewer"),
        pytest.param({"batch": None}, False, id="none yet"),
        pytest.param({"streak": 1}, False, id="the last one was bad"),
        pytest.param({"losses": {"box_loss": float("nan")}}, False, id="loss is NaN"),
        pytest.param({"batches": None}, True, id="length of the epoch not known"),
    ],
)
def test_batches_count_when_the_last_ones_are_good(changes: dict[str, object], enough: bool) -> None:
    assert BEAT is not None
    assert _enough(replace(BEAT, **changes), 3) is enough  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("epoch", "well"),
    [
        pytest.param({}, True, id="finished"),
        pytest.param({"finished_ts": None}, False, id="still running"),
        pytest.param({"attempt": 1}, False, id="of the old attempt"),
        pytest.param({"losses": {"box_loss": float("inf")}}, False, id="loss is infinite"),
        pytest.param({"losses": {}}, False, id="no loss told"),
        pytest.param({"num_skipped": 5}, False, id="every batch was skipped"),
        pytest.param({"num_skipped": 4}, True, id="one batch was good"),
    ],
)
def test_finished_epoch_counts_when_it_had_good_batches(
    world: PaperWorld, epoch: dict[str, object], well: bool
) -> None:
    done = EpochView(attempt=2, epoch=4, batches=5, finished_ts=1.0, losses={"box_loss": 1.0})
    changed = replace(done, **epoch)  # type: ignore[arg-type]
    view = world.runs.all()[0]
    assert view.record is not None
    later = replace(
        view,
        record=replace(view.record, attempt=2),
        epochs=MappingProxyType({(changed.attempt, changed.epoch): changed}),
    )
    assert (_finished_well(later) is not None) is well
