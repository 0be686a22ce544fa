"""A trainer process without torch: the contract of a run directory, signals included, and nothing is trained.

``python light_trainer.py RUN_DIR [from=N] [level=L]`` signs in and beats like the guarded trainer. Files beside the run
directory change its ways: ``deaf`` ignores SIGTERM, ``mute`` ends before signing in, ``slow`` (seconds) waits first,
``short`` (batches) ends each epoch after so many, ``tell`` writes its environment to ``environ``, ``greedy`` (MiB)
takes so much memory once, ``heavy`` (seconds) saves so long and ends at once when it is asked twice, ``skew`` (seconds)
is what its host's clock is ahead.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil

from trainmaster.trainer.contract import (
    EventKind,
    ExitCode,
    Phase,
    RunLayout,
    RunRecordState,
    boot_id,
    encode_record,
    read_json,
    replace_json,
)
from trainmaster.trainer.jobs import launch_environment
from trainmaster.trainer.jobs.environment import job_of, launch_key
from trainmaster.trainer.jobs.ownership import signed_in_before
from trainmaster.trainer.jobs.time_limit import with_limit
from trainmaster.trainer.records.run_directory import RunInUseError, RunLock

BATCH_S, BATCHES = 0.02, 100_000


class LightTrainer:
    def __init__(self, directory: Path, *, from_epoch: int | None, level: str | None) -> None:
        self.layout = RunLayout(directory)
        before = read_json(self.layout.run_json) or {}
        resumed = from_epoch is not None or before.get("state") != RunRecordState.RUNNING
        own = psutil.Process()
        self.record: dict[str, Any] = {
            **before,
            "attempt": before["attempt"] + 1,
            "pid": own.pid,
            "create_time": own.create_time(),
            "boot_id": boot_id(),
            "host": os.uname().nodename,
            "started_ts": time.time(),
            "log": str(self.layout.train_log),
            "state": RunRecordState.RUNNING,
            "exit_code": None,
            "level": level or before["level"],
            "from_epoch": (from_epoch or self.newest() or 0) + 1 if resumed else None,
            "job": asdict(job) if (job := with_limit(job_of(os.environ), os.environ)) else None,
            "launch_key": launch_key(os.environ),
        }
        self.seq = 0
        self.stopping = False

    def newest(self) -> int | None:
        epochs = [int(path.stem[-4:]) for path in self.layout.states.glob("epoch[0-9][0-9][0-9][0-9].pt")]
        return max(epochs, default=None)

    def event(self, kind: EventKind, **values: Any) -> None:
        self.seq += 1
        head = {"v": 1, "ts": time.time(), "run": self.record["run"], "attempt": self.record["attempt"]}
        line = encode_record({**head, "seq": self.seq, "kind": kind, **values}) + "\n"
        with self.layout.events.open("a", encoding="utf-8") as stream:
            stream.write(line)

    def sign_in(self, **changes: Any) -> None:
        self.record.update(changes, updated_ts=time.time())
        replace_json(self.layout.run_json, self.record)

    def beat(self, epoch: int, batch: int) -> None:
        replace_json(
            self.layout.heartbeat,
            {
                "v": 1,
                "ts": time.time(),
                "run": self.record["run"],
                "attempt": self.record["attempt"],
                "pid": os.getpid(),
                "phase": Phase.TRAINING,
                "phase_since_ts": time.time(),
                "epoch": epoch,
                "epochs": self.record["epochs"],
                "batch": batch,
                "batches": BATCHES,
                "losses": {"box": 1.0},
                "lr": 0.01,
                "grad_norm": 1.0,
                "skipped": 0,
                "skipped_epoch": 0,
                "clipped": 0,
                "clipped_epoch": 0,
                "streak": 0,
                "images_per_s": 1.0,
                "epoch_elapsed_s": batch * BATCH_S,
                "memory_gib": None,
            },
        )

    def stop(self, signum: int, frame: object) -> None:
        if self.stopping and (self.layout.root.parent / "heavy").exists():
            os._exit(ExitCode.STOPPED)
        self.stopping = True

    def save(self) -> None:
        way = self.layout.root.parent / "heavy"
        until_s = time.monotonic() + (float(way.read_text()) if way.exists() else 0.0)
        while time.monotonic() < until_s:
            time.sleep(BATCH_S)

    def short(self) -> int | None:
        way = self.layout.root.parent / "short"
        return int(way.read_text()) if way.exists() else None

    def taste(self) -> bytes:
        way = self.layout.root.parent / "greedy"
        if not way.exists():
            return b""
        taken = b"\1" * (int(way.read_text()) << 20)
        way.unlink()
        return taken

    def end_epoch(self, epoch: int, batches: int) -> None:
        counts = dict.fromkeys(("skipped", "nonfinite", "clipped", "val_nonfinite"), 0)
        told = {"losses": {"box": 1.0}, "metrics": {}, "fitness": 0.5, "validated": True, "lr": 0.01, "unknown": []}
        self.event(
            EventKind.EPOCH_FINISHED,
            **counts,
            **told,
            epoch=epoch,
            epochs=self.record["epochs"],
            batches=batches,
            batches_done=batches,
            seconds=batches * BATCH_S,
        )

    def train(self) -> int:
        epoch = self.record["from_epoch"] or 1
        self.sign_in()
        if self.record["job"]:
            launch_environment.remember(self.layout, launch_environment.started_with())
        started = {name: self.record[name] for name in ("pid", "create_time", "host", "level", "epochs", "from_epoch")}
        self.event(EventKind.RUN_STARTED, **started, task="detect", model="tiny", settings={})
        self.event(EventKind.EPOCH_STARTED, epoch=epoch, epochs=self.record["epochs"], batches=BATCHES)
        batch, taken = 0, b""
        while not self.stopping:
            batch += 1
            taken = taken or self.taste()
            self.beat(epoch, batch)
            time.sleep(BATCH_S)
            if (short := self.short()) is not None and batch >= short:
                self.end_epoch(epoch, batch)
                epoch, batch = epoch + 1, 0
                self.event(EventKind.EPOCH_STARTED, epoch=epoch, epochs=self.record["epochs"], batches=BATCHES)
        self.event(EventKind.STOP_REQUESTED, signal=15, epoch=epoch, batch=batch)
        self.save()
        self.event(EventKind.RUN_STOPPED, epoch=epoch, batch=batch, resumable=True, state_file="guard/states/stop.pt")
        self.sign_in(state=RunRecordState.STOPPED, exit_code=ExitCode.STOPPED)
        return ExitCode.STOPPED


def main() -> int:
    given = dict(word.split("=", 1) for word in sys.argv[2:])
    directory = Path(sys.argv[1])
    ways = directory.parent
    if (ways / "mute").exists():
        return 1
    if (ways / "skew").exists():
        ahead_s, host_clock = float((ways / "skew").read_text()), time.time
        time.time = lambda: host_clock() + ahead_s
    if (ways / "tell").exists():
        (ways / "environ").write_bytes(Path("/proc/self/environ").read_bytes())
    slow = ways / "slow"
    if slow.exists():
        time.sleep(float(slow.read_text()))
    layout = RunLayout(directory)
    try:
        lock = RunLock(layout)
    except RunInUseError as error:
        print(error)
        return ExitCode.BAD_ARGUMENTS
    from_epoch = int(given["from"]) if "from" in given and not signed_in_before(layout, os.environ) else None
    trainer = LightTrainer(directory, from_epoch=from_epoch, level=given.get("level"))
    signal.signal(signal.SIGTERM, signal.SIG_IGN if (ways / "deaf").exists() else trainer.stop)
    try:
        return trainer.train()
    finally:
        lock.release()


if __name__ == "__main__":
    raise SystemExit(main())
