"""Versions, devices, clock, disk and memory: what a run of days stands on."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psutil
import torch
import ultralytics

from trainmaster.trainer.selfcheck.made import chosen, kind_of
from trainmaster.trainer.selfcheck.report import Row, Status

DISK_FREE_MIN_GIB: Final = 5.0
"""A few full states of a large model (each about six times its weights) and Ultralytics' own files."""
MEMORY_FREE_MIN_GIB: Final = 2.0
"""What loader workers and the scan of a data set take at least."""
GPU_FREE_MIN_GIB: Final = 2.0
"""Below this somebody else is at work on the device, or a dead process still holds it."""
CLOCK_WATCHED_S: Final = 1.0
CLOCK_DRIFT_MAX_S: Final = 0.05
"""Wall clock against steady clock over a second: more is a clock that is being set right now."""
EARLIEST_TS: Final = 1.75e9
"""A wall clock before 2025-06 was never set."""


def rows(part: str, folder: Path, device: str | None) -> Iterator[Row]:
    """Rows of facts, and of what must be there."""
    del folder
    yield Row(
        part=part,
        name="software",
        status=Status.TOLD,
        value=f"Python {platform.python_version()}, torch {torch.__version__}, Ultralytics {ultralytics.__version__}",
        detail=platform.platform(),
    )
    yield from _devices(part, device)
    yield _clock(part)
    here = Path.cwd() if os.access(Path.cwd(), os.W_OK) else Path(tempfile.gettempdir())
    yield _at_least(part, "free disk here", shutil.disk_usage(here).free / 2**30, DISK_FREE_MIN_GIB)
    yield _at_least(part, "free memory", psutil.virtual_memory().available / 2**30, MEMORY_FREE_MIN_GIB)


def _devices(part: str, device: str | None) -> Iterator[Row]:
    kind = kind_of(device)
    if kind != "cuda":
        yield Row(part=part, name="device", status=Status.TOLD, value=chosen(device), detail=platform.processor())
        return
    if not torch.cuda.is_available():
        yield Row(
            part=part,
            name="device",
            status=Status.FAILED,
            value=f"{chosen(device)} was asked for, and torch sees no GPU",
            detail=f"torch {torch.__version__} built for CUDA {torch.version.cuda}, ROCm {torch.version.hip}",
        )
        return
    backend = f"ROCm {torch.version.hip}" if torch.version.hip else f"CUDA {torch.version.cuda}"
    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        free, total = torch.cuda.mem_get_info(index)
        yield Row(
            part=part,
            name=f"device {index}",
            status=Status.OK if free / 2**30 >= GPU_FREE_MIN_GIB else Status.FAILED,
            value=f"{facts.name}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free",
            limit=f"at least {GPU_FREE_MIN_GIB:g} GiB",
            detail=f"{backend}, capability {facts.major}.{facts.minor}",
        )


def _clock(part: str) -> Row:
    wall, steady = time.time(), time.monotonic()
    time.sleep(CLOCK_WATCHED_S)
    drift_s = (time.time() - wall) - (time.monotonic() - steady)
    good = abs(drift_s) <= CLOCK_DRIFT_MAX_S and wall >= EARLIEST_TS
    return Row(
        part=part,
        name="clock",
        status=Status.OK if good else Status.FAILED,
        value=f"{time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime(wall))}, {drift_s * 1e3:+.1f} ms in a second",
        limit=f"{CLOCK_DRIFT_MAX_S * 1e3:g} ms",
    )


def _at_least(part: str, name: str, found_gib: float, limit_gib: float) -> Row:
    return Row(
        part=part,
        name=name,
        status=Status.OK if found_gib >= limit_gib else Status.FAILED,
        value=f"{found_gib:.1f} GiB",
        limit=f"at least {limit_gib:g} GiB",
    )
