"""Each part passes with the guard as it is, and says so when the guard is broken."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ultralytics.utils import YAML

from trainmaster.trainer.batches.batchnorm import BatchNormStatistics
from trainmaster.trainer.engines import compat, installed
from trainmaster.trainer.selfcheck import disks, engine, half, surroundings, traces
from trainmaster.trainer.selfcheck.made import make_data, settings
from trainmaster.trainer.selfcheck.reads import Reads
from trainmaster.trainer.selfcheck.report import Row, Status
from trainmaster.trainer.selfcheck.spoiled import Spoil

pytestmark = pytest.mark.training


def failed(rows: list[Row]) -> list[str]:
    return [f"{row.name}: {row.value} {row.detail}" for row in rows if row.status is Status.FAILED]


def test_bad_batches_leave_no_trace_here(tmp_path: Path) -> None:
    rows = list(traces.rows("part", tmp_path, "cpu"))
    assert failed(rows) == []
    assert {row.name for row in rows} >= {str(fault) for fault in traces.REASONS}
    assert all(row.status is Status.OK for row in rows)


def test_half_precision_holds_here(tmp_path: Path) -> None:
    rows = list(half.rows("part", tmp_path, "cpu"))
    assert failed(rows) == []
    assert [row.status for row in rows if "overflow" in row.name] == [Status.OK]


def test_a_guard_that_does_not_put_statistics_back_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BatchNormStatistics, "restore", lambda *_: None)
    monkeypatch.setattr(BatchNormStatistics, "rewind", lambda *_: None)
    row = traces.leaves_no_trace("part", Spoil.NAN_IMAGE, "nonfinite_loss", settings(tmp_path, "cpu"))
    assert row.status is Status.FAILED
    assert "changed" in row.detail


def test_a_guard_that_skips_nothing_is_found_out(tmp_path: Path) -> None:
    given: dict[str, Any] = settings(tmp_path, "cpu", level="observe")
    row = traces.leaves_no_trace("part", Spoil.NAN_GRADIENT, "nonfinite_gradient", given)
    assert row.status is Status.FAILED


def test_an_ultralytics_that_fits_is_told_with_its_generation(tmp_path: Path) -> None:
    found = {row.name: row for row in engine.rows("part", tmp_path, "cpu")}
    assert list(found) == ["version", "seams of this Ultralytics", "installed once", "files as published"]
    assert found["version"].value == compat.check().version
    assert f"generation {compat.engine().name}" in found["version"].detail
    assert found["seams of this Ultralytics"].status is Status.OK


def test_each_seam_that_is_not_there_is_named_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lacking = replace(compat.check(), tested=False, missing=("BaseTrainer.save_model", "BaseTrainer.stop"))
    monkeypatch.setattr(compat, "check", lambda: lacking)
    (row,) = [row for row in engine.rows("part", tmp_path, "cpu") if row.status is Status.FAILED]
    assert row.value == "2 missing"
    assert "lacks BaseTrainer.save_model; BaseTrainer.stop" in row.detail
    assert compat.INSTALL in row.detail


@pytest.mark.parametrize(
    ("changed", "name", "status", "words"),
    [
        pytest.param({"others": ("version 8 in x",)}, "installed once", Status.TOLD, "version 8 in x", id="twice"),
        pytest.param({"edited": ("a.py",)}, "files as published", Status.TOLD, "a.py", id="edited"),
        pytest.param({"gone": tuple("abcdefg")}, "files as published", Status.TOLD, "and 2 more", id="gone"),
        pytest.param({"num_files": 0}, "files as published", Status.SKIPPED, "editable", id="no-record"),
    ],
)
def test_an_odd_installation_is_told_and_fails_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any], name: str, status: Status, words: str
) -> None:
    odd = replace(installed.look(), others=(), edited=(), gone=(), num_files=9)
    monkeypatch.setattr(installed, "look", lambda: replace(odd, **changed))
    rows = {row.name: row for row in engine.rows("part", tmp_path, "cpu")}
    assert rows[name].status is status
    assert words in rows[name].detail
    assert failed(list(rows.values())) == []


def test_a_small_disk_for_temporary_files_is_told_and_a_full_one_of_the_runs_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, runs = tmp_path / "own", tmp_path / "runs"
    own.mkdir()
    runs.mkdir()
    free = {own: 0.1, runs: 1.0}
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage._replace(free=int(free[place] * 2**30)))
    monkeypatch.setenv(disks.PLACES_VARIABLE, json.dumps({disks.CURRENT: str(runs / "not" / "yet")}))
    rows = {row.name: row for row in surroundings.rows("part", own, "cpu") if "disk" in row.name}
    assert [(row.name, row.status, row.value) for row in rows.values()] == [
        ("free disk in the current folder", Status.FAILED, "1.0 GiB"),
        ("free disk for selfcheck's own files", Status.TOLD, "0.1 GiB"),
    ]
    free[runs] = 100.0
    rows = {row.name: row for row in surroundings.rows("part", own, "cpu")}
    assert rows["free disk in the current folder"].status is Status.OK


def test_data_is_made_in_a_folder_of_any_name(tmp_path: Path) -> None:
    folder = tmp_path / "t: m'p #ä"
    data = YAML.load(make_data(folder, images=1))
    assert data["path"] == str(folder)


def test_what_a_loop_makes_of_the_running_mean_is_on_the_host(tmp_path: Path) -> None:
    shown = {name: torch.zeros(()) for name in ("box", "cls")}
    guarded = SimpleNamespace(guard=SimpleNamespace(running=SimpleNamespace(shown=shown)))
    on_device = torch.ones(())
    with Reads(guarded) as reads:
        for part in torch.stack(list(shown.values())):  # the progress line of Ultralytics up to 8.4.100
            assert f"{part:.4g}" == "0"
        assert reads.count == 0
        float(torch.stack([*shown.values(), on_device])[2])
        float(on_device)
    assert reads.count == 2


def test_what_a_machine_lacks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surroundings, "DISK_FREE_MIN_GIB", 1e9)
    rows = list(surroundings.rows("part", tmp_path, "cpu"))
    assert [text.split(":")[0] for text in failed(rows)] == ["free disk in the current folder"]


def test_a_device_that_is_asked_for_and_not_there_is_told(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    assert any("torch sees no GPU" in text for text in failed(list(surroundings.rows("part", tmp_path, "0"))))
