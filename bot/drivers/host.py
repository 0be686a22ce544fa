"""This host's disks, memory and GPUs, each asked with a time-out of its own."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import psutil

from trainmaster.bot.core.check_name import CheckName
from trainmaster.bot.core.health.host import DiskFact, GpuFact, HostFact, MemoryFact, Unseen
from trainmaster.bot.drivers.gpu.amd import AmdProbe
from trainmaster.bot.drivers.gpu.nvidia import NvidiaProbe
from trainmaster.bot.drivers.gpu.probe import GpuProbe
from trainmaster.bot.drivers.patience import Answer, Patient

_GIB: Final = 2**30
PROBE_TIMEOUT_S: Final = 5.0
"""A healthy driver answers within some 10 ms, a busy one within a second."""
DISK_CHECKS: Final = frozenset({CheckName.DISK_LOW})
MEMORY_CHECKS: Final = frozenset({CheckName.MEMORY_LOW, CheckName.SWAP_BUSY})
GPU_CHECKS: Final = frozenset({CheckName.GPU_MEMORY, CheckName.GPU_HOT, CheckName.GPU_THROTTLED, CheckName.GPU_ERRORS})


class HostProbe:
    """Asks everything at once; what gives no answer is named in the fact, and keeps nothing else waiting.

    ``places`` names the directories that matter, by what they hold; it is asked at each look.
    """

    def __init__(
        self,
        places: Callable[[], Mapping[str, Path]],
        *,
        gpus: Sequence[GpuProbe] | None = None,
        timeout_s: float = PROBE_TIMEOUT_S,
    ) -> None:
        self._places = places
        self._timeout_s = timeout_s
        self._name = socket.gethostname()
        probes = (NvidiaProbe(), AmdProbe()) if gpus is None else gpus
        self._gpus = [Patient(probe.name, probe.look, timeout_s=timeout_s) for probe in probes]
        self._memory = Patient("memory", _MemoryProbe().look, timeout_s=timeout_s)
        self._disks: dict[Path, Patient[tuple[int, DiskFact]]] = {}

    async def look(self, now: float) -> HostFact:
        """The host as it is at ``now``. Never raises."""
        unseen: list[Unseen] = []

        places = dict(self._places())
        self._disks = {path: self._disks.get(path) or self._disk(path) for path in places.values()}
        async with asyncio.TaskGroup() as group:
            memory = group.create_task(_ask(self._memory, MEMORY_CHECKS, unseen))
            gpus = [group.create_task(_ask(patient, GPU_CHECKS, unseen)) for patient in self._gpus]
            disks = [group.create_task(_ask(self._disks[path], DISK_CHECKS, unseen)) for path in places.values()]
        cards: list[GpuFact] = [gpu for found in gpus for gpu in found.result() or ()]
        return HostFact(
            ts=now,
            name=self._name,
            disks=_by_device(tuple(places), [disk.result() for disk in disks]),
            memory=memory.result(),
            gpus=tuple(cards),
            unseen=tuple(unseen),
        )

    def _disk(self, path: Path) -> Patient[tuple[int, DiskFact]]:
        return Patient(f"disk of {path}", lambda: _disk_of(path), timeout_s=self._timeout_s)


async def _ask(patient: Patient[Answer], checks: frozenset[CheckName], unseen: list[Unseen]) -> Answer | None:
    try:
        return await patient.look()
    except Exception as error:  # noqa: BLE001 - a foreign driver may raise anything; told as a finding
        unseen.append(Unseen(what=patient.name, why=str(error) or type(error).__name__, checks=checks))
        return None


def _disk_of(path: Path) -> tuple[int, DiskFact]:
    """Device number and figures of the file system that holds ``path``, or would hold it once it is made."""
    nearest = next(one for one in (path.absolute(), *path.absolute().parents) if one.exists())
    usage = shutil.disk_usage(nearest)
    fact = DiskFact(place=str(nearest), holds=(), free_gib=usage.free / _GIB, total_gib=usage.total / _GIB)
    return os.stat(nearest).st_dev, fact  # noqa: PTH116 - the device number only


def _by_device(names: tuple[str, ...], found: Sequence[tuple[int, DiskFact] | None]) -> tuple[DiskFact, ...]:
    """One fact a file system, whatever lies on it."""
    by_device: dict[int, DiskFact] = {}
    for name, answer in zip(names, found, strict=True):
        if answer is None:
            continue
        device, fact = answer
        known = by_device.get(device, fact)
        by_device[device] = DiskFact(
            place=known.place, holds=(*known.holds, name), free_gib=fact.free_gib, total_gib=fact.total_gib
        )
    return tuple(by_device.values())


class _MemoryProbe:
    """Remembers how much had been swapped in at the last look."""

    def __init__(self) -> None:
        self._before: tuple[float, int] | None = None

    def look(self) -> MemoryFact:
        memory, swap = psutil.virtual_memory(), psutil.swap_memory()
        now, before = time.monotonic(), self._before
        self._before = (now, swap.sin)
        rate = None
        if before is not None and now > before[0]:
            rate = max(0, swap.sin - before[1]) / 2**20 / (now - before[0])
        return MemoryFact(
            total_gib=memory.total / _GIB,
            available_gib=memory.available / _GIB,
            swap_total_gib=swap.total / _GIB,
            swap_used_gib=swap.used / _GIB,
            swap_in_mib_s=rate,
        )
