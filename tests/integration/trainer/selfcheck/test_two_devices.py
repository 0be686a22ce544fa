"""The part of several devices, on two that are stand-ins: Ultralytics' own launcher, and gloo on the CPU."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import torch

from tests.integration.trainer.test_launcher import HERE as STAND_INS
from tests.integration.trainer.test_launcher import ROOT
from trainmaster.trainer.selfcheck import ranks
from trainmaster.trainer.selfcheck.report import Row, Status
from trainmaster.trainer.selfcheck.spoiled import Spoil, SpoilPlan

pytestmark = [pytest.mark.training, pytest.mark.timeout(300)]


@pytest.fixture
def two_devices(monkeypatch: pytest.MonkeyPatch, ready: Path) -> None:
    monkeypatch.setattr(sys, "executable", str(ready))
    monkeypatch.setattr(ranks, "kind_of", lambda _device: "cuda")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("TWO_RANKS", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(STAND_INS), str(ROOT), os.environ.get("PYTHONPATH", "")]))
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)


def looked(folder: Path, device: str | None = None) -> Row:
    (row,) = ranks.rows("Several devices", folder, device)
    return row


@pytest.mark.usefixtures("two_devices")
def test_a_nan_on_one_of_two_devices_is_skipped_by_both(tmp_path: Path) -> None:
    row = looked(tmp_path, "0,1")
    assert (row.status, row.device) == (Status.OK, "0,1"), row


@pytest.mark.usefixtures("two_devices")
def test_a_batch_that_nothing_was_told_of_fails_the_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    harmless = SpoilPlan(fault=Spoil.NAN_IMAGE, batch=10_000, rank=1)
    monkeypatch.setattr(ranks, "SpoilPlan", lambda **_: harmless)
    row = looked(tmp_path)
    assert (row.status, row.value) == (Status.FAILED, "exit code 0, told []")


@pytest.mark.usefixtures("two_devices")
def test_where_one_of_two_is_asked_for_the_other_is_left_alone(tmp_path: Path) -> None:
    row = looked(tmp_path, "1")
    assert (row.status, row.value) == (Status.SKIPPED, "device=1 is one only")


def test_one_device_is_told_as_such(tmp_path: Path) -> None:
    (row,) = ranks.rows("Several devices", tmp_path, "cpu")
    assert row.status is Status.SKIPPED
