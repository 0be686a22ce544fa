"""A run, its processes and its checkpoints as files, so that a killed bot finds them as it left them.

The trainer signs in and makes progress whenever somebody looks, so nothing here depends on time.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from trainmaster.bot.core.run.facts import Event, ProcessFact, ProcessIdentity, ProcessStatus, Relaunch, RunRecord
from trainmaster.bot.core.run.job import JobFact
from trainmaster.bot.core.run.launch_spec import Force, LaunchSpec
from trainmaster.bot.core.run.parsing import heartbeat_of
from trainmaster.bot.core.run.view import EpochView, RunView
from trainmaster.bot.drivers.trainer_levels import TrainerLevels
from trainmaster.trainer.contract import MODULE_ARGV, RunLayout, replace_json

HOST = "paper"
RUN = "run-1"
NAME = "digits"


class Faults:
    """What goes wrong, by name; an entry is used up by its first use unless it is in ``lasting``."""

    def __init__(self) -> None:
        self.next: dict[str, Exception] = {}
        self.lasting: dict[str, Exception] = {}

    def strike(self, name: str) -> None:
        fault = self.next.pop(name, None) or self.lasting.get(name)
        if fault is not None:
            raise fault


def no_point(_name: str) -> None:
    """The place where the crash tests pull the plug."""


class PaperDriver:
    """Processes in ``processes.json``; every launch and signal is a line of ``driver.log``, which nothing rewrites."""

    def __init__(self, folder: Path, point: Callable[[str], None] = no_point) -> None:
        self._folder = folder
        self._point = point
        self.faults = Faults()
        self.deaf: set[int] = set()
        self.immortal: set[int] = set()
        self.unknown: set[int] = set()
        self.silent = False
        """Whether a look at what is over gets no answer, as of a controller that is down."""
        self.mute = False
        """Whether none does."""
        self.job: JobFact | None = None
        """Of every process that lives, as if it were a job of a cluster."""
        self.own_pid = os.getpid()

    @property
    def processes(self) -> dict[str, dict[str, object]]:
        path = self._folder / "processes.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def log(self) -> list[str]:
        path = self._folder / "driver.log"
        return path.read_text().splitlines() if path.exists() else []

    def spawn(
        self, *, key: str = "", parent: int = 0, argv: tuple[str, ...] = (), bot: bool = False
    ) -> ProcessIdentity:
        table = self.processes
        pid = 4000 + len(table)
        table[str(pid)] = {
            "alive": True,
            "create_time": 1000.0 + pid,
            "key": key,
            "parent": parent,
            "argv": argv,
            "bot": bot,
        }
        self._save(table)
        return ProcessIdentity(pid=pid, create_time=1000.0 + pid, host=HOST, boot_id="boot")

    def kill(self, pid: int, *, signum: int | None = None) -> None:
        table = self.processes
        table[str(pid)].update(alive=False, signal=signum)
        self._save(table)

    def inspect(self, process: ProcessIdentity) -> ProcessFact:
        if process.pid in self.unknown or process.host != HOST:
            return ProcessFact(status=ProcessStatus.UNKNOWN, ts=0.0, detail="no answer")
        entry = self.processes.get(str(process.pid))
        over = entry is None or not entry["alive"]
        if self.mute or (self.silent and over):
            return ProcessFact(status=ProcessStatus.UNKNOWN, ts=0.0, detail="no answer", silent=True)
        if entry is None:
            return ProcessFact(status=ProcessStatus.GONE, ts=0.0)
        if entry["create_time"] != process.create_time:
            return ProcessFact(status=ProcessStatus.REPLACED, ts=0.0)
        if not entry["alive"]:
            return ProcessFact(
                status=ProcessStatus.GONE,
                ts=0.0,
                exit_code=entry.get("exit_code"),  # type: ignore[arg-type]
                signal=entry.get("signal"),  # type: ignore[arg-type]
            )
        return ProcessFact(status=ProcessStatus.ALIVE, ts=0.0, job=self.job)

    def signal(self, process: ProcessIdentity, signum: int, *, group: bool = False) -> bool:
        self.faults.strike("signal")
        members = self.survivors(process) if group else ()
        sent = [self._deliver(one, signum) for one in (process, *members)]
        return any(sent)

    def stop(self, process: ProcessIdentity, force: Force) -> bool:
        signum = signal.SIGKILL if force is Force.KILL else signal.SIGTERM
        return self.signal(process, signum, group=force is not Force.ASK)

    def find(self, key: str) -> ProcessIdentity | None:
        found = [pid for pid, entry in self.processes.items() if entry["key"] == key]
        return ProcessIdentity(pid=int(found[-1]), create_time=1000.0 + int(found[-1]), host=HOST) if found else None

    def launch(self, spec: LaunchSpec) -> ProcessIdentity:
        self.faults.strike("launch")
        for pid, entry in self.processes.items():
            if entry["key"] == spec.key and entry["alive"]:
                return ProcessIdentity(pid=int(pid), create_time=1000.0 + int(pid), host=HOST, boot_id="boot")
        self._point("before launch")
        process = self.spawn(key=spec.key, argv=spec.argv)
        ours = spec.argv[1 : 1 + len(MODULE_ARGV)] == MODULE_ARGV
        self._line(f"launch {spec.key} {' '.join(spec.argv[1 + len(MODULE_ARGV) :] if ours else spec.argv[3:])}")
        self._point("after launch")
        return process

    def survivors(self, process: ProcessIdentity) -> tuple[ProcessIdentity, ...]:
        return tuple(
            ProcessIdentity(pid=int(pid), create_time=1000.0 + int(pid), host=HOST, boot_id="boot")
            for pid, entry in self.processes.items()
            if entry["parent"] == process.pid and entry["alive"]
        )

    def _deliver(self, process: ProcessIdentity, signum: int) -> bool:
        if self.inspect(process).status is not ProcessStatus.ALIVE:
            return False
        self._line(f"signal {signal.Signals(signum).name} {process.pid}")
        self._point(f"after signal {signum}")
        ends = signum == signal.SIGKILL or process.pid not in self.deaf
        if ends and process.pid not in self.immortal:
            table = self.processes
            if table[str(process.pid)].get("saves") and signum == signal.SIGTERM:
                PaperRun(self._folder).stopped()
            table[str(process.pid)]["alive"] = False
            self._save(table)
        return True

    def _line(self, text: str) -> None:
        with (self._folder / "driver.log").open("a") as stream:
            stream.write(text + "\n")

    def _save(self, table: dict[str, dict[str, object]]) -> None:
        replace_json(self._folder / "processes.json", table)


class PaperRun:
    """The run directory: ``guard/run.json``, the checkpoints of its epochs, an archive beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.directory = folder / "runs" / NAME
        self.layout = RunLayout(self.directory)

    def create(self, process: ProcessIdentity, *, epochs_done: int = 4, level: str = "standard") -> None:
        self.layout.states.mkdir(parents=True)
        for epoch in range(1, epochs_done + 1):
            self.checkpoint_path(epoch).write_text(f"weights of epoch {epoch}")
        self.write_record(process, attempt=1, level=level, state="running")

    def checkpoint_path(self, epoch: int) -> Path:
        return self.layout.states / f"epoch{epoch:04d}.ultralytics.pt"

    def record(self) -> dict[str, object]:
        return json.loads(self.layout.run_json.read_text())

    def write_record(self, process: ProcessIdentity, *, attempt: int, level: str, state: str, **more: object) -> None:
        settings = TrainerLevels().settings(level, {})
        record = {
            "v": 1,
            "run": RUN,
            "attempt": attempt,
            **asdict(process),
            "python": "python3",
            "argv": [],
            "cwd": str(self.folder),
            "log": str(self.layout.train_log),
            "epochs": 10,
            "level": level,
            "layers": [
                {"layer": layer, "setting": name, "value": value, "source": f"level {level}"}
                for name, (layer, value, _) in settings.items()
            ],
            "state": state,
            "exit_code": None,
            "from_epoch": None,
            "batches": 20,
            **more,
        }
        replace_json(self.layout.run_json, record)

    def stopped(self) -> None:
        replace_json(self.layout.run_json, {**self.record(), "state": "stopped", "exit_code": 3})

    def files(self) -> dict[str, str]:
        """Every checkpoint there is, in the run or in its archive, by content."""
        found = {}
        for root in (self.layout.states, self.layout.archive):
            for path in sorted(root.rglob("*.pt")) if root.exists() else ():
                found[path.read_text()] = str(path.relative_to(self.folder))
        return found


class PaperRuns:
    """Reads the run; lets a trainer that was launched sign in, and one that runs do its batches."""

    def __init__(self, run: PaperRun, driver: PaperDriver) -> None:
        self.run = run
        self._driver = driver
        self.bad_epochs: dict[int, int] = {4: 3}
        self.epoch = 5
        self.silent = False
        self.dies_after_sign_in = False
        self.stuck = False
        self.streak = 0
        self.events: list[Event] = []
        self.watched_only = ""
        self.epochs_done: dict[int, int] = {}
        """By attempt: the epoch that it finished."""
        self.relaunch: Relaunch | None = None
        """Set: something else started the run, and this is how it goes on."""

    def all(self) -> list[RunView]:
        return [self._read()]

    def find(self, name_or_id: str) -> RunView | None:
        return self._read() if name_or_id in {RUN, NAME} else None

    async def refresh(self, run: str) -> RunView | None:
        if run != RUN:
            return None
        self._play()
        return self._read()

    def _play(self) -> None:
        record = self.run.record()
        for pid, entry in self._driver.processes.items():
            key = str(entry["key"])
            if key and entry["alive"] and record.get("key") != key and not self.silent and self.relaunch is None:
                process = ProcessIdentity(pid=int(pid), create_time=1000.0 + int(pid), host=HOST, boot_id="boot")
                words = dict(word.split("=") for word in entry["argv"] if "=" in word)  # type: ignore[attr-defined]
                self.run.write_record(
                    process,
                    attempt=int(str(record["attempt"])) + 1,
                    level=words.get("level", str(record["level"])),
                    state="running",
                    key=key,
                    from_epoch=int(words["from"]) + 1 if "from" in words else None,
                    batches=0,
                )
                if self.dies_after_sign_in:
                    self._driver.kill(int(pid))
                return
        if record["state"] == "running" and not self.stuck and int(str(record["batches"])) < 20:
            replace_json(self.run.layout.run_json, {**record, "batches": int(str(record["batches"])) + 1})

    def _read(self) -> RunView:
        raw = self.run.record()
        record = RunRecord.parse(raw)
        assert record is not None
        if self.relaunch is not None:
            unguarded: dict[str, Any] = {"python": None, "cwd": None, "level": "none (unguarded)", "layers": ()}
            record = replace(record, guarded=False, relaunch=self.relaunch, **unguarded)
        running = self.epoch if record.attempt == 1 else (record.from_epoch or self.epoch)
        running = max(running, 1 + max(self.epochs_done.values(), default=0))
        epochs = {
            (1, number): EpochView(
                attempt=1,
                epoch=number,
                epochs=10,
                batches=20,
                started_ts=0.0,
                finished_ts=100.0 * number,
                num_bad=self.bad_epochs.get(number, 0),
                num_skipped=self.bad_epochs.get(number, 0),
                losses={"box_loss": 1.0},
                seconds=3600.0,
            )
            for number in range(1, self.epoch)
        }
        epochs[record.attempt, running] = EpochView(attempt=record.attempt, epoch=running, epochs=10, batches=20)
        for attempt, number in self.epochs_done.items():
            epochs[attempt, number] = EpochView(
                attempt=attempt, epoch=number, finished_ts=1.0, losses={"box_loss": 1.0}
            )
        batch = int(str(raw["batches"]))
        beat = heartbeat_of(
            {
                "ts": 0.0,
                "attempt": record.attempt,
                "phase": "training" if batch else "first_batch",
                "epoch": running,
                "epochs": 10,
                "batch": batch,
                "batches": 20,
                "losses": {"box_loss": 1.0},
                "skipped": 0,
                "streak": self.streak,
                "epoch_elapsed_s": 0.001 * batch,
            }
        )
        notable = [*self.events]
        if record.state == "stopped":
            data = {"resumable": True}
            notable.append(Event(ts=0.0, run=RUN, attempt=record.attempt, seq=9, kind="run_stopped", data=data))
        process = record.process
        return RunView(
            directory=self.run.directory,
            name=NAME,
            ts=0.0,
            first_seen_ts=0.0,
            record=record,
            heartbeat=beat,
            process=self._driver.inspect(process) if process else None,
            epochs=MappingProxyType(epochs),
            notable=tuple(notable),
            watched_only=self.watched_only,
        )
