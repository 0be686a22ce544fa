"""When an epoch and a run end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest

from trainmaster.bot.core.run.facts import ProcessFact, ProcessStatus, RunRecord
from trainmaster.bot.core.run.forecast import Basis, duration, epochs_end_ts, forecast
from trainmaster.bot.core.run.parsing import heartbeat_of
from trainmaster.bot.core.run.view import EpochView, RunView

NOW = 1_000_000.0


def view(*, seconds: tuple[float, ...] = (), batch: int | None = 50, elapsed_s: float = 1800.0) -> RunView:
    """A run of ten epochs of 100 batches, with the epochs before the running one measured."""
    record = RunRecord.parse({"run": "r", "attempt": 1, "pid": 1, "state": "running", "epochs": 10})
    running = len(seconds) + 1
    epochs = {
        (1, number): EpochView(attempt=1, epoch=number, seconds=took_s, finished_ts=NOW - 1.0)
        for number, took_s in enumerate(seconds, start=1)
    }
    epochs[1, running] = EpochView(attempt=1, epoch=running, started_ts=NOW - elapsed_s)
    beat = heartbeat_of(
        {
            "ts": NOW,
            "phase": "training",
            "epoch": running,
            "epochs": 10,
            "batch": batch,
            "batches": 100,
            "epoch_elapsed_s": elapsed_s,
        }
    )
    return RunView(
        directory=Path("/runs/r"),
        name="r",
        ts=NOW,
        first_seen_ts=0.0,
        record=record,
        heartbeat=beat,
        process=ProcessFact(status=ProcessStatus.ALIVE, ts=NOW),
        epochs=MappingProxyType(epochs),
    )


def test_epoch_time_is_the_median_of_the_newest_measured_ones() -> None:
    found = forecast(view(seconds=(9000.0, 3600.0, 3500.0, 3700.0, 3600.0, 20000.0)), NOW)
    assert (found.basis, found.epoch_s, found.num_measured) == (Basis.MEASURED, 3600.0, 5)


def test_times_of_epoch_and_run_follow_from_it() -> None:
    found = forecast(view(seconds=(3600.0,)), NOW)
    assert found.epoch == 2
    assert found.epoch_left_s == pytest.approx(1800.0)
    assert found.epoch_end_ts == pytest.approx(NOW + 1800.0)
    assert found.run_left_s == pytest.approx(1800.0 + 8 * 3600.0)


def test_slow_epoch_is_not_promised_earlier_than_its_own_rate_allows() -> None:
    found = forecast(view(seconds=(3600.0,), batch=10, elapsed_s=3500.0), NOW)
    assert found.epoch_left_s == pytest.approx(350.0 * 90)


def test_overdue_heartbeat_counts_as_time_passed() -> None:
    found = forecast(view(seconds=(3600.0,)), NOW + 600.0)
    assert found.epoch_left_s == pytest.approx(1200.0)


def test_first_epoch_is_scaled_up_from_its_batches() -> None:
    found = forecast(view(), NOW)
    assert (found.basis, found.epoch_s) == (Basis.RUNNING, 3600.0)


def test_nothing_is_promised_before_the_first_batch() -> None:
    found = forecast(view(batch=None), NOW)
    assert found.basis is Basis.NONE
    assert (found.epoch_s, found.epoch_left_s, found.run_end_ts) == (None, None, None)


def test_run_that_is_not_training_has_no_end_in_sight() -> None:
    dead = replace(view(seconds=(3600.0,)), process=ProcessFact(status=ProcessStatus.GONE, ts=NOW))
    found = forecast(dead, NOW)
    assert (found.epoch_s, found.epoch_end_ts, found.run_end_ts) == (3600.0, None, None)


def test_end_after_a_rollback_counts_the_epochs_that_come_again() -> None:
    found = forecast(view(seconds=(3600.0,) * 4), NOW)
    assert epochs_end_ts(found, start_ts=NOW, from_epoch=3, epochs=10) == pytest.approx(NOW + 7 * 3600.0)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (45, "45 s"),
        (89, "89 s"),
        (90, "2 min"),
        (720, "12 min"),
        (5400, "1 h 30 min"),
        (19200, "5 h 20 min"),
        (18000, "5 h"),
        (172_800, "2 d"),
        (273_600, "3 d 4 h"),
    ],
)
def test_durations_read_as_people_say_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text
