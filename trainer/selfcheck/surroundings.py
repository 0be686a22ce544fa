"""Versions, devices, clock, disk and memory: what a run of days stands on."""

from __future__ import annotations

import os
import platform
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import psutil
import torch
import ultralytics

from trainmaster.trainer.selfcheck import disks
from trainmaster.trainer.selfcheck.made import chosen, kind_of
from trainmaster.trainer.selfcheck.report import Row, Status
from trainmaster.trainer.selfcheck.runner import all_of

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
    yield Row(
        part=part,
        name="software",
        status=Status.TOLD,
        value=f"Python {platform.python_version()}, torch {torch.__version__}, Ultralytics {ultralytics.__version__}",
        detail=platform.platform(),
    )
    yield from _devices(part, device)
    yield _clock(part)
    yield from _disks(part, folder)
    yield _at_least(part, "free memory", psutil.virtual_memory().available / 2**30, MEMORY_FREE_MIN_GIB)


def _disks(part: str, folder: Path) -> Iterator[Row]:
    """Where a run would lie, one row a disk, and what selfcheck itself stands on."""
    seen: set[int] = set()
    for name, place in disks.inherited().items():
        there = next((one for one in (place, *place.parents) if one.is_dir()), None)
        if there is None or there.stat().st_dev in seen:
            continue
        seen.add(there.stat().st_dev)
        row = _at_least(part, f"free disk in {name}", shutil.disk_usage(there).free / 2**30, DISK_FREE_MIN_GIB)
        if os.access(there, os.W_OK):
            yield replace(row, detail=str(place))
        else:
            detail = f"{place} can't be written; a run needs project=FOLDER"
            yield replace(row, status=Status.TOLD, limit="", detail=detail)
    own_gib = shutil.disk_usage(folder).free / 2**30
    row = _at_least(part, "free disk for selfcheck's own files", own_gib, disks.OWN_GIB)
    yield replace(row, status=Status.TOLD, detail=f"{folder.parent}, which goes at the end; no run needs it")


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
    there = torch.cuda.device_count()
    asked = all_of(device)
    if unknown := [one for one in asked if not (one.isdecimal() and int(one) < there) and one != "-1"]:
        value = f"{', '.join(unknown)} was asked for, and torch sees {there}, from 0"
        yield Row(part=part, name="device", status=Status.FAILED, value=value)
    for index in [int(one) for one in asked if one.isdecimal() and int(one) < there] or range(there):
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
