"""A NaN on one of two devices: both ranks skip the batch, it is told once, and the run goes on to its end."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import torch

from trainmaster.trainer.contract import ExitCode, RunLayout
from trainmaster.trainer.selfcheck.made import BATCH, events, kind_of, settings
from trainmaster.trainer.selfcheck.report import Row, Status, last_words
from trainmaster.trainer.selfcheck.resume import TRAIN
from trainmaster.trainer.selfcheck.runner import all_of
from trainmaster.trainer.selfcheck.spoiled import PLAN_VARIABLE, Spoil, SpoilPlan

SPOILT: Final = 1
TIMEOUT_S: Final = 100.0


def rows(part: str, folder: Path, device: str | None) -> Iterator[Row]:
    """One row: two devices under Ultralytics' own launcher, or why that is not possible here."""
    name = "NaN on one of two devices"
    asked = all_of(device)
    if kind_of(device) != "cuda" or torch.cuda.device_count() < 2:
        yield Row(part=part, name=name, status=Status.SKIPPED, value="there is one device only")
        return
    if len(asked) == 1:
        hint = "device=0,1, or none, proves it on two"
        yield Row(part=part, name=name, status=Status.SKIPPED, value=f"device={device} is one only", detail=hint)
        return
    import json  # noqa: PLC0415 - here only

    devices = ",".join(asked[:2] or ["0", "1"])
    # No bits are compared, and torch takes a second to prepare for that.
    overrides = settings(folder, devices, name="two", batch=2 * BATCH, nbs=2 * BATCH, deterministic=False)
    plan = SpoilPlan(fault=Spoil.NAN_IMAGE, batch=SPOILT, rank=1)
    done = subprocess.run(
        [sys.executable, "-P", "-c", TRAIN, json.dumps(overrides)],
        env={**os.environ, PLAN_VARIABLE: plan.exported()},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
    )  # fmt: skip
    told = [(row["batch"], row["action"]) for row in events(folder / "runs" / "two", "bad_batch")]
    good = done.returncode == ExitCode.FINISHED and told == [(SPOILT + 1, "skipped")]
    saved = (RunLayout(folder / "runs" / "two").weights / "last.pt").is_file()
    yield Row(
        part=part,
        name=name,
        status=Status.OK if good and saved else Status.FAILED,
        value=f"exit code {done.returncode}, told {told}",
        limit=f"0, told {[(SPOILT + 1, 'skipped')]}",
        detail="" if good else last_words(done.stderr.splitlines()),
        device=devices,
    )
