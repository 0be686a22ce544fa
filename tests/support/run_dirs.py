"""Run directories as a guarded trainer writes them, for tests of the supervisor."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import psutil

from trainmaster.trainer.contract import (
    EventKind,
    Phase,
    RunLayout,
    RunRecordState,
    boot_id,
    encode_number,
    encode_record,
    replace_json,
)

START_TS = 1_760_000_000.0


class WrittenRun:
    """A run directory under ``root``. Times are seconds after :data:`START_TS`."""

    def __init__(self, root: Path, name: str = "digits", *, epochs: int = 4, batches: int = 100) -> None:
        self.layout = RunLayout(root / name)
        self.layout.guard.mkdir(parents=True)
        self.run = f"{name}-0001"
        self.epochs = epochs
        self.batches = batches
        self.attempt = 1
        self.seq = 0
        self.record()

    def record(self, *, state: RunRecordState = RunRecordState.RUNNING, pid: int | None = None, **extra: Any) -> None:
        process = psutil.Process(pid or os.getpid()) if pid is None or psutil.pid_exists(pid) else None
        replace_json(
            self.layout.run_json,
            {
                "v": 1,
                "run": self.run,
                "attempt": self.attempt,
                "pid": pid or os.getpid(),
                "create_time": process.create_time() if process else START_TS,
                "host": os.uname().nodename,
                "boot_id": boot_id(),
                "python": "python3",
                "argv": ["python3", "-m", "trainmaster.trainer", "train"],
                "cwd": str(self.layout.root.parent),
                "log": str(self.layout.train_log),
                "started_ts": START_TS,
                "updated_ts": START_TS,
                "task": "detect",
                "model": "yolo11n.yaml",
                "data": "data.yaml",
                "epochs": self.epochs,
                "level": "standard",
                "layers": [
                    {"layer": 1, "name": "clipping", "setting": "max_norm", "value": "10.0", "source": "level"},
                    {"layer": 3, "name": "rate", "setting": "lr0", "value": "0.0005", "source": "user"},
                ],
                "state": state.value,
                "exit_code": None,
                "from_epoch": None,
                **extra,
            },
        )

    def beat(self, after_s: float, *, epoch: int, batch: int, phase: Phase = Phase.TRAINING, **extra: Any) -> None:
        replace_json(
            self.layout.heartbeat,
            {
                "v": 1,
                "ts": START_TS + after_s,
                "run": self.run,
                "attempt": self.attempt,
                "pid": os.getpid(),
                "phase": phase.value,
                "phase_since_ts": START_TS + after_s,
                "epoch": epoch,
                "epochs": self.epochs,
                "batch": batch,
                "batches": self.batches,
                "losses": {"box_loss": 1.5, "cls_loss": 2.25},
                "lr": 0.0005,
                "grad_norm": 3.0,
                "skipped": 0,
                "skipped_epoch": 0,
                "clipped": 0,
                "clipped_epoch": 0,
                "streak": 0,
                "images_per_s": 40.0,
                "epoch_elapsed_s": float(batch),
                "memory_gib": 1.0,
                **extra,
            },
        )

    def event(self, kind: EventKind | str, after_s: float, **data: Any) -> None:
        self.seq += 1
        record = {
            "v": 1,
            "ts": START_TS + after_s,
            "run": self.run,
            "attempt": self.attempt,
            "seq": self.seq,
            "kind": str(kind),
            **data,
        }
        with self.layout.events.open("a", encoding="utf-8", errors="replace") as stream:
            stream.write(encode_record(record) + "\n")

    def series(self, *, epoch: int, batch: int, loss: float, after_s: float | None = None, **extra: Any) -> None:
        row = {
            "ts": None if after_s is None else START_TS + after_s,
            "attempt": self.attempt,
            "epoch": epoch,
            "batch": batch,
            "losses": {"box_loss": encode_number(loss)},
            **extra,
        }
        with self.layout.series.open("a", encoding="utf-8", errors="replace") as stream:
            stream.write(encode_record(row) + "\n")

    def start_epoch(self, epoch: int, after_s: float) -> None:
        self.event(EventKind.EPOCH_STARTED, after_s, epoch=epoch, epochs=self.epochs, batches=self.batches)

    def bad_batch(self, epoch: int, batch: int, after_s: float, *, action: str = "skipped", **extra: Any) -> None:
        fields: dict[str, Any] = {
            "epoch": epoch,
            "batch": batch,
            "batches": self.batches,
            "reason": "nonfinite_loss",
            "action": action,
            "losses": {"box_loss": "nan", "cls_loss": 2.0},
            "grad_norm": None,
            "lr": 0.0005,
            "images": ["img_0001.png", "img_0002.png"],
            "skipped_epoch": 1,
            "skipped_total": 1,
            "streak": 1,
            "incident": "0001",
        }
        self.event(EventKind.BAD_BATCH, after_s, **{**fields, **extra})

    def finish_epoch(self, epoch: int, after_s: float, *, loss: float = 3.0, **extra: Any) -> None:
        fields: dict[str, Any] = {
            "epoch": epoch,
            "epochs": self.epochs,
            "batches": self.batches,
            "batches_done": self.batches,
            "skipped": 0,
            "nonfinite": 0,
            "clipped": 0,
            "losses": {"box_loss": encode_number(loss)},
            "metrics": {"metrics/mAP50(B)": 0.5, "metrics/mAP50-95(B)": 0.25},
            "fitness": 0.3,
            "validated": True,
            "seconds": 100.0,
            "lr": 0.0005,
        }
        self.event(EventKind.EPOCH_FINISHED, after_s, **{**fields, **extra})

    def save_checkpoint(self, epoch: int, after_s: float, *, verdict: str = "clean", **extra: Any) -> None:
        fields: dict[str, Any] = {
            "epoch": epoch,
            "file": f"guard/states/epoch{epoch:04d}.pt",
            "sha256": "0" * 64,
            "bytes": 1000,
            "verdict": verdict,
            "reasons": [] if verdict == "clean" else ["model: NaN in 3 tensors"],
            "fitness": 0.3,
            "resumable": verdict == "clean",
        }
        self.event(EventKind.CHECKPOINT_SAVED, after_s, **{**fields, **extra})
