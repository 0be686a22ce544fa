"""A real bot process and a real training beside it, both of which can be killed; and what is left on disk."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import psutil

from tests.attack.strict_slack import StrictSlack
from tests.attack.strict_web import CHANNEL
from tests.support.leftovers import MARK
from trainmaster.trainer.contract import MODULE_ARGV, RunLayout, read_json, replace_json

ROOT = Path(__file__).resolve().parents[2]
LIGHT_TRAINER = Path(__file__).with_name("light_trainer.py")
CURVES = "curves.png"
CURVES_SAY = "curves.json"
"""In the material: of its run, and what the verb that drew them printed."""
BATCH_S = 0.2
PACED = {
    "PYTHONPATH": os.pathsep.join([str(Path(__file__).with_name("paced")), str(ROOT)]),
    "BATCH_S": str(BATCH_S),
}
"""Environment of a training, and of a bot that starts one, whose batches last while they compute little."""
SIGNED_IN = "Trainmaster watches"


class LivingBot:
    """``trainmaster run`` in a process of its own, started as often as it is killed. ``extra`` are settings."""

    def __init__(self, folder: Path, slack: StrictSlack, **extra: str) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.runs = folder / "runs"
        self.lives = 0
        self._output = folder / "bot.out"
        self._process: asyncio.subprocess.Process | None = None
        self._environ = {
            "SLACK_BOT_TOKEN": slack.bot_token,
            "SLACK_APP_TOKEN": slack.app_token,
            "SLACK_API_URL": slack.api_url,
            "ALERT_CHANNEL": CHANNEL,
            "ONCALL_USERS": "U0ANN,U0BOB,U0CYD",
            "RUNS_DIR": str(self.runs),
            "STATE_DIR": str(self.state),
            "CHECK_INTERVAL_S": "1",
            **extra,
        }
        self.runs.mkdir(parents=True, exist_ok=True)

    async def begin(self) -> None:
        """The process is there; it may not be signed in yet."""
        self.lives += 1
        with self._output.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "trainmaster.bot", "run"),
                cwd=self.folder,
                env=process_environment(self.folder, **self._environ),
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    async def start(self, timeout_s: float = 60.0) -> None:
        """It watches and listens."""
        before = self.output().count(SIGNED_IN)
        await self.begin()
        async with asyncio.timeout(timeout_s):
            while self.output().count(SIGNED_IN) == before:
                if self._process is None or self._process.returncode is not None:
                    raise AssertionError(self.output()[-3000:])
                await asyncio.sleep(0.02)

    async def kill(self) -> None:
        """kill -9."""
        await self._end(signal.SIGKILL)

    async def over(self) -> None:
        """The process that lives has ended, by whatever."""
        if self._process is not None:
            await self._process.wait()

    async def stop(self) -> None:
        """As a service manager does."""
        await self._end(signal.SIGTERM)

    async def _end(self, signum: int) -> None:
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.send_signal(signum)
            await process.wait()

    @property
    def pid(self) -> int:
        """Of the process that lives; 0 when none does."""
        return self._process.pid if self._process is not None else 0

    def output(self) -> str:
        """All that its lives have printed."""
        return self._output.read_text(errors="replace") if self._output.exists() else ""

    def operations(self) -> list[dict[str, Any]]:
        """Rows of its journal, read from outside."""
        path = self.state / "trainmaster.sqlite3"
        if not path.exists():
            return []
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            try:
                rows = database.execute("SELECT body, state FROM operations ORDER BY created_ts").fetchall()
                return [{**json.loads(body), "state": state} for body, state in rows]
            except sqlite3.OperationalError:
                return []

    def audit(self) -> list[dict[str, Any]]:
        """Entries of its audit log, read from outside."""
        path = self.state / "audit.jsonl"
        return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


def process_environment(folder: Path, **extra: str) -> dict[str, str]:
    """Of a bot or a trainer: this checkout first, no setting or token of the person who runs the tests."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR", MARK) if name in os.environ}
    settings = folder / "ultralytics"
    settings.mkdir(exist_ok=True)
    return {
        **kept,
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        "YOLO_CONFIG_DIR": str(settings),
        "OMP_NUM_THREADS": "1",
        **extra,
    }


def train(
    folder: Path,
    material: Path,
    *more: str,
    name: str = "digits",
    epochs: int = 400,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> subprocess.Popen[bytes]:
    """A real small training in ``folder/runs/name``, in a session of its own, as ``nohup`` would start it. Unless bits
    are compared, torch doesn't take the second that it needs to prepare for that."""
    words = [
        *(f"model={material / 'tiny.yaml'}", f"data={material / 'digits' / 'data.yaml'}", f"epochs={epochs}"),
        *(
            "imgsz=64",
            "batch=2",
            "nbs=2",
            "device=cpu",
            "amp=False",
            "plots=False",
            "workers=0",
            "lr0=0.01",
            "level=standard",
        ),
        *(f"project={folder / 'runs'}", f"name={name}", f"deterministic={'exact=true' in more}", *more),
    ]
    (folder / "runs").mkdir(exist_ok=True)
    with (folder / f"{name}.out").open("ab") as output:
        return subprocess.Popen(
            [sys.executable, *MODULE_ARGV, "train", *words],
            cwd=folder,
            env=process_environment(folder, **environment),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


async def trained(directory: Path, epoch: int, batch: int = 1, *, attempt: int = 1, timeout_s: float = 240.0) -> None:
    """The training in ``directory`` has come that far."""
    layout = RunLayout(directory)
    async with asyncio.timeout(timeout_s):
        while True:
            beat = read_json(layout.heartbeat) or {}
            at = (beat.get("attempt") or 0, beat.get("epoch") or 0, beat.get("batch") or 0)
            if at >= (attempt, epoch, batch):
                return
            await asyncio.sleep(0.05)


def light_run(folder: Path, material: Path, name: str = "digits") -> Path:
    """A copy of the material's run whose trainer is the light one; nothing is at work on it yet. Whoever asks for its
    curves gets those of the material, as late as they would be drawn: two processor seconds each is too much."""
    directory = folder / "runs" / name
    shutil.copytree(material / "runs" / "digits", directory)
    light = folder / "python"
    light.write_text(
        f"""#!/bin/sh
case "${{*}} " in
"{" ".join(MODULE_ARGV)} resume "*) shift {len(MODULE_ARGV) + 1}; exec {sys.executable} {LIGHT_TRAINER} "$@";;
"{" ".join(MODULE_ARGV)} plot "*.png" --json ") shift {len(MODULE_ARGV)}; sleep 1; cp {material / CURVES} "$4"
exec cat {material / CURVES_SAY};;
esac
exec {sys.executable} "$@"
"""
    )
    light.chmod(0o755)
    layout = RunLayout(directory)
    record = read_json(layout.run_json) or {}
    changed = {"run": f"{name}-0001", "python": str(light), "cwd": str(folder), "log": str(layout.train_log)}
    replace_json(layout.run_json, {**record, **changed})
    return directory


def light_train(directory: Path) -> subprocess.Popen[bytes]:
    """The light trainer is at work on ``directory``, in its next attempt."""
    folder = directory.parent.parent
    return subprocess.Popen(
        [sys.executable, str(LIGHT_TRAINER), str(directory)],
        cwd=folder,
        env=process_environment(folder),
        start_new_session=True,
    )


def trainers(folder: Path) -> list[psutil.Process]:
    """Living trainer processes of the runs in ``folder``, without their workers; the torch-free commands are none."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            line = process.cmdline()
            verb = line[line.index(MODULE_ARGV[-1]) + 1] if MODULE_ARGV[-1] in line[:-1] else ""
            works = verb in {"train", "resume"} or str(LIGHT_TRAINER) in line
            here = any(str(folder) in word for word in line)
            if works and here and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    pids = {process.pid for process in found}
    return [process for process in found if _parent(process) not in pids]


def _parent(process: psutil.Process) -> int:
    try:
        return process.ppid()
    except psutil.Error:
        return 0


def end_trainers(folder: Path) -> None:
    """None is left."""
    for process in trainers(folder):
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            os.killpg(os.getpgid(process.pid), signal.SIGKILL)


_GROWING = {"events.jsonl", "series.jsonl", "checkpoints.jsonl", "train.log", "results.csv", "offenders.json"}
_REPLACED = {"run.json", "heartbeat.json", "lock", "stacks.txt"}
"""Rewritten by the trainer all the time, so that no older content of them is kept."""


@dataclass(frozen=True)
class Inventory:
    """Every file of a run and of its archive by its digest; of those that grow, their whole content."""

    kept: dict[str, str]
    grown: dict[str, list[bytes]]

    @classmethod
    def of(cls, directory: Path) -> Inventory:
        kept: dict[str, str] = {}
        grown: dict[str, list[bytes]] = {}
        for root in (directory, RunLayout(directory).archive):
            for path in sorted(root.rglob("*")) if root.is_dir() else ():
                if not path.is_file() or path.name in _REPLACED or path.name.startswith("."):
                    continue
                content = path.read_bytes()
                if path.name in _GROWING:
                    grown.setdefault(path.name, []).append(content)
                else:
                    kept[hashlib.sha256(content).hexdigest()] = str(path)
        return cls(kept, grown)

    def lost_in(self, later: Inventory) -> list[str]:
        """What was there and is nowhere any more, be it in the run or in its archive."""
        lost = [path for digest, path in self.kept.items() if digest not in later.kept]
        for name, contents in self.grown.items():
            others = later.grown.get(name, [])
            gone = (content for content in contents if not any(other.startswith(content) for other in others))
            lost += [f"{name}: {len(content)} bytes" for content in gone]
        return lost
