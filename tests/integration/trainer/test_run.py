"""The run directory, from the first file to the last word of every way to end."""

from __future__ import annotations

import errno
import json
import math
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import ultralytics
from ultralytics import YOLO

from tests.integration.trainer.runs import differences, events, layout_of
from trainmaster import GuardedDetectionTrainer
from trainmaster.trainer import guard
from trainmaster.trainer.__main__ import main
from trainmaster.trainer.checkpoints import files
from trainmaster.trainer.checkpoints.forensics import judge
from trainmaster.trainer.checkpoints.ledger import attestations
from trainmaster.trainer.checkpoints.state import load_state
from trainmaster.trainer.contract import (
    CHECKPOINT_KEYS,
    EVENT_KEYS,
    HEARTBEAT_KEYS,
    RUN_KEYS,
    SERIES_KEYS,
    ExitCode,
    Phase,
    RunLayout,
    RunRecordState,
    read_json,
)
from trainmaster.trainer.records import recorder
from trainmaster.trainer.records.run_directory import RunLock
from trainmaster.trainer.state import saver as saving

pytestmark = pytest.mark.training


def test_every_record_has_every_key(settings: Callable[..., dict[str, Any]]) -> None:
    trainer = GuardedDetectionTrainer(overrides=settings(epochs=1, owner="U0ANNA"))
    trainer.train()

    layout = layout_of(trainer)
    run, heartbeat = read_json(layout.run_json), read_json(layout.heartbeat)
    assert run is not None
    assert heartbeat is not None
    assert set(run) == set(RUN_KEYS)
    assert (run["ultralytics"], run["owner"]) == (ultralytics.__version__, "U0ANNA")
    assert run["recipe"] == {"device": "cpu", "batch": "4", "nbs": str(trainer.args.nbs)}
    assert set(heartbeat) == set(HEARTBEAT_KEYS)
    assert 0 < heartbeat["longest_batch_s"] < 60
    assert (run["state"], run["exit_code"], heartbeat["phase"]) == (RunRecordState.FINISHED, 0, Phase.ENDED)
    rows = events(layout)
    assert all(set(EVENT_KEYS) <= set(row) for row in rows)
    assert [row["seq"] for row in rows] == list(range(1, len(rows) + 1))
    assert [row["phase"] for row in rows if row["kind"] == "phase"] == [
        "first_batch",
        "training",
        "validating",
        "saving",
        "validating",
        "ended",
    ]
    for path, keys in ((layout.series, SERIES_KEYS), (layout.checkpoints, CHECKPOINT_KEYS)):
        for line in path.read_text(encoding="utf-8").splitlines():
            assert all(f'"{key}":' in line for key in keys)
    assert "Starting training for 1 epochs" in layout.train_log.read_text(encoding="utf-8")
    assert {row["source"] for row in run["layers"]} == {"user", "level standard"}
    assert main(["verify", str(layout.weights / "best.pt")]) == 0


def test_it_trains_from_the_public_api(settings: Callable[..., dict[str, Any]]) -> None:
    overrides = settings(epochs=1, level="strict")
    model = YOLO(overrides.pop("model"))
    model.train(trainer=GuardedDetectionTrainer, **overrides)

    layout = RunLayout(Path(overrides["project"]) / overrides["name"])
    sources = {row["setting"]: row["source"] for row in (read_json(layout.run_json) or {})["layers"]}
    assert sources["lr0"] == "user"
    assert sources["momentum"] == "level strict"
    assert model.metrics is not None


@pytest.mark.parametrize("moment", ["on_pretrain_routine_end", "on_val_start", "on_model_save"])
def test_a_stop_at_any_moment_leaves_a_run_that_goes_on(
    settings: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    trainer = GuardedDetectionTrainer(overrides=settings())
    asked: list[str] = []

    def stop(_: Any) -> None:
        if not asked:
            asked.append(moment)
            os.kill(os.getpid(), signal.SIGTERM)

    trainer.add_callback(moment, stop)
    with pytest.raises(SystemExit) as end:
        trainer.train()

    assert end.value.code == ExitCode.STOPPED
    layout = layout_of(trainer)
    (stopped,) = events(layout, "run_stopped")
    assert (read_json(layout.run_json) or {})["state"] == RunRecordState.STOPPED
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if moment == "on_pretrain_routine_end":
        assert stopped["resumable"] is False
        return
    assert stopped["resumable"] is True
    made: list[Any] = []

    class Recorded(GuardedDetectionTrainer):
        def train(self) -> Any:
            made.append(self)
            return super().train()

    monkeypatch.setitem(guard.TRAINERS, "detect", Recorded)
    assert main(["resume", str(layout.root)]) == ExitCode.FINISHED
    whole = GuardedDetectionTrainer(overrides=settings(name="whole"))
    whole.train()
    assert not differences(made[0], whole)
    assert [row.split(",")[0] for row in made[0].csv.read_text().splitlines()] == ["epoch", "1", "2"]


def test_a_batch_that_uses_up_the_time_of_the_run_counts_as_trained(settings: Callable[..., dict[str, Any]]) -> None:
    trainer = GuardedDetectionTrainer(overrides=settings(time=10))
    batches = iter(range(100))

    def let_time_pass(_: Any) -> None:
        if next(batches) == 8:
            trainer.train_time_start -= 11 * 3600

    trainer.add_callback("on_train_batch_start", let_time_pass)
    trainer.train()

    layout = layout_of(trainer)
    state = load_state(layout.states / "stop.pt")
    assert (state["epoch"], state["batch"], state["last_step"]) == (1, 3, 8)
    assert [row["batches_done"] for row in events(layout, "epoch_finished")] == [6, 3]


def test_a_crash_is_on_record(settings: Callable[..., dict[str, Any]]) -> None:
    trainer = GuardedDetectionTrainer(overrides=settings())
    trainer.add_callback("on_train_batch_end", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        trainer.train()

    layout = layout_of(trainer)
    (crashed,) = events(layout, "run_crashed")
    assert crashed["error"] == "ZeroDivisionError: division by zero"
    assert (crashed["epoch"], crashed["batch"]) == (1, 1)
    assert (read_json(layout.run_json) or {})["state"] == RunRecordState.CRASHED
    RunLock(layout, patience_s=0).release()


def test_a_second_trainer_is_refused_and_overwrites_nothing(
    settings: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    layout = RunLayout(tmp_path / "runs" / "run")
    lock = RunLock(layout)
    (layout.root / "args.yaml").write_text("untouched", encoding="utf-8")
    words = [f"{key}={value}" for key, value in settings(exist_ok=True).items()]

    assert main(["train", *words]) == ExitCode.BAD_ARGUMENTS

    assert "another trainer" in capsys.readouterr().err
    assert (layout.root / "args.yaml").read_text(encoding="utf-8") == "untouched"
    lock.release()


def test_a_full_disk_does_not_stop_training(
    settings: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    def full(path: Path, *_: Any, **__: Any) -> None:
        tried.append(path.name)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(saving, "save_state", full)
    monkeypatch.setattr(recorder, "replace_json", full)
    trainer = GuardedDetectionTrainer(overrides=settings(snapshot_s=3600))
    trainer.guard.saver._last_snapshot = -math.inf
    trainer.train()

    faults = events(layout_of(trainer), "storage_fault")
    states = ["snapshot.pt", "epoch0001.pt", "epoch0002.pt"]
    assert {fault["what"] for fault in faults} == {"run.json", "heartbeat.json", *(f"guard/states/{n}" for n in states)}
    assert [name for name in tried if name.endswith(".pt")] == states  # not a snapshot again after every batch
    assert trainer.best.exists()


class FullDisk:
    """Under ``trainer``, from epoch 2 of two on, an epoch of 25 s; ``room_after`` waits there is room again."""

    def __init__(self, trainer: Any, monkeypatch: pytest.MonkeyPatch, *, room_after: float) -> None:
        self.waits: list[float] = []
        self._whole = files.write_atomically
        self._trainer, self._room_after = trainer, room_after
        monkeypatch.setattr(files, "write_atomically", self._write)
        monkeypatch.setattr(trainer.guard.saver, "_sleep", self.waits.append)
        monkeypatch.setattr(trainer.guard.saver, "_monotonic", lambda: 25.0 * self._is_full + sum(self.waits))
        monkeypatch.setattr(trainer.guard.saver, "_last_saved", 0.0)

    @property
    def _is_full(self) -> bool:
        return bool(getattr(self._trainer, "epoch", 0) == 1)

    def _write(self, path: Path, *args: Any, **kwargs: Any) -> Any:
        if self._is_full and len(self.waits) < self._room_after:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self._whole(path, *args, **kwargs)


def test_a_disk_that_is_full_at_the_end_is_waited_for_as_long_as_training_again_would_take(
    settings: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = GuardedDetectionTrainer(overrides=settings())
    disk = FullDisk(trainer, monkeypatch, room_after=math.inf)
    with pytest.raises(OSError, match="No space left"):
        trainer.train()

    assert disk.waits == [10, 10, 5]
    layout = layout_of(trainer)
    assert (read_json(layout.run_json) or {})["state"] == RunRecordState.CRASHED
    assert judge(layout.weights / "last.pt", attestations=attestations(layout)).epoch == 1
    assert judge(layout.state_file(1), attestations=attestations(layout)).resumable


def test_a_last_epoch_is_saved_when_there_is_room_again(
    settings: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the trained weights would be gone with the process, and it would end as finished."""
    trainer = GuardedDetectionTrainer(overrides=settings())
    disk = FullDisk(trainer, monkeypatch, room_after=2)
    trainer.train()

    assert disk.waits == [saving.LAST_SAVE_RETRY_S] * 2
    texts = [event["text"] for event in events(layout_of(trainer), "notice")]
    assert "every epoch is trained and the last one is not saved: [Errno 28]" in texts[0]
    assert texts[1] == "the last epoch is saved"
    saved = torch.load(trainer.last, weights_only=False)["model"].state_dict()
    assert not [
        n for n, value in trainer.ema.ema.state_dict().items() if not torch.equal(value.half(), saved[n].half())
    ]


def test_an_earlier_run_of_the_same_name_is_put_aside(settings: Callable[..., dict[str, Any]]) -> None:
    first = GuardedDetectionTrainer(overrides=settings(epochs=1))
    first.train()
    weights = first.best.read_bytes()
    second = GuardedDetectionTrainer(overrides=settings(epochs=1, exist_ok=True, seed=3))
    second.train()

    layout = layout_of(second)
    assert layout.root == layout_of(first).root
    (aside,) = layout.archive.iterdir()
    assert (aside / "weights" / "best.pt").read_bytes() == weights
    assert (aside / "guard" / "events.jsonl").is_file()
    assert (read_json(layout.run_json) or {})["attempt"] == 1


def test_a_drill_is_taken_up_by_the_running_trainer(settings: Callable[..., dict[str, Any]]) -> None:
    trainer = GuardedDetectionTrainer(overrides=settings())
    asked: list[int] = []

    def ask(running: Any) -> None:
        if not asked:
            asked.append(main(["drill", str(running.save_dir), "fault=nan-gradient", "batches=2"]))

    trainer.add_callback("on_train_batch_end", ask)
    trainer.train()

    found = events(layout_of(trainer), "bad_batch")
    assert asked == [0]
    assert [(event["batch"], event["reason"], event["drill"]) for event in found] == [
        (2, "nonfinite_gradient", True),
        (3, "nonfinite_gradient", True),
    ]


@pytest.mark.parametrize("fault", ["nan-image", "nan-batchnorm", "inf-loss"])
def test_a_planned_drill_spoils_its_batch(settings: Callable[..., dict[str, Any]], fault: str) -> None:
    trainer = GuardedDetectionTrainer(overrides=settings(drill=f"{fault}@2:3"))
    trainer.train()
    (event,) = events(layout_of(trainer), "bad_batch")
    assert (event["epoch"], event["batch"], event["drill"]) == (2, 3, True)
    assert not [name for name, value in trainer.model.state_dict().items() if not torch.isfinite(value).all()]


def test_an_incident_can_be_replayed(
    settings: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = GuardedDetectionTrainer(overrides=settings(drill="nan-image@2:3"))
    trainer.train()
    layout = layout_of(trainer)
    (event,) = events(layout, "bad_batch")
    incident = read_json(layout.incidents / event["incident"] / "incident.json")
    assert incident is not None
    assert (incident["cause"], incident["bad_images"], incident["drill"]) == ("data", [0], True)
    assert incident["first_bad_module"].startswith("model.0.conv")
    assert len(incident["copied"]) >= 1
    assert set(incident["rng"]) >= {"python", "numpy", "torch"}
    assert (incident["scene"], incident["precision"]) == (event["incident"], "float32")
    capsys.readouterr()

    assert main(["replay", str(layout.root), event["incident"], "--json"]) == 0

    found = json.loads(capsys.readouterr().out)
    assert (found["bad_again"], found["loss"], found["images_finite"]) == (True, "nan", False)
    assert found["of_the_moment"] is True
    assert main(["replay", str(layout.root), "77"]) == ExitCode.BAD_ARGUMENTS


def test_a_replay_meets_the_weights_of_the_moment_to_the_bit(
    settings: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    judged = iter(range(12))
    monkeypatch.setattr("trainmaster.trainer.batches.spikes.SpikeWatch.is_spike", lambda *_: next(judged) in {9, 10})
    trainer = GuardedDetectionTrainer(overrides=settings(nbs=12, warmup_epochs=0))
    trainer.train()
    layout = layout_of(trainer)
    spikes = events(layout, "bad_batch")
    assert [spike["batch"] for spike in spikes] == [4, 5]
    assert [len(list((layout.incidents / spike["incident"]).glob("scene.pt"))) for spike in spikes] == [1, 0]
    capsys.readouterr()

    for spike in spikes:
        assert main(["replay", str(layout.root), spike["incident"], "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert (found["of_the_moment"], found["same_loss"], found["bad_again"]) == (True, True, True)
