"""The final evaluation takes the optimizer out of files that are whole at each moment, whatever the disk does."""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import distributed
from ultralytics.engine import trainer as engine
from ultralytics.utils import patches

from tests.unit.trainer.checkpoints.making import checkpoint_dict
from tests.unit.trainer.checkpoints.test_files import FULL, files_limited_to
from trainmaster.trainer.checkpoints.forensics import judge
from trainmaster.trainer.checkpoints.ledger import attestations
from trainmaster.trainer.contract import EventKind, RunLayout, Verdict
from trainmaster.trainer.records.recorder import Recorder
from trainmaster.trainer.settings.guard_settings import GuardSettings
from trainmaster.trainer.state import stripping
from trainmaster.trainer.state.saver import Saver

NAMES = ("last.pt", "best.pt")


class Killed(BaseException):
    """Nothing after it happens in this process."""


class Ended:
    """A run whose last epoch is saved and attested clean; the final evaluation is next."""

    def __init__(self, root: Path) -> None:
        self.layout = RunLayout(root)
        self.layout.weights.mkdir(parents=True)
        self.layout.guard.mkdir()
        recorder = Recorder(self.layout, warn=lambda _: None)
        self.told: list[dict[str, Any]] = []
        recorder.event = lambda kind, **fields: self.told.append({"kind": kind, **fields})  # type: ignore[method-assign]
        self.saver = Saver(self.layout, recorder, GuardSettings(), user={})
        self.trainer: Any = SimpleNamespace(wdir=self.layout.weights, fitness=0.5)
        self.saver.adopt_paths(self.trainer)
        clean = stripping.Examination(verdict=Verdict.CLEAN, reasons=())
        for path in (self.trainer.last, self.trainer.best):
            torch.save(checkpoint_dict(3), str(path))
            saved = stripping.digest_of(path)
            said = stripping.SaidOfFile(epoch=3, examination=clean, fitness=0.5, kind="ultralytics")
            self.saver.attesting.attest(f"weights/{path.name}", saved, said)

    def evaluate(self) -> None:
        """As ``final_eval`` of Ultralytics begins (engine/trainer.py)."""
        with self.saver.stripping(self.trainer, records=True):
            engine.strip_optimizer(self.trainer.last)
            engine.strip_optimizer(self.trainer.best, updates={"train_results": {}})

    def found(self) -> dict[str, tuple[Verdict, bool]]:
        rows = attestations(self.layout)
        judged = {name: judge(self.layout.weights / name, attestations=rows) for name in NAMES}
        return {name: (one.verdict, one.stripped) for name, one in judged.items()}


@pytest.fixture
def ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ended:
    monkeypatch.setattr(patches.time, "sleep", lambda _: None)  # between the four tries of Ultralytics' torch.save
    return Ended(tmp_path / "night")


def test_both_files_are_stripped_clean_and_told_once(ended: Ended) -> None:
    ended.evaluate()

    assert ended.found() == dict.fromkeys(NAMES, (Verdict.CLEAN, True))
    told = [row["file"] for row in ended.told if row["kind"] == EventKind.CHECKPOINT_SAVED]
    assert told == [f"weights/{name}" for name in NAMES]
    assert [row.reasons for row in attestations(ended.layout)[-2:]] == [(stripping.REASON,)] * 2
    assert {row.epoch for row in attestations(ended.layout)} == {3}


@pytest.mark.parametrize("room", [0, 900, 8000], ids=str)
def test_on_a_full_disk_the_files_stay_as_they_were_saved(ended: Ended, room: int) -> None:
    before = {name: (ended.layout.weights / name).read_bytes() for name in NAMES}
    rows = len(attestations(ended.layout))

    with (
        files_limited_to(room),
        pytest.raises((OSError, RuntimeError), match=f"{FULL}|PytorchStreamWriter|unexpected pos"),
    ):
        ended.evaluate()

    assert {name: (ended.layout.weights / name).read_bytes() for name in NAMES} == before
    assert ended.found() == dict.fromkeys(NAMES, (Verdict.CLEAN, False))
    assert sorted(path.name for path in ended.layout.weights.iterdir()) == sorted(NAMES)
    assert len(attestations(ended.layout)) == rows


def test_a_file_that_lost_its_end_unnoticed_replaces_nothing(ended: Ended, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = torch.save

    def torn(what: Any, path: Any) -> None:
        whole(what, path)
        os.truncate(path, os.path.getsize(path) // 2)  # noqa: PTH202 - as torch leaves it when its last write fails

    monkeypatch.setattr(torch, "save", torn)
    with pytest.raises(OSError, match=r"last\.pt without its optimizer could not be written whole"):
        ended.evaluate()
    assert ended.found() == dict.fromkeys(NAMES, (Verdict.CLEAN, False))


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("number", range(1, 5))
def test_killed_at_any_moment_each_file_is_whole_and_clean(
    ended: Ended, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    left = [number]
    original = getattr(os, call)

    def counted(*args: Any, **more: Any) -> Any:
        left[0] -= 1
        if left[0] == 0:
            raise Killed
        return original(*args, **more)

    monkeypatch.setattr(os, call, counted)
    if call == "replace":
        monkeypatch.setattr(Path, "replace", counted)
    monkeypatch.setattr(stripping.Stripping, "note_others", lambda _: None)
    with contextlib.suppress(Killed):
        ended.evaluate()
    assert {verdict for verdict, _ in ended.found().values()} == {Verdict.CLEAN}


def test_a_class_that_strips_in_a_way_of_its_own_is_on_record(ended: Ended) -> None:
    with ended.saver.stripping(ended.trainer, records=True):
        own = {**torch.load(ended.trainer.last, weights_only=False), "epoch": -1, "optimizer": None}
        torch.save(own, str(ended.trainer.last))

    assert ended.found() == {"last.pt": (Verdict.CLEAN, True), "best.pt": (Verdict.CLEAN, False)}


def test_the_log_names_the_files_that_stay(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    monitored = logging.getLogger("ultralytics")
    monitored.addHandler(caplog.handler)
    try:
        with caplog.at_level(logging.INFO, logger="ultralytics"):
            Ended(tmp_path).evaluate()
    finally:
        monitored.removeHandler(caplog.handler)
    said = [message for message in caplog.messages if message.startswith("Optimizer stripped from")]
    assert [message.split(",")[0].rpartition("/")[2] for message in said] == list(NAMES)
    assert not any("saved as" in message for message in said)


@pytest.mark.parametrize("disk", ["weights elsewhere", "read-only best.pt"])
def test_links_and_read_only_files_are_stripped_as_any(tmp_path: Path, disk: str) -> None:
    ended = Ended(tmp_path / "night")
    weights = ended.layout.weights
    if disk == "weights elsewhere":
        weights.rename(tmp_path / "big")
        weights.symlink_to(tmp_path / "big")
    else:
        (weights / "best.pt").chmod(0o444)

    ended.evaluate()

    assert ended.found() == dict.fromkeys(NAMES, (Verdict.CLEAN, True))
    assert weights.is_symlink() is (disk == "weights elsewhere")
    assert sorted(path.name for path in weights.iterdir()) == sorted(NAMES)


def test_a_function_that_somebody_has_put_in_place_of_the_engines_is_called_as_it_is(
    ended: Ended, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[Path] = []

    def kept(f: Path, updates: Any = None) -> None:
        del updates
        called.append(f)

    monkeypatch.setattr(engine, "strip_optimizer", kept)
    ended.evaluate()
    assert called == [ended.trainer.last, ended.trainer.best]
    assert ended.found() == dict.fromkeys(NAMES, (Verdict.CLEAN, False))


def test_a_ledger_that_went_away_ends_no_run(ended: Ended) -> None:
    with ended.saver.stripping(ended.trainer, records=True):
        ended.layout.checkpoints.unlink()


def test_a_file_that_can_not_be_stripped_keeps_no_other_rank_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They wait at a barrier that the engine reaches behind it, and not behind an error."""
    ended = Ended(tmp_path)
    before = [Path(path).read_bytes() for path in (ended.trainer.last, ended.trainer.best)]
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    with files_limited_to(1000):
        ended.evaluate()
    assert [one["what"] for one in ended.told if one["kind"] == EventKind.STORAGE_FAULT][:1] == ["weights/last.pt"]
    assert [Path(path).read_bytes() for path in (ended.trainer.last, ended.trainer.best)] == before
