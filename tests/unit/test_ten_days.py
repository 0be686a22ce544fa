"""What the bench of ten bad days plans and reckons; the days themselves take half an hour: ``make bench``."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sqlite3
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from tests.bench.bad_days import beset
from tests.bench.bad_days.reckoning import reckon, trained_rows
from tests.bench.bad_days.scenario import BAD_FOR, EPOCH_S, TIMES, Fault, Planned, scenario
from tests.bench.bad_days.worlds import Kind, Tale
from trainmaster.trainer.contract import RunLayout


@pytest.mark.parametrize("seed", range(20))
def test_every_scenario_has_the_twenty_faults_apart_from_each_other(seed: int) -> None:
    plan = scenario(seed, batches=32, epochs=48)
    assert Counter(one.fault for one in plan) == Counter(TIMES)
    assert sum(TIMES.values()) == 20
    batches = [one.batch for one in plan]
    assert batches[0] >= 32
    assert batches[-1] + BAD_FOR < 32 * 48
    assert all(after - before > BAD_FOR for before, after in pairwise(batches))


def test_a_seed_tells_its_scenario() -> None:
    assert scenario(3, batches=32, epochs=48) == scenario(3, batches=32, epochs=48)
    assert scenario(3, batches=32, epochs=48) != scenario(4, batches=32, epochs=48)


def test_what_is_lost_is_its_share_of_an_epoch_and_every_second_without_training(tmp_path: Path) -> None:
    # Ten batches an epoch, two epochs; a kill after batch 12 goes back to 10 and costs 30 s, a person half an hour.
    rows = [(float(batch), 1, batch) for batch in range(13)]
    rows += [(12.0 + 30.0 + step, 2, 10 + step) for step in range(10)]
    text = "".join(f"{ts:.3f} {pid} {batch}\n" for ts, pid, batch in rows)
    (tmp_path / "trained.log").write_text(text, encoding="utf-8")
    layout = RunLayout(tmp_path / "runs" / "tenbad")
    layout.guard.mkdir(parents=True)
    bad = {"kind": "bad_batch", "action": "skipped", "epoch": 1, "batch": 4}
    layout.events.write_text(json.dumps(bad) + "\n" + json.dumps(bad) + "\n", encoding="utf-8")
    tale = Tale(kind=Kind.STOCK, batches=10, epochs=2, persons=["x"], waited_s=1800.0, finished=True)
    found = reckon(tale, tmp_path, [])
    assert (found.retrained, found.skipped, found.down_s) == (3, 1, 30.0)
    assert found.lost_s == 3 * EPOCH_S / 10 + 30.0 + 1800.0
    assert found.share == 2 * EPOCH_S / (2 * EPOCH_S + found.lost_s)
    plan = [Planned(number=1, batch=13, fault=Fault.KILL), Planned(number=2, batch=15, fault=Fault.PREEMPTED)]
    cut = reckon(replace(tale, happened={1: 13.0, 2: 15.0}), tmp_path, plan)
    assert (cut.cut, cut.lost_s) == (2, found.lost_s + EPOCH_S / 10), "half of a batch each: a kill asks nobody"
    (tmp_path / "state").mkdir()
    with contextlib.closing(sqlite3.connect(tmp_path / "state" / "trainmaster.sqlite3")) as database:
        database.execute("CREATE TABLE alerts (check_name, severity, fingerprint, since_ts, told_ts)")
        database.execute("CREATE TABLE operations (created_ts)")
    assert reckon(replace(tale, kind=Kind.AUTO, happened={1: 13.0, 2: 15.0}), tmp_path, plan).cut == 1


def test_alarm_that_the_undisturbed_run_has_too_is_the_trainings_own(tmp_path: Path) -> None:
    (tmp_path / "trained.log").write_text("1.0 1 0\n", encoding="utf-8")
    (tmp_path / "runs" / "tenbad").mkdir(parents=True)
    (tmp_path / "state").mkdir()
    with contextlib.closing(sqlite3.connect(tmp_path / "state" / "trainmaster.sqlite3")) as database:
        database.execute("CREATE TABLE alerts (check_name, severity, fingerprint, since_ts, told_ts)")
        database.execute("CREATE TABLE operations (created_ts)")
        for check, severity, key in (
            ("loss_spike", "warning", "attempt2/epoch3"),
            ("loss_spike", "warning", "attempt2/epoch9"),
            ("process_died", "critical", "attempt1"),
            ("epoch_finished", "info", "attempt1/epoch1"),
        ):
            database.execute("INSERT INTO alerts VALUES (?, ?, ?, 0, 0)", (check, severity, f"run/{check}/{key}"))
        database.commit()
    tale = Tale(kind=Kind.AUTO, batches=1, epochs=1)
    found = reckon(tale, tmp_path, [], frozenset({"loss_spike (warning) epoch3"}))
    assert found.false_alarms == ("loss_spike (warning) epoch9",)
    assert found.own_alarms == ("loss_spike (warning) epoch3",)


def test_a_run_that_never_ends_has_lost_what_it_did_not_train(tmp_path: Path) -> None:
    (tmp_path / "trained.log").write_text("1.0 1 0\n2.0 1 1\n", encoding="utf-8")
    (tmp_path / "runs" / "tenbad").mkdir(parents=True)
    found = reckon(Tale(kind=Kind.STOCK, batches=10, epochs=1), tmp_path, [])
    assert found.retrained == 8


class _Trains(beset.Besets):
    def __init__(self) -> None:
        self._unwritten, self._at, self._real = b"", 0, True
        self.epoch, self.train_loader = 0, range(60)


def test_a_line_that_a_full_disk_took_half_of_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beset, "HERE", tmp_path)
    trains, write, room = _Trains(), os.write, [6]

    def write_what_fits(descriptor: int, data: bytes) -> int:
        if not room[0]:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        written = write(descriptor, data[: room[0]])
        room[0] -= written
        return written

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", write_what_fits)
        for trains._at in (0, 1):
            trains._trained()
    assert (tmp_path / "trained.log").stat().st_size == 6
    trains._at = 2
    trains._trained()
    assert [(pid, batch) for _, pid, batch in trained_rows(tmp_path)] == [(os.getpid(), number) for number in range(3)]


def test_what_a_kill_left_half_written_is_no_batch(tmp_path: Path) -> None:
    (tmp_path / "trained.log").write_text("1796041790.001 7 0\n1796041791796.002 8 1\n1796041797.003 8 2\n17960")
    assert trained_rows(tmp_path) == [(1796041790.001, 7, 0), (1796041797.003, 8, 2)]
