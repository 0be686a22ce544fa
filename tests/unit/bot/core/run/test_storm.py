"""When a run is past saving, and when it only had bad luck."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest

from trainmaster.bot.core.run.facts import Event, ProcessFact, ProcessStatus, RunRecord
from trainmaster.bot.core.run.parsing import heartbeat_of
from trainmaster.bot.core.run.storm import StormKind, StormLimits, storm_of
from trainmaster.bot.core.run.view import BadBatchFact, EpochView, RunView
from trainmaster.trainer.contract import Phase, RunRecordState

NOW = 1_000_000.0
LIMITS = StormLimits(num_bad=3, window_batches=100)


def bad(batch: int, *, epoch: int = 2, action: str = "skipped") -> BadBatchFact:
    return BadBatchFact(
        ts=NOW - 10,
        attempt=1,
        epoch=epoch,
        batch=batch,
        reason="nonfinite_loss",
        action=action,
        losses={},
        grad_norm=None,
        lr=None,
        images=(),
        incident=None,
        drill=False,
    )


def epoch_of(number: int, **fields: object) -> EpochView:
    return EpochView(attempt=1, epoch=number, **fields)  # type: ignore[arg-type]


def view_of(
    *epochs: EpochView,
    state: RunRecordState = RunRecordState.RUNNING,
    batch: int = 50,
    streak: int = 0,
    loss: float = 1.0,
    events: tuple[Event, ...] = (),
) -> RunView:
    record = RunRecord.parse({"run": "r", "attempt": 1, "pid": 7, "state": state.value})
    beat = heartbeat_of({"ts": NOW - 5, "attempt": 1, "phase": Phase.TRAINING.value, "batch": batch})
    assert beat is not None
    newest = max(epoch.epoch for epoch in epochs)
    return RunView(
        directory=Path("r"),
        name="r",
        ts=NOW,
        first_seen_ts=0.0,
        record=record,
        heartbeat=replace(beat, epoch=newest, streak=streak, losses={"box_loss": loss}),
        process=ProcessFact(status=ProcessStatus.ALIVE, ts=NOW),
        epochs=MappingProxyType({(1, epoch.epoch): epoch for epoch in epochs}),
        notable=events,
    )


def ended(kind: str, *, attempt: int = 1, age_s: float = 60.0, **data: object) -> Event:
    return Event(ts=NOW - age_s, run="r", attempt=attempt, seq=1, kind=kind, data=data)


def with_bad(*batches: BadBatchFact, number: int = 2, num_batches: int = 1000, **fields: object) -> EpochView:
    return epoch_of(number, bad_batches=batches, num_bad=len(batches), batches=num_batches, **fields)


GAVE_UP = ended("run_gave_up", epoch=2, batch=40, why="11 bad batches among the last 2000")
POISONED = epoch_of(1, finished_ts=1.0, losses={"box_loss": math.nan})

STORMS: list[tuple[str, Callable[[], RunView], StormKind, str]] = [
    (
        "exit code 4",
        lambda: view_of(epoch_of(2), state=RunRecordState.GAVE_UP, events=(GAVE_UP,)),
        StormKind.GAVE_UP,
        "11 bad batches",
    ),
    (
        "stock Ultralytics' own end",
        lambda: view_of(
            epoch_of(2),
            state=RunRecordState.CRASHED,
            events=(ended("run_crashed", error="Training failed: NaN persisted for 3 epochs"),),
        ),
        StormKind.GAVE_UP,
        "NaN persisted",
    ),
    ("in a row", lambda: view_of(with_bad(bad(50)), streak=3), StormKind.RATE, "3 bad batches in a row"),
    (
        "within the window",
        lambda: view_of(with_bad(bad(1), bad(20), bad(40), bad(50))),
        StormKind.RATE,
        "among the last 100",
    ),
    (
        "across the end of an epoch",
        lambda: view_of(
            with_bad(bad(980, epoch=1), bad(990, epoch=1), number=1, finished_ts=1.0), with_bad(bad(1), bad(2)), batch=3
        ),
        StormKind.RATE,
        "4 bad batches among the last 100, the limit is 3",
    ),
    (
        "carried into the next epoch",
        lambda: view_of(POISONED, epoch_of(2), loss=math.nan),
        StormKind.POISONED,
        "epoch 2 is not either",
    ),
]

FAIR: list[tuple[str, Callable[[], RunView]]] = [
    ("healthy", lambda: view_of(epoch_of(2))),
    ("as many as are put up with", lambda: view_of(with_bad(bad(1), bad(20), bad(40)), streak=2)),
    ("spread wider than the window", lambda: view_of(with_bad(*(bad(n) for n in (1, 200, 400, 600))), batch=650)),
    (
        "one image in every short epoch",
        lambda: view_of(
            *(with_bad(bad(5, epoch=n), number=n, num_batches=10, finished_ts=1.0) for n in range(1, 9)),
            with_bad(bad(5, epoch=9), number=9, num_batches=10),
            batch=6,
        ),
    ),
    ("run again and good", lambda: view_of(with_bad(*(bad(n, action="recomputed") for n in range(40, 50))))),
    ("one epoch that was not finite", lambda: view_of(POISONED, epoch_of(2))),
    ("first epoch is not finite", lambda: view_of(epoch_of(2), loss=math.nan)),
    ("another crash", lambda: view_of(epoch_of(2), state=RunRecordState.CRASHED, events=(ended("run_crashed"),))),
    (
        "an earlier attempt gave up",
        lambda: view_of(epoch_of(2), events=(ended("run_gave_up", attempt=0, epoch=2),)),
    ),
    ("stopped on request", lambda: view_of(with_bad(bad(50)), streak=9, state=RunRecordState.STOPPED)),
    (
        "long ago",
        lambda: view_of(
            epoch_of(2), state=RunRecordState.GAVE_UP, events=(ended("run_gave_up", epoch=2, age_s=90_000.0),)
        ),
    ),
]


@pytest.mark.parametrize(("make", "kind", "words"), [pytest.param(*case[1:], id=case[0]) for case in STORMS])
def test_storm_is_told_by_its_evidence(make: Callable[[], RunView], kind: StormKind, words: str) -> None:
    storm = storm_of(make(), LIMITS, NOW)
    assert storm is not None
    assert (storm.kind, storm.epoch) == (kind, 2)
    assert words in storm.why


@pytest.mark.parametrize("make", [pytest.param(case[1], id=case[0]) for case in FAIR])
def test_bad_luck_is_no_storm(make: Callable[[], RunView]) -> None:
    assert storm_of(make(), LIMITS, NOW) is None


def test_more_of_the_same_is_the_same_storm() -> None:
    few = storm_of(view_of(with_bad(bad(50)), streak=3), LIMITS, NOW)
    more = storm_of(view_of(with_bad(bad(50), bad(51)), streak=4, batch=51), LIMITS, NOW)
    assert few is not None
    assert more is not None
    assert few.key == more.key
