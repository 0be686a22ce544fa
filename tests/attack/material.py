"""What every attack begins with: a small data set, a tiny model, and a real run that was stopped."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from tests.attack.living import CURVES, CURVES_SAY, PACED, process_environment, train, trained
from tests.support.tiny_model import write_tiny_model
from trainmaster.trainer.contract import MODULE_ARGV, EventKind, ExitCode, RunLayout

EPOCH = 3
"""In which the run is stopped."""


def make_paced_material(folder: Path) -> Path:
    """As :func:`make_material`, with fewer images, for trainings that are :data:`tests.attack.living.PACED`."""
    return make_material(folder, images=64, environment=PACED)


def make_material(folder: Path, *, images: int = 320, environment: Mapping[str, str] = MappingProxyType({})) -> Path:
    """``folder`` with ``digits/data.yaml``, ``tiny.yaml`` and, in ``runs/digits``, a run stopped in its third epoch,
    and its curves. A processor that is past it before it can be stopped gets more images."""
    for more in range(4):
        for made in ("runs", "digits"):
            shutil.rmtree(folder / made, ignore_errors=True)
        if _stopped_in(folder, images << more, environment) == EPOCH:
            _draw(folder)
            return folder
    raise AssertionError(f"no run of {images << more} images could be stopped in epoch {EPOCH}")


def _draw(folder: Path) -> None:
    with (folder / CURVES_SAY).open("w") as said:
        command = [sys.executable, *MODULE_ARGV, "plot", folder / "runs/digits", "--out", folder / CURVES, "--json"]
        subprocess.run(command, env=process_environment(folder), stdout=said, check=True)


def _stopped_in(folder: Path, images: int, environment: Mapping[str, str]) -> int:
    """The epoch in which the run was stopped."""
    from trainmaster.trainer.data.digits import make

    make(folder / "digits", images=images, imgsz=64, digits=images, progress=False)
    write_tiny_model(folder)
    process = train(folder, folder, environment=environment)
    try:
        asyncio.run(trained(folder / "runs" / "digits", EPOCH, 2))
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == ExitCode.STOPPED
    finally:
        process.kill()
        process.wait()
    lines = RunLayout(folder / "runs" / "digits").events.read_text(encoding="utf-8").splitlines()
    (stopped,) = (row for row in map(json.loads, lines) if row["kind"] == EventKind.RUN_STOPPED)
    return int(stopped["epoch"])
