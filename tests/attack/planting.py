"""What is put before the bot, and what it keeps, seen from outside."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil

from tests.attack.living import LivingBot, light_run
from trainmaster.trainer.contract import RunLayout, RunRecordState, read_json, replace_json


def plant_dead_run(runs: Path, material: Path, name: str) -> None:
    """A run whose trainer has just died without a word."""
    directory = light_run(runs.parent, material, name)
    gone = subprocess.Popen(["sleep", "60"])
    created = psutil.Process(gone.pid).create_time()
    gone.kill()
    gone.wait()
    layout = RunLayout(directory)
    record = read_json(layout.run_json) or {}
    dead = {"state": RunRecordState.RUNNING, "pid": gone.pid, "create_time": created, "exit_code": None}
    replace_json(layout.run_json, {**record, **dead, "host": os.uname().nodename, "updated_ts": time.time()})


def rows(bot: LivingBot, sql: str, *values: object) -> list[Any]:
    path = bot.state / "trainmaster.sqlite3"
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        try:
            return database.execute(sql, values).fetchall()
        except sqlite3.OperationalError:
            return []
